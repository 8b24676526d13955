"""Three planes or three lines over the unit cube: the factors of TensoRF, and tri-planes.

Chan et al. 2022, "Efficient Geometry-aware 3D Generative Adversarial Networks", section 3.2; Chen et al.
2022, "TensoRF", section 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .engine import LIBRARY, expect, launch, native_for

# Plane p has its columns along the first of these axes and its rows along the second; line p runs along
# the axis that plane p leaves out.
PLANE_AXES = ((0, 1), (0, 2), (1, 2))
LINE_AXES = (2, 1, 0)

_MAX_SIZE = 1 << 15


def triplane_lookup(
    planes: Tensor, u: Tensor, sink: Tensor | None = None, sizes: Sequence[tuple[int, int]] | None = None
) -> Tensor:
    """Bilinear features [N, 3, C] of `planes` [3, H, W, C] at positions u [N, 3] in [0, 1].

    The outer vertices lie on the cube's faces; positions outside have the border's features, NaN the lower
    border's, and no gradient there. Planes of different sizes come one after another as [rows, C], with
    their (height, width) in `sizes`. With a `sink` shaped like `planes`, their gradient is added to it in
    place, and autograd sees none. Differentiable twice in `u`.
    """
    if sizes is None:
        expect("triplane_lookup", "planes", planes, (3, -1, -1, -1))
        sizes = [(planes.shape[1], planes.shape[2])] * 3
    return _lookup("triplane_lookup", planes, u, sink, [tuple(size) for size in sizes])


def line_lookup(lines: Tensor, u: Tensor, sink: Tensor | None = None, sizes: Sequence[int] | None = None) -> Tensor:
    """Linear features [N, 3, C] of `lines` [3, R, C] along `LINE_AXES` at positions u [N, 3] in [0, 1].

    The contract of `triplane_lookup`; lines of different lengths come as [rows, C] with their `sizes`.
    """
    if sizes is None:
        expect("line_lookup", "lines", lines, (3, -1, -1))
        sizes = [lines.shape[1]] * 3
    return _lookup("line_lookup", lines, u, sink, [(size,) for size in sizes])


def _lookup(name: str, factors: Tensor, u: Tensor, sink: Tensor | None, sizes: list[tuple[int, ...]]) -> Tensor:
    if len(sizes) != 3 or any(not 1 <= n <= _MAX_SIZE for size in sizes for n in size):
        raise ValueError(f"{name}: sizes {sizes}, expected three of 1 to {_MAX_SIZE}")
    channels = factors.shape[-1]
    if channels < 1:
        raise ValueError(f"{name}: factors without channels")
    rows = sum(math.prod(size) for size in sizes)
    u = expect(name, "u", u, (-1, 3))
    table = expect(name, "factors", factors.reshape(-1, channels), (rows, channels), u)
    if sink is not None:
        if not sink.is_contiguous():
            raise ValueError(f"{name}: sink must be contiguous")
        sink = expect(name, "sink", sink.view(-1, channels), (rows, channels), u)
    if not native_for(u.device):
        return plane_lookup_reference(u, table, sizes)
    flat = [n for size in sizes for n in size]
    return torch.ops.fieldscape.plane_lookup(u, table, sink, flat, len(sizes[0]))


def plane_lookup_reference(u: Tensor, table: Tensor, sizes: Sequence[tuple[int, ...]]) -> Tensor:
    """The specification of both, in plain PyTorch: `table` [rows, C], sizes (height, width) or (length,)."""
    columns, first = [], 0
    for p, size in enumerate(sizes):
        axis = PLANE_AXES[p][1] if len(size) == 2 else LINE_AXES[p]
        row, weight = along(u[:, axis], size[0])  # [N, 2] each: lower and upper vertex
        if len(size) == 2:
            column, across = along(u[:, PLANE_AXES[p][0]], size[1])
            row = (row[:, :, None] * size[1] + column[:, None, :]).flatten(1)
            weight = (weight[:, :, None] * across[:, None, :]).flatten(1)
        corners = torch.nn.functional.embedding(row + first, table)
        columns.append((weight[:, :, None] * corners).sum(dim=1))
        first += math.prod(size)
    return torch.stack(columns, dim=1)


def along(u: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The two of `size` vertices around u [N], and their weights: both [N, 2]."""
    position = u.nan_to_num(0.0).clamp(0, 1) * (size - 1)
    cell = position.detach().to(torch.int64).clamp(max=max(size - 2, 0))
    fraction = position - cell
    return torch.stack([cell, (cell + 1).clamp(max=size - 1)], 1), torch.stack([1 - fraction, fraction], 1)


LIBRARY.define("plane_lookup(Tensor u, Tensor table, Tensor? sink, int[] sizes, int dims) -> Tensor")
LIBRARY.define(
    "plane_lookup_backward(Tensor u, Tensor table, Tensor? sink, Tensor gy, bool for_table,"
    " bool for_u, int[] sizes, int dims) -> (Tensor, Tensor)"
)
LIBRARY.define("plane_lookup_scatter_(Tensor u, Tensor gy, Tensor(a!) sink, int[] sizes, int dims) -> ()")


def _sizes(sizes: Sequence[int]) -> np.ndarray:
    return np.asarray(sizes, dtype=np.int32)


def _forward(u: Tensor, table: Tensor, sink: Tensor | None, sizes: Sequence[int], dims: int) -> Tensor:
    y = u.new_empty(u.shape[0], 3, table.shape[1])
    shape = _sizes(sizes)
    launch("plane_lookup_forward", u.device, u, table, shape.ctypes.data, dims, table.shape[1], u.shape[0], y)
    return y


def _backward(
    u: Tensor,
    table: Tensor,
    sink: Tensor | None,
    gy: Tensor,
    for_table: bool,
    for_u: bool,
    sizes: Sequence[int],
    dims: int,
) -> tuple[Tensor, Tensor]:
    gtable = torch.zeros_like(table) if for_table else table.new_empty(0)
    gu = torch.empty_like(u) if for_u else u.new_empty(0)
    shape = _sizes(sizes)
    launch(
        "plane_lookup_backward",
        u.device,
        u,
        table,
        gy.contiguous(),
        shape.ctypes.data,
        dims,
        table.shape[1],
        u.shape[0],
        gtable if for_table else None,
        gu if for_u else None,
    )
    return gtable, gu


def _scatter(u: Tensor, gy: Tensor, sink: Tensor, sizes: Sequence[int], dims: int) -> None:
    shape = _sizes(sizes)
    launch(
        "plane_lookup_backward",
        u.device,
        u,
        None,
        gy.contiguous(),
        shape.ctypes.data,
        dims,
        sink.shape[1],
        u.shape[0],
        sink,
        None,
    )


for _device in ("CPU", "CUDA"):
    LIBRARY.impl("plane_lookup", _forward, _device)
    LIBRARY.impl("plane_lookup_backward", _backward, _device)
    LIBRARY.impl("plane_lookup_scatter_", _scatter, _device)


@torch.library.register_fake("fieldscape::plane_lookup", lib=LIBRARY)
def _(u: Tensor, table: Tensor, sink: Tensor | None, sizes: Sequence[int], dims: int) -> Tensor:
    return u.new_empty(u.shape[0], 3, table.shape[1])


@torch.library.register_fake("fieldscape::plane_lookup_backward", lib=LIBRARY)
def _(
    u: Tensor,
    table: Tensor,
    sink: Tensor | None,
    gy: Tensor,
    for_table: bool,
    for_u: bool,
    sizes: Sequence[int],
    dims: int,
) -> tuple[Tensor, Tensor]:
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
        torch.ops.fieldscape.plane_lookup_scatter_(u, gy, ctx.sink, *ctx.key)
        for_table = False
    gtable = gu = None
    if for_table or for_u:
        gtable, gu = torch.ops.fieldscape.plane_lookup_backward(u, table, ctx.sink, gy, for_table, for_u, *ctx.key)
    return gu if for_u else None, gtable if for_table else None, None, None, None


def _remember_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    u, table, ctx.sink, gy, _, ctx.for_u, *ctx.key = inputs
    ctx.save_for_backward(u, table, gy)


def _differentiate_backward(ctx: Any, ggtable: Tensor | None, ggu: Tensor | None) -> tuple[Any, ...]:
    """Second order through the position gradient; the table gradient's own is linear and unused."""
    u, table, gy = ctx.saved_tensors
    if not ctx.for_u or ggu is None:
        return (None,) * 8
    ggy, gu = torch.empty_like(gy, memory_format=torch.contiguous_format), torch.empty_like(u)
    gtable = torch.zeros_like(table) if ctx.sink is None else ctx.sink
    sizes, dims = _sizes(ctx.key[0]), ctx.key[1]
    launch(
        "plane_lookup_backward_backward",
        u.device,
        u,
        table,
        gy.contiguous(),
        ggu.contiguous(),
        sizes.ctypes.data,
        dims,
        table.shape[1],
        u.shape[0],
        ggy,
        gtable if ctx.needs_input_grad[1] else None,
        gu,
    )
    return gu, None if ctx.sink is not None else gtable, None, ggy, None, None, None, None


torch.library.register_autograd("fieldscape::plane_lookup", _differentiate, setup_context=_remember, lib=LIBRARY)
torch.library.register_autograd(
    "fieldscape::plane_lookup_backward", _differentiate_backward, setup_context=_remember_backward, lib=LIBRARY
)
