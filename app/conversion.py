"""Converting a field into another representation or kind: learnt, compared, written, and resumable at any moment."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from cuda_ext.accelerators import using
from fields.budget import Budget
from fields.distill import DistillOptions, DistillState, distill
from fields.engines import NATIVE
from fields.field import Field
from fields.field_file import field_header, save_field
from fields.fit import FitOptions, FitState, fit_images
from fields.progress import Progress
from fields.run_folder import RunFolder
from fields.views import Capture
from fields.volume import Volume

from .comparison import Comparison, Standpoints, compare_volumes, score, standpoints
from .conversion_document import Facts, document_of, link_of
from .conversion_plan import Company, Plan, new_student, plan_conversion
from .conversion_state import (
    DISTIL,
    FINETUNE,
    ConvertSettings,
    Curve,
    Saved,
    Spent,
    is_file,
    load_stage,
    remove_state,
    save_stage,
    settings_to_resume,
    state_folder,
)
from .library import OpenField
from .record import Record
from .saving import saved
from .surfaces import surface_error, with_distances
from .teachers import Teacher, teacher_of
from .viewpoint import of_capture

_FINETUNE_SEED = 1  # added to the conversion's own
_CLEAR = 256  # cells looked at in each step on photos, so that no fog comes back


def convert(
    teacher: Teacher | OpenField,
    settings: ConvertSettings,
    out: Path,
    *,
    force: bool = False,
    resume: bool = False,
    company: Company | None = None,
) -> Generator[Progress, None, tuple[dict[str, Any], Comparison]]:
    """Distil the teacher into a new field at `out` and compare the two.

    `out` is a field file (.safetensors), or a run folder. A state is stored now and then and when the generator is
    closed before its end: in the run folder, or beside a field file in a folder that goes when all is done. With
    `resume` the conversion begun there goes on; with a budget of steps it ends with the same bits. The return value
    is the document of report.json and what the pictures are made from.

    Raises:
        UserError: what `plan_conversion` refuses, `E-USAGE-RESUME`, `E-USAGE-EXISTS`, `E-ENV-LOCK`, `E-NAN-FIT`.
    """
    known = teacher if isinstance(teacher, Teacher) else teacher_of(teacher)
    plan = plan_conversion(known, settings, company)
    return (yield from carry_out(plan, out, force=force, resume=resume))


def carry_out(
    plan: Plan, out: Path, *, force: bool = False, resume: bool = False
) -> Generator[Progress, None, tuple[dict[str, Any], Comparison]]:
    """As `convert`, for a plan at hand: its student can be looked at between two reports."""
    if resume:
        plan = replace(plan, settings=settings_to_resume(plan.settings, plan.identity, out))
    with RunFolder(state_folder(out), resume=resume, force=force) as folder, using(*plan.engines):
        found = yield from _Conversion(plan, folder, out, resume).go()
    remove_state(folder.path)
    return found


class _Conversion:
    """One conversion in its folder."""

    def __init__(self, plan: Plan, folder: RunFolder, out: Path, resume: bool) -> None:
        self.plan, self.folder, self.out = plan, folder, out
        self.student = plan.student
        before = folder.read_record() if resume else None
        self.saved: Saved | None = load_stage(folder) if resume else None
        self.curve = self.saved.curve if self.saved else Curve()
        self.spent = self.saved.spent if self.saved else Spent(0, {}, "")
        settings = {"teacher": str(plan.teacher.path), "convert": asdict(plan.settings), "identity": plan.identity}
        self.record = Record("convert", settings, str(self.student.device), before)
        self.record.values["engine"] = "+".join(plan.engines) or NATIVE
        self.record.values["skipped_states"] = list(self.saved.skipped) if self.saved else []

    def go(self) -> Generator[Progress, None, tuple[dict[str, Any], Comparison]]:
        plan = self.plan
        self.folder.write_record(self.record.document(parameters=self.student.parameter_count))
        with self.record.phase("distance"):
            target, direct = yield from with_distances(plan.teacher, self.student.kind, plan.settings.preset)
        if self.saved is None or self.saved.stage == DISTIL:
            yield from self._distil(target)
        yield from self._finetune()
        self.record.values["seconds"] |= {name: round(value, 3) for name, value in self.spent.seconds.items()}
        places = self._standpoints()
        with self.record.phase("compare"):
            comparison = yield from compare_volumes(plan.teacher.volume, self.student, places)
        path = self._store(comparison)
        surface = None
        if direct is not None:
            with self.record.phase("meshes"):
                surface = yield from surface_error(direct, self.student)
        baseline = None
        if plan.company.baseline:
            with self.record.phase("baseline"):
                baseline = yield from self._baseline(target, places, comparison)
        facts = Facts(plan, path, self.record, self.spent, self.curve, surface, baseline)
        found = document_of(facts, comparison)
        self._finish(path, comparison)
        return found, comparison

    def _distil(self, target: Volume) -> Generator[Progress, None, None]:
        options = self.plan.options
        if self.saved is None:
            state = DistillState(target, self.student, options)
        else:
            state = DistillState.restore(target, self.student, options, self.saved.tensors)

        def save(status: str) -> None:
            self.spent = Spent(state.step, dict(state.seconds), state.start_method)
            if state.step > 0:  # a closed-form start is not divided
                self._save(DISTIL, state.step, state.tensors(), status)

        steps = distill(target, self.student, self.plan.settings.budget, options=options, state=state)
        with closing(saved(steps, save)) as reports:
            for progress in reports:
                self.curve.add(progress.seconds, progress.metrics.get("psnr", 0.0))
                yield progress
        save("running")

    def _finetune(self) -> Generator[Progress, None, None]:
        """Fit on to the training photos, where that is wanted."""
        capture, budget = self.plan.company.against, self.plan.settings.finetune
        seed = self.plan.settings.seed + _FINETUNE_SEED
        if self.saved is not None and self.saved.stage == FINETUNE:
            state = FitState.restore(self.student, self.saved.tensors)
        elif budget is not None:
            self.student.occupancy.remember(self.student)
            state = FitState(self.student, seed)
        if budget is None or capture is None:
            return
        before = self.spent

        def save(status: str) -> None:
            self.spent = before.with_finetune(state.step, state.elapsed)
            self._save(FINETUNE, before.steps + state.step, state.tensors(), status)

        options = FitOptions(near=capture.near, clear=_CLEAR)
        steps = fit_images(self.student, capture, budget, seed=seed, state=state, options=options)
        with closing(saved(steps, save)) as reports:
            for progress in reports:
                yield replace(progress, phase=FINETUNE)
        self.student.backend.attach(None)
        save("running")

    def _save(self, stage: str, step: int, tensors: dict[str, Tensor], status: str) -> None:
        save_stage(self.folder, stage, step, tensors, self.spent, self.curve)
        self.folder.write_record(self.record.document(status=status, steps=step))

    def _standpoints(self) -> Standpoints:
        plan = self.plan
        view = of_capture(plan.company.against) if plan.company.against is not None else plan.teacher.view
        return standpoints(plan.teacher.volume, view, plan.company.against, plan.cameras, clay=plan.clay)

    def _store(self, comparison: Comparison) -> Path:
        """The field, with the list of conversions that led to it in its notes."""
        notes = {**self.plan.teacher.notes, "conversions": [*self.plan.teacher.chain, link_of(self.plan, comparison)]}
        if self.plan.settings.finetune is not None:
            notes["colors"] = True  # photos have them
        if is_file(self.out):
            save_field(self.student, self.out, notes)
            return self.out
        return self.folder.save_field(dict(self.student.state_dict()), field_header(self.student, notes))

    def _baseline(
        self, target: Volume, places: Standpoints, comparison: Comparison
    ) -> Generator[Progress, None, dict[str, Any]]:
        """The same student without the method, for as long."""
        plan = self.plan
        fresh = new_student(target, plan.settings, plan.choice)
        budget = self.spent.budget(plan.settings)
        name, steps = baseline_steps(fresh, target, plan.options, plan.company.against, budget)
        for progress in steps:
            yield replace(progress, phase="baseline")
        fresh.backend.attach(None)
        scores = yield from score(fresh, places, comparison)
        return {"name": name, "seconds": budget.seconds, "steps": budget.steps, **scores}

    def _finish(self, path: Path, comparison: Comparison) -> None:
        self.folder.write_record(
            self.record.document(
                status="done",
                metrics=comparison.vs_teacher,
                parameters=self.student.parameter_count,
                bytes=path.stat().st_size,
            )
        )


def baseline_steps(
    fresh: Field, target: Volume, options: DistillOptions, capture: Capture | None, budget: Budget
) -> tuple[str, Generator[Progress, None, None]]:
    """What a conversion is compared with: its exact name, and the work."""
    if capture is not None:
        return "the same student fitted to the training photos from scratch", fit_images(
            fresh, capture, budget, seed=options.seed
        )
    plain = replace(options, active=(), volume=False, levels=("pixels",), start=False, target_psnr=None)
    name = "the same student taught at the level of pixels only: no start, no other level, no active sampling"
    if fresh.kind == "sdf" and not options.colors:
        name = "the same student taught the same distances: no start, no active sampling"
    return name, distill(target, fresh, budget, options=plain)
