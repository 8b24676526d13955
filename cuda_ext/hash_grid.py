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
from .accelerators import accelerator
from .engine import LIBRARY, expect, launch, native_for

_PRIMES = (1, 2654435761, 805459861)
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
    def _key(self) -> tuple[int, int, int, float, float]:
        return self.levels, self.features, self.log2_entries, self.coarsest, self.finest


def hash_grid(u: Tensor, table: Tensor, grid: HashGrid, sink: Tensor | None = None) -> Tensor:
    """Interpolated features [N, L * F] at positions u [N, 3] in [0, 1] (outside: the border's).

    `table` is [entries, F] float32. With a `sink` of the same shape, the table's gradient is added
    to it in place, and autograd sees none: an optimiser that zeroes as it goes then needs no
    table-sized temporary. Differentiable twice in `u`.
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
    return torch.ops.fieldscape.hash_grid(u, table, sink, *grid._key)


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
def _levels(device: torch.device, *key: Any) -> Tensor:
    return torch.from_numpy(_grid(*key).table.view(np.uint8).copy()).to(device)


_SHAPE = "int levels, int features, int log2_entries, float coarsest, float finest"
LIBRARY.define(f"hash_grid(Tensor u, Tensor table, Tensor? sink, {_SHAPE}) -> Tensor")
LIBRARY.define(
    f"hash_grid_backward(Tensor u, Tensor table, Tensor gy, bool for_table, bool for_u, {_SHAPE}) -> (Tensor, Tensor)"
)
LIBRARY.define(f"hash_grid_scatter_(Tensor u, Tensor gy, Tensor(a!) sink, {_SHAPE}) -> ()")


def _forward(u: Tensor, table: Tensor, sink: Tensor | None, *key: Any) -> Tensor:
    y = u.new_empty(u.shape[0], key[0] * key[1])
    launch("hash_grid_forward", u.device, u, table, _levels(u.device, *key), key[0], key[1], u.shape[0], y)
    return y


def _backward(u: Tensor, table: Tensor, gy: Tensor, for_table: bool, for_u: bool, *key: Any) -> tuple[Tensor, Tensor]:
    gtable = torch.zeros_like(table) if for_table else table.new_empty(0)
    gu = torch.empty_like(u) if for_u else u.new_empty(0)
    launch(
        "hash_grid_backward",
        u.device,
        u,
        table,
        gy.contiguous(),
        _levels(u.device, *key),
        key[0],
        key[1],
        u.shape[0],
        gtable if for_table else None,
        gu if for_u else None,
    )
    return gtable, gu


def _scatter(u: Tensor, gy: Tensor, sink: Tensor, *key: Any) -> None:
    launch(
        "hash_grid_backward",
        u.device,
        u,
        None,
        gy.contiguous(),
        _levels(u.device, *key),
        key[0],
        key[1],
        u.shape[0],
        sink,
        None,
    )


for _device in ("CPU", "CUDA"):
    LIBRARY.impl("hash_grid", _forward, _device)
    LIBRARY.impl("hash_grid_backward", _backward, _device)
    LIBRARY.impl("hash_grid_scatter_", _scatter, _device)


@torch.library.register_fake("fieldscape::hash_grid", lib=LIBRARY)
def _(u: Tensor, table: Tensor, sink: Tensor | None, *key: Any) -> Tensor:
    return u.new_empty(u.shape[0], key[0] * key[1])


@torch.library.register_fake("fieldscape::hash_grid_backward", lib=LIBRARY)
def _(u: Tensor, table: Tensor, gy: Tensor, for_table: bool, for_u: bool, *key: Any) -> tuple[Tensor, Tensor]:
    return (
        torch.empty_like(table) if for_table else table.new_empty(0),
        torch.empty_like(u) if for_u else u.new_empty(0),
    )


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    u, table, ctx.sink, *ctx.key = inputs
    ctx.save_for_backward(u, table)


def _differentiate(ctx: Any, gy: Tensor) -> tuple[Any, ...]:
    u, table = ctx.saved_tensors
    for_u, for_table = ctx.needs_input_grad[:2]
    if ctx.sink is not None and for_table and not torch.is_grad_enabled():
        torch.ops.fieldscape.hash_grid_scatter_(u, gy, ctx.sink, *ctx.key)
        for_table = False
    gtable = gu = None
    if for_table or for_u:
        gtable, gu = torch.ops.fieldscape.hash_grid_backward(u, table, gy, for_table, for_u, *ctx.key)
    return gu if for_u else None, gtable if for_table else None, *[None] * 6


def _remember_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    u, table, gy, _, ctx.for_u, *ctx.key = inputs
    ctx.save_for_backward(u, table, gy)


def _differentiate_backward(ctx: Any, ggtable: Tensor | None, ggu: Tensor | None) -> tuple[Any, ...]:
    """Second order through the position gradient; the table gradient's own is linear and unused."""
    u, table, gy = ctx.saved_tensors
    if not ctx.for_u or ggu is None:
        return (None,) * 10
    ggy, gtable, gu = torch.empty_like(gy), torch.zeros_like(table), torch.empty_like(u)
    launch(
        "hash_grid_backward_backward",
        u.device,
        u,
        table,
        gy.contiguous(),
        ggu.contiguous(),
        _levels(u.device, *ctx.key),
        ctx.key[0],
        ctx.key[1],
        u.shape[0],
        ggy,
        gtable,
        gu,
    )
    return gu, gtable, ggy, *[None] * 7


torch.library.register_autograd("fieldscape::hash_grid", _differentiate, setup_context=_remember, lib=LIBRARY)
torch.library.register_autograd(
    "fieldscape::hash_grid_backward", _differentiate_backward, setup_context=_remember_backward, lib=LIBRARY
)
