"""The one decoder of all blocks: summed tri-plane features to signed distance."""

from __future__ import annotations

from itertools import pairwise

import torch
from diffusers import ConfigMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from .lookup import plane_features


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
        return self.network(features).squeeze(-1)

    def with_gradient(self, planes: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Distances [B, N] and their exact gradients [B, N, 3] at x, both differentiable in planes and weights."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            distance = self(planes, x)
            (gradient,) = torch.autograd.grad(distance.sum(), x, create_graph=True)
        return distance, gradient
