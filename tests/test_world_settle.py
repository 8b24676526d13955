"""Blocks that are made to agree with their neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from scenegen.lookup import plane_features
from scenegen.world.settle import settled


class OffsetDecoder:
    """A floor whose height is what the planes say: f = y + sum of features."""

    def __call__(self, planes: Tensor, points: Tensor) -> Tensor:
        return points[..., 1] + plane_features(planes, points).sum(-1)


def test_a_block_without_neighbours_stays_as_it_is() -> None:
    planes = torch.randn(3, 4, 8, 8)
    assert settled(OffsetDecoder(), planes, {}, (3, -2)) is planes


def test_floors_of_unequal_height_meet_where_both_blocks_are() -> None:
    decoder = OffsetDecoder()
    mine, theirs = torch.full((3, 1, 16, 16), 0.02), torch.full((3, 1, 16, 16), -0.02)
    found = settled(decoder, mine, {(1, 0): theirs}, (0, 0))
    overlap, inside = _height(decoder, found, 0.75), _height(decoder, found, -0.6)
    assert abs(overlap - 3 * 0.02) < 0.01 and abs(inside - 3 * -0.02) < 0.01
    assert torch.equal(found, settled(decoder, mine, {(1, 0): theirs}, (0, 0)))
    assert not torch.equal(found, settled(decoder, mine, {(-1, 0): theirs}, (0, 0)))


class LumpDecoder:
    """A floor at y = 0, and a slab above it as thick as the planes say."""

    def __call__(self, planes: Tensor, points: Tensor) -> Tensor:
        lump = (points[..., 1] - 0.5).abs() - plane_features(planes, points).sum(-1)
        return torch.minimum(points[..., 1], lump)


def test_what_only_the_new_block_has_goes_from_the_overlap() -> None:
    decoder = LumpDecoder()
    mine, theirs = torch.full((3, 1, 16, 16), 0.1), torch.full((3, 1, 16, 16), -0.1)
    found = settled(decoder, mine, {(1, 0): theirs}, (0, 0))
    distances = decoder(found[None], torch.tensor([[[0.75, 0.5, 0.0], [-0.6, 0.5, 0.0]]]))[0]
    assert float(distances[0]) > 0.02 and float(distances[1]) < -0.2


def _height(decoder: OffsetDecoder, planes: Tensor, x: float) -> float:
    """Height of the floor at x, z = 0."""
    return -float(decoder(planes[None], torch.tensor([[[x, 0.0, 0.0]]])))
