"""Fitting, rendering and converting whole fields: native kernels against the PyTorch reference."""

from __future__ import annotations

from collections.abc import Iterator

from data.procedural import make_capture, orbit_cameras
from fields.backends import BACKENDS
from fields.budget import Budget
from fields.distill import distill
from fields.field import Field
from fields.fit import fit_images
from fields.render import render_view
from fields.space import Space
from fields.views import Capture

from .kernels import REFERENCE, referenced
from .timing import Contest, Work

_PHOTOS, _SIDE = 24, 100
_WARM_STEPS = 256
_OURS, _THEIRS = 32, 2  # steps in one timed run
_FRAMES = ((400, "frame"), (128, "preview"))


def fit_contests() -> list[Contest]:
    """One fitting step of every backend on the built-in photos, at its small preset."""
    capture = _capture()
    return [
        Contest(
            "fit step",
            f"{name}, preset small",
            _fitting(name, capture, _OURS),
            REFERENCE,
            referenced(_fitting(name, capture, _THEIRS)),
            _OURS,
            _THEIRS,
        )
        for name in BACKENDS
    ]


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
            f"hash to {name}, preset small",
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
    return Field.create(name, Space(capture.bounds, capture.contraction))


def _fitted(name: str, capture: Capture) -> Field:
    field = _new(name, capture)
    _exhaust(fit_images(field, capture, Budget(steps=_WARM_STEPS)))
    return field


def _fitting(name: str, capture: Capture, steps: int) -> Work:
    field = _new(name, capture)

    def run() -> None:
        _exhaust(fit_images(field, capture, Budget(steps=steps)))

    return run


def _distilling(teacher: Field, name: str, steps: int) -> Work:
    def run() -> None:
        student = Field.create(name, teacher.space)
        _exhaust(distill(teacher, student, Budget(steps=steps)))

    return run


def _rendering(field: Field, side: int) -> Work:
    cameras = orbit_cameras(1, side)

    def run() -> None:
        render_view(field, cameras, 0)

    return run


def _exhaust(steps: Iterator[object]) -> None:
    for _ in steps:
        pass
