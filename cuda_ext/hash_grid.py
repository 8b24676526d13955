"""Multiresolution hash grid: features of a position, interpolated at every level.

Mueller et al. 2022, "Instant Neural Graphics Primitives", section 3, equations 2 to 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import with_tinycudann
from .accelerators import HALF, accelerator
from .engine import expect, launch, native_for
from .lookup import Lookup

_PRIMES = (1, 2654435761, 805459861)
_HALF_TABLES = ("cuda",)  # devices with kernels for tables of halves
_ALIGN = 512  # entries: every level starts on its own cache lines
_LEVEL = np.dtype(
    [("scale", "f4"), ("resolution", "u4"), ("size", "u4"), ("hashed", "u4"), ("offset", "i8")], align=True
)


@dataclass(frozen=True)
class HashGrid:
    """Shape of a hash grid: L levels of F features from `coarsest` to `finest` cells along an axis."""

    levels: int = 16
    features: int = 2
    log2_entries: int = 19
    coarsest: float = 16.0
    finest: float = 2048.0

    def __post_init__(self) -> None:
        if not 1 <= self.levels <= 32 or self.features not in (1, 2, 4, 8) or not 4 <= self.log2_entries <= 24:
            raise ValueError("hash grid: levels in 1..32, features 1, 2, 4 or 8, log2_entries in 4..24")
        if not 1 < self.coarsest <= self.finest <= 2**20:
            raise ValueError("hash grid: 1 < coarsest <= finest <= 2^20")

    @cached_property
    def table(self) -> np.ndarray:
        """One record for each level, as the kernels read it."""
        growth = math.log(self.finest / self.coarsest) / max(1, self.levels - 1)
        records, offset = np.zeros(self.levels, _LEVEL), 0
        for level in range(self.levels):
            scale = self.coarsest * math.exp(growth * level) - 1
            resolution = math.ceil(scale) + 2
            hashed = resolution**3 > 2**self.log2_entries
            size = 2**self.log2_entries if hashed else -(-(resolution**3) // _ALIGN) * _ALIGN
            records[level] = (scale, resolution, size, hashed, offset)
            offset += size
        return records

    @property
    def entries(self) -> int:
        """Rows of the table: its tensor is [entries, F]."""
        return int(self.table["offset"][-1] + self.table["size"][-1])

    @property
    def width(self) -> int:
        """Output features, L * F."""
        return self.levels * self.features

    @property
    def key(self) -> tuple[int, int, int, float, float]:
        """What operators are told of the grid."""
        return self.levels, self.features, self.log2_entries, self.coarsest, self.finest


def hash_grid(u: Tensor, table: Tensor, grid: HashGrid, sink: Tensor | None = None) -> Tensor:
    """Interpolated features [N, L * F] at positions u [N, 3] in [0, 1] (outside: the border's).

    `table` is [entries, F] float32. With a `sink` of the same shape, the table's gradient is added
    to it in place, and autograd sees none: an optimiser that zeroes as it goes then needs no
    table-sized temporary. Differentiable twice in `u`.

    With `using("half")` a GPU reads the table rounded to halves, where `u` wants no gradient.
    """
    u = expect("hash_grid", "u", u, (-1, 3))
    table = expect("hash_grid", "table", table, (grid.entries, grid.features), u)
    if sink is not None:
        expect("hash_grid", "sink", sink, (grid.entries, grid.features), u)
        if not sink.is_contiguous():
            raise ValueError("hash_grid: sink is not contiguous")
    tcnn = accelerator("tinycudann", u)
    if tcnn is not None:
        return with_tinycudann.hash_grid(tcnn, u, table, grid)
    if not native_for(u.device):
        return hash_grid_reference(u, table, grid)
    if u.device.type in _HALF_TABLES and not u.requires_grad and accelerator(HALF, u) is not None:
        return _FromHalves.apply(u, table, sink, grid.key)
    return torch.ops.fieldscape.hash_grid(u, table, sink, *grid.key)


class _FromHalves(torch.autograd.Function):
    """Half the traffic; gradients go to the table itself, in single precision."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, table: Tensor, sink: Tensor | None, key: tuple[Any, ...]) -> Tensor:
        ctx.save_for_backward(u, table)
        ctx.sink, ctx.key = sink, key
        y = u.new_empty(len(u), key[0] * key[1])
        _launch("hash_grid_half_forward", u, (table.half(),), (y,), *key)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        u, table = ctx.saved_tensors
        into = torch.zeros_like(table) if ctx.sink is None else ctx.sink
        torch.ops.fieldscape.hash_grid_scatter_(u, gy, into, *ctx.key)
        return None, into if ctx.sink is None else None, None, None


def hash_grid_reference(u: Tensor, table: Tensor, grid: HashGrid) -> Tensor:
    """The specification of `hash_grid`, in plain PyTorch."""
    columns = []
    u = u.nan_to_num(0.0).clamp(0, 1)
    for scale, resolution, size, hashed, offset in grid.table.tolist():
        position = u * scale + 0.5
        cell = position.detach().to(torch.int64)  # truncation is floor: positions are positive
        fraction = position - cell
        total = torch.zeros(u.shape[0], grid.features, dtype=table.dtype, device=u.device)
        for corner in range(8):
            bits = torch.tensor([corner >> k & 1 for k in range(3)], device=u.device)
            vertex = cell + bits
            if hashed:
                mixed = [vertex[:, k] * _PRIMES[k] & 0xFFFFFFFF for k in range(3)]
                entry = (mixed[0] ^ mixed[1] ^ mixed[2]) & (size - 1)
            else:
                entry = (vertex[:, 2] * resolution + vertex[:, 1]) * resolution + vertex[:, 0]
            weight = torch.where(bits.bool(), fraction, 1 - fraction).prod(dim=1, keepdim=True)
            total = total + weight * torch.nn.functional.embedding(entry + offset, table)
        columns.append(total)
    return torch.cat(columns, dim=1)


@lru_cache(maxsize=64)
def _grid(*key: Any) -> HashGrid:
    return HashGrid(*key)


@lru_cache(maxsize=64)
def level_records(device: torch.device, *key: Any) -> Tensor:
    """`HashGrid.table` of a grid with this `key`, as bytes on the device."""
    return torch.from_numpy(_grid(*key).table.view(np.uint8).copy()).to(device)


def _launch(kernel: str, u: Tensor, inputs: tuple[Tensor | None, ...], outputs: tuple[Any, ...], *key: Any) -> None:
    launch(kernel, u.device, u, *inputs, level_records(u.device, *key), key[0], key[1], u.shape[0], *outputs)


def _forward(u: Tensor, table: Tensor, y: Tensor, *key: Any) -> None:
    _launch("hash_grid_forward", u, (table,), (y,), *key)


def _backward(u: Tensor, table: Tensor | None, gy: Tensor, gtable: Tensor | None, gu: Tensor | None, *key: Any) -> None:
    _launch("hash_grid_backward", u, (table, gy), (gtable, gu), *key)


def _second(
    u: Tensor, table: Tensor, gy: Tensor, ggu: Tensor, ggy: Tensor, gtable: Tensor | None, gu: Tensor, *key: Any
) -> None:
    _launch("hash_grid_backward_backward", u, (table, gy, ggu), (ggy, gtable, gu), *key)


Lookup(
    "hash_grid",
    "int levels, int features, int log2_entries, float coarsest, float finest",
    lambda table, *key: (key[0] * key[1],),
    _forward,
    _backward,
    _second,
).register()
