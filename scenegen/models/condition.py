"""What a floor plan tells the denoiser: class maps as features on the three latent planes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .layers import PlaneEmbedding, activation_of, fold, unfold


class ConcatCondition(nn.Module):
    """Features to concatenate to the latents, from class maps through a small strided stem.

    The ground plane xz gets the map. The upright planes get its profile along x and along z, the share of each
    column and row that a class covers, the same at every height (BlockFusion gives them zeros).
    A plan that is withheld has a learned embedding of its own: an empty plan means that nothing stands there.
    """

    def __init__(self, classes: int, layout_size: int, resolution: int, width: int, activation: str) -> None:
        super().__init__()
        halvings = round(math.log2(layout_size / resolution))
        if resolution * 2**halvings != layout_size or halvings < 0:
            raise ValueError(f"layout of {layout_size} pixels cannot be halved to {resolution}")
        self.embedding = PlaneEmbedding(width)
        self.unknown = nn.Parameter(torch.zeros(3, width, 1, 1))
        self.start = nn.Conv2d(classes, width, 3, padding=1)
        layers: list[nn.Module] = []
        for _ in range(halvings):
            layers += [activation_of(activation), nn.Conv2d(width, width, 3, stride=2, padding=1)]
        self.halves = nn.Sequential(*layers, activation_of(activation), nn.Conv2d(width, width, 1))

    def forward(self, layout: Tensor, planned: Tensor) -> Tensor:
        """Class maps [B, K, H, W] and whether each is to be followed, bool [B] -> features [B, 3, width, r, r]."""
        started = self.start(fold(plane_maps(layout)))
        features = unfold(self.halves(started + self.embedding(batch=len(layout))[..., None, None]))
        return torch.where(planned[:, None, None, None, None], features, self.unknown.to(features.dtype))


def plane_maps(layout: Tensor) -> Tensor:
    """Class maps [B, K, S, S] (rows z, columns x) as maps [B, 3, K, S, S] of the planes xy, xz and yz."""
    along_x, along_z = layout.mean(-2, keepdim=True), layout.mean(-1, keepdim=True)
    return torch.stack((along_x.expand_as(layout), layout, along_z.expand_as(layout)), dim=1)


CONDITIONS: dict[str, type[ConcatCondition]] = {"concat": ConcatCondition}
