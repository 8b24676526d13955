"""Where a scene is: what the cameras look at, which box holds it, what its photos show behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from fields.cameras import Cameras

from .projection import project

if TYPE_CHECKING:
    from .layouts.base import Array, Lens

NDC_NEAR_FRACTION = 0.75  # of the nearest content, as in the published LLFF scenes
_NDC_MARGIN = 1.05
_NDC_LIMIT = 2.0
_NEAR_OBJECT, _NEAR_SCENE = 0.05, 0.02  # of the distance from cameras to centre
_FORWARD_COSINE = 0.5
_SCENE_PERCENTILES = (5.0, 95.0)
_MIN_POINTS = 30


@dataclass(frozen=True)
class Focus:
    """What the cameras look at."""

    centre: Array  # [3]
    distance: float  # median distance of the cameras from it
    half_view: float  # half extent of what a typical camera sees there
    inward: bool  # the cameras stand around the centre (and not: look outwards from it)

    def box(self, half: float) -> Array:
        """The cube of this half extent around the centre, [2, 3]."""
        return np.stack([self.centre - half, self.centre + half])


def focus_of(cameras: Cameras) -> Focus:
    """Least-squares meeting point of the optical axes; the mean camera where they diverge."""
    poses = cameras.camera_to_world.double().numpy()
    origins, forward = poses[:, :, 3], -poses[:, :, 2]
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]  # [N, 3, 3] projector across each axis
    # The small ridge keeps nearly parallel axes from meeting at infinity.
    system = across.sum(axis=0) + 1e-4 * len(poses) * np.eye(3)
    mean = origins.mean(axis=0)
    centre = mean + np.linalg.solve(system, np.einsum("nij,nj->i", across, origins - mean))
    ahead = ((centre - origins) * forward).sum(axis=1)
    distance = float(np.median(np.linalg.norm(centre - origins, axis=1)))
    inward = bool((ahead > 0.3 * distance).mean() > 0.6) and distance > 0
    if not inward:
        centre = mean
        distance = 2 * float(np.median(np.linalg.norm(origins - mean, axis=1)))
    distance = max(distance, 1e-6)
    slope = (cameras.size / (2 * cameras.focal)).amax(dim=1).double().median()
    return Focus(centre, distance, distance * float(slope), inward)


def forward_facing(poses: Array, lens: Lens, near: float) -> bool:
    """True when every ray of these cameras [N, 3, 4] can be warped to NDC of the mean camera.

    Views within 60 degrees of the mean, all cameras before the near plane, and no corner ray
    close to parallel to it.
    """
    moved = recentred(poses)
    if lens.size is None or lens.focal[0] is None or (moved[:, 2, 2] < _FORWARD_COSINE).any():
        return False
    half = np.array(lens.size) / (2 * lens.focal[0])
    corners = np.array([[x * half[0], y * half[1], -1.0] for x in (-1, 1) for y in (-1, 1)])
    directions = np.einsum(
        "nij,cj->nci", moved[:, :, :3], corners / np.linalg.norm(corners, axis=1, keepdims=True)
    )
    return bool((directions[..., 2] < -0.2).all() and (moved[:, 2, 3] > -near).all())


def recentred(poses: Array) -> Array:
    """Camera-to-world matrices [N, 3, 4] in the frame of their mean camera."""
    back = poses[:, :, 2].sum(axis=0)
    back = back / max(float(np.linalg.norm(back)), 1e-12)
    right = np.cross(poses[:, :, 1].sum(axis=0), back)
    right = right / max(float(np.linalg.norm(right)), 1e-12)
    to_mean = np.stack([right, np.cross(back, right), back])  # rows: axes of the mean camera
    moved = np.einsum("ij,njk->nik", to_mean, poses)
    moved[:, :, 3] -= moved[:, :, 3].mean(axis=0)
    return moved


def ndc_bounds(cameras: Cameras) -> Array:
    """Box [2, 3] in NDC that holds what all cameras see between the near plane and infinity."""
    camera = torch.arange(len(cameras)).repeat_interleave(4)
    last = cameras.size[camera] - 1
    corner = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]]).repeat(len(cameras), 1)
    rays = cameras.rays(camera, last[:, 0] * corner[:, 0], last[:, 1] * corner[:, 1])
    ends = torch.cat([rays.origins, rays.origins + rays.directions])[:, :2].abs().amax(dim=0)
    side = np.clip(ends.double().numpy() * _NDC_MARGIN, _NDC_MARGIN, _NDC_LIMIT)
    high = np.array([side[0], side[1], _NDC_MARGIN])
    return np.stack([-high, high])


def scene_bounds(focus: Focus, points: Array | None) -> Array:
    """Inner box [2, 3] of an unbounded capture; beyond it space is contracted.

    The bulk of the reconstructed points, not farther out than twice the cameras. Without points, a
    cube around the centre: half way to cameras that stand around something, and up to cameras
    that look about.
    """
    if points is None or len(points) < _MIN_POINTS:
        return focus.box(0.5 * focus.distance if focus.inward else focus.distance)
    bulk = np.percentile(points, _SCENE_PERCENTILES, axis=0)
    limit = focus.box(2 * focus.distance)
    low, high = np.clip(bulk, limit[0], limit[1])
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, 0.1 * focus.distance)
    return np.stack([middle - half, middle + half])


def near_of(focus: Focus, is_object: bool) -> float:
    """Distance before which nothing is sampled."""
    return focus.distance * (_NEAR_OBJECT if is_object else _NEAR_SCENE)


def cameras_that_see(cameras: Cameras, bounds: Array) -> int:
    """How many cameras stand in the box or have a part of it in view."""
    axes = [np.linspace(low, high, 7) for low, high in bounds.T]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    count = 0
    for index, origin in enumerate(cameras.origins.double().numpy()):
        inside = bool(((origin >= bounds[0]) & (origin <= bounds[1])).all())
        count += inside or bool(project(cameras, index, grid)[1].any())
    return count
