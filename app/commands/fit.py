"""fieldscape fit"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fields.errors import UserError

from .. import parsing
from ..arguments import Device, Engine, Force, JsonTo, Resume
from ..console import Console, quantity

if TYPE_CHECKING:
    from ..fitting import FitSettings

_BACKEND = "hash"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fit")(fit)


def fit(
    source: Annotated[str, typer.Argument(help="Capture folder of any layout, mesh file, or the word sample.")],
    out: Annotated[str, typer.Option(help="Run folder to make.")],
    backend: Annotated[
        str | None,
        typer.Option(help="Representation, hash by default; several are joined by +. fieldscape doctor lists them."),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="density or sdf; by default what suits the source.")] = None,
    preset: Annotated[str | None, typer.Option(help="tiny, small (default) or paper.")] = None,
    time: Annotated[str | None, typer.Option(help="How long to fit, such as 60s or 5m.")] = None,
    steps: Annotated[int | None, typer.Option(help="How many steps to fit.", min=1, max=10_000_000)] = None,
    seed: Annotated[int | None, typer.Option(help="0 by default.", min=0, max=2**31 - 1)] = None,
    device: Device = "auto",
    engine: Engine = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the backend; may be given several times."),
    ] = None,
    bounds: Annotated[str | None, typer.Option(help="Scene box x0,y0,z0,x1,y1,z1 in place of the one found.")] = None,
    downscale: Annotated[int, typer.Option(help="Reduce photos by this factor.", min=1, max=64)] = 1,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Go on without photos that are listed but absent.")
    ] = False,
    resume: Resume = False,
    force: Force = False,
    json_to: JsonTo = None,
) -> None:
    """Fit a field to photos or to a mesh.

    Without --time or --steps it takes one minute. Ctrl-C keeps what was done: --resume goes on with it.
    """
    console = Console(json_to)
    given: dict[str, Any] = {
        "backend": backend,
        "kind": kind,
        "preset": preset,
        "seed": seed,
        "steps": steps,
        "seconds": parsing.duration(time) if time else None,
        "settings": parsing.settings(setting, backend or _BACKEND) if setting else None,
    }
    box = parsing.box(bounds) if bounds else None
    from ..devices import pick_device
    from ..fitting import fit_run
    from ..outputs import check_apart, check_folder, may_hold
    from ..source import SourceOptions, open_source

    path = check_folder(out, may_hold(resume, force))
    check_apart(path, source)
    settings = replace(_settings(given, path, resume), device=pick_device(device))
    settings = replace(settings, engine=engine or settings.engine)
    _check_settings(settings)
    found = open_source(source, SourceOptions(box, allow_missing, downscale))
    for line in (*found.remarks, *_plan(settings)):
        console.say(line)
    document = console.run(fit_run(found, settings, path, resume=resume, force=force))
    for problem in document["skipped_states"]:
        console.warn(f"went on from an earlier state, as a later one is damaged: {problem}")
    _summary(console, document, path)
    console.finish({"out": str(path), **document})


def _settings(given: dict[str, Any], out: Path, resume: bool) -> FitSettings:
    """Settings from the options, or of the run to be resumed with a new budget.

    Raises:
        UserError: `E-USAGE-RESUME` for options that differ from the run's own.
    """
    from fields.run_folder import is_run, read_record

    from ..fitting import FitSettings, recorded_settings

    chosen = {name: value for name, value in given.items() if value is not None}
    if not resume or not is_run(out):
        return FitSettings(**chosen)
    before = recorded_settings(read_record(out), out)
    budget = {name: given[name] for name in ("seconds", "steps")}
    for name in set(chosen) - set(budget):
        if chosen[name] != getattr(before, name):
            raise UserError(
                "E-USAGE-RESUME",
                f"--{name} differs from the run's own",
                where=out,
                got=chosen[name],
                expected=str(getattr(before, name)),
                fix="leave it out, or start anew with --force",
            )
    return replace(before, **budget) if any(budget.values()) else before


def _check_settings(settings: FitSettings) -> None:
    """Refuse an impossible backend, preset, setting or kind before the source is read."""
    from fields.backends import build_backend
    from fields.engines import engine_names

    from ..fitting import KINDS

    if settings.kind not in (None, *KINDS):
        raise UserError(
            "E-USAGE-KIND",
            "unknown kind of field",
            got=settings.kind,
            expected=" ".join(KINDS),
            fix="choose one",
        )
    build_backend(settings.backend, settings.preset, settings.settings)
    engine_names(settings.engine, settings.device)


def _plan(settings: FitSettings) -> list[str]:
    """What is going to run, so that a slow path is never silent."""
    import torch

    from ..hardware import native_level

    level, reason = native_level()
    where = f"{settings.device}, {torch.get_num_threads()} threads" if settings.device == "cpu" else settings.device
    kernels = f"native kernels ({level})" if level else f"NO native kernels ({reason}): 10 to 50 times slower"
    budget = settings.budget
    limit = " or ".join(
        text
        for text in (
            f"{budget.seconds:g} s" if budget.seconds else "",
            f"{budget.steps} steps" if budget.steps else "",
        )
        if text
    )
    return [
        f"backend {settings.backend}, preset {settings.preset}, {limit}, seed {settings.seed}",
        f"on {where}" + (f", {kernels}" if settings.device == "cpu" else f", engine {settings.engine}"),
    ]


def _summary(console: Console, document: dict[str, Any], out: Path) -> None:
    metrics, seconds = document["metrics"], document["seconds"]
    rate = document.get("rays_per_second")
    console.say(
        f"{document['steps']} steps in {seconds['fit']:.1f} s, "
        f"{quantity(document['parameters'])} parameters, "
        + (f"{quantity(rate)} rays/s, " if rate else "")
        + f"{document['bytes'] / 2**20:.1f} MiB"
    )
    if "psnr" in metrics:
        console.say(
            f"PSNR {metrics['psnr']:.2f} dB, SSIM {metrics['ssim']:.3f} "
            f"over {metrics['views']} {metrics['split']} views"
        )
    elif "sign_iou" in metrics:
        console.say(
            f"inside agrees to {metrics['sign_iou']:.4f} (IoU), "
            f"mean distance error {metrics['sdf_error']:.2e} of the diagonal"
        )
    console.say(f"wrote {out}; look at it: fieldscape render {out} --out pictures")
