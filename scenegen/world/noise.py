"""Noise that belongs to places of the world: blocks that share a cell draw the same numbers there, in any order.

Counter-based: Philox 4x32-10 (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3"), so that no draw
depends on another one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fields.planes import PLANE_AXES

from .neighbours import Index, overlap_cells

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)  # what the two key words grow by in every round
_ROUNDS = 10
_WORD = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


class CellNoise:
    """Standard normal numbers of the latent cells of some blocks.

    `noise(n)` is draw n, [B, 3, c, r, r]: a pure function of seed, plane, world cell, channel and n.
    """

    def __init__(self, indices: Sequence[Index], shape: tuple[int, ...], seed: int) -> None:
        """`shape` (3, c, r, r) is that of one block's latents; 0 <= seed < 2**64."""
        self._channels, self._seed = shape[1], seed
        self._cells = np.stack([world_cells(index, shape[-1]) for index in indices])  # [B, 3, r, r, 3]

    def __call__(self, draw: int) -> Tensor:
        groups = -(-self._channels // 4)  # Philox gives four numbers at a time
        size, _, r, _, _ = self._cells.shape
        counters = np.empty((size, 3, groups, r, r, 4), np.uint64)
        counters[..., :3] = self._cells[:, :, None] & 0xFFFFFFFF
        plane, group = np.arange(3)[:, None, None, None], np.arange(groups)[:, None, None]
        counters[..., 3] = (draw * groups + group) * 3 + plane
        numbers = _normal(philox(counters, self._seed))  # [B, 3, G, r, r, 4]
        channels = np.moveaxis(numbers, -1, 3).reshape(size, 3, 4 * groups, r, r)[:, :, : self._channels]
        return torch.from_numpy(channels.astype(np.float32))


def world_cells(index: Index, resolution: int) -> NDArray[np.int64]:
    """Which cell of the world each latent cell of a block is, [3, r, r, 3]: column, row, and the block along the
    axis that the plane leaves out. Blocks share a cell of a plane where all three are equal."""
    stride = resolution - overlap_cells(resolution)
    start, block = (index[0] * stride, 0, index[1] * stride), (index[0], 0, index[1])
    cells = np.empty((3, resolution, resolution, 3), np.int64)
    steps = np.arange(resolution)
    for plane, (across, down) in enumerate(PLANE_AXES):
        cells[plane, ..., 0] = start[across] + steps
        cells[plane, ..., 1] = start[down] + steps[:, None]
        cells[plane, ..., 2] = block[3 - across - down]
    return cells


def philox(counters: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Random words of 32 bits for counters [..., 4] of four such words, under a key of 64 bits."""
    a, b, c, d = (counters[..., n] for n in range(4))
    key = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(_ROUNDS):
        first, second = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, b = (second >> _HALF) ^ b ^ np.uint64(key[0]), second & _WORD
        c, d = (first >> _HALF) ^ d ^ np.uint64(key[1]), first & _WORD
        key = [(word + step) & 0xFFFFFFFF for word, step in zip(key, _WEYL, strict=True)]
    return np.stack((a, b, c, d), axis=-1)


def _normal(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Box and Muller's transform of words [..., 4], in pairs."""
    uniform = (words + 0.5) * 2.0**-32  # in (0, 1)
    radius, angle = np.sqrt(-2 * np.log(uniform[..., :2])), 2 * np.pi * uniform[..., 2:]
    return np.concatenate((radius * np.cos(angle), radius * np.sin(angle)), axis=-1)
