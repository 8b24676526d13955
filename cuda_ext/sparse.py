"""Sparse voxel grid behind a two-level index: memory follows the occupied blocks.

Fridovich-Keil et al. 2022, "Plenoxels: Radiance Fields without Neural Networks", section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .engine import expect, launch, native_for
from .lookup import Lookup
from .planes import along

BLOCK = 8  # vertices of a block along an axis


@dataclass(frozen=True)
class SparseIndex:
    """Which of the R^3 vertices of the unit cube (outer ones on its faces) have a row of values.

    `blocks` [B, B, B] int32, B = ceil(R / 8), indexed z, y, x, names a block of `slots` [K, 8, 8, 8] int32
    (same order), and a slot names the vertex's row. Entries that point nowhere mean: no vertex.
    """

    resolution: int
    blocks: Tensor
    slots: Tensor

    def __post_init__(self) -> None:
        if not 2 <= self.resolution <= 4096:
            raise ValueError(f"sparse index: resolution {self.resolution}, expected 2 to 4096")
        blocks = block_count(self.resolution)
        expect("sparse index", "blocks", self.blocks, (blocks, blocks, blocks), dtype=torch.int32)
        expect("sparse index", "slots", self.slots, (-1, BLOCK, BLOCK, BLOCK), self.blocks, torch.int32)

    @classmethod
    def of_vertices(cls, vertices: Tensor, resolution: int) -> SparseIndex:
        """Index of distinct `vertices` [V, 3] (x, y, z): row k belongs to vertices[k]."""
        side = block_count(resolution)
        within, block = vertices % BLOCK, vertices // BLOCK
        used, place = torch.unique(_flat(block, side), return_inverse=True)
        blocks = torch.full((side**3,), -1, dtype=torch.int32, device=vertices.device)
        blocks[used] = torch.arange(len(used), dtype=torch.int32, device=vertices.device)
        slots = torch.full((len(used), BLOCK**3), -1, dtype=torch.int32, device=vertices.device)
        rows = torch.arange(len(vertices), dtype=torch.int32, device=vertices.device)
        slots[place, _flat(within, BLOCK)] = rows
        return cls(resolution, blocks.view(side, side, side), slots.view(-1, BLOCK, BLOCK, BLOCK))

    def rows(self, vertices: Tensor, count: int) -> Tensor:
        """Rows [...] int64 below `count` of vertices [..., 3] inside the grid, -1 where there is none."""
        block = self.blocks.view(-1)[_flat(vertices // BLOCK, self.blocks.shape[0])].long()
        known = (block >= 0) & (block < self.slots.shape[0])
        if not self.slots.shape[0]:
            return torch.full_like(block, -1)
        slot = self.slots.view(-1)[block * known * BLOCK**3 + _flat(vertices % BLOCK, BLOCK)].long()
        return torch.where(known & (slot >= 0) & (slot < count), slot, -1)

    def vertices(self, count: int) -> Tensor:
        """Vertices [count, 3] int64 (x, y, z) by row: what the index was made of (0 for rows without one)."""
        found = torch.zeros(count, 3, dtype=torch.int64, device=self.blocks.device)
        block = ((self.blocks >= 0) & (self.blocks < self.slots.shape[0])).nonzero()  # z, y, x
        slots = self.slots[self.blocks[tuple(block.T)].long()]
        inside = ((slots >= 0) & (slots < count)).nonzero()  # block, z, y, x
        vertex = (block[inside[:, 0]] * BLOCK + inside[:, 1:]).flip(1)
        found[slots[tuple(inside.T)].long()] = vertex.clamp(max=self.resolution - 1)
        return found


def block_count(resolution: int) -> int:
    """Blocks along an axis."""
    return -(-resolution // BLOCK)


def _flat(vertex: Tensor, side: int) -> Tensor:
    x, y, z = vertex.unbind(-1)
    return (z * side + y) * side + x


def sparse_lookup(index: SparseIndex, values: Tensor, u: Tensor, empty: Tensor, sink: Tensor | None = None) -> Tensor:
    """Trilinear features [N, C] at positions u [N, 3] in [0, 1]; vertices without a row have `empty` [C].

    `values` is [V, C]. Positions outside have the border's features, NaN the lower border's, and no
    gradient there. With a `sink` shaped like `values`, their gradient is added to it in place, and autograd
    sees none. Differentiable twice in `u`; `empty` is a constant.
    """
    u = expect("sparse_lookup", "u", u, (-1, 3))
    values = expect("sparse_lookup", "values", values, (-1, -1), u)
    empty = expect("sparse_lookup", "empty", empty, (values.shape[1],), u)
    blocks = expect("sparse_lookup", "blocks", index.blocks, (-1, -1, -1), u, torch.int32)
    if sink is not None:
        expect("sparse_lookup", "sink", sink, tuple(values.shape), u)
        if not sink.is_contiguous():
            raise ValueError("sparse_lookup: sink must be contiguous")
    if not native_for(u.device):
        return sparse_lookup_reference(index, values, u, empty)
    return torch.ops.fieldscape.sparse_lookup(
        u, values, sink, empty, blocks, index.slots.contiguous(), index.resolution
    )


def sparse_lookup_reference(index: SparseIndex, values: Tensor, u: Tensor, empty: Tensor) -> Tensor:
    """The specification of `sparse_lookup`, in plain PyTorch."""
    vertex, weight = zip(*[along(u[:, k], index.resolution) for k in range(3)], strict=True)
    total = values.new_zeros(u.shape[0], values.shape[1])
    padded = torch.cat([values, empty[None].detach()])
    for corner in range(8):
        bits = [corner >> k & 1 for k in range(3)]
        row = index.rows(torch.stack([vertex[k][:, b] for k, b in enumerate(bits)], dim=1), values.shape[0])
        share = weight[0][:, bits[0]] * weight[1][:, bits[1]] * weight[2][:, bits[2]]
        row = torch.where(row < 0, values.shape[0], row)
        total = total + share[:, None] * torch.nn.functional.embedding(row, padded)
    return total


def _launch(
    kernel: str, u: Tensor, values: Tensor | None, given: tuple[Tensor, ...], outputs: tuple[Any, ...], *index: Any
) -> None:
    """`outputs` begin with what has the values' shape where there are no `values`."""
    empty, blocks, slots, resolution = index
    rows, channels = (outputs[0] if values is None else values).shape
    sizes = resolution, slots.shape[0], rows, channels, u.shape[0]
    launch(kernel, u.device, u, values, empty, blocks, slots, *given, *sizes, *outputs)


def _forward(u: Tensor, values: Tensor, y: Tensor, *index: Any) -> None:
    _launch("sparse_lookup_forward", u, values, (), (y,), *index)


def _backward(
    u: Tensor, values: Tensor | None, gy: Tensor, gvalues: Tensor | None, gu: Tensor | None, *index: Any
) -> None:
    _launch("sparse_lookup_backward", u, values, (gy,), (gvalues, gu), *index)


def _second(
    u: Tensor, values: Tensor, gy: Tensor, ggu: Tensor, ggy: Tensor, gvalues: Tensor | None, gu: Tensor, *index: Any
) -> None:
    _launch("sparse_lookup_backward_backward", u, values, (gy, ggu), (ggy, gvalues, gu), *index)


Lookup(
    "sparse_lookup",
    "Tensor empty, Tensor blocks, Tensor slots, int resolution",
    lambda values, *index: (values.shape[1],),
    _forward,
    _backward,
    _second,
).register()
