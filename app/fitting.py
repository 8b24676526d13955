"""Fitting as a job: validated first, recorded, resumable; the same for the command line and a web page."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any, cast

import torch

from cuda_ext.accelerators import using
from fields.budget import Budget
from fields.engines import AUTO, NATIVE, engines_for
from fields.errors import UserError
from fields.field import Field
from fields.field_file import field_header
from fields.fit import FitState, fit_images
from fields.fit_sdf import fit_sdf
from fields.progress import Progress
from fields.run_folder import RunFolder
from fields.space import Space
from fields.volume import Kind

from .evaluation import against_photos, spread_index
from .record import Record
from .saving import STATE_SECONDS, STATE_SHARE, saved
from .source import Source
from .survey import poses_of
from .viewpoint import of_capture

KINDS = ("density", "sdf")
DEFAULT_SECONDS = 60.0
_STATE_SECONDS, _STATE_SHARE = STATE_SECONDS, STATE_SHARE
_TEST_VIEWS = 4


@dataclass(frozen=True)
class FitSettings:
    """What is fitted and how; `kind` None goes by the source."""

    backend: str = "hash"
    kind: str | None = None
    preset: str = "small"
    settings: dict[str, Any] = dataclass_field(default_factory=dict)
    seconds: float | None = None
    steps: int | None = None
    seed: int = 0
    device: str = "cpu"
    engine: str = AUTO

    @property
    def budget(self) -> Budget:
        """Seconds, steps, or a minute without either."""
        unlimited = self.seconds is None and self.steps is None
        return Budget(DEFAULT_SECONDS if unlimited else self.seconds, self.steps)


def new_field(source: Source, settings: FitSettings) -> Field:
    """A field for the source, not fitted yet.

    Raises:
        UserError: `E-USAGE-KIND`, `E-USAGE-BACKEND`, `E-USAGE-PRESET`, `E-USAGE-SET`.
    """
    kind = settings.kind or ("sdf" if source.is_mesh else "density")
    if kind not in KINDS:
        raise UserError("E-USAGE-KIND", "unknown kind of field", got=kind, expected=" ".join(KINDS), fix="choose one")
    if source.mesh is not None and kind != "sdf":
        raise UserError(
            "E-USAGE-KIND",
            "a mesh is fitted by its distances",
            where=source.name,
            got=kind,
            expected="sdf",
            fix="use --kind sdf, then fieldscape convert --kind density",
        )
    if source.capture is not None:
        space = Space(source.capture.bounds, source.capture.contraction)
    else:
        assert source.mesh is not None
        space = Space(source.mesh.bounds)
    made = Field.create(
        settings.backend,
        space,
        cast(Kind, kind),
        preset=settings.preset,
        settings=settings.settings,
        seed=settings.seed,
    )
    return made.to(settings.device)


def fit_steps(
    field: Field, source: Source, settings: FitSettings, state: FitState | None = None
) -> Generator[Progress, None, None]:
    """Fit in place to whatever the source is."""
    if source.mesh is not None:
        return fit_sdf(field, source.mesh, settings.budget, seed=settings.seed, state=state)
    return fit_images(field, source.require_capture(), settings.budget, seed=settings.seed, state=state)


def notes_of(source: Source) -> dict[str, Any]:
    """What a field file remembers of its source: its name and from where it was photographed."""
    found: dict[str, Any] = {"source": Path(source.name).name, "colors": not source.is_mesh}
    if source.capture is not None:
        found |= {
            "layout": source.capture.layout,
            "viewpoint": of_capture(source.capture).notes(),
            "poses": poses_of(source.capture.train.cameras),
        }
    return found


def recorded_settings(record: dict[str, Any] | None, out: Path) -> FitSettings:
    """The settings of a run that is to be resumed.

    Raises:
        UserError: `E-USAGE-RESUME`.
    """
    try:
        return FitSettings(**(record or {})["settings"]["fit"])
    except (KeyError, TypeError):
        raise UserError(
            "E-USAGE-RESUME",
            "nothing to resume",
            where=out,
            got="no record of a fit",
            expected="a folder made by fieldscape fit",
            fix="start without --resume",
        ) from None


def fit_run(
    source: Source,
    settings: FitSettings,
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    field: Field | None = None,
) -> Generator[Progress, None, dict[str, Any]]:
    """Fit into a run folder; the return value is its record.

    Who passes `field`, a new one of these settings, can look at it between two reports. A state is stored every
    20 seconds of work, and when the generator is closed before its end. A finished run keeps its last one, so that
    it can go on with a longer budget.

    Raises:
        UserError: before the folder is made, for settings that do not fit; `E-ENV-ENGINE`, `E-ENV-LOCK`, `E-NAN-FIT`.
    """
    field = new_field(source, settings) if field is None else field
    engines = engines_for(settings.engine, field)
    with RunFolder(out, resume=resume, force=force) as folder, using(*engines):
        before = folder.read_record() if resume else None
        found = folder.load_state() if resume else None
        state = FitState(field, settings.seed) if found is None else FitState.restore(field, found.tensors)
        record = Record("fit", {"source": source.name, "fit": asdict(settings)}, settings.device, before)
        record.values["engine"] = "+".join(engines) or NATIVE
        record.values["seconds"].setdefault("load", round(source.seconds, 3))
        record.values["skipped_states"] = list(found.skipped) if found is not None else []
        notes = notes_of(source)
        run = _Run(folder, field, state, record, notes, source)
        return (yield from run.go(settings))


class _Run:
    """One fit in its folder."""

    def __init__(
        self,
        folder: RunFolder,
        field: Field,
        state: FitState,
        record: Record,
        notes: dict[str, Any],
        source: Source,
    ) -> None:
        self.folder, self.field, self.state, self.record = folder, field, state, record
        self.notes, self.source = notes, source

    def go(self, settings: FitSettings) -> Generator[Progress, None, dict[str, Any]]:
        self.folder.write_record(self.record.document(parameters=self.field.parameter_count))
        if self.source.mesh is not None:
            yield Progress(0, 0, "distances")
            with self.record.phase("distances"):  # the pool that a fit draws from, made at its first use
                self.source.mesh.sample(1, torch.Generator())
        with self.record.phase("fit"):
            yield from self._fit(settings)
        self._save_state("running")
        with self.record.phase("evaluate"):
            metrics = yield from self._measure()
        path = self.folder.save_field(dict(self.field.state_dict()), field_header(self.field, self.notes))
        document = self.record.document(
            status="done",
            steps=self.state.step,
            metrics=metrics,
            loss=self.state.loss,
            bytes=path.stat().st_size,
        )
        self.folder.write_record(document)
        return document

    def _fit(self, settings: FitSettings) -> Generator[Progress, None, None]:
        meter = _RayMeter(self.state)
        steps = map(meter.seen, fit_steps(self.field, self.source, settings, self.state))
        try:
            yield from saved(steps, self._save_state, _STATE_SECONDS, _STATE_SHARE)
        finally:
            self.record.values["rays_per_second"] = round(meter.rate)

    def _save_state(self, status: str) -> None:
        self.folder.save_state(self.state.step, self.state.tensors(), {"notes": self.notes})
        self.folder.write_record(self.record.document(status=status, steps=self.state.step, loss=self.state.loss))

    def _measure(self) -> Generator[Progress, None, dict[str, Any]]:
        """A quick look at quality: a few test views, or the distance's own error."""
        if self.source.mesh is not None:
            from data.mesh_metrics import compare_sdf

            return compare_sdf(self.field.sdf, self.source.mesh, samples=20_000)
        capture = self.source.require_capture()
        split = "test" if len(capture.test) else "train"
        index = spread_index(len(capture.split(split)), _TEST_VIEWS)
        found = yield from against_photos(self.field, capture, split, index)
        return {**found["mean"], "split": split, "views": len(index)}


class _RayMeter:
    """Adds rays per second to the reports of a fit that goes on from `state`."""

    def __init__(self, state: FitState) -> None:
        self._step, self._seconds, self._start, self._total = state.step, state.elapsed, state.elapsed, 0.0

    @property
    def rate(self) -> float:
        """Rays per second over the whole run."""
        spent = self._seconds - self._start
        return self._total / spent if spent > 0 else 0.0

    def seen(self, progress: Progress) -> Progress:
        """The report with its rays a step turned into rays per second."""
        rays = progress.metrics.get("rays")
        if rays is None:
            return progress
        metrics = {name: value for name, value in progress.metrics.items() if name != "rays"}
        if progress.seconds > self._seconds:
            made = rays * (progress.step - self._step)
            metrics["rays/s"] = made / (progress.seconds - self._seconds)
            self._total += made
        self._step, self._seconds = progress.step, progress.seconds
        return replace(progress, metrics=metrics)
