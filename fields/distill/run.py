"""Progressive Volume Distillation: teach a field what any volume knows, level by level.

Fang et al. 2023, "One is All: Bridging the Gap Between Neural Radiance Fields Architectures with
Progressive Volume Distillation", section 3, with active learning after "PVD-AL" by the same authors.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from cuda_ext import quiet_torch

from ..budget import Budget, decayed_rate
from ..field import Field
from ..fog import empty_log_density, fog_loss
from ..progress import Progress
from ..render import pixel_loss, render_samples
from ..sdf_loss import distance_rate
from ..volume import Volume
from .distance import distance_loss, distance_pool, hardest_points, uniform_distances
from .losses import (
    clamped_difference,
    log_density,
    seen_share,
    spread,
    visible_range,
    weighted,
)
from .options import DistillOptions
from .start import inherit_occupancy, share_appearance, start
from .state import FIRST_RAYS, DistillState
from .teaching import Lesson, VolumePoints, lesson

REPORT_STEPS = 16
_REFRESH_STEPS = 128  # between two looks at which cameras are hard
_MAX_RAYS = 1 << 14
# Of the samples that a step of a fit takes: those of rays here; points in the volume, as rays never see what lies
# behind a surface; and in empty cells.
_RAYS, _VOLUME, _EMPTY = 3 / 8, 1 / 8, 1 / 32
# Where distances are taught, rays are for colours only. Of the distances, how many are looked at again, and how many
# are asked for anywhere in the box: between points drawn over and over, a fine grid would be free to make bubbles.
_DISTANCES, _RAYS_BESIDE, _AGAIN, _ANYWHERE = 3 / 4, 1 / 4, 3 / 32, 1 / 8
_FOG_WEIGHT = 0.001
_HOLD = 0.4  # of a run at full rates: a student is right in most places early, and settles from then on


def distill(
    teacher: Volume,
    student: Field,
    budget: Budget,
    *,
    options: DistillOptions | None = None,
    state: DistillState | None = None,
) -> Generator[Progress, None, None]:
    """Fit `student` in place to `teacher`, which may be any volume; no photos are used. Yields every 16 steps.

    The student begins in closed form where its backend has one (`start`). Then both see the same samples of the same
    rays: features first (where they can be compared), then log-density and colour of the samples, then rendered
    pixels; each level ends when it stops paying. With a `DistillState` it goes on from there; a run that ends by
    steps then gives the same bits as an unbroken one.

    Raises:
        TypeError: for a signed-distance student of a density teacher (make a distance volume of it first).
        UserError: `E-NAN-FIT` when steps keep producing numbers that are not finite.
    """
    if student.kind == "sdf" and teacher.kind != "sdf":
        raise TypeError("distill: a density has no distances to teach; see data.distance.distance_volume")
    options = options or DistillOptions()
    teacher.requires_grad_(False)
    state = state or DistillState(teacher, student, options)
    if state.elapsed == 0:
        yield from _begin(teacher, student, options, state)
    else:
        inherit_occupancy(teacher, student)
    if state.start_method == "copy":
        student.backend.attach(None)
        yield _report(state, budget)
        return
    job = _Distillation(teacher, student, options, state)
    while not budget.done(state.step, state.elapsed) and not _reached(state, options):
        began = time.perf_counter()
        fraction = budget.fraction(state.step, state.elapsed)
        name = state.schedule.name
        if student.backend.grow(fraction):
            state.renew_optimiser(state.guard.rate)
        if state.step % _REFRESH_STEPS == 0 and state.step > 0:
            job.look_for_hard()
        with quiet_torch(unless=student.wide or teacher.wide):
            job.step(_rate(student, fraction))
        state.schedule.follow(fraction, state.loss)
        state.step += 1
        spent = time.perf_counter() - began
        state.elapsed += spent
        state.seconds[name] += spent
        if state.step % REPORT_STEPS == 0:
            yield _report(state, budget)
    student.backend.attach(None)
    yield _report(state, budget)


def _begin(
    teacher: Volume, student: Field, options: DistillOptions, state: DistillState
) -> Generator[Progress, None, None]:
    """Occupancy, appearance network, and the closed-form start."""
    began = time.perf_counter()
    student.backend.attach(None)  # a start may replace parameters
    if options.start:
        state.begin_with((yield from start(teacher, student, state.generator)))
    else:
        inherit_occupancy(teacher, student)
        share_appearance(teacher, student)
    state.shared = bool(teacher.feature_space) and teacher.feature_space == student.feature_space
    if isinstance(teacher, Field) and not state.shared:
        state.adapt(teacher.backend.width - 1)
    state.renew_optimiser()
    state.seconds["start"] = state.elapsed = time.perf_counter() - began


def _rate(student: Field, fraction: float) -> float:
    """Learning-rate factor: distances come to rest slowly, from nearly the first step."""
    return distance_rate(fraction, hold=0.05) if student.kind == "sdf" else decayed_rate(fraction, _HOLD)


def _reached(state: DistillState, options: DistillOptions) -> bool:
    """Whether the wanted closeness is there; told at reports only, so that a resumed run ends at the same step."""
    due = state.step > 0 and state.step % REPORT_STEPS == 0
    return due and options.target_psnr is not None and state.psnr >= options.target_psnr


class _Distillation:
    """One step after the other."""

    def __init__(self, teacher: Volume, student: Field, options: DistillOptions, state: DistillState) -> None:
        self.teacher, self.student, self.options, self.state = teacher, student, options, state
        teacher.occupancy.find_walls(teacher, torch.Generator().manual_seed(options.seed))
        self.points = VolumePoints(teacher, state.generator)
        self.distances = distance_pool(teacher, seed=options.seed) if student.kind == "sdf" else None
        backend = student.backend
        self._taught_rate = backend.taught_rate if student.kind == "density" else backend.taught_distance_rate
        self.range = visible_range(student.space)
        self.empty = empty_log_density(student.space)

    def _count(self, share: float) -> int:
        return int(share * self.student.backend.step_samples)

    def look_for_hard(self) -> None:
        """Where more of the rays and points to come are drawn."""
        if self.state.from_rays:
            self.state.source.refresh()
        if self.distances and "points" in self.options.active:
            self.state.hard_points = hardest_points(self.student, self.distances, self.state.generator)

    def step(self, rate: float) -> None:
        state = self.state
        loss = self._distance_loss() if self.distances else None
        if state.from_rays and (told := self._told_by_rays()) is not None:
            loss = told if loss is None else loss + told
        if loss is None:
            return
        loss.backward()  # no penalty of the backend's own: the teacher says what is smooth, everywhere
        if state.guard.admits(state.step, state.optimiser.collect()):
            state.optimiser.step(rate * self._taught_rate * state.guard.rate)
        state.loss = float(loss.detach())

    def _told_by_rays(self) -> Tensor | None:
        """What samples of rays, and points beside them, say of a step's student; None where rays meet nothing."""
        state, generator = self.state, self.state.generator
        rays, plain = state.source.draw(state.rays)
        rays = rays.to(self.student.device)
        jitter = torch.rand(len(rays), generator=generator).to(rays.origins.device)
        said = lesson(self.teacher, rays, jitter, self.options.near)
        growth = self._count(_RAYS_BESIDE if self.distances else _RAYS) / max(1, said.marched)
        state.rays = int(min(max(state.rays * min(max(growth, 0.5), 1.5), FIRST_RAYS), _MAX_RAYS))
        if not len(said.x):
            return None
        behind = torch.rand(len(rays), 3, generator=generator).to(rays.origins.device)
        level = state.schedule.level
        x = [said.x] if self.distances else [said.x, *self._volume_points()]
        along, *beside = self.student.features(torch.cat(x)).split([len(part) for part in x])
        loss = self._volume_loss(x[1:], beside) if beside else along.new_zeros(())
        if level.features or level.geometry or level.color:
            loss = loss + self._value_loss(said, along)
        if level.pixels:
            loss = loss + level.pixels * self._pixel_loss(said, along, behind, plain)
        return loss

    def _pixel_loss(self, said: Lesson, features: Tensor, behind: Tensor, plain: int) -> Tensor:
        wanted = said.over(behind)
        if self.state.step % REPORT_STEPS == 0:
            self._look_closer(said, features, wanted, behind, plain)
        return pixel_loss(self.student, said.rays, said.samples, said.x, features, wanted, behind)

    @torch.no_grad()
    def _look_closer(self, said: Lesson, features: Tensor, wanted: Tensor, behind: Tensor, plain: int) -> None:
        """Which rays are wrong, for those to come; and how close the plain ones are."""
        seen = render_samples(self.student, said.rays, said.samples, said.x, features, behind)[0]
        error = (seen - wanted).square().mean(dim=1)
        self.state.source.tell(said.rays, error)
        value = -10 * float(torch.log10(error[:plain].mean().clamp_min(1e-10)))
        self.state.psnr = value if self.state.psnr == 0 else 0.8 * self.state.psnr + 0.2 * value

    def _value_loss(self, said: Lesson, features: Tensor) -> Tensor:
        """Features, geometry and colours of the samples along rays."""
        level, student = self.state.schedule.level, self.student
        share = seen_share(said.weights) if "points" in self.options.active else None
        loss = level.geometry * self._geometry_loss(features, said.x, said.log_density, share)
        if level.color:
            rgb = student.color_of(features, said.rays.view_directions, said.samples.ray)
            loss = loss + level.color * weighted((rgb - said.rgb).square().mean(dim=1), share)
        if level.features:
            loss = loss + level.features * self._feature_loss(features, said.features, share)
        return loss

    def _feature_loss(self, features: Tensor, wanted: Tensor, share: Tensor | None) -> Tensor:
        """The share of the teacher's variance that is missed: some teachers' features are ten times as large."""
        appearance, wanted = features[:, 1:], wanted[:, 1:]
        unit = spread(wanted)
        if self.state.adapter is not None:
            appearance = unit * self.state.adapter(appearance)
        elif not self.state.shared:
            return features.new_zeros(())
        return weighted(((appearance - wanted) / unit).square().mean(dim=1), share)

    def _geometry_loss(self, features: Tensor, x: Tensor, wanted: Tensor, share: Tensor | None) -> Tensor:
        """Difference of the student's log-density from `wanted` [N]; distances are compared elsewhere."""
        student = self.student
        if student.kind == "sdf":
            return features.new_zeros(())
        difference = clamped_difference(student.geometry(features, x), wanted, *self.range)
        return weighted(difference.square(), share)

    def _distance_loss(self) -> Tensor:
        """Distances near the surface and all over the box, some of them where they were most wrong."""
        assert self.distances is not None
        hard, generator = self.state.hard_points, self.state.generator
        again, anywhere = self._count(_AGAIN) if len(hard) else 0, self._count(_ANYWHERE)
        rows = self.distances.draw(self._count(_DISTANCES) - again - anywhere, generator)
        if again:
            rows = torch.cat([rows, hard[torch.randint(len(hard), (again,), generator=generator)]])
        x, sdf = self.distances.take(rows)
        new_x, new_sdf = uniform_distances(self.teacher, anywhere, generator)
        device = self.student.device
        return distance_loss(self.student, torch.cat([x, new_x]).to(device), torch.cat([sdf, new_sdf]).to(device))

    def _volume_points(self) -> tuple[Tensor, Tensor]:
        """Uniform positions [N, 3] in the occupied cells and [M, 3] in the empty ones."""
        occupied = self._count(_VOLUME) if self.options.volume and self.state.schedule.level.geometry else 0
        return self.points.occupied(occupied), self.points.empty(self._count(_EMPTY))

    def _volume_loss(self, positions: Sequence[Tensor], features: Sequence[Tensor]) -> Tensor:
        """Log-density at points of the occupied cells, and nothing in the empty ones: `_volume_points`."""
        student, teacher = self.student, self.teacher
        loss = _FOG_WEIGHT * fog_loss(student.geometry(features[1], positions[1]), self.empty)
        x = positions[0]
        if len(x):
            with torch.no_grad():
                known = teacher.features(x)
                wanted = log_density(teacher, teacher.geometry(known, x), teacher.density_of(known, x))
            loss = loss + self.state.schedule.level.geometry * self._geometry_loss(features[0], x, wanted, None)
        return loss


def _report(state: DistillState, budget: Budget) -> Progress:
    return Progress(
        state.step,
        budget.steps or 0,
        state.schedule.name,
        state.elapsed,
        budget.remaining(state.step, state.elapsed),
        state.loss,
        {"psnr": state.psnr, "rays": float(state.rays)} if state.from_rays else {},
    )
