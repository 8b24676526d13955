"""Small smooth blocks and a decoder of our own, for tests of the generator."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from scenegen.block_set import BlockSet
from scenegen.lookup import plane_features

Network = TypeVar("Network", bound=nn.Module)
CHANNELS, RESOLUTION, CLASSES, PIXELS = 4, 16, 3, 32


class SmallDecoder(nn.Module):
    """Planes [B, 3, C, R, R] and points [B, N, 3] to [B, N]."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            self.network = nn.Sequential(nn.Linear(CHANNELS, 16), nn.Softplus(), nn.Linear(16, 1))

    def forward(self, planes: Tensor, points: Tensor) -> Tensor:
        return self.network(plane_features(planes, points)).squeeze(-1)


@torch.no_grad()
def small_blocks(count: int, seed: int = 0) -> BlockSet:
    """Random smooth planes, the distances that `SmallDecoder` finds in them, and random rectangles as plans."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count * 3, CHANNELS, 4, 4, generator=generator)
    planes = interpolate(coarse, (RESOLUTION,) * 2, mode="bicubic", align_corners=True)
    planes = planes.view(count, 3, CHANNELS, RESOLUTION, RESOLUTION)
    points = torch.rand(count, 256, 3, generator=generator) * 2 - 1
    layout = torch.zeros(count, CLASSES, PIXELS, PIXELS, dtype=torch.uint8)
    for block in layout:
        for maps in block:
            x, z = torch.randint(0, 24, (2,), generator=generator).tolist()
            maps[z : z + 6, x : x + 8] = 1
    return BlockSet(planes.half(), layout, points, SmallDecoder()(planes, points).clamp(-0.25, 0.25))


def woken(network: Network) -> Network:
    """Weights that start at zero set to small numbers, so that every sublayer does something."""
    generator = torch.Generator().manual_seed(1)
    for p in network.parameters():
        if not p.any():
            p.data = 0.2 * torch.randn(p.shape, generator=generator)
    return network
