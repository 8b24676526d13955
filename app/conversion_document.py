"""report.json of a conversion: every figure, and what people should be warned of."""

from __future__ import annotations

from dataclasses import dataclass
from math import log10
from pathlib import Path
from typing import Any

from fields.field import Field

from .comparison import Comparison
from .conversion_plan import Plan
from .conversion_state import Curve, Spent
from .hardware import peak_memory
from .record import Record
from .sizing import grid_bytes
from .teachers import Teacher

_FAINT_FOG, _OPEN_FOG = 0.02, 0.05  # opacity that is worth a warning with the occupancy grid, and without it
_POOR, _LOSS = 22.0, 3.5  # dB: a bad likeness; a loss against photos that is more than usual
_FLAT, _STEEP = 0.25, 0.75  # dB gained in the last quarter of a run
_GOOD = 35.0  # dB above which no limit is worth a word
_WORSE = 0.1  # dB


@dataclass(frozen=True)
class Facts:
    """What is known of a conversion apart from the comparison."""

    plan: Plan
    path: Path
    record: Record
    spent: Spent
    curve: Curve
    surface: dict[str, Any] | None
    baseline: dict[str, Any] | None


def document_of(facts: Facts, comparison: Comparison) -> dict[str, Any]:
    """The document of report.json."""
    plan, student = facts.plan, facts.plan.student
    size = facts.path.stat().st_size
    photos = comparison.vs_photos
    frame = comparison.ms_per_frame
    found = {
        "teacher": _about_teacher(plan.teacher, frame["teacher"]),
        "student": _about(student, facts.path, size, frame["student"]),
        "seconds": facts.record.values["seconds"],
        "steps": {"distil": facts.spent.steps, "finetune": facts.spent.finetune_steps},
        "start": facts.spent.start,
        "vs_teacher": comparison.vs_teacher,
        "opacity_error": comparison.opacity_error,
        "vs_photos": None if photos is None else {key: photos[key] for key in ("teacher_psnr", "student_psnr")},
        "photos_ssim": None if photos is None else {key: photos[f"{key}_ssim"] for key in ("teacher", "student")},
        "fog": comparison.fog,
        "fog_unmasked": comparison.fog_unmasked,
        "bytes": size,
        "bytes_without_grid": size - grid_bytes(),
        "ms_per_frame": frame["student"],
        "peak_memory_bytes": peak_memory(),
        "curve": [[round(t, 3), round(p, 3)] for t, p in facts.curve.points],
        "surface": facts.surface,
        "baseline": facts.baseline,
        "size_choice": None if plan.choice is None else {"limit": plan.settings.max_bytes, "chosen": plan.choice.text},
        "conversions": [*plan.teacher.chain, link_of(plan, comparison)],
        "settings": facts.record.values["settings"],
        "hardware": facts.record.values["hardware"],
        "versions": facts.record.values["versions"],
    }
    return {**found, "warnings": warnings_of(found)}


def link_of(plan: Plan, comparison: Comparison) -> dict[str, Any]:
    """This conversion as an entry in the list that a field file keeps."""
    student = plan.student
    psnr = round(comparison.vs_teacher["psnr"], 3)
    return {"from": plan.teacher.name, "to": student.name, "kind": student.kind, "psnr": psnr}


def _about_teacher(teacher: Teacher, milliseconds: float) -> dict[str, Any]:
    size = teacher.bytes
    found = {
        "file": str(teacher.path),
        "backend": teacher.name,
        "kind": teacher.volume.kind,
        "parameters": teacher.parameters,
        "bytes": size,
        "ms_per_frame": milliseconds,
    }
    is_field = isinstance(teacher.volume, Field)
    return found | ({"bytes_without_grid": size - grid_bytes()} if is_field else {})


def _about(student: Field, path: Path, size: int, milliseconds: float) -> dict[str, Any]:
    return {
        "file": str(path),
        "backend": student.name,
        "kind": student.kind,
        "parameters": student.parameter_count,
        "bytes": size,
        "bytes_without_grid": size - grid_bytes(),
        "ms_per_frame": milliseconds,
    }


def warnings_of(document: dict[str, Any]) -> list[str]:
    """What a reader of the figures should not miss, in plain sentences."""
    checks = (_likeness, _growth, _target, _photos, _fog, _surface, _baseline, _size, _chain)
    return [text for check in checks for text in check(document)]


def _likeness(document: dict[str, Any]) -> list[str]:
    psnr = document["vs_teacher"]["psnr"]
    return [f"The student is far from its teacher: {psnr:.1f} dB on views held out."] if psnr < _POOR else []


def _growth(document: dict[str, Any]) -> list[str]:
    """Whether time or capacity ended the gain."""
    curve, psnr = document["curve"], document["vs_teacher"]["psnr"]
    if len(curve) < 8 or psnr >= _GOOD:
        return []
    end = curve[-1][0]
    late = [value for seconds, value in curve if seconds >= 0.75 * end]
    half = max(1, len(late) // 4)
    gain = sum(late[-half:]) / half - sum(late[:half]) / half
    if gain > _STEEP:
        return [f"Still improving when the time was over, by {gain:.1f} dB in the last quarter: a longer run helps."]
    if gain < _FLAT and document["student"]["parameters"] < document["teacher"]["parameters"]:
        return [
            f"Limited by the student's capacity: no gain in the last quarter of the run, at {psnr:.1f} dB with "
            f"{document['student']['parameters']:,} parameters, the teacher has "
            f"{document['teacher']['parameters']:,}. A larger preset or --set helps more than time."
        ]
    return []


def _target(document: dict[str, Any]) -> list[str]:
    wanted = document["settings"]["convert"]["target_psnr"]
    reached = document["curve"][-1][1] if document["curve"] else 0.0
    if wanted is None or reached >= wanted:
        return []
    return [f"--psnr {wanted:g} was not reached: the budget ended at {reached:.1f} dB. Give more by --time or --steps."]


def _photos(document: dict[str, Any]) -> list[str]:
    photos = document["vs_photos"]
    if photos is None or photos["teacher_psnr"] - photos["student_psnr"] <= _LOSS:
        return []
    loss = photos["teacher_psnr"] - photos["student_psnr"]
    return [f"The student is {loss:.1f} dB further from the photos than its teacher; up to {_LOSS:g} is usual."]


def _fog(document: dict[str, Any]) -> list[str]:
    if document["fog"] > _FAINT_FOG:
        return [f"There is fog: where the teacher sees nothing, the student's opacity is {document['fog']:.3f}."]
    if document["fog_unmasked"] > _OPEN_FOG:
        return [
            f"The student needs its occupancy grid: without it, empty rays have an opacity of "
            f"{document['fog_unmasked']:.2f}. Programs that do not read the grid will show fog."
        ]
    return []


def _surface(document: dict[str, Any]) -> list[str]:
    surface = document["surface"]
    if surface is None or surface["direct_watertight"]:
        return []
    return ["The teacher's surface is not closed, so that inside and outside are a guess near its holes."]


def _baseline(document: dict[str, Any]) -> list[str]:
    """Against photos where there are any: that is what the baseline learnt from."""
    baseline, photos = document["baseline"], document["vs_photos"]
    if baseline is None:
        return []
    ours = document["vs_teacher"]["psnr"] if photos is None else photos["student_psnr"]
    theirs = baseline["psnr"] if photos is None else baseline["photos_psnr"]
    if theirs <= ours + _WORSE:
        return []
    return [f"Here the baseline does better: {theirs:.2f} dB, the conversion {ours:.2f} dB ({baseline['name']})."]


def _size(document: dict[str, Any]) -> list[str]:
    choice = document["size_choice"]
    if choice is None or document["bytes"] < choice["limit"]:
        return []
    return [f"The file has {document['bytes']} bytes, more than --max-size {choice['limit']}: its index is sparse."]


def _chain(document: dict[str, Any]) -> list[str]:
    chain = document["conversions"]
    if len(chain) < 2:
        return []
    error = sum(10 ** (-float(link["psnr"]) / 10) for link in chain)
    return [
        f"This is conversion number {len(chain)} in a row. Errors add up: if each is independent, this field is about "
        f"{-10 * log10(error):.1f} dB from the first. Converting from the first one loses less."
    ]
