"""From where a field is looked at when no cameras are named: remembered in its file, or from its box."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from fields.cameras import Cameras, look_at
from fields.views import Capture
from fields.volume import Volume

_LEVEL = 0.05  # weight of the cameras' mean up against their level horizons
_FIELD_OF_VIEW = math.radians(40)
_ELEVATION = math.radians(25)
_DEFAULT_SIZE = (400, 400)
_LARGEST_DEFAULT = 800


@dataclass(frozen=True)
class Viewpoint:
    """Where cameras stood around a scene; lengths in scene units, angles in radians.

    `inward`: they looked at `centre`; otherwise they stood near it and looked away. `lens` is the focal
    length in image widths and heights, and is needed as it was where `ndc_near` is set.
    """

    centre: list[float]
    up: list[float]
    distance: float
    elevation: float
    lens: list[float]
    inward: bool = True
    near: float = 0.0
    background: float = 1.0
    ndc_near: float | None = None
    size: list[int] | None = None

    @property
    def picture_size(self) -> tuple[int, int]:
        """Width and height of the photos, reduced where they are large; a square without photos."""
        if self.size is None:
            return _DEFAULT_SIZE
        factor = min(1.0, _LARGEST_DEFAULT / max(self.size))
        width, height = (max(1, round(side * factor)) for side in self.size)
        return width, height

    def notes(self) -> dict[str, Any]:
        """As it is kept in a field file."""
        return asdict(self)


def of_capture(capture: Capture) -> Viewpoint:
    """The viewpoint that the cameras of a capture suggest."""
    from data.framing import focus_of

    cameras = capture.train.cameras
    focus = focus_of(cameras)
    centre = torch.from_numpy(focus.centre).float()
    up = up_axis(cameras)
    offset = cameras.origins - centre
    height = (offset @ up) / offset.norm(dim=1).clamp_min(1e-9)
    elevation = float(torch.asin(height.clamp(-1, 1)).median()) if focus.inward else 0.0
    return Viewpoint(
        centre.tolist(),
        up.tolist(),
        focus.distance,
        elevation,
        (cameras.focal / cameras.size).median(dim=0).values.tolist(),
        focus.inward,
        capture.near,
        capture.background_value,
        cameras.ndc_near,
        cameras.size[0].tolist(),
    )


def of_field(field: Volume, notes: dict[str, Any]) -> Viewpoint:
    """The viewpoint in a field file's notes, or one from which the whole box is seen (y is up)."""
    found = notes.get("viewpoint")
    if isinstance(found, dict):
        try:
            return Viewpoint(**found)
        except TypeError:
            pass  # notes of another version: they only suggest a view
    low, high = field.space.bounds.cpu()
    reach = 0.5 * float((high - low).norm()) * (0.75 if field.kind == "sdf" else 0.9)
    focal = 0.5 / math.tan(_FIELD_OF_VIEW / 2)
    return Viewpoint(
        ((low + high) / 2).tolist(),
        [0.0, 1.0, 0.0],
        reach / math.sin(_FIELD_OF_VIEW / 2),
        _ELEVATION,
        [focal, focal],
    )


def up_axis(cameras: Cameras) -> Tensor:
    """Unit direction [3] that is up: cameras are held level, so it is square to their x axes.

    The cameras' mean up decides the sign, and the axis where all of them look the same way.
    """
    right, mean = (
        cameras.camera_to_world[:, :, 0].double(),
        cameras.camera_to_world[:, :, 1].double().mean(dim=0),
    )
    mean = (
        torch.nn.functional.normalize(mean, dim=0)
        if float(mean.norm()) > 1e-6
        else torch.tensor([0.0, 1.0, 0.0]).double()
    )
    tilt = torch.eye(3, dtype=torch.float64) - torch.outer(mean, mean)
    spread = right.T @ right / len(right) + _LEVEL * tilt
    axis = torch.linalg.eigh(spread).eigenvectors[:, 0]
    return (axis if float(axis @ mean) >= 0 else -axis).float()


def orbit(view: Viewpoint, count: int, size: tuple[int, int]) -> Cameras:
    """`count` cameras once around the centre at the captured height and distance.

    A forward-facing capture gets a small circle before it, one that looks outwards a turn on the spot.
    """
    turn = torch.arange(count) * (2 * math.pi / max(1, count))
    return _path(view, turn, torch.full((count,), view.elevation), size)


def spiral(view: Viewpoint, count: int, size: tuple[int, int]) -> Cameras:
    """Two turns that rise from a low view to a high one."""
    share = torch.arange(count) / max(1, count - 1)
    low, high = min(0.1, view.elevation), max(1.1, view.elevation)
    return _path(view, share * (4 * math.pi), low + (high - low) * share, size)


PATHS = {"orbit": orbit, "spiral": spiral}


def _path(view: Viewpoint, turn: Tensor, elevation: Tensor, size: tuple[int, int]) -> Cameras:
    centre = torch.tensor(view.centre)
    if view.ndc_near is not None:
        poses = _sway(view, turn)
    else:
        first, second, up = frame_of(torch.tensor(view.up))
        flat = elevation.cos()[:, None]
        outward = flat * (turn.cos()[:, None] * first + turn.sin()[:, None] * second) + elevation.sin()[:, None] * up
        if view.inward:
            poses = look_at(centre + view.distance * outward, centre, up)
        else:
            poses = look_at(centre.expand_as(outward), centre + outward, up)
    return _with_lens(view, poses, size)


def _sway(view: Viewpoint, turn: Tensor) -> Tensor:
    """Poses [N, 3, 4] on a small circle that look along -z at the content (NDC needs rays that go there)."""
    radius = 0.1 * (view.ndc_near or 1.0)
    eye = torch.stack([radius * turn.cos(), 0.6 * radius * turn.sin(), torch.zeros_like(turn)], -1)
    target = torch.tensor([0.0, 0.0, -4.0 * (view.ndc_near or 1.0)])
    return look_at(eye, target, torch.tensor([0.0, 1.0, 0.0]))


def frame_of(up: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Two directions square to unit `up` and to each other, and `up`."""
    least = torch.nn.functional.one_hot(up.abs().argmin(), 3).float()
    first = torch.nn.functional.normalize(torch.linalg.cross(up, least), dim=0)
    return first, torch.linalg.cross(up, first), up


def _with_lens(view: Viewpoint, poses: Tensor, size: tuple[int, int]) -> Cameras:
    """Cameras of a picture size: the height is filled as in the capture, the width follows."""
    width, height = size
    cameras = Cameras.pinhole(poses, 1.0, width, height, view.ndc_near)
    focal = torch.tensor([view.lens[0] * width, view.lens[1] * height])
    if view.ndc_near is None:
        focal = focal[1].expand(2) if height <= width else focal[0].expand(2)
    cameras.focal.copy_(focal.expand_as(cameras.focal))
    return cameras
