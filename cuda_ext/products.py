"""Products of planes and lines over the unit cube: the components of TensoRF (Chen et al. 2022, section 4.1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .engine import expect, launch, native_for
from .planes import line_lookup, triplane_lookup


def product_lookup(
    lines: Tensor,
    u: Tensor,
    planes: Tensor | None = None,
    line_sink: Tensor | None = None,
    plane_sink: Tensor | None = None,
) -> Tensor:
    """Products of factors at positions u [N, 3] in [0, 1].

    lines [3, R, C], planes [3, H, W, C] and sinks as in `line_lookup` and `triplane_lookup`. With planes, products
    [N, 3, C] of each with the line across it (vector-matrix factors); without, [N, C] of all three lines (CP).
    Where `u` wants no gradient, factors go from the lookups to their products within a core's registers.

    Raises:
        TypeError, ValueError: naming the argument.
    """
    differentiated = torch.is_grad_enabled() and u.requires_grad
    if differentiated or u.device.type != "cpu" or not native_for(u.device):
        line = line_lookup(lines, u, line_sink)
        if planes is None:
            z, y, x = line.unbind(1)
            return z * y * x
        return triplane_lookup(planes, u, plane_sink) * line
    u = expect("product_lookup", "u", u, (-1, 3))
    lines = expect("product_lookup", "lines", lines, (3, -1, -1), u)
    channels = lines.shape[-1]
    if planes is not None:
        planes = expect("product_lookup", "planes", planes, (3, -1, -1, channels), u)
    for factors, sink in ((lines, line_sink), (planes, plane_sink)):
        if sink is not None and (factors is None or sink.shape != factors.shape or not sink.is_contiguous()):
            raise ValueError("product_lookup: a sink must be contiguous and shaped like its factors")
    return _ProductLookup.apply(u, planes, lines, plane_sink, line_sink)


def _sizes(planes: Tensor | None, lines: Tensor) -> tuple[np.ndarray, np.ndarray]:
    of_plane = (0, 0) if planes is None else tuple(planes.shape[1:3])
    return np.asarray(of_plane * 3, dtype=np.int32), np.asarray([lines.shape[1]] * 3, dtype=np.int32)


class _ProductLookup(torch.autograd.Function):
    """The way back finds the factors again: reading their rows costs less than keeping what was found."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, planes: Tensor | None, lines: Tensor, plane_sink: Tensor | None, line_sink: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(u, planes, lines)
        ctx.sinks = plane_sink, line_sink
        sizes, channels = _sizes(planes, lines), lines.shape[-1]
        y = u.new_empty(len(u), channels) if planes is None else u.new_empty(len(u), 3, channels)
        pointers = [size.ctypes.data for size in sizes]
        launch("product_lookup_forward", u.device, u, planes, lines, *pointers, channels, len(u), y)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        u, planes, lines = ctx.saved_tensors
        _, for_planes, for_lines, *_ = ctx.needs_input_grad
        plane_sink, line_sink = ctx.sinks
        into_planes = _sum_into(planes, plane_sink) if for_planes else None
        into_lines = _sum_into(lines, line_sink) if for_lines else None
        sizes = _sizes(planes, lines)
        pointers = [size.ctypes.data for size in sizes]
        launch(
            "product_lookup_backward",
            u.device,
            u,
            planes,
            lines,
            gy.contiguous(),
            *pointers,
            lines.shape[-1],
            len(u),
            into_planes,
            into_lines,
        )
        return None, into_planes if plane_sink is None else None, into_lines if line_sink is None else None, None, None


def _sum_into(factors: Tensor, sink: Tensor | None) -> Tensor:
    return torch.zeros_like(factors) if sink is None else sink
