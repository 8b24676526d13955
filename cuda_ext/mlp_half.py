"""`mlp` in half precision, chosen with `using("half")`: fp16 on a GPU's matrix units, bfloat16 on a CPU.

Inputs, weights, activations and gradients are rounded to halves before they are multiplied; sums, parameters and
results are in single precision. The backward pass computes the hidden activations again, which is cheaper than to
keep them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .engine import LIBRARY, launch
from .mlp import differentiable_gradients

LIBRARY.define("mlp_half(Tensor x, Tensor weights, int[] widths) -> Tensor")
LIBRARY.define("mlp_half_backward(Tensor x, Tensor weights, Tensor gy, int[] widths, bool for_x) -> (Tensor, Tensor)")


def _forward(x: Tensor, weights: Tensor, widths: Sequence[int]) -> Tensor:
    y, shape = x.new_empty(x.shape[0], widths[-1]), np.asarray(widths, dtype=np.int32)
    launch("mlp_half_forward", x.device, x, weights, shape.ctypes.data, len(widths) - 1, x.shape[0], y)
    return y


def _backward(x: Tensor, weights: Tensor, gy: Tensor, widths: Sequence[int], for_x: bool) -> tuple[Tensor, Tensor]:
    gweights, shape = torch.empty_like(weights), np.asarray(widths, dtype=np.int32)
    gx = torch.empty_like(x) if for_x else x.new_empty(0)
    inputs = x, weights, gy.contiguous(), shape.ctypes.data, len(widths) - 1, x.shape[0]
    launch("mlp_half_backward", x.device, *inputs, gweights, gx if for_x else None)
    return gweights, gx


for _device in ("CPU", "CUDA"):
    LIBRARY.impl("mlp_half", _forward, _device)
    LIBRARY.impl("mlp_half_backward", _backward, _device)


@torch.library.register_fake("fieldscape::mlp_half", lib=LIBRARY)
def _(x: Tensor, weights: Tensor, widths: Sequence[int]) -> Tensor:
    return x.new_empty(x.shape[0], widths[-1])


@torch.library.register_fake("fieldscape::mlp_half_backward", lib=LIBRARY)
def _(x: Tensor, weights: Tensor, gy: Tensor, widths: Sequence[int], for_x: bool) -> tuple[Tensor, Tensor]:
    return torch.empty_like(weights), torch.empty_like(x) if for_x else x.new_empty(0)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weights, ctx.widths = inputs
    ctx.save_for_backward(x, weights)


def _differentiate(ctx: Any, gy: Tensor) -> tuple[Any, ...]:
    x, weights = ctx.saved_tensors
    if torch.is_grad_enabled():
        return *differentiable_gradients(ctx, x, weights, gy), None
    gweights, gx = torch.ops.fieldscape.mlp_half_backward(x, weights, gy, ctx.widths, ctx.needs_input_grad[0])
    return gx if ctx.needs_input_grad[0] else None, gweights, None


torch.library.register_autograd("fieldscape::mlp_half", _differentiate, setup_context=_remember, lib=LIBRARY)
