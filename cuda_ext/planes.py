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

from .engine import expect, launch, native_for
from .lookup import Lookup

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


def _launch(
    kernel: str, u: Tensor, inputs: tuple[Tensor | None, ...], outputs: tuple[Any, ...], *key: Any, channels: int
) -> None:
    sizes = np.asarray(key[0], dtype=np.int32)
    launch(kernel, u.device, u, *inputs, sizes.ctypes.data, key[1], channels, u.shape[0], *outputs)


def _forward(u: Tensor, table: Tensor, y: Tensor, *key: Any) -> None:
    _launch("plane_lookup_forward", u, (table,), (y,), *key, channels=y.shape[-1])


def _backward(u: Tensor, table: Tensor | None, gy: Tensor, gtable: Tensor | None, gu: Tensor | None, *key: Any) -> None:
    _launch("plane_lookup_backward", u, (table, gy), (gtable, gu), *key, channels=gy.shape[-1])


def _second(
    u: Tensor, table: Tensor, gy: Tensor, ggu: Tensor, ggy: Tensor, gtable: Tensor | None, gu: Tensor, *key: Any
) -> None:
    _launch("plane_lookup_backward_backward", u, (table, gy, ggu), (ggy, gtable, gu), *key, channels=gy.shape[-1])


Lookup(
    "plane_lookup",
    "int[] sizes, int dims",
    lambda table, *key: (3, table.shape[1]),
    _forward,
    _backward,
    _second,
).register()
