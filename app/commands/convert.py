"""fieldscape convert"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fields.errors import UserError

from .. import parsing
from ..arguments import Device, Engine, Force, JsonTo, PresetName, Resume, Seed
from ..console import Console

if TYPE_CHECKING:
    from pathlib import Path

    from ..conversion_plan import Company
    from ..editing import Edit
    from ..teachers import Teacher

_HIGHEST_PSNR = 100.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("convert")(convert)


def convert(
    field: Annotated[str, typer.Argument(help="Run folder, field file or mesh file: the teacher.")],
    to: Annotated[str, typer.Option(help="Representation to convert into; fieldscape doctor lists them.")],
    out: Annotated[str, typer.Option(help="Field file (.safetensors) or run folder to make.")],
    kind: Annotated[str | None, typer.Option(help="density or sdf; the teacher's by default.")] = None,
    preset: PresetName = "small",
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the backend; may be given several times."),
    ] = None,
    time: Annotated[str | None, typer.Option(help="How long to distil, such as 60s or 5m.")] = None,
    steps: Annotated[int | None, typer.Option(help="How many steps to distil.", min=1, max=10_000_000)] = None,
    psnr: Annotated[
        float | None, typer.Option(metavar="DB", help="End as soon as the student is this close to its teacher.")
    ] = None,
    max_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Lower the preset's sizes until the file is smaller, as in 2MB.")
    ] = None,
    edit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT:VALUE",
            help="Change the teacher first, in the order given: crop, delete, duplicate, transform, merge. "
            "Boxes are x0,y0,z0,x1,y1,z1: crop:BOX, delete:BOX, duplicate:BOX@dx,dy,dz, "
            "transform:scale=2,rotate=0,90,0, merge:FIELD@dx,dy,dz.",
        ),
    ] = None,
    cameras: Annotated[
        str | None, typer.Option(metavar="SOURCE[:SPLIT]", help="Capture from whose cameras rays are sent.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Capture whose test photos both are compared with.")
    ] = None,
    finetune: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Then fit to the training photos of --against, for 60s or 500steps."),
    ] = None,
    report: Annotated[str | None, typer.Option(metavar="DIR", help="Folder for report.json and report.html.")] = None,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Also train the same student from scratch for as long, to compare.")
    ] = False,
    resume: Resume = False,
    seed: Seed = 0,
    device: Device = "auto",
    engine: Engine = None,
    force: Force = False,
    json_to: JsonTo = None,
) -> None:
    """Convert a field or mesh into another representation or kind, by distillation; no photos are needed.

    Without --time or --steps it takes one minute. Ctrl-C keeps what was done: --resume goes on with it.
    """
    console = Console(json_to)
    tuned = parsing.budget(finetune, "--finetune") if finetune else (None, None)
    settings: dict[str, Any] = {
        "backend": to,
        "kind": kind,
        "preset": preset,
        "settings": parsing.settings(setting or [], to),
        "seconds": parsing.duration(time) if time else None,
        "steps": steps,
        "seed": seed,
        "target_psnr": None if psnr is None else _target(psnr),
        "finetune_seconds": tuned[0],
        "finetune_steps": tuned[1],
        "max_bytes": parsing.file_size(max_size) if max_size else None,
        **({"engine": engine} if engine else {}),
    }
    _refuse_photos_of_another_scene(bool(edit), against)
    from ..conversion import convert as steps_of
    from ..conversion_plan import plan_conversion
    from ..conversion_report import write_report
    from ..conversion_state import ConvertSettings
    from ..devices import pick_device
    from ..editing import parse_edits
    from ..outputs import check_folder, may_hold

    edits = parse_edits(edit or [])
    replaceable = may_hold(resume, force)
    target = _out(out, replaceable)
    folder = check_folder(report, replaceable) if report else None
    teacher = _open(console, field, pick_device(device), edits, target)
    company = replace(_company(against, cameras), baseline=baseline)
    chosen = ConvertSettings(**settings)
    plan = plan_conversion(teacher, chosen, company)
    for line in _plan_lines(teacher, plan):
        console.say(line)
    document, comparison = console.run(steps_of(teacher, chosen, target, force=force, resume=resume, company=company))
    if folder is not None:
        write_report(folder, document, comparison)
    _summary(console, document, target)
    console.finish({"out": str(target), **document})


def _target(psnr: float) -> float:
    if not (math.isfinite(psnr) and 0 < psnr <= _HIGHEST_PSNR):
        raise UserError(
            "E-USAGE-PSNR",
            "--psnr is no closeness to aim at",
            got=psnr,
            expected=f"more than 0 and at most {_HIGHEST_PSNR:g} dB",
            fix="use --psnr 30",
        )
    return psnr


def _refuse_photos_of_another_scene(edited: bool, against: str | None) -> None:
    if edited and against:
        raise UserError(
            "E-USAGE-CONFLICT",
            "photos do not show an edited scene",
            got="--edit and --against",
            expected="one of them",
            fix="leave --against out; --cameras SOURCE takes its cameras only",
        )


def _out(text: str, replaces: bool) -> Path:
    from ..conversion_state import FIELD_SUFFIX
    from ..outputs import check_file, check_folder, check_name

    if check_name(text).suffix:
        return check_file(text, (FIELD_SUFFIX,), replaces)
    return check_folder(text, replaces)


def _open(console: Console, field: str, device: str, edits: list[Edit], target: Path) -> Teacher:
    from ..outputs import check_apart
    from ..teachers import open_teacher

    check_apart(target, field)
    teacher = console.run(open_teacher(field, device, edits))
    check_apart(target, teacher.path)
    return teacher


def _company(against: str | None, cameras: str | None) -> Company:
    from ..conversion_plan import Company
    from ..source import open_source, split_source, views_of

    capture = open_source(against).require_capture() if against else None
    if cameras is None:
        return Company(capture)
    name, split = split_source(cameras, "train")
    return Company(capture, views_of(open_source(name).require_capture(), split, name).split(split).cameras)


def _plan_lines(teacher: Teacher, plan: Any) -> list[str]:
    student = plan.student
    lines = [*teacher.remarks]
    lines.append(
        f"{teacher.volume.kind} volume {teacher.name} → {student.kind} field {student.name}, "
        f"preset {plan.settings.preset}, on {student.device}"
    )
    if plan.choice is not None:
        lines.append(f"--max-size: {plan.choice.text}; at most {plan.choice.bytes / 1e6:.2f} MB")
    return lines


def _summary(console: Console, document: dict[str, Any], target: Path) -> None:
    close, photos = document["vs_teacher"], document["vs_photos"]
    console.say(
        f"against the teacher: PSNR {close['psnr']:.2f} dB, SSIM {close['ssim']:.3f}, depth "
        f"{100 * close['depth']:.2f} % of the diagonal, fog {document['fog']:.4f}"
    )
    if photos:
        console.say(f"against photos: teacher {photos['teacher_psnr']:.2f} dB, student {photos['student_psnr']:.2f} dB")
    if document["surface"]:
        console.say(f"surface: Chamfer {100 * document['surface']['chamfer']:.3f} % of the diagonal from the teacher's")
    if document["baseline"]:
        console.say(f"baseline ({document['baseline']['name']}): {document['baseline']['psnr']:.2f} dB to the teacher")
    for text in document["warnings"]:
        console.warn(f"note: {text}")
    teacher, student = document["teacher"], document["student"]
    console.say(
        f"{teacher['bytes'] / 2**20:.1f} → {student['bytes'] / 2**20:.1f} MiB, "
        f"{teacher['ms_per_frame']:.0f} → {student['ms_per_frame']:.0f} ms a frame; wrote {target}"
    )
