"""Two fields side by side: how close a student comes to its teacher, and both to photos."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from fields.field import Field
from fields.metrics import psnr, ssim
from fields.progress import Progress
from fields.render import render_view
from fields.views import Capture

from .evaluation import mean_of, spread_index
from .rendering import Shots, shots_along
from .viewpoint import Viewpoint

_VIEWS = 8
_SIZE = (160, 160)
_EMPTY, _SOLID = 0.01, 0.9  # opacity of rays that see nothing, and of those that see a surface
_WHAT = ("rgb", "depth", "opacity")


@dataclass(frozen=True)
class Look:
    """One view of both fields, [H, W] or [H, W, 3], with the photo where there is one."""

    name: str
    teacher: dict[str, Tensor]
    student: dict[str, Tensor]
    photo: Tensor | None


@dataclass(frozen=True)
class Comparison:
    """Means over all views, and the views themselves for pictures."""

    vs_teacher: dict[str, float]
    vs_photos: dict[str, float] | None
    fog: float
    ms_per_frame: dict[str, float]  # of the teacher and of the student
    looks: tuple[Look, ...]


def comparison_shots(view: Viewpoint, capture: Capture | None) -> tuple[Shots, list[Tensor] | None]:
    """At most eight shots: test photos where a capture is given, or an orbit."""
    if capture is None:
        return shots_along("orbit", view, _VIEWS, _SIZE), None
    views = capture.test if len(capture.test) else capture.train
    index = spread_index(len(views), _VIEWS)
    shots = Shots(views.cameras[index], tuple(views.names[i] for i in index), capture.background_value, capture.near)
    return shots, [views.image(i, capture.background_value) for i in index]


def compare_fields(
    teacher: Field, student: Field, shots: Shots, photos: list[Tensor] | None = None
) -> Generator[Progress, None, Comparison]:
    """Render both at every shot and compare; the comparison is the generator's return value."""
    looks, seconds, started = [], {"teacher": 0.0, "student": 0.0}, time.perf_counter()
    for index, name in enumerate(shots.names):
        pictures = {}
        for role, field in (("teacher", teacher), ("student", student)):
            before = time.perf_counter()
            found = render_view(field, shots.cameras, index, background=shots.background, what=_WHAT, near=shots.near)
            seconds[role] += time.perf_counter() - before
            pictures[role] = {key: value.cpu() for key, value in found.items()}
        looks.append(Look(name, pictures["teacher"], pictures["student"], photos[index] if photos else None))
        done, elapsed = index + 1, time.perf_counter() - started
        yield Progress(done, len(shots), "compare", elapsed, elapsed / done * (len(shots) - done))
    diagonal = teacher.space.diagonal
    rows = [_figures(look, diagonal) for look in looks]
    milliseconds = {role: 1000 * spent / max(1, len(shots)) for role, spent in seconds.items()}
    closeness = {key: mean_of(rows, key) for key in ("psnr", "ssim", "depth")}
    return Comparison(closeness, _against_photos(looks), mean_of(rows, "fog"), milliseconds, tuple(looks))


def _figures(look: Look, diagonal: float) -> dict[str, float]:
    """PSNR and SSIM against the teacher; fog; depth error of solid pixels, a share of the box's diagonal."""
    a, b = look.teacher, look.student
    empty, solid = a["opacity"] < _EMPTY, (a["opacity"] > _SOLID) & (b["opacity"] > _SOLID)
    depth = (a["depth"] - b["depth"]).abs()[solid]
    fog = b["opacity"][empty]
    return {
        "psnr": psnr(b["rgb"], a["rgb"]),
        "ssim": ssim(b["rgb"], a["rgb"]),
        "depth": float(depth.mean()) / diagonal if len(depth) else 0.0,
        "fog": float(fog.mean()) if len(fog) else 0.0,
    }


def _against_photos(looks: list[Look]) -> dict[str, float] | None:
    rows = [
        {
            "teacher_psnr": psnr(look.teacher["rgb"], look.photo),
            "student_psnr": psnr(look.student["rgb"], look.photo),
        }
        for look in looks
        if look.photo is not None
    ]
    return {key: mean_of(rows, key) for key in ("teacher_psnr", "student_psnr")} if rows else None


def error_limit(pictures: list[Tensor]) -> float:
    """The value at which an error map is brightest: the 99.5th percentile, rounded up to 0.05."""
    values = torch.cat([picture.reshape(-1) for picture in pictures])
    high = float(torch.quantile(values[:: max(1, len(values) // 100_000)], 0.995))
    return max(0.05, 0.05 * -(-high // 0.05))
