"""The running average of a network's weights, which samples better than the last ones do."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class Average:
    """Exponential moving average of parameters; short memory at first, so that it forgets the start."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay = network, decay
        self.values = [p.detach().clone() for p in network.parameters()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step number `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for value, p in zip(self.values, self.network.parameters(), strict=True):
            value.lerp_(p, 1 - decay)

    def state(self) -> dict[str, Tensor]:
        """For a resumable checkpoint."""
        return {str(k): value for k, value in enumerate(self.values)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from `state()`."""
        for k, value in enumerate(self.values):
            value.copy_(state[str(k)])


@torch.no_grad()
def averaged(network: Network, average: Average) -> Network:
    """A copy of the network with averaged weights, for use and not for training."""
    found = copy.deepcopy(network).eval().requires_grad_(False)
    for p, value in zip(found.parameters(), average.values, strict=True):
        p.copy_(value)
    return found
