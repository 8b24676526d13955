"""What a block shares with the blocks beside it."""

from __future__ import annotations

import pytest
import torch

from fields.planes import PLANE_AXES
from scenegen.world.neighbours import OFFSETS, known_from, known_mask

C, R = 2, 8


def world_latent(offset: tuple[int, int]) -> torch.Tensor:
    """Latents that say where in the world each cell is, with the left-out axis' block in the second channel."""
    start = (offset[0] * 0.75 * R, 0.0, offset[1] * 0.75 * R)
    block = (offset[0], 0, offset[1])
    planes = []
    for across, down in PLANE_AXES:
        columns = torch.arange(R) + start[across]
        rows = torch.arange(R) + start[down]
        place = rows[:, None] * 1000 + columns[None, :]
        planes.append(torch.stack((place, torch.full_like(place, block[3 - across - down]))))
    return torch.stack(planes)


@pytest.mark.parametrize("offset", OFFSETS)
def test_a_neighbour_fixes_the_cells_of_the_world_that_both_have(offset: tuple[int, int]) -> None:
    known = known_from({offset: world_latent(offset)}, (3, C, R, R))
    own = world_latent((0, 0))
    where = known.mask.expand_as(own)
    assert where.any()
    torch.testing.assert_close(known.latent[where], own[where])
    assert not known.latent[~where].any()


def test_upright_planes_are_shared_along_their_own_axis_only() -> None:
    assert known_mask([(1, 0)], R)[:, 0].flatten(1).any(1).tolist() == [True, True, False]
    assert known_mask([(0, 1)], R)[:, 0].flatten(1).any(1).tolist() == [False, True, True]
    assert known_mask([(1, 1)], R)[:, 0].flatten(1).any(1).tolist() == [False, True, False]


def test_masks_of_all_neighbours_leave_the_middle_open() -> None:
    mask = known_mask(OFFSETS, R)[1, 0]
    assert not mask[2:-2, 2:-2].any() and mask.sum() == R * R - 16
    known = known_from({offset: world_latent(offset) for offset in OFFSETS}, (3, C, R, R))
    assert torch.equal(known.mask, known_mask(OFFSETS, R))
    torch.testing.assert_close(known.latent, world_latent((0, 0)) * known.mask)
    assert known.context.shape == (3, C + 1, R, R)


def test_blocks_that_do_not_touch_share_nothing() -> None:
    with pytest.raises(ValueError, match="do not overlap"):
        known_from({(2, 0): torch.zeros(3, C, R, R)}, (3, C, R, R))
    assert not known_from({}, (3, C, R, R)).mask.any()
