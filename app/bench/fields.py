"""Fitting, rendering and converting whole fields: native kernels against the PyTorch reference."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from cuda_ext.accelerators import using
from data.procedural import make_capture, orbit_cameras
from fields.backends import BACKENDS
from fields.budget import Budget
from fields.distill import distill
from fields.engines import AUTO, engines_for
from fields.field import Field
from fields.fit import REPORT_STEPS, FitState, fit_images
from fields.progress import Progress
from fields.render import render_view
from fields.space import Space
from fields.views import Capture

from .kernels import REFERENCE, referenced
from .timing import Contest, Work

_PRESET = "small"
_PHOTOS, _SIDE = 24, 100
_WARM_STEPS = 256
_WARM_FIT, _ENDLESS = 128, 10_000_000
_OURS, _THEIRS = 32, 2  # steps in one timed run
_FRAMES = ((400, "frame"), (128, "preview"))


def fit_contests() -> list[Contest]:
    """One fitting step of every backend on the built-in photos, at its small preset.

    Two fits go on from the same warm state by equal numbers of steps, one with either engine.
    """
    capture, found = _capture(), []
    for name in BACKENDS:
        start = _WarmFit(name, capture)
        work, baseline = _fitting(start), referenced(_fitting(start))
        config = f"{name}, preset {_PRESET}, from step {_WARM_FIT}"
        found.append(Contest("fit step", config, work, REFERENCE, baseline, REPORT_STEPS, REPORT_STEPS))
    return found


def render_contests(field: Field | None = None) -> list[Contest]:
    """A 400 x 400 frame and a 128 x 128 preview of `field`, or of a hash field fitted for the purpose."""
    field = field or _fitted("hash", _capture())
    found = []
    for side, name in _FRAMES:
        work = _rendering(field, side)
        found.append(Contest(f"render {name}", f"{field.name}, {side}x{side}", work, REFERENCE, referenced(work)))
    return found


def convert_contests() -> list[Contest]:
    """One distillation step from a fitted hash field into every other backend."""
    teacher = _fitted("hash", _capture())
    return [
        Contest(
            "convert step",
            f"hash to {name}, preset {_PRESET}",
            _distilling(teacher, name, _OURS),
            REFERENCE,
            referenced(_distilling(teacher, name, _THEIRS)),
            _OURS,
            _THEIRS,
        )
        for name in BACKENDS
        if name != "hash"
    ]


def _capture() -> Capture:
    return make_capture(_PHOTOS, 1, _SIDE)


def _new(name: str, capture: Capture) -> Field:
    return Field.create(name, Space(capture.bounds, capture.contraction), preset=_PRESET)


def _fitted(name: str, capture: Capture) -> Field:
    field = _new(name, capture)
    _exhaust(fit_images(field, capture, Budget(steps=_WARM_STEPS)))
    return field


class _WarmFit:
    """The state of a fit after some steps, taken when it is first asked for."""

    def __init__(self, name: str, capture: Capture) -> None:
        self.name, self.capture = name, capture
        self._tensors: dict[str, Tensor] = {}

    def resumed(self) -> Iterator[Progress]:
        """A fit that goes on from there, a report every `REPORT_STEPS` steps."""
        field = _new(self.name, self.capture)
        if not self._tensors:
            state = FitState(field, 0)
            _exhaust(fit_images(field, self.capture, Budget(steps=_WARM_FIT), state=state))
            self._tensors = {name: tensor.clone() for name, tensor in state.tensors().items()}
        state = FitState.restore(field, self._tensors)
        return fit_images(field, self.capture, Budget(steps=_ENDLESS), state=state)


def _fitting(start: _WarmFit) -> Work:
    """`REPORT_STEPS` further steps at every call."""
    running: list[Iterator[Progress]] = []

    def run() -> None:
        if not running:
            running.append(start.resumed())
        next(running[0])

    return run


def _distilling(teacher: Field, name: str, steps: int) -> Work:
    def run() -> None:
        student = Field.create(name, teacher.space, preset=_PRESET)
        _exhaust(distill(teacher, student, Budget(steps=steps)))

    return run


def _rendering(field: Field, side: int) -> Work:
    cameras = orbit_cameras(1, side)

    def run() -> None:
        with using(*engines_for(AUTO, field)):
            render_view(field, cameras, 0)

    return run


def _exhaust(steps: Iterator[object]) -> None:
    for _ in steps:
        pass
