"""Where rays come from: cameras of a capture or made up, and more of those that are still wrong.

Fang et al. 2023, "PVD-AL: Progressive Volume Distillation with Active Learning", section 4: the levels of
cameras and of rays.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..cameras import Cameras, Rays, look_at
from ..volume import Volume

_MADE_UP = 256  # cameras round a volume that comes without any
_RENEWED = 0.25  # of them drawn anew at every refresh
_SHARE = 0.1  # of all rays from hard cameras, and again from the pool of hard rays
_TURN = 0.157  # radians (9 degrees): how far a hard camera moves round the scene
_POOL = 1 << 15  # rays that are remembered
_MEMORY = 0.9  # of a camera's error at each of its rays' batches
_SIZE = 400  # pixels along each side of made-up pictures


class RaySource:
    """Draws rays, is told how wrong each was, and draws the like of the worst again."""

    def __init__(self, volume: Volume, cameras: Cameras | None, active: tuple[str, ...], seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.volume, self.active, self.made_up = volume, active, cameras is None
        self.cameras = cameras_around(volume, _MADE_UP, self.generator, _SIZE) if cameras is None else cameras
        self.errors = torch.zeros(len(self.cameras))
        self.hard = self.cameras[:0]
        self.pool = torch.zeros(_POOL, 9)  # origin, direction, view direction
        self.pooled, self.next = 0, 0
        self._drawn = torch.zeros(0, dtype=torch.int64)

    def draw(self, count: int) -> tuple[Rays, int]:
        """About `count` rays, and how many of the first were drawn without regard to errors."""
        hard = int(_SHARE * count) if len(self.hard) else 0
        replayed = int(_SHARE * count) if self.pooled == _POOL else 0
        plain, self._drawn = self._through(self.cameras, count - hard - replayed)
        parts = [plain]
        if hard:
            parts.append(self._through(self.hard, hard)[0])
        if replayed:
            row = torch.randint(_POOL, (replayed,), generator=self.generator)
            parts.append(Rays(*self.pool[row].split(3, dim=1)))
        return _join(parts), len(plain)

    def tell(self, rays: Rays, error: Tensor) -> None:
        """Errors [R] of the rays drawn last."""
        error = error.detach().cpu()
        if "cameras" in self.active:
            first = error[: len(self._drawn)]
            total = torch.zeros_like(self.errors).index_add_(0, self._drawn, first)
            seen = torch.zeros_like(self.errors).index_add_(0, self._drawn, torch.ones_like(first))
            mean = total / seen.clamp_min(1)
            self.errors = torch.where(seen > 0, _MEMORY * self.errors + (1 - _MEMORY) * mean, self.errors)
        if "rays" in self.active:
            worst = error.topk(max(1, int(_SHARE * len(error)))).indices
            place = (self.next + torch.arange(len(worst))) % _POOL
            kept = rays[worst.to(rays.origins.device)].to("cpu")
            self.pool[place] = torch.cat([kept.origins, kept.directions, kept.view_directions], dim=1)
            self.next = (self.next + len(worst)) % _POOL
            self.pooled = min(_POOL, self.pooled + len(worst))

    def refresh(self) -> None:
        """Cameras near the worst ones, and some fresh ones where all were made up."""
        if "cameras" in self.active and self.cameras.ndc_near is None:
            worst = self.errors.topk(max(1, int(_SHARE * len(self.cameras)))).indices
            self.hard = turned(self.cameras[worst], self._centre(), _TURN, self.generator)
        if self.made_up:
            count = int(_RENEWED * len(self.cameras))
            row = torch.randperm(len(self.cameras), generator=self.generator)[:count]
            fresh = cameras_around(self.volume, count, self.generator, _SIZE)
            pose = self.cameras.camera_to_world.clone()
            pose[row] = fresh.camera_to_world
            self.cameras = replace(self.cameras, camera_to_world=pose)
            self.errors[row] = self.errors.mean()

    def tensors(self) -> dict[str, Tensor]:
        """For a resumable checkpoint."""
        return {
            "generator": self.generator.get_state(),
            "errors": self.errors,
            "pose": self.cameras.camera_to_world,
            "hard": torch.cat(
                [self.hard.camera_to_world.flatten(1), self.hard.focal, self.hard.centre, self.hard.size.float()], dim=1
            ),
            "pool": self.pool[: self.pooled],
            "next": torch.tensor([self.next]),
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Continue from `tensors()`."""
        self.generator.set_state(tensors["generator"])
        self.errors = tensors["errors"].clone()
        self.cameras = replace(self.cameras, camera_to_world=tensors["pose"].clone())
        pose, focal, centre, size = tensors["hard"].split((12, 2, 2, 2), dim=1)
        self.hard = Cameras(pose.reshape(-1, 3, 4), focal, centre, size.long(), torch.zeros(len(pose), 6))
        self.pooled, self.next = len(tensors["pool"]), int(tensors["next"][0])
        self.pool[: self.pooled] = tensors["pool"]

    def _centre(self) -> Tensor:
        return self.volume.occupancy.occupied_box().mean(dim=0).cpu()

    def _through(self, cameras: Cameras, count: int) -> tuple[Rays, Tensor]:
        camera = torch.randint(len(cameras), (count,), generator=self.generator)
        place = torch.rand(count, 2, generator=self.generator)
        column, row = (place * cameras.size[camera]).long().unbind(-1)
        return cameras.rays(camera, column, row), camera


def _join(parts: list[Rays]) -> Rays:
    if len(parts) == 1:
        return parts[0]
    return Rays(*[torch.cat([getattr(p, n) for p in parts]) for n in ("origins", "directions", "view_directions")])


def turned(cameras: Cameras, centre: Tensor, angle: float, generator: torch.Generator) -> Cameras:
    """The same views moved round `centre` [3] by up to `angle` radians about each axis; lenses lose distortion."""
    turn = torch.linalg.matrix_exp(_skew((2 * torch.rand(len(cameras), 3, generator=generator) - 1) * angle))
    pose = cameras.camera_to_world.clone()
    pose[:, :, 3] -= centre
    pose = turn @ pose
    pose[:, :, 3] += centre
    return replace(cameras, camera_to_world=pose, distortion=torch.zeros_like(cameras.distortion))


def _skew(axis: Tensor) -> Tensor:
    """Cross-product matrices [N, 3, 3] of vectors [N, 3]."""
    x, y, z = axis.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).view(-1, 3, 3)


def cameras_around(volume: Volume, count: int, generator: torch.Generator, size: int = _SIZE) -> Cameras:
    """Random cameras round the occupied part of a volume, looking at points in its middle."""
    low, high = volume.occupancy.occupied_box().cpu()
    centre, radius = (low + high) / 2, float((high - low).norm()) / 2
    direction = normalize(torch.randn(count, 3, generator=generator), dim=-1)
    distance = radius * (2.0 + torch.rand(count, 1, generator=generator))
    target = centre + 0.3 * radius * (2 * torch.rand(count, 3, generator=generator) - 1)
    eye = centre + distance * direction
    steep = direction[:, 2:].abs() > 0.99
    up = torch.where(steep, torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0]))
    return Cameras.pinhole(look_at(eye, target, up), 1.4 * size, size, size)
