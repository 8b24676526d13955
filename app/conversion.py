"""Converting a field into another representation or kind, with a report of what was lost."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict, dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any, cast

from fields.budget import Budget
from fields.cameras import Cameras
from fields.distill import distill
from fields.errors import UserError
from fields.field import Field
from fields.field_file import field_header, save_field
from fields.progress import Progress
from fields.run_folder import RunFolder
from fields.safeio import write_bytes, write_json
from fields.views import Capture
from fields.volume import Kind

from . import report
from .comparison import Comparison, Look, compare_fields, comparison_shots, error_limit
from .fitting import DEFAULT_SECONDS, KINDS
from .library import OpenField
from .pictures import depth_picture, depth_range, error_map, heat
from .record import Record
from .viewpoint import of_capture, spiral

FIELD_SUFFIX = ".safetensors"
_PICTURED = 4
_CAMERAS = 256


@dataclass(frozen=True)
class ConvertSettings:
    """What a field becomes; `kind` None keeps the teacher's."""

    backend: str
    kind: str | None = None
    preset: str = "small"
    settings: dict[str, Any] = dataclass_field(default_factory=dict)
    seconds: float | None = None
    steps: int | None = None
    seed: int = 0

    @property
    def budget(self) -> Budget:
        """Seconds, steps, or a minute without either."""
        unlimited = self.seconds is None and self.steps is None
        return Budget(DEFAULT_SECONDS if unlimited else self.seconds, self.steps)


def new_student(teacher: Field, settings: ConvertSettings) -> Field:
    """A field in the teacher's space, not trained yet.

    Raises:
        UserError: `E-USAGE-KIND`, `E-USAGE-BACKEND`, `E-USAGE-PRESET`, `E-USAGE-SET`.
    """
    kind = settings.kind or teacher.kind
    if kind not in KINDS:
        raise UserError("E-USAGE-KIND", "unknown kind of field", got=kind, expected=" ".join(KINDS), fix="choose one")
    made = Field.create(
        settings.backend,
        teacher.space,
        cast(Kind, kind),
        preset=settings.preset,
        settings=settings.settings,
        seed=settings.seed,
    )
    return made.to(teacher.device)


def convert(
    teacher: OpenField,
    settings: ConvertSettings,
    out: Path,
    *,
    force: bool = False,
    against: Capture | None = None,
) -> Generator[Progress, None, tuple[dict[str, Any], Comparison]]:
    """Distil the teacher into a new field at `out` and compare the two.

    `out` is a field file (.safetensors), or a run folder. The return value is the document of
    report.json and what the pictures are made from.
    """
    student = new_student(teacher.field, settings)
    record = Record("convert", {"teacher": str(teacher.path), "convert": asdict(settings)}, str(teacher.field.device))
    with record.phase("distil"):
        cameras = against.train.cameras if against is not None else _cameras(teacher)
        yield from distill(
            teacher.field,
            student,
            settings.budget,
            seed=settings.seed,
            cameras=cameras,
            near=teacher.view.near,
        )
    path = store(student, out, teacher.notes, record, force)
    view = of_capture(against) if against is not None else teacher.view
    shots, photos = comparison_shots(view, against)
    with record.phase("compare"):
        comparison = yield from compare_fields(teacher.field, student, shots, photos)
    document = _document(teacher, student, path, record, comparison)
    if path.parent == out:
        write_json(
            out / "run.json",
            record.document(
                status="done",
                metrics=comparison.vs_teacher,
                parameters=student.parameter_count,
                bytes=path.stat().st_size,
            ),
        )
    return document, comparison


def _cameras(teacher: OpenField) -> Cameras | None:
    """Where rays come from: None leaves it to `distill`, which needs a box that holds the whole scene."""
    if teacher.field.space.contraction == "none":
        return None
    return spiral(teacher.view, _CAMERAS, teacher.view.picture_size)


def store(student: Field, out: Path, notes: dict[str, Any], record: Record, force: bool) -> Path:
    """Write a field to a field file or into a run folder; the path of its file."""
    if out.suffix == FIELD_SUFFIX:
        save_field(student, out, notes)
        return out
    with RunFolder(out, force=force) as folder:
        folder.save_field(dict(student.state_dict()), field_header(student, notes))
        folder.write_record(record.document(parameters=student.parameter_count))
        return folder.field_path


def _document(teacher: OpenField, student: Field, path: Path, record: Record, comparison: Comparison) -> dict[str, Any]:
    def about(field: Field, file: Path, role: str) -> dict[str, Any]:
        return {
            "file": str(file),
            "backend": field.name,
            "kind": field.kind,
            "parameters": field.parameter_count,
            "bytes": file.stat().st_size,
            "ms_per_frame": comparison.ms_per_frame[role],
        }

    return {
        "teacher": about(teacher.field, teacher.path, "teacher"),
        "student": about(student, path, "student"),
        "seconds": record.values["seconds"],
        "vs_teacher": comparison.vs_teacher,
        "vs_photos": comparison.vs_photos,
        "fog": comparison.fog,
        "bytes": path.stat().st_size,
        "ms_per_frame": comparison.ms_per_frame["student"],
        "hardware": record.values["hardware"],
        "versions": record.values["versions"],
    }


def write_report(folder: Path, document: dict[str, Any], comparison: Comparison) -> None:
    """report.json and report.html in `folder`."""
    write_json(folder / "report.json", document)
    teacher, student = document["teacher"], document["student"]
    title = f"{teacher['backend']} → {student['backend']}"
    lead = (
        f"A {teacher['kind']} field in representation {teacher['backend']} was distilled into "
        f"{student['backend']} ({student['kind']}) in {sum(document['seconds'].values()):.0f} seconds."
    )
    sections = [headline(document), figures_table(document), pictures_section(comparison)]
    write_bytes(folder / "report.html", report.page(title, lead, sections))


def headline(document: dict[str, Any]) -> str:
    """The figures that matter most, large."""
    closeness = document["vs_teacher"]
    return report.cards(
        [
            (f"{closeness['psnr']:.1f} dB", "PSNR of the student against its teacher"),
            (f"{closeness['ssim']:.3f}", "SSIM against the teacher"),
            (f"{100 * closeness['depth']:.2f} %", "depth error on solid pixels, of the scene's diagonal"),
            (f"{document['fog']:.4f}", "fog: opacity where the teacher sees nothing"),
            (
                report.size_text(document["bytes"]),
                f"file, the teacher has {report.size_text(document['teacher']['bytes'])}",
            ),
        ]
    )


def figures_table(document: dict[str, Any]) -> str:
    """Teacher and student line by line."""
    photos = document["vs_photos"]
    rows = []
    for role in ("teacher", "student"):
        about = document[role]
        row = [
            role,
            about["backend"],
            about["kind"],
            f"{about['parameters']:,}",
            report.size_text(about["bytes"]),
            f"{about['ms_per_frame']:.0f} ms",
        ]
        rows.append([*row, f"{photos[role + '_psnr']:.2f} dB"] if photos else row)
    head = [
        "",
        "representation",
        "kind",
        "parameters",
        "file",
        "a frame",
        *(["PSNR to photos"] if photos else []),
    ]
    return report.section("Figures", report.table(head, rows))


def pictures_section(comparison: Comparison) -> str:
    """Photo, teacher, student, difference and depths of some views."""
    looks = comparison.looks[:: max(1, len(comparison.looks) // _PICTURED)][:_PICTURED]
    limit = error_limit([error_map(look.teacher["rgb"], look.student["rgb"]) for look in looks])
    rows = [report.row(_figures(look, limit), look.name) for look in looks]
    scale = report.legend("heat", "0", f"{limit:.2f}", "mean absolute difference of the colours, which go from 0 to 1")
    return report.section("Side by side", scale, *rows, text="None of these views was used for the conversion.")


def _figures(look: Look, limit: float) -> list[str]:
    span = depth_range(look.teacher["depth"], look.teacher["opacity"])
    parts = [] if look.photo is None else [report.figure(look.photo, "photo")]
    return [
        *parts,
        report.figure(look.teacher["rgb"], "teacher"),
        report.figure(look.student["rgb"], "student"),
        report.figure(heat(error_map(look.teacher["rgb"], look.student["rgb"]), limit), "difference"),
        *(
            report.figure(depth_picture(side["depth"], side["opacity"], span), f"depth, {name}")
            for name, side in (("teacher", look.teacher), ("student", look.student))
        ),
    ]
