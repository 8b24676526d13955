"""From where a field is looked at to find its surface: where its photos were taken, or all around it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fields.cameras import Cameras, look_at
from fields.depth_fusion import even_directions
from fields.volume import Volume

from .viewpoint import Viewpoint, frame_of, of_field

POSES_KEPT = 60  # cameras that a field file remembers, and that are used
_SIDES = (32, 320)  # pixels: smallest and largest depth map
_LOW, _HIGH = 0.05, 0.95  # sines of the least and greatest elevation over an object seen from above
_FROM_ABOVE = 0.1  # radians: median elevation beyond which cameras are taken to stay above the object
_NDC_DISTANCE, _NDC_TILT, _NDC_VIEWS = 8.0, 0.12, 5


def survey(volume: Volume, notes: dict[str, Any], spacing: float) -> Cameras:
    """Pinhole cameras in the field's own space, with pixels about `spacing` wide at what they look at."""
    view = of_field(volume, notes)
    if volume.space.contraction == "ndc":
        poses, distance, lens = _before_ndc(volume.space.bounds.cpu())
    else:
        poses, distance, lens = _poses(view, notes), view.distance, min(view.lens)
        if not view.inward:
            lens = min(lens, 0.5)
    side = max(_SIDES[0], min(_SIDES[1], round(distance / (lens * spacing))))
    return Cameras.pinhole(poses, lens * side, side, side)


def poses_of(cameras: Cameras) -> list[list[float]]:
    """Camera-to-world matrices, 12 numbers each, of cameras spread evenly over a capture, to be remembered."""
    chosen = torch.linspace(0, len(cameras) - 1, min(POSES_KEPT, len(cameras))).round().long()
    return [[round(value, 6) for value in pose.reshape(-1).tolist()] for pose in cameras.camera_to_world[chosen]]


def _poses(view: Viewpoint, notes: dict[str, Any]) -> Tensor:
    try:
        found = torch.tensor(notes.get("poses") or [], dtype=torch.float32).reshape(-1, 3, 4)
    except (TypeError, ValueError, RuntimeError):
        found = torch.zeros(0, 3, 4)  # notes only suggest views
    if len(found) and bool(found.isfinite().all()):
        return found
    centre, up = torch.tensor(view.centre), torch.tensor(view.up)
    outward = _dome(up) if view.inward and view.elevation > _FROM_ABOVE and "viewpoint" in notes else _sphere()
    if view.inward:
        return look_at(centre + view.distance * outward, centre, up)
    return look_at(centre.expand_as(outward), centre + outward, up)


def _sphere() -> Tensor:
    return even_directions(POSES_KEPT)


def _dome(up: Tensor) -> Tensor:
    """Directions [N, 3] spread evenly over the upper half."""
    spread = even_directions(POSES_KEPT)
    height = _LOW + (_HIGH - _LOW) * (spread[:, 2:] + 1) / 2
    flat = torch.nn.functional.normalize(spread[:, :2], dim=1) * (1 - height * height).sqrt()
    first, second, up = frame_of(up)
    return flat[:, :1] * first + flat[:, 1:] * second + height * up


def _before_ndc(bounds: Tensor) -> tuple[Tensor, float, float]:
    """Poses before a forward-facing scene, in NDC, where all photos were taken from far down the z axis."""
    centre = bounds.mean(dim=0)
    tilt = torch.linspace(-_NDC_TILT, _NDC_TILT, _NDC_VIEWS)
    across = torch.cartesian_prod(tilt, tilt)
    outward = torch.nn.functional.normalize(torch.cat([across, -torch.ones(len(across), 1)], dim=1), dim=1)
    reach = float((bounds[1] - bounds[0])[:2].max()) / 2
    lens = 0.5 * (_NDC_DISTANCE - 1) / (1.2 * reach)
    poses = look_at(centre + _NDC_DISTANCE * outward, centre, torch.tensor([0.0, 1.0, 0.0]))
    return poses, _NDC_DISTANCE, lens
