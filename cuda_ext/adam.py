"""Adam that leaves untouched blocks alone and zeroes gradients on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .engine import launch, native_for

_MOMENTS = "first", "second"


@dataclass
class ParameterGroup:
    """Parameters with a common rate; `skip_untouched`: entries without a gradient do not move.

    matrices: views of a parameter as the matrices [M, N] that it holds; `Muon` moves those, and they do not decay.
    matrix_decay: but for this share, which a step of `Muon` at rate 1 takes off them.
    """

    parameters: list[Tensor]
    rate: float
    decay: float = 0.0
    skip_untouched: bool = False
    matrices: Callable[[Tensor], Sequence[Tensor]] | None = None
    matrix_decay: float = 0.0


class Adam:
    """Adam (Kingma and Ba 2015) over fp32 parameters, with one persistent gradient buffer each.

    `gradient(p)` may be handed to operators as their sink. `step` adds what autograd left in `.grad`,
    updates, and leaves every buffer zero.
    """

    def __init__(
        self, groups: Iterable[ParameterGroup], betas: tuple[float, float] = (0.9, 0.99), epsilon: float = 1e-15
    ) -> None:
        self.groups = list(groups)
        self.betas, self.epsilon, self.steps = betas, epsilon, 0
        self._state = {
            id(p): [torch.zeros_like(p) for _ in range(1 + self.moment_count(group))]
            for group in self.groups
            for p in group.parameters
        }

    def moment_count(self, group: ParameterGroup) -> int:
        """How many moments the parameters of a group have."""
        return len(_MOMENTS)

    def buffers(self, parameter: Tensor) -> list[Tensor]:
        """Gradient and moments of `parameter`."""
        return self._state[id(parameter)]

    def gradient(self, parameter: Tensor) -> Tensor:
        """The buffer in which the gradient of `parameter` is summed."""
        return self._state[id(parameter)][0]

    @torch.no_grad()
    def collect(self) -> Tensor:
        """Move autograd's gradients into the buffers; returns the sum of their norms (NaN shows).

        Tables that are skipped where untouched are not looked at, if anything else is: reading one costs
        as much as updating it, and its gradient comes through the network behind it.
        """
        for group in self.groups:
            for p in group.parameters:
                if p.grad is not None:
                    self.gradient(p).add_(p.grad)
                    p.grad = None
        watched = [g for g in self.groups if not g.skip_untouched] or self.groups
        norms = [self.gradient(p).norm() for g in watched for p in g.parameters]
        return torch.stack(norms).sum() if norms else torch.zeros(())

    @torch.no_grad()
    def step(self, scale: float = 1.0) -> None:
        """One update at `scale` times every group's rate; call `collect` first."""
        self.steps += 1
        for group in self.groups:
            self._update_group(group, scale)

    def _update_group(self, group: ParameterGroup, scale: float) -> None:
        beta1, beta2 = self.betas
        rate = group.rate * scale * math.sqrt(1 - beta2**self.steps) / (1 - beta1**self.steps)
        for p in group.parameters:
            self._update(p, rate, group)

    def _update(self, p: Tensor, rate: float, group: ParameterGroup) -> None:
        gradient, first, second = self.buffers(p)
        if native_for(p.device) and p.is_contiguous():
            launch(
                "adam",
                p.device,
                p,
                gradient,
                first,
                second,
                p.numel(),
                rate,
                *self.betas,
                self.epsilon,
                group.decay,
                int(group.skip_untouched),
            )
            return
        touched = gradient != 0 if group.skip_untouched else torch.ones_like(gradient, dtype=torch.bool)
        g = gradient + group.decay * p
        beta1, beta2 = self.betas
        first.copy_(torch.where(touched, beta1 * first + (1 - beta1) * g, first))
        second.copy_(torch.where(touched, beta2 * second + (1 - beta2) * g * g, second))
        p.sub_(torch.where(touched, rate * first / (second.sqrt() + self.epsilon), torch.zeros_like(p)))
        gradient.zero_()

    def discard(self) -> None:
        """Drop the gradients of a step that must not be taken."""
        for group in self.groups:
            for p in group.parameters:
                self.gradient(p).zero_()
                p.grad = None

    def state(self) -> dict[str, Tensor]:
        """Moments by position, for a resumable checkpoint."""
        found = {"steps": torch.tensor([self.steps])}
        for k, p in enumerate(p for group in self.groups for p in group.parameters):
            found |= {f"{name}.{k}": moment for name, moment in self._moments(p)}
        return found

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from `state()`."""
        self.steps = int(state["steps"][0])
        for k, p in enumerate(p for group in self.groups for p in group.parameters):
            for name, moment in self._moments(p):
                moment.copy_(state[f"{name}.{k}"])

    def _moments(self, p: Tensor) -> Iterator[tuple[str, Tensor]]:
        return zip(_MOMENTS, self.buffers(p)[1:], strict=False)
