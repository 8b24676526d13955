"""Small fully connected networks (no bias, ReLU between layers) as one operator.

The layout of tiny-cuda-nn's fused networks: weight k is [width_k, width_k+1], all in one flat tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import with_tinycudann
from .accelerators import HALF, accelerator, halves_are_faster
from .engine import LIBRARY, expect, launch, native_for

MAX_WIDTH = 128  # wider networks are left to the BLAS, but by AMX
_KEEPERS = ("cuda",)  # keep hidden activations for the backward pass; others compute them again, which is faster there


def weight_count(widths: Sequence[int]) -> int:
    """Parameters of a network with these widths, input first."""
    return sum(a * b for a, b in pairwise(widths))


def split_weights(weights: Tensor, widths: Sequence[int]) -> list[Tensor]:
    """The matrices [width_k, width_k+1] inside the flat weights."""
    sizes = [a * b for a, b in pairwise(widths)]
    parts = torch.split(weights, sizes)
    return [part.view(a, b) for part, a, b in zip(parts, widths[:-1], widths[1:], strict=True)]


def mlp(x: Tensor, weights: Tensor, widths: Sequence[int]) -> Tensor:
    """Network output [N, widths[-1]] of x [N, widths[0]]; `weights` is flat, `weight_count(widths)` long."""
    widths = tuple(int(width) for width in widths)
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"mlp: widths {widths}, expected at least two positive numbers")
    x = expect("mlp", "x", x, (-1, widths[0]))
    weights = expect("mlp", "weights", weights, (weight_count(widths),), x)
    suits_halves = max(widths) <= MAX_WIDTH or (x.device.type == "cpu" and halves_are_faster())
    if suits_halves and accelerator(HALF, x) is not None:
        return torch.ops.fieldscape.mlp_half(x, weights, widths)
    tcnn = accelerator("tinycudann", x) if with_tinycudann.suits_network(widths) else None
    if tcnn is not None:
        return with_tinycudann.mlp(tcnn, x, split_weights(weights, widths))
    if max(widths) > MAX_WIDTH or not native_for(x.device):
        return mlp_reference(x, weights, widths)
    differentiated = torch.is_grad_enabled() and (x.requires_grad or weights.requires_grad)
    return torch.ops.fieldscape.mlp(x, weights, widths, differentiated and x.device.type in _KEEPERS)[0]


def mlp_reference(x: Tensor, weights: Tensor, widths: Sequence[int]) -> Tensor:
    """The specification of `mlp`, in plain PyTorch; differentiable any number of times."""
    matrices = split_weights(weights, widths)
    for matrix in matrices[:-1]:
        x = torch.relu(x @ matrix)
    return x @ matrices[-1]


LIBRARY.define("mlp(Tensor x, Tensor weights, int[] widths, bool keep_hidden) -> (Tensor, Tensor)")
LIBRARY.define(
    "mlp_backward(Tensor x, Tensor weights, Tensor hidden, Tensor gy, int[] widths, bool for_x) -> (Tensor, Tensor)"
)


def _widths(widths: Sequence[int]) -> np.ndarray:
    return np.asarray(widths, dtype=np.int32)


def _forward(x: Tensor, weights: Tensor, widths: Sequence[int], keep_hidden: bool) -> tuple[Tensor, Tensor]:
    y = x.new_empty(x.shape[0], widths[-1])
    hidden = x.new_empty(x.shape[0] * sum(widths[1:-1]) if keep_hidden else 0)
    shape = _widths(widths)
    launch(
        "mlp_forward",
        x.device,
        x,
        weights,
        shape.ctypes.data,
        len(widths) - 1,
        x.shape[0],
        y,
        hidden if keep_hidden else None,
    )
    return y, hidden


def _backward(
    x: Tensor, weights: Tensor, hidden: Tensor, gy: Tensor, widths: Sequence[int], for_x: bool
) -> tuple[Tensor, Tensor]:
    gweights = torch.empty_like(weights)
    gx = torch.empty_like(x) if for_x else x.new_empty(0)
    shape = _widths(widths)
    launch(
        "mlp_backward",
        x.device,
        x,
        weights,
        hidden,
        gy.contiguous(),
        shape.ctypes.data,
        len(widths) - 1,
        x.shape[0],
        gweights,
        gx if for_x else None,
    )
    return gweights, gx


for _device in ("CPU", "CUDA"):
    LIBRARY.impl("mlp", _forward, _device)
    LIBRARY.impl("mlp_backward", _backward, _device)


@torch.library.register_fake("fieldscape::mlp", lib=LIBRARY)
def _(x: Tensor, weights: Tensor, widths: Sequence[int], keep_hidden: bool) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[0], widths[-1]), x.new_empty(x.shape[0] * sum(widths[1:-1]) if keep_hidden else 0)


@torch.library.register_fake("fieldscape::mlp_backward", lib=LIBRARY)
def _(
    x: Tensor, weights: Tensor, hidden: Tensor, gy: Tensor, widths: Sequence[int], for_x: bool
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(weights), torch.empty_like(x) if for_x else x.new_empty(0)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weights, ctx.widths, _ = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(x, weights, output[1])


def _differentiate(ctx: Any, gy: Tensor, _: Tensor | None) -> tuple[Any, ...]:
    x, weights, hidden = ctx.saved_tensors
    if torch.is_grad_enabled():
        return *differentiable_gradients(ctx, x, weights, gy), None, None
    gweights, gx = torch.ops.fieldscape.mlp_backward(x, weights, hidden, gy, ctx.widths, ctx.needs_input_grad[0])
    return gx if ctx.needs_input_grad[0] else None, gweights, None, None


def differentiable_gradients(ctx: Any, x: Tensor, weights: Tensor, gy: Tensor) -> list[Tensor | None]:
    """Those of x and weights where a gradient of them is wanted: a graph of plain operations."""
    with torch.enable_grad():
        y = mlp_reference(x, weights, ctx.widths)
    wanted = [t for t, need in zip((x, weights), ctx.needs_input_grad[:2], strict=True) if need]
    grads = iter(torch.autograd.grad(y, wanted, gy, create_graph=True))
    return [next(grads) if need else None for need in ctx.needs_input_grad[:2]]


torch.library.register_autograd("fieldscape::mlp", _differentiate, setup_context=_remember, lib=LIBRARY)
