"""Noise keyed by cells of the world, and the order of waves."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scenegen.world.neighbours import OFFSETS, known_from
from scenegen.world.noise import CellNoise, philox, world_cells
from scenegen.world.waves import goes_by, in_waves, moved, wave_of

SHAPE = (3, 5, 8, 8)
NUMBERS = st.integers(-(2**15), 2**15)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # the answers that the authors of Philox publish with Random123
        ([0] * 4, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([2**32 - 1] * 4, 2**64 - 1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], 0x299F31D0A4093822, "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_published_words(counter: list[int], key: int, expected: str) -> None:
    words = philox(np.array(counter, np.uint64), key)
    assert " ".join(f"{word:08x}" for word in words.tolist()) == expected


@given(i=NUMBERS, k=NUMBERS, offset=st.sampled_from(OFFSETS), seed=st.integers(0, 2**64 - 1))
def test_blocks_draw_the_same_numbers_in_the_cells_they_share_and_others_elsewhere(
    i: int, k: int, offset: tuple[int, int], seed: int
) -> None:
    own, theirs = CellNoise([(i, k), moved((i, k), offset)], SHAPE, seed)(3)
    shared = known_from({offset: theirs}, SHAPE)
    where = shared.mask.expand(SHAPE)
    assert torch.equal(own[where], shared.latent[where])
    assert torch.isin(own[~where], theirs).float().mean() < 0.01


def test_noise_is_normal_and_independent_of_plane_draw_channel_and_seed() -> None:
    blocks = list(itertools.product(range(-3, 3), range(-3, 3)))
    draws = torch.stack([CellNoise(blocks, SHAPE, seed)(draw) for seed in (1, 2, 2**40) for draw in (0, 1)])
    flat = draws.transpose(0, 2).flatten(2).transpose(0, 1).flatten(0, 1).double()  # [planes x channels.., N]
    assert abs(float(flat.mean())) < 0.02 and abs(float(flat.std()) - 1) < 0.02
    assert abs(float((flat**4).mean()) - 3) < 0.15
    rows = draws.movedim((2, 3), (1, 2)).flatten(0, 2).flatten(1).double()  # seed and draw, plane, channel
    correlation = torch.corrcoef(rows) - torch.eye(len(rows))
    assert float(correlation.abs().max()) < 0.12


def test_a_block_draws_the_same_alone_and_among_others() -> None:
    blocks = [(0, 0), (-7, 3), (2**15, -(2**15))]
    together = CellNoise(blocks, SHAPE, 9)(4)
    for number, block in enumerate(blocks):
        assert torch.equal(CellNoise([block], SHAPE, 9)(4)[0], together[number])


def test_cells_of_the_world_go_on_from_block_to_block() -> None:
    here, right = world_cells((-1, 0), 8), world_cells((0, 0), 8)
    assert np.array_equal(here[1, :, 6:], right[1, :, :2])  # ground plane: the last two columns
    assert here[1, 3, 0].tolist() == [-6, 3, 0]
    assert not np.array_equal(here[2], right[2])  # yz leaves out x


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=30))
def test_blocks_of_one_wave_do_not_touch_and_every_block_has_one(blocks: list[tuple[int, int]]) -> None:
    waves = in_waves(blocks)
    assert sorted(block for wave in waves for block in wave) == sorted(set(blocks))
    for wave in waves:
        assert not any(moved(block, offset) in wave for block in wave for offset in OFFSETS)
        assert len({wave_of(block) for block in wave}) == 1


def test_waves_come_in_order_of_parity() -> None:
    assert in_waves([(1, 1), (-2, 1), (3, -4), (0, 0), (-2, 0)]) == [[(-2, 0), (0, 0)], [(3, -4)], [(-2, 1)], [(1, 1)]]


def test_a_block_goes_by_earlier_actions_and_earlier_waves_of_its_own() -> None:
    new = {(1, 0), (1, 1), (0, 0), (0, 1)}
    assert goes_by((0, 0), (), new) == []
    assert goes_by((1, 0), (), new) == [(-1, 0)]
    assert set(goes_by((0, 1), (), new)) == {(0, -1), (1, -1)}
    assert set(goes_by((1, 1), (), new)) == {(-1, 0), (0, -1), (-1, -1)}
    assert set(goes_by((0, 0), {(1, 0), (-1, -1), (5, 5)}, {(0, 0)})) == {(1, 0), (-1, -1)}
    assert goes_by((0, 0), {(1, 0)}, {(0, 0), (1, 0)}) == [], "a block that is made anew later counts in its new form"
