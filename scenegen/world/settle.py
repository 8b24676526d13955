"""Blocks made to agree with their finished neighbours where both are, by a few steps on their planes.

Latents that are equal in an overlap do not yet give equal surfaces there: every point also looks up the plane that the
two blocks do not share. BlockFusion (section 4.4) deforms finished meshes for that; here the distances themselves are
brought together, before there is any mesh.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from ..block_set import Decoder
from ..blocks import CLAMP, OVERLAP
from ..fit_loss import distance_error
from .neighbours import Index

STEPS = 120
_RATE = 0.02
_SHARED, _OWN = 1024, 1536  # points in the overlaps and in the rest of the block, in a step
_POOL = 65_536  # points that these are drawn from, before those far from any surface are left out
_NEAR = 0.09  # block units: farther from both blocks' surfaces nothing is to be brought together
_SHIFT = 2 * (1 - OVERLAP)  # block units between the centres of neighbours
_PULL = 0.5  # weight of staying as it was elsewhere, against agreeing


def settled(
    decoder: Decoder, planes: Tensor, neighbours: Mapping[Index, Tensor], index: Index, steps: int = STEPS
) -> Tensor:
    """Planes [3, C, R, R] of block `index` that agree with finished `neighbours` (by offset) where these reach.

    Elsewhere the block stays what it was. A pure function of its arguments; `index` only seeds the points.
    """
    if not neighbours:
        return planes
    generator = torch.Generator().manual_seed(_seed(index))
    shared, wanted = _targets(decoder, planes, neighbours, generator)
    own, was = _near(decoder, planes, _outside(neighbours, torch.rand(_POOL, 3, generator=generator) * 2 - 1))
    leaf = planes[None].clone().requires_grad_()
    optimiser = torch.optim.Adam([leaf], _RATE)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = _RATE * (1 - step / steps)
        a, b = (torch.randint(len(points), (count,), generator=generator) for points, count in
                ((shared, _SHARED), (own, _OWN)))  # fmt: skip
        found = decoder(leaf, torch.cat((shared[a], own[b]))[None])[0]
        error = distance_error(found, torch.cat((wanted[a], was[b])))
        (error[:_SHARED].mean() + _PULL * error[_SHARED:].mean()).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return leaf.detach()[0]


@torch.no_grad()
def _targets(
    decoder: Decoder, planes: Tensor, neighbours: Mapping[Index, Tensor], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Points [N, 3] of the overlaps near either surface, and the neighbours' distances there, [N].

    Those near the block's own surface count too: it has to go where no neighbour has one.
    """
    found = []
    for offset in sorted(neighbours):
        shift = torch.tensor([offset[0] * _SHIFT, 0.0, offset[1] * _SHIFT])
        low, high = (shift - 1).clamp_min(-1), (shift + 1).clamp_max(1)
        x = low + torch.rand(_POOL // len(neighbours), 3, generator=generator) * (high - low)
        theirs, mine = decoder(neighbours[offset][None], (x - shift)[None])[0], decoder(planes[None], x[None])[0]
        way = torch.minimum(theirs.abs(), mine.abs())
        near = way <= max(_NEAR, float(way.min()))
        found.append((x[near], theirs[near].clamp(-CLAMP, CLAMP)))
    points, distances = zip(*found, strict=True)
    return torch.cat(points), torch.cat(distances)


@torch.no_grad()
def _near(decoder: Decoder, planes: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The half of points x [N, 3] that is nearer to the block's surface, and the distances there."""
    f = decoder(planes[None], x[None])[0]
    near = f.abs().argsort()[: max(1, len(x) // 2)]
    return x[near], f[near].clamp(-CLAMP, CLAMP)


def _outside(neighbours: Mapping[Index, Tensor], x: Tensor) -> Tensor:
    """Those of x [N, 3] that no neighbour reaches."""
    inside = torch.zeros(len(x), dtype=torch.bool)
    for offset in neighbours:
        shift = torch.tensor([offset[0] * _SHIFT, 0.0, offset[1] * _SHIFT])
        inside |= ((x - shift).abs() <= 1).all(1)
    return x[~inside]


def _seed(index: Index) -> int:
    return int.from_bytes(hashlib.sha256(f"settle {index[0]} {index[1]}".encode()).digest()[:6], "big")
