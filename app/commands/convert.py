"""fieldscape convert"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import parsing
from ..arguments import Device, Force, JsonTo, Seed
from ..console import Console
from ..source import open_source

if TYPE_CHECKING:
    from pathlib import Path


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("convert")(convert)


def convert(
    field: Annotated[str, typer.Argument(help="Run folder or field file: the teacher.")],
    to: Annotated[str, typer.Option(help="Representation to convert into; fieldscape doctor lists them.")],
    out: Annotated[str, typer.Option(help="Field file (.safetensors) or run folder to make.")],
    kind: Annotated[str | None, typer.Option(help="density or sdf; the teacher's by default.")] = None,
    preset: Annotated[str, typer.Option(help="tiny, small or paper.")] = "small",
    time: Annotated[str | None, typer.Option(help="How long to distil, such as 60s or 5m.")] = None,
    steps: Annotated[int | None, typer.Option(help="How many steps to distil.", min=1, max=10_000_000)] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the backend; may be given several times."),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Capture whose test photos both are compared with.")
    ] = None,
    report: Annotated[str | None, typer.Option(metavar="DIR", help="Folder for report.json and report.html.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    json_to: JsonTo = None,
) -> None:
    """Convert a field into another representation or kind, by distillation; no photos are needed."""
    console = Console(json_to)
    settings: dict[str, Any] = {
        "backend": to,
        "kind": kind,
        "preset": preset,
        "seconds": parsing.duration(time) if time else None,
        "steps": steps,
        "settings": parsing.settings(setting or [], to),
        "seed": seed,
    }
    from ..conversion import ConvertSettings, new_student, write_report
    from ..conversion import convert as steps_of
    from ..devices import pick_device
    from ..library import open_field
    from ..outputs import check_apart, check_folder

    target = _target(out, force)
    folder = check_folder(report, force) if report else None
    chosen = ConvertSettings(**settings)
    opened = open_field(field, pick_device(device))
    check_apart(target, field, opened.path)
    new_student(opened.field, chosen)
    capture = open_source(against).require_capture() if against else None
    student = f"{chosen.kind or opened.field.kind} field {to}, preset {preset}"
    console.say(f"{opened.field.kind} field {opened.field.name} → {student}, on {opened.field.device}")
    document, comparison = console.run(steps_of(opened, chosen, target, force=force, against=capture))
    if folder is not None:
        write_report(folder, document, comparison)
    _summary(console, document, target)
    console.finish({"out": str(target), **document})


def _target(out: str, force: bool) -> Path:
    from ..conversion import FIELD_SUFFIX
    from ..outputs import check_file, check_folder, check_name

    if check_name(out).suffix:
        return check_file(out, (FIELD_SUFFIX,), force)
    return check_folder(out, force)


def _summary(console: Console, document: dict[str, Any], target: Path) -> None:
    close, photos = document["vs_teacher"], document["vs_photos"]
    console.say(
        f"against the teacher: PSNR {close['psnr']:.2f} dB, SSIM {close['ssim']:.3f}, depth "
        f"{100 * close['depth']:.2f} % of the diagonal, fog {document['fog']:.4f}"
    )
    if photos:
        console.say(f"against photos: teacher {photos['teacher_psnr']:.2f} dB, student {photos['student_psnr']:.2f} dB")
    teacher, student = document["teacher"], document["student"]
    console.say(
        f"{teacher['bytes'] / 2**20:.1f} → {student['bytes'] / 2**20:.1f} MiB, "
        f"{teacher['ms_per_frame']:.0f} → {student['ms_per_frame']:.0f} ms a frame; wrote {target}"
    )
