"""Two volumes side by side: how close a student comes to its teacher, and both to photos."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from fields.cameras import Cameras, Rays
from fields.distill import cameras_around
from fields.distill.rays import turned
from fields.field import Field
from fields.metrics import psnr, ssim
from fields.occupancy import OccupancyGrid
from fields.progress import Progress
from fields.render import render_rays, render_view
from fields.sphere_trace import render_sdf_view
from fields.views import Capture
from fields.volume import Volume

from .evaluation import mean_of, spread_index
from .rendering import Shots, shots_along
from .viewpoint import Viewpoint

_VIEWS = 8
_SIDE = 160  # pixels along the longer side of views that no photo shows
_SEED = 7_654_321  # of the views held out: never that of a conversion's own rays
_TURN = 0.12  # radians that cameras of a capture are turned round the scene
_EMPTY, _SOLID = 0.01, 0.9  # opacity of rays that see nothing, and of those that see a surface
_EMPTY_RAYS = 128  # of each view, to look for fog along
_EQUAL = 100.0  # dB, in the place of infinity
_WHAT = ("rgb", "depth", "opacity")


@dataclass(frozen=True)
class Look:
    """One view of both, [H, W] or [H, W, 3], with the photo where there is one."""

    name: str
    teacher: dict[str, Tensor]
    student: dict[str, Tensor]
    photo: Tensor | None = None


@dataclass(frozen=True)
class Standpoints:
    """From where two volumes are compared: views held out from the conversion, and test photos if there are any.

    With `clay`, for distances without colours, views held out show the shaded surface.
    """

    held_out: Shots
    at_photos: Shots | None = None
    photos: tuple[Tensor, ...] = ()
    clay: bool = False


@dataclass(frozen=True)
class Comparison:
    """Means over the views held out (`vs_photos`: over test photos), and the views themselves for pictures.

    `fog` is the student's opacity along rays through the box on which the teacher sees nothing; `fog_unmasked` the
    same without its occupancy grid.
    """

    vs_teacher: dict[str, float]  # psnr, ssim, depth
    opacity_error: float
    vs_photos: dict[str, float] | None  # teacher_psnr, student_psnr, teacher_ssim, student_ssim
    fog: float
    fog_unmasked: float
    ms_per_frame: dict[str, float]  # of the teacher and of the student
    looks: tuple[Look, ...]
    photo_looks: tuple[Look, ...] = ()


def standpoints(
    teacher: Volume,
    view: Viewpoint,
    capture: Capture | None = None,
    cameras: Cameras | None = None,
    clay: bool = False,
) -> Standpoints:
    """Where to compare: `cameras` turned a little where rays came from those, or random ones round the scene."""
    held_out = _held_out(teacher, view, cameras)
    if capture is None:
        return Standpoints(held_out, clay=clay)
    views = capture.test if len(capture.test) else capture.train
    index = spread_index(len(views), _VIEWS)
    shots = Shots(views.cameras[index], tuple(views.names[i] for i in index), capture.background_value, capture.near)
    return Standpoints(held_out, shots, tuple(views.image(i, capture.background_value) for i in index), clay)


def _held_out(teacher: Volume, view: Viewpoint, cameras: Cameras | None) -> Shots:
    generator = torch.Generator().manual_seed(_SEED)
    names = tuple(f"random view {k + 1}" for k in range(_VIEWS))
    if cameras is not None and cameras.ndc_near is None:
        chosen = _small(cameras[spread_index(len(cameras), _VIEWS)])
        found = turned(chosen, torch.tensor(view.centre), _TURN, generator)
        return Shots(found, names[: len(found)], view.background, view.near)
    if teacher.space.contraction == "none":
        return Shots(cameras_around(teacher, _VIEWS, generator, _SIDE), names, view.background, view.near)
    width, height = view.picture_size
    factor = min(1.0, _SIDE / max(width, height))
    return shots_along("orbit", view, _VIEWS, (max(1, round(factor * width)), max(1, round(factor * height))))


def _small(cameras: Cameras) -> Cameras:
    width, height = cameras.size[0].tolist()
    factor = min(1.0, _SIDE / max(width, height))
    return cameras.resized(max(1, round(factor * width)), max(1, round(factor * height)))


def compare_volumes(teacher: Volume, student: Field, places: Standpoints) -> Generator[Progress, None, Comparison]:
    """Render both everywhere and compare; the comparison is the generator's return value."""
    clock = _Clock()
    total = len(places.held_out) + (len(places.at_photos) if places.at_photos is not None else 0)
    looks = yield from _looks(teacher, student, places.held_out, (), clock, total, places.clay)
    photo_looks: tuple[Look, ...] = ()
    if places.at_photos is not None:
        photo_looks = yield from _looks(teacher, student, places.at_photos, places.photos, clock, total)
    rows = [_figures(look, teacher.space.diagonal) for look in looks]
    rays = _empty_rays(teacher, places.held_out, looks)
    return Comparison(
        {key: mean_of(rows, key) for key in ("psnr", "ssim", "depth")},
        mean_of(rows, "opacity"),
        _against_photos(photo_looks),
        _opacity_along(student, rays, places.held_out.near, student.occupancy),
        _opacity_along(student, rays, places.held_out.near, OccupancyGrid(student.space).to(student.device)),
        {role: 1000 * spent / max(1, total) for role, spent in clock.seconds.items()},
        looks,
        photo_looks,
    )


class _Clock:
    """Seconds of rendering by role, and when all began."""

    def __init__(self) -> None:
        self.seconds = {"teacher": 0.0, "student": 0.0}
        self.started, self.done = time.perf_counter(), 0


def _looks(
    teacher: Volume,
    student: Field,
    shots: Shots,
    photos: tuple[Tensor, ...],
    clock: _Clock,
    total: int,
    clay: bool = False,
) -> Generator[Progress, None, tuple[Look, ...]]:
    looks = []
    for index, name in enumerate(shots.names):
        pictures = {}
        for role, volume in (("teacher", teacher), ("student", student)):
            before = time.perf_counter()
            pictures[role] = render_shot(volume, shots, index, clay)
            clock.seconds[role] += time.perf_counter() - before
        looks.append(Look(name, pictures["teacher"], pictures["student"], photos[index] if photos else None))
        clock.done += 1
        elapsed = time.perf_counter() - clock.started
        yield Progress(clock.done, total, "compare", elapsed, elapsed / clock.done * (total - clock.done))
    return tuple(looks)


def render_shot(volume: Volume, shots: Shots, index: int, clay: bool = False) -> dict[str, Tensor]:
    """`rgb`, `depth` and `opacity` of one shot, on the CPU."""
    render = render_sdf_view if clay else render_view
    found = render(volume, shots.cameras, index, background=shots.background, what=_WHAT, near=shots.near)
    return {key: value.cpu() for key, value in found.items()}


def _figures(look: Look, diagonal: float) -> dict[str, float]:
    """PSNR, SSIM, opacity error; depth error of solid pixels, a share of the box's diagonal."""
    a, b = look.teacher, look.student
    solid = (a["opacity"] > _SOLID) & (b["opacity"] > _SOLID)
    depth = (a["depth"] - b["depth"]).abs()[solid]
    return {
        "psnr": min(_EQUAL, psnr(b["rgb"], a["rgb"])),
        "ssim": ssim(b["rgb"], a["rgb"]),
        "depth": float(depth.mean()) / diagonal if len(depth) else 0.0,
        "opacity": float((a["opacity"] - b["opacity"]).abs().mean()),
    }


def _against_photos(looks: tuple[Look, ...]) -> dict[str, float] | None:
    rows = [
        {
            f"{role}_{name}": measure(side["rgb"], look.photo)
            for role, side in (("teacher", look.teacher), ("student", look.student))
            for name, measure in (("psnr", psnr), ("ssim", ssim))
        }
        for look in looks
        if look.photo is not None
    ]
    return {key: mean_of(rows, key) for key in rows[0]} if rows else None


def _empty_rays(teacher: Volume, shots: Shots, looks: tuple[Look, ...]) -> Rays | None:
    """Some rays through the box on which the teacher sees nothing; None when it sees something everywhere."""
    generator, parts = torch.Generator().manual_seed(_SEED), []
    for index, look in enumerate(looks):
        rays = shots.cameras.view(index)
        start, end = teacher.space.clip(rays.origins.to(teacher.device), rays.directions.to(teacher.device), shots.near)
        empty = ((look.teacher["opacity"].reshape(-1) < _EMPTY) & (start < end).cpu()).nonzero()[:, 0]
        parts.append(rays[empty[torch.randperm(len(empty), generator=generator)[:_EMPTY_RAYS]]])
    found = Rays(
        *[torch.cat([getattr(p, name) for p in parts]) for name in ("origins", "directions", "view_directions")]
    )
    return found if len(found) else None


def _opacity_along(field: Field, rays: Rays | None, near: float, grid: OccupancyGrid) -> float:
    """Mean opacity of rays that are sampled in the cells of `grid`; 0 without any."""
    if rays is None:
        return 0.0
    return float(render_rays(field, rays.to(field.device), near=near, sampler=grid).opacity.mean())


def score(
    field: Field, places: Standpoints, comparison: Comparison
) -> Generator[Progress, None, dict[str, float | None]]:
    """PSNR of a third field against the teacher's views, and against the photos, of a comparison made before."""
    close, photos = [], []
    for index, look in enumerate(comparison.looks):
        close.append(psnr(render_shot(field, places.held_out, index, places.clay)["rgb"], look.teacher["rgb"]))
        yield Progress(index + 1, len(comparison.looks), "compare")
    for index, look in enumerate(comparison.photo_looks):
        assert places.at_photos is not None and look.photo is not None
        photos.append(psnr(render_shot(field, places.at_photos, index)["rgb"], look.photo))
    return {
        "psnr": sum(close) / len(close),
        "photos_psnr": sum(photos) / len(photos) if photos else None,
    }


def error_limit(pictures: list[Tensor]) -> float:
    """The value at which an error map is brightest: the 99.5th percentile, rounded up to 0.05."""
    values = torch.cat([picture.reshape(-1) for picture in pictures])
    high = float(torch.quantile(values[:: max(1, len(values) // 100_000)], 0.995))
    return max(0.05, 0.05 * -(-high // 0.05))
