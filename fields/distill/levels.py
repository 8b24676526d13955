"""Progressive Volume Distillation: teach one field what another knows, level by level.

Fang et al. 2023, "One is All: Bridging the Gap Between Neural Radiance Fields Architectures with
Progressive Volume Distillation", section 3.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from cuda_ext import Adam, composite, quiet_torch
from cuda_ext.render_loss import reached

from ..budget import Budget, decayed_rate
from ..cameras import Cameras, Rays, look_at
from ..field import Field
from ..guard import NaNGuard
from ..progress import Progress
from ..render import STOP_LIGHT, march_rays
from ..samples import Samples

REPORT_STEPS = 16
_MIN_RAYS, _MAX_RAYS = 64, 1 << 14
_SAMPLES = 12288
_VOLUME_POINTS = 2048  # of each step: rays never see what lies behind a surface
_EMPTY_LOG_ALPHA = -7.0  # log-densities below this opacity of a step count as equally empty


@dataclass(frozen=True)
class Level:
    """One stage: its name, where in the run it starts, and the weights of its losses."""

    name: str
    start: float
    features: float
    geometry: float
    color: float
    pixels: float


LEVELS = (
    Level("features", 0.0, 1.0, 0.1, 0.0, 0.0),
    Level("values", 0.1, 0.1, 0.1, 1.0, 0.0),
    Level("pixels", 0.25, 0.0, 0.005, 0.05, 1.0),
)


def distill(
    teacher: Field, student: Field, budget: Budget, *, seed: int = 0, cameras: Cameras | None = None, near: float = 0.0
) -> Generator[Progress, None, None]:
    """Fit `student` in place to `teacher`, which may be of any backend and kind; no photos are used.

    Both see the same samples of random rays: features first (where both backends share a feature space and
    an appearance network), then log-density and colour of the samples, then rendered pixels. Rays come
    from `cameras`, or from random cameras round the teacher's occupied space.
    """
    generator = torch.Generator().manual_seed(seed)
    teacher.requires_grad_(False)
    shared = _share_appearance(teacher, student)
    student.occupancy.bits.copy_(teacher.occupancy.bits)
    views = cameras if cameras is not None else cameras_around(teacher, 256, generator)
    job = _Distillation(teacher, student, views, generator, near, shared)
    step, started, elapsed = 0, time.perf_counter(), 0.0
    while not budget.done(step, elapsed):
        fraction = budget.fraction(step, elapsed)
        if student.backend.grow(fraction):
            job.renew_optimiser()
        level = [level for level in LEVELS if fraction >= level.start][-1]
        with quiet_torch():
            job.step(step, level, decayed_rate(fraction))
        step += 1
        elapsed = time.perf_counter() - started
        if step % REPORT_STEPS == 0:
            yield job.report(step, budget, level, elapsed)
            started = time.perf_counter() - elapsed
    student.backend.attach(None)
    yield job.report(step, budget, LEVELS[-1], elapsed)


class _Distillation:
    """What one distillation carries from step to step."""

    def __init__(
        self, teacher: Field, student: Field, cameras: Cameras, generator: torch.Generator, near: float, shared: bool
    ) -> None:
        self.teacher, self.student, self.cameras = teacher, student, cameras
        self.generator, self.near, self.shared = generator, near, shared
        self.rays, self.loss, self.psnr = _MIN_RAYS, 0.0, 0.0
        self.renew_optimiser()

    def renew_optimiser(self) -> None:
        self.optimiser = Adam(self.student.parameter_groups())
        self.guard = NaNGuard(self.student, self.optimiser)
        self.student.backend.attach(self.optimiser)

    def step(self, step: int, level: Level, rate: float) -> None:
        rays = self._draw()
        jitter = torch.rand(len(rays), generator=self.generator).to(rays.origins.device)
        samples, x = march_rays(self.teacher, rays, jitter, self.near)
        growth = _SAMPLES / max(1, len(x))
        self.rays = int(min(max(self.rays * min(max(growth, 0.5), 1.5), _MIN_RAYS), _MAX_RAYS))
        if not len(x):
            return
        loss = self._loss(rays, samples, x, level) + self._volume_loss(level)
        penalty = self.student.backend.penalty()
        (loss if penalty is None else loss + penalty).backward()
        if self.guard.admits(step, self.optimiser.collect()):
            self.optimiser.step(rate * self.guard.rate)
        self.loss = float(loss.detach())

    def _draw(self) -> Rays:
        count, size = self.rays, self.cameras.size
        camera = torch.randint(len(self.cameras), (count,), generator=self.generator)
        place = torch.rand(count, 2, generator=self.generator)
        column, row = (place * size[camera]).long().unbind(-1)
        return self.cameras.rays(camera, column, row).to(self.student.device)

    def _loss(self, rays: Rays, samples: Samples, x: Tensor, level: Level) -> Tensor:
        with torch.no_grad():
            wanted = self.teacher.features(x)
            density = self.teacher.density_of(wanted, x)
            seen = reached(density, samples.start, samples.end, samples.offsets, samples.ray, STOP_LIGHT)
            samples, x = samples.take(seen), x.index_select(0, seen)
            wanted, density = wanted.index_select(0, seen), density.index_select(0, seen)
            rgb = self.teacher.color_of(wanted, rays.view_directions, samples.ray)
        features = self.student.features(x)
        student_density = self.student.density_of(features, x)
        student_rgb = self.student.color_of(features, rays.view_directions, samples.ray)
        behind = torch.rand(len(rays), 3, generator=self.generator).to(x.device)
        interval = samples.start, samples.end, samples.offsets, behind
        with torch.no_grad():
            pixel, _, _, weights = composite(density, rgb, *interval)
        student_pixel = composite(student_density, student_rgb, *interval)[0]
        error = (student_pixel - pixel).square().mean()
        value = -10 * float(torch.log10(error.detach().clamp_min(1e-10)))
        self.psnr = value if self.psnr == 0 else 0.95 * self.psnr + 0.05 * value
        loss = level.pixels * error
        loss = loss + level.geometry * self._geometry_loss(student_density, density)
        if level.color:
            loss = loss + level.color * _weighted(weights, (student_rgb - rgb).square().mean(dim=1))
        if level.features and self.shared:
            loss = loss + level.features * _weighted(weights, (features - wanted)[:, 1:].square().mean(dim=1))
        return loss

    def _volume_loss(self, level: Level) -> Tensor:
        """Geometry at uniform points of the occupied cells, which rays may never reach."""
        cells = self.teacher.occupancy.random_positions(_VOLUME_POINTS, self.generator)
        with torch.no_grad():
            wanted = self.teacher.density(cells)
        return level.geometry * self._geometry_loss(self.student.density(cells), wanted)

    def _geometry_loss(self, density: Tensor, wanted: Tensor) -> Tensor:
        """Squared difference of log-densities, both cut off where a marching step cannot be seen."""
        floor = torch.exp(torch.tensor(_EMPTY_LOG_ALPHA)) / self.teacher.space.step
        difference = torch.log(density + floor) - torch.log(wanted + floor)
        return difference.square().mean()

    def report(self, step: int, budget: Budget, level: Level, elapsed: float) -> Progress:
        return Progress(
            step,
            budget.steps or 0,
            level.name,
            elapsed,
            budget.remaining(step, elapsed),
            self.loss,
            {"psnr": self.psnr, "rays": float(self.rays)},
        )


def _weighted(weights: Tensor, error: Tensor) -> Tensor:
    """Mean error of the samples that are seen, by how much they are."""
    return (weights * error).sum() / weights.sum().clamp_min(1e-6)


def _share_appearance(teacher: Field, student: Field) -> bool:
    """Give the student the teacher's appearance network where their feature spaces agree."""
    same = (
        teacher.backend.feature_space == student.backend.feature_space
        and teacher.backend.width == student.backend.width
    )
    if same:
        student.appearance.load_state_dict(teacher.appearance.state_dict())
    if teacher.kind == student.kind == "sdf":
        student.log_beta.data.copy_(teacher.log_beta)
    return same


def cameras_around(field: Field, count: int, generator: torch.Generator, size: int = 400) -> Cameras:
    """Random cameras round the occupied part of a field, looking at points in its middle."""
    low, high = field.occupancy.occupied_box().cpu()
    centre, radius = (low + high) / 2, float((high - low).norm()) / 2
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    distance = radius * (2.0 + torch.rand(count, 1, generator=generator))
    target = centre + 0.3 * radius * (2 * torch.rand(count, 3, generator=generator) - 1)
    eye = centre + distance * direction
    steep = direction[:, 2:].abs() > 0.99
    up = torch.where(steep, torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0]))
    return Cameras.pinhole(look_at(eye, target, up), 1.4 * size, size, size)
