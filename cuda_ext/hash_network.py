"""A hash grid and the network behind it, in one pass where only their output is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .accelerators import HALF, accelerator
from .engine import LIBRARY, expect, launch, native_for
from .hash_grid import HashGrid, hash_grid, level_records
from .mlp import MAX_WIDTH, mlp, weight_count


def hash_network(
    u: Tensor, table: Tensor, grid: HashGrid, weights: Tensor, widths: Sequence[int], sink: Tensor | None = None
) -> Tensor:
    """`mlp(hash_grid(u, table, grid, sink), weights, widths)`: output [N, widths[-1]] at positions u [N, 3].

    Without gradients, features go from the grid to the network inside a core's cache and are never written to memory.

    Raises:
        TypeError, ValueError: naming the argument.
    """
    widths = tuple(int(width) for width in widths)
    if len(widths) < 2 or min(widths) < 1 or widths[0] != grid.width:
        raise ValueError(f"hash_network: widths {widths}, expected {grid.width} and more positive numbers")
    u = expect("hash_network", "u", u, (-1, 3))
    table = expect("hash_network", "table", table, (grid.entries, grid.features), u)
    weights = expect("hash_network", "weights", weights, (weight_count(widths),), u)
    differentiated = torch.is_grad_enabled() and any(t.requires_grad for t in (u, table, weights))
    if differentiated or u.device.type != "cpu" or max(widths) > MAX_WIDTH or not native_for(u.device):
        return mlp(hash_grid(u, table, grid, sink), weights, widths)
    half = accelerator(HALF, u) is not None
    return torch.ops.fieldscape.hash_network(u, table, weights, widths, half, *grid.key)


LIBRARY.define(
    "hash_network(Tensor u, Tensor table, Tensor weights, int[] widths, bool half, "
    "int levels, int features, int log2_entries, float coarsest, float finest) -> Tensor"
)


def _forward(u: Tensor, table: Tensor, weights: Tensor, widths: Sequence[int], half: bool, *key: Any) -> Tensor:
    y, shape = u.new_empty(u.shape[0], widths[-1]), np.asarray(widths, dtype=np.int32)
    levels = level_records(u.device, *key)
    network = weights, shape.ctypes.data, len(widths) - 1, int(half)
    launch("hash_network_forward", u.device, u, table, levels, key[0], key[1], *network, u.shape[0], y)
    return y


LIBRARY.impl("hash_network", _forward, "CPU")


@torch.library.register_fake("fieldscape::hash_network", lib=LIBRARY)
def _(u: Tensor, table: Tensor, weights: Tensor, widths: Sequence[int], half: bool, *key: Any) -> Tensor:
    return u.new_empty(u.shape[0], widths[-1])
