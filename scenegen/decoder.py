"""The one decoder of all blocks: summed tri-plane features to signed distance."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from diffusers import ConfigMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from .lookup import plane_features

_ROWS = 4096  # of features that go through a frozen decoder together: what they become fits into a core's cache


class TriplaneDecoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """An MLP channels-width-...-width-1 with ReLU: distance in block units, negative inside.

    BlockFusion, section 3.1: trained with the planes of some blocks, then frozen, so that features mean the
    same in every block. `start` [3, C, R, R] is what every block's planes begin with.
    """

    @register_to_config
    def __init__(self, channels: int = 8, resolution: int = 32, width: int = 64, layers: int = 2) -> None:
        """
        Args:
            channels: C of the planes; resolution: their R.
            width: of each of the `layers` hidden layers.
        """
        super().__init__()
        widths = [channels, *[width] * layers]
        steps = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
        self.network = nn.Sequential(*steps, nn.Linear(widths[-1], 1))
        self.start: Tensor
        self.register_buffer("start", torch.zeros(3, channels, resolution, resolution))

    def forward(self, planes: Tensor, x: Tensor) -> Tensor:
        """Distances [B, N] of blocks `planes` [B, 3, C, R, R] at x [B, N, 3] in block units."""
        return self.distance(plane_features(planes, x))

    def distance(self, features: Tensor) -> Tensor:
        """Distances [...] of features [..., C]."""
        if torch.is_grad_enabled() and not any(p.requires_grad for p in self.parameters()):
            parameters = [p for part in self.network if isinstance(part, nn.Linear) for p in (part.weight, part.bias)]
            found: Tensor = _FrozenDistance.apply(features.flatten(0, -2), *parameters)
            return found.view(features.shape[:-1])
        return self.network(features).squeeze(-1)

    def with_gradient(self, planes: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Distances [B, N] and their exact gradients [B, N, 3] at x, both differentiable in planes and weights."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            distance = self(planes, x)
            (gradient,) = torch.autograd.grad(distance.sum(), x, create_graph=True)
        return distance, gradient


class _FrozenDistance(torch.autograd.Function):
    """Distances [N] of features [N, C] where weights need no gradient.

    Distance is piecewise linear in the features: its slope, taken on the way forward, is all that first and second
    derivatives want.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, *parameters: Tensor) -> Tensor:
        parts = [_distance_and_slope(rows, parameters[::2], parameters[1::2]) for rows in features.split(_ROWS)]
        distance, slope = (torch.cat(found) for found in zip(*parts, strict=True))
        ctx.save_for_backward(slope)
        return distance

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return gradient[0][:, None] * slope, *[None] * (len(ctx.needs_input_grad) - 1)


def _distance_and_slope(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Distances [N] of features [N, C], and their derivatives [N, C]."""
    hidden = [x]
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        hidden.append(torch.addmm(bias, hidden[-1], weight.T).relu_())
    distance = torch.addmv(biases[-1], hidden[-1], weights[-1][0])
    slope = weights[-1].expand(len(x), -1)
    for after, weight in zip(hidden[:0:-1], weights[-2::-1], strict=True):
        slope = torch.ops.aten.threshold_backward(slope, after, 0) @ weight  # ReLU's own, in one pass
    return distance, slope
