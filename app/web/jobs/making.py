"""Jobs whose result is a field."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from fields.progress import Progress
from fields.safeio import write_bytes

from ...conversion import carry_out
from ...conversion_plan import Company, plan_conversion
from ...conversion_report import write_report
from ...conversion_state import ConvertSettings
from ...fitting import FitSettings, fit_run, new_field, notes_of
from ...pictures import jpeg
from ...rendering import Shots, renderer_for, shots_along
from ...source import Source, open_source
from ...teachers import open_teacher
from ...viewpoint import Viewpoint, of_field
from .kinds import Task
from .parameters import SAMPLE, ConvertParameters, FitParameters
from .previews import PREVIEW, SIDE, Preview

TEACHER = "teacher.jpg"


def fit(parameters: FitParameters, task: Task) -> Generator[Progress, None, dict[str, Any]]:
    """Fit a field into the job's folder, which is a run folder; the result is its record."""
    yield Progress(0, 0, "reading")
    source = _source(task, "source", parameters.source)
    given = parameters.model_dump(exclude={"source"})
    settings = FitSettings(**given)
    field = new_field(source, settings)
    notes = notes_of(source)
    preview = Preview(field, _shots(of_field(field, notes)), renderer_for(field, notes), task.out / PREVIEW)
    steps = fit_run(source, settings, task.out, resume=task.resume, field=field)
    document = yield from preview.during(steps)
    return {name: document[name] for name in ("metrics", "steps", "seconds", "bytes", "parameters", "settings")}


def convert(parameters: ConvertParameters, task: Task) -> Generator[Progress, None, dict[str, Any]]:
    """Distil a field into the job's folder; the result is the document of its report."""
    yield Progress(0, 0, "reading")
    teacher = yield from open_teacher(task.inputs["field"])
    against = None
    if parameters.against is not None:
        against = _source(task, "against", parameters.against).require_capture()
    settings = ConvertSettings(
        **parameters.model_dump(exclude={"field", "against", "psnr"}), target_psnr=parameters.psnr
    )
    plan = plan_conversion(teacher, settings, Company(against))
    shots = _shots(teacher.view)
    clay = renderer_for(plan.student, teacher.notes)
    steps = carry_out(plan, task.out, resume=task.resume)
    picture = clay(teacher.volume, shots.cameras, 0, background=shots.background, what=("rgb",), near=shots.near)
    preview = Preview(plan.student, shots, clay, task.out / PREVIEW)
    first = next(steps)  # takes the folder, which must be empty until then
    write_bytes(task.out / TEACHER, jpeg(picture["rgb"]))
    yield first
    document, comparison = yield from preview.during(steps)
    write_report(task.out, document, comparison)
    return document


def _source(task: Task, name: str, given: str) -> Source:
    """The photos or mesh that a parameter names."""
    if given == SAMPLE:
        return open_source(SAMPLE)
    path = task.inputs[name]
    return replace(open_source(path), name=path.rstrip("/").rpartition("/")[2])


def _shots(view: Viewpoint) -> Shots:
    """One small picture of the scene as people see it first."""
    width, height = view.picture_size
    factor = SIDE / max(width, height)
    return shots_along("orbit", view, 1, (max(8, round(width * factor)), max(8, round(height * factor))))
