"""fieldscape bench"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fields.errors import UserError

from .. import parsing
from ..arguments import Device, JsonTo, PresetName, Seed
from ..console import Console

if TYPE_CHECKING:
    from ..bench.matrix import MatrixSettings
    from ..bench.timing import Contest

Table = Literal["matrix", "study", "sooner"]
SUBJECTS = ("kernels", "fit", "render", "convert", "scene")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench")(bench)


def bench(
    subject: Annotated[str, typer.Argument(help="kernels, fit, render, convert or scene.")],
    field: Annotated[str | None, typer.Option(help="Run folder or field file to render, for bench render.")] = None,
    repeat: Annotated[int, typer.Option(help="Runs of each, taken in turn with the baseline's.", min=1, max=1000)] = 5,
    model: Annotated[
        str | None, typer.Option(help="Model to make scenes with, for bench scene; rooms-tiny by default.")
    ] = None,
    limit: Annotated[str, typer.Option(help="No new run starts after this long; each row has one at least.")] = "3m",
    only: Annotated[str, typer.Option(help="Only rows whose name or configuration has this in it.")] = "",
    out: Annotated[
        str | None,
        typer.Option(help="bench convert: folder for a table of every representation converted into every other."),
    ] = None,
    pairs: Annotated[str | None, typer.Option(help="Only these, as hash:mlp,vm:sparse (teacher:student).")] = None,
    kinds: Annotated[
        str | None, typer.Option(help="density, sdf, or both with a comma; by default what suits.")
    ] = None,
    scene: Annotated[str, typer.Option(help="Capture folder or mesh to convert on, or builtin.")] = "builtin",
    size: Annotated[int | None, typer.Option(help="Width of the photos, about.", min=8, max=8192)] = None,
    preset: PresetName = "small",
    time: Annotated[str, typer.Option(help="Of each conversion: 60s, or 500steps.")] = "60s",
    teacher: Annotated[str | None, typer.Option(metavar="TIME", help="Of each teacher's fit; as --time.")] = None,
    scratch: Annotated[
        str | None, typer.Option(metavar="TIME", help="Of each student's fit from scratch, the reference; as --time.")
    ] = None,
    finetune: Annotated[
        str | None, typer.Option(metavar="TIME", help="Then fit each student to the photos for as long; as --time.")
    ] = None,
    study: Annotated[
        bool, typer.Option("--study", help="Instead: what each part of the method brings, and how much sooner.")
    ] = False,
    sooner: Annotated[
        bool, typer.Option("--sooner", help="Instead: only how much sooner than --scratch a student is as good.")
    ] = False,
    seed: Seed = 0,
    device: Device = "auto",
    json_to: JsonTo = None,
) -> None:
    """Measure speed, always side by side with a named baseline.

    ratio = baseline time / our time, the median of runs taken in turn; spread = their range over the median.
    `bench convert --out DIR` measures what conversions keep, beside the teacher and a fit from scratch; what is done
    stays in DIR, and the same command goes on with the rest.
    """
    console = Console(json_to)
    if subject not in SUBJECTS:
        raise UserError(
            "E-USAGE-CHOICE",
            "nothing to measure by this name",
            got=subject,
            expected=" ".join(SUBJECTS),
            fix="choose one",
        )
    if out is not None and subject == "convert":
        limits = (time, teacher or time, scratch or time)
        settings = _matrix_settings(pairs, kinds, scene, size, preset, limits, seed, device)
        table: Table = "sooner" if sooner else "study" if study else "matrix"
        _convert_table(console, out, table, _finetuned(settings, finetune, table))
        return
    from ..bench.timing import measure_all
    from ..hardware import calibration, hardware, versions

    seconds = parsing.duration(limit)
    contests = [c for c in _contests(subject, field, model) if only.lower() in f"{c.name} {c.config}".lower()]
    before = calibration()
    rows = console.run(measure_all(contests, repeat, seconds))
    machine = {**hardware(), "calibration_gflops": [before, calibration()]}
    for row in rows:
        console.say(_line(row))
    speeds = machine["calibration_gflops"]
    console.say(
        f"\n{machine['processor']}, {machine['threads']} threads, {machine['native']}; one thread did "
        f"{speeds[0]:.0f} GFLOP/s before and {speeds[1]:.0f} after"
    )
    console.finish({"hardware": machine, "versions": versions(), "rows": rows})


def _matrix_settings(
    pairs: str | None,
    kinds: str | None,
    scene: str,
    size: int | None,
    preset: str,
    limits: tuple[str, str, str],
    seed: int,
    device: str,
) -> MatrixSettings:
    """Settings of the table, before anything is read.

    Raises:
        UserError: `E-USAGE-PAIRS`, `E-USAGE-CHOICE`, `E-USAGE-TIME`.
    """
    from ..bench.matrix import MatrixSettings, all_pairs, read_pairs
    from ..devices import pick_device
    from ..fitting import KINDS
    from ..source import names_mesh

    time, teacher, scratch = (
        parsing.budget(text, option) for text, option in zip(limits, ("--time", "--teacher", "--scratch"), strict=True)
    )
    usual = "sdf" if names_mesh(scene) else "density"
    return MatrixSettings(
        read_pairs(pairs) if pairs else all_pairs(),
        parsing.choices(kinds or usual, KINDS, "--kinds"),  # type: ignore[arg-type]
        scene,
        size,
        preset,
        time,
        teacher,
        scratch,
        seed,
        pick_device(device),
    )


def _finetuned(settings: MatrixSettings, finetune: str | None, table: Table) -> MatrixSettings:
    """The settings with a finish on photos, where one is wanted.

    Raises:
        UserError: `E-USAGE-FINETUNE` where there is nothing to finish on, `E-USAGE-TIME`.
    """
    from ..source import names_mesh

    if finetune is None:
        return settings
    if table != "matrix" or names_mesh(settings.scene):
        raise UserError(
            "E-USAGE-FINETUNE",
            "--finetune needs photos, and a table",
            got=settings.scene if table == "matrix" else f"--{table}",
            expected="--scene CAPTURE without --study or --sooner",
            fix="leave --finetune out, or choose a capture",
        )
    return replace(settings, finetune=parsing.budget(finetune, "--finetune"))


def _convert_table(console: Console, out: str, table: Table, settings: MatrixSettings) -> None:
    """Run the matrix (or the study) into its folder: .json and .md, and a heat map of the matrix."""
    from fields.safeio import write_bytes, write_json

    from ..bench import matrix, matrix_table
    from ..bench import study as parts
    from ..hardware import hardware, versions
    from ..outputs import check_folder

    folder = check_folder(out, force=True)
    if table == "matrix":
        rows = console.run(matrix.matrix_steps(settings, folder))
    else:
        rows = console.run(parts.study_steps(settings, folder, only_full=table == "sooner"))
    document = {"hardware": hardware(settings.device), "versions": versions(), "rows": rows}
    text = matrix_table.markdown(rows) if table == "matrix" else parts.markdown(rows)
    write_json(folder / f"{table}.json", document)
    write_bytes(folder / f"{table}.md", text.encode())
    if table == "matrix":
        write_bytes(folder / "matrix.svg", matrix_table.heat_map(rows).encode())
    console.say(text)
    console.finish(document)


def _contests(subject: str, field: str | None, model: str | None) -> list[Contest]:
    if subject == "kernels":
        from ..bench.kernels import contests

        return contests()
    if subject == "scene":
        from ..bench.scenes import scene_contests

        return scene_contests(model)
    from ..bench import fields as whole

    if subject == "fit":
        return whole.fit_contests()
    if subject == "convert":
        return whole.convert_contests()
    from ..library import open_field

    return whole.render_contests(open_field(field).field if field else None)


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['name']:<38} {1000 * row['ours_s']:9.2f} ms  {row['baseline']:<18} "
        f"{1000 * row['baseline_s']:9.2f} ms  {row['ratio']:6.1f}x ±{50 * row['spread']:.0f} %  "
        f"{row['config']}"
    )
