"""Fitting a field to posed photos."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from cuda_ext import Muon, quiet_torch

from .budget import Budget, decayed_rate
from .cameras import Rays
from .errors import UserError
from .field import Field
from .fog import empty_log_density, fog_loss
from .guard import NaNGuard
from .occupancy import FIT_STRIDE
from .progress import Progress
from .render import MAX_SAMPLES, pixel_loss
from .space import Space
from .views import Capture

REPORT_STEPS = 16
_GRID_STEPS = 32  # between two updates of the occupancy grid
_WARM_STEPS, _FIRST_BATCH = 512, 0.2
_MIN_RAYS, _MAX_RAYS = 64, 1 << 14
_FOG_WEIGHT = 1e-5  # of the mean squared excess of the logarithm: enough, and pictures do not suffer
_BLOCK = 1 << 15  # pixels drawn at a time: many small tensors' overhead is paid once


@dataclass(frozen=True)
class FitOptions:
    """What a fit may vary; the defaults serve every capture.

    clear: random cells looked at in each step, of which the empty ones are kept so. Rays never go there, but features
    that are shared among cells change all the same, and programs that do not know the occupancy grid would see it.
    """

    samples: int | None = None  # aimed at in each step; None: as many as suit the backend
    near: float = 0.0
    clear: int = 0


class PixelCursor:
    """Where a fit stands in its random sequence of pixels."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.mark = self.generator.get_state()  # before the block at hand was drawn
        self.box = torch.zeros(2, 3)  # outside which that block's rays were known to meet nothing
        self.position = _BLOCK  # in that block; its end: draw another

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {"mark": self.mark, "box": self.box, "position": torch.tensor([self.position])}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Continue from `tensors()`."""
        self.mark, self.box, self.position = tensors["mark"], tensors["box"], int(tensors["position"][0])


class PixelSource:
    """Random training pixels: rays, colours and what lies behind them, drawn in blocks."""

    def __init__(self, capture: Capture, cursor: PixelCursor, space: Space, near: float) -> None:
        self.views, self.background, self.cursor = capture.train, capture.background, cursor
        self.space, self.near = space, near
        self.box = space.bounds.cpu()  # outside which rays of blocks to come meet nothing
        size = self.views.cameras.size
        self.starts = self.views.starts
        self.uniform = bool((size == size[0]).all())
        self.total = int(size.prod(dim=1).sum())
        self._block: tuple[Rays, Tensor, Tensor, Tensor, Tensor] | None = None

    def draw(self, count: int) -> tuple[Rays, Tensor, Tensor, Tensor, Tensor]:
        """`count` rays, where they start and end [R], their colours over a background, and that background [R, 3].

        A ray starts where it enters the box, moved by a random part of a step.
        """
        cursor = self.cursor
        if cursor.position + count > _BLOCK:
            cursor.mark, cursor.position, self._block = cursor.generator.get_state(), 0, None
            cursor.box = self.box
        if self._block is None:
            cursor.generator.set_state(cursor.mark)
            self._block = self._draw_block(cursor.generator)
        part = slice(cursor.position, cursor.position + count)
        cursor.position += count
        rays, *values = self._block
        start, end, wanted, behind = (value[part] for value in values)
        return rays[part], start, end, wanted, behind

    def _draw_block(self, generator: torch.Generator) -> tuple[Rays, Tensor, Tensor, Tensor, Tensor]:
        pixel = torch.randint(self.total, (_BLOCK,), generator=generator)
        size = self.views.cameras.size
        if self.uniform:  # a division is cheaper than a search
            image = pixel.div(int(size[0].prod()), rounding_mode="floor")
        else:
            image = torch.searchsorted(self.starts, pixel, right=True) - 1
        place = pixel - self.starts[image]
        width = size[image, 0]
        rays = self.views.cameras.rays(image, place % width, place // width)
        packed = self.views.pixels.view(torch.int32)[:, 0]  # one number a pixel is looked up faster than a row of four
        rgba = packed.index_select(0, pixel).view(torch.uint8).view(-1, 4).float().div_(255)
        behind = self._behind(generator)
        wanted = torch.lerp(behind, rgba[:, :3], rgba[:, 3:])
        start, end = self.space.clip(rays.origins, rays.directions, self.near, self.cursor.box)
        start += torch.rand(_BLOCK, generator=generator) * (FIT_STRIDE * self.space.step)
        return rays, start, end, wanted, behind

    def _behind(self, generator: torch.Generator) -> Tensor:
        if self.background == "random":
            return torch.rand(_BLOCK, 3, generator=generator)
        return torch.full((_BLOCK, 3), 1.0 if self.background == "white" else 0.0)


class FitState:
    """Everything a fit continues from: its tensors make a resumed run equal to an unbroken one."""

    def __init__(self, field: Field, seed: int) -> None:
        self.field = field
        self.generator = torch.Generator().manual_seed(seed)
        self.pixels = PixelCursor(seed + 1)
        self.step, self.elapsed, self.rays, self.loss = 0, 0.0, _MIN_RAYS, 0.0
        self.optimiser = Muon(field.parameter_groups())
        self.guard = NaNGuard(field, self.optimiser)
        field.backend.attach(self.optimiser)

    def renew_optimiser(self) -> None:
        """After a backend has replaced its parameters: fresh moments for them."""
        self.optimiser = Muon(self.field.parameter_groups())
        rate = self.guard.rate
        self.guard = NaNGuard(self.field, self.optimiser)
        self.guard.rate = rate
        self.field.backend.attach(self.optimiser)

    def tensors(self) -> dict[str, Tensor]:
        """Flat tensors for a checkpoint."""
        numbers = [float(self.step), self.elapsed, float(self.rays), self.loss, self.guard.rate]
        found = {"numbers": torch.tensor(numbers, dtype=torch.float64), "generator": self.generator.get_state()}
        for prefix, part in (
            ("field", self.field.state_dict()),
            ("adam", self.optimiser.state()),
            ("occupancy", self.field.occupancy.state()),
            ("pixels", self.pixels.tensors()),
        ):
            found |= {f"{prefix}.{name}": tensor for name, tensor in part.items()}
        return found

    @classmethod
    def restore(cls, field: Field, tensors: dict[str, Tensor]) -> FitState:
        """Continue from `tensors()`; `field` has the same configuration.

        Raises:
            UserError: `E-CKPT-TENSORS` for a state that lacks something, as those of other versions may.
        """
        try:
            return cls._restored(field, tensors)
        except KeyError as error:
            raise UserError(
                "E-CKPT-TENSORS",
                "this state cannot be gone on from",
                got=f"no {error.args[0]!r}",
                expected="a state saved by this version of the program",
                fix="use the fitted field as it is, or fit anew with --force",
            ) from None

    @classmethod
    def _restored(cls, field: Field, tensors: dict[str, Tensor]) -> FitState:
        def part(prefix: str) -> dict[str, Tensor]:
            return {name[len(prefix) + 1 :]: t for name, t in tensors.items() if name.startswith(prefix + ".")}

        weights = part("field")
        field.resize_like({name: tuple(t.shape) for name, t in weights.items()})
        field.load_state_dict(weights)
        state = cls(field, 0)
        state.optimiser.load_state(part("adam"))
        field.occupancy.load_state(part("occupancy"))
        state.pixels.load(part("pixels"))
        state.generator.set_state(tensors["generator"])
        step, state.elapsed, rays, state.loss, state.guard.rate = tensors["numbers"].tolist()
        state.step, state.rays = int(step), int(rays)
        return state


def fit_images(
    field: Field,
    capture: Capture,
    budget: Budget,
    *,
    seed: int = 0,
    state: FitState | None = None,
    options: FitOptions | None = None,
) -> Generator[Progress, None, None]:
    """Fit `field` in place to the training photos; yields every 16 steps.

    Colours are composited over random backgrounds where photos carry alpha, so that empty space must
    become empty (Instant-NGP). Ends after the budget, with the occupancy grid set from the final field;
    a `state` that has spent the budget already is left as it is.
    """
    options = options or FitOptions(near=capture.near)
    state = state or FitState(field, seed)
    source = PixelSource(capture, state.pixels, field.space, options.near)
    source.box = field.occupancy.occupied_box().cpu()
    started = time.perf_counter() - state.elapsed
    while not budget.done(state.step, state.elapsed):
        fraction = budget.fraction(state.step, state.elapsed)
        if field.backend.grow(fraction):
            state.renew_optimiser()
        if state.step % _GRID_STEPS == 0 and state.step > 0:
            with quiet_torch():
                field.occupancy.update(field, state.generator)
                source.box = field.occupancy.occupied_box().cpu()
        with quiet_torch(unless=field.backend.wide):
            _step(field, source, state, options, decayed_rate(fraction))
        state.step += 1
        state.elapsed = time.perf_counter() - started
        if budget.done(state.step, state.elapsed):
            field.occupancy.update(field, state.generator)
        elif state.step % REPORT_STEPS == 0:
            yield _report(state, budget)
            started = time.perf_counter() - state.elapsed  # time outside the generator does not count
    yield _report(state, budget)


def _step(field: Field, source: PixelSource, state: FitState, options: FitOptions, rate: float) -> None:
    drawn, *values = source.draw(state.rays)
    rays = drawn.to(field.device)
    start, end, wanted, behind = (value.to(field.device) for value in values)
    samples, x, _ = field.occupancy.sample_visible(rays, start, end, MAX_SAMPLES)
    if len(x):
        loss = pixel_loss(field, rays, samples, x, field.features(x), wanted, behind)
        total = loss
        if (penalty := field.backend.penalty()) is not None:
            total = total + penalty
        if options.clear and field.kind == "density":
            total = total + _FOG_WEIGHT * _fog(field, field.occupancy.empty_positions(options.clear, state.generator))
        total.backward()
        if state.guard.admits(state.step, state.optimiser.collect()):
            state.optimiser.step(rate * state.guard.rate)
        value = float(loss.detach())
        state.loss = value if state.loss == 0 else 0.98 * state.loss + 0.02 * value
    aim = options.samples or field.backend.step_samples
    growth = aim * min(1.0, _FIRST_BATCH + step_share(state.step)) / max(1, len(x))
    state.rays = int(min(max(state.rays * min(max(growth, 0.5), 1.5), _MIN_RAYS), _MAX_RAYS))


def _fog(field: Field, x: Tensor) -> Tensor:
    return fog_loss(field.geometry(field.features(x), x), empty_log_density(field.space))


def step_share(step: int) -> float:
    """How far the warm-up is, in [0, 1]: small batches are enough to carve out empty space."""
    return min(1.0, step / _WARM_STEPS)


def _report(state: FitState, budget: Budget) -> Progress:
    psnr = -10 * torch.log10(torch.tensor(max(state.loss, 1e-10))).item()
    return Progress(
        state.step,
        budget.steps or 0,
        "fit",
        state.elapsed,
        budget.remaining(state.step, state.elapsed),
        state.loss,
        {"psnr": psnr, "rays": float(state.rays)},
    )
