"""The hash grid and small networks through tiny-cuda-nn, on parameters in our own layout.

Its kernels get our parameters at every call, in half precision, and autograd brings their gradients back; nothing is
stored in its layout, so a field fitted with it is a field like any other.

Where the two layouts differ: a dense level of its grids has `ceil(scale) + 1` vertices along an axis, though positions
`u * scale + 0.5` reach one vertex further, which then shares its entry with the next row's first. Ours has that vertex.
So each dense level of ours becomes a grid of its own there, with as many vertices as ours, and positions shrunk to fit:
`u * factor * (vertices - 1) + 0.5 = u * scale + 0.5`. Hashed levels have no rows, and come from one grid of all levels
whose dense ones are left at zero and not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import pad

if TYPE_CHECKING:
    from .hash_grid import HashGrid

MAX_FINEST = 4096  # beyond, its scales (powers in single precision) drift from ours by over 1/500 of a cell
MAX_LOG2_ENTRIES = 21  # beyond, its test for dense levels overflows 32 bits in some versions
HIDDEN_WIDTHS = (16, 32, 64, 128)
_TILE = 16  # rows and columns of its matrices are multiples of this
_ALIGN = 8  # entries of its dense levels are multiples of this


@dataclass(frozen=True)
class Part:
    """One grid of theirs: it serves our levels whose entries are `rows`, after `skipped` levels of its own."""

    config: dict[str, Any]
    factor: float  # of u
    rows: slice
    skipped: int = 0


def suits_grid(grid: HashGrid) -> bool:
    """Whether tiny-cuda-nn computes this grid to half precision."""
    return grid.finest <= MAX_FINEST and grid.log2_entries <= MAX_LOG2_ENTRIES


def suits_network(widths: Sequence[int]) -> bool:
    """Whether its fully fused network has this shape: equal hidden layers of a few widths."""
    hidden = set(widths[1:-1])
    return len(hidden) == 1 and hidden <= set(HIDDEN_WIDTHS)


def parts_of(grid: HashGrid) -> list[Part]:
    """The grids of theirs that together are ours, in the order of our levels.

    Raises:
        ValueError: the grid is too fine or too large.
    """
    if not suits_grid(grid):
        raise ValueError(
            f"tinycudann: finest {grid.finest:g}, log2_entries {grid.log2_entries}: "
            f"expected at most {MAX_FINEST} and {MAX_LOG2_ENTRIES}"
        )
    levels = grid.table.tolist()
    alone = _levels_alone(grid)
    parts = [_single(grid, *level) for level in levels[:alone]]
    if alone < grid.levels:
        growth = (grid.finest / grid.coarsest) ** (1 / max(1, grid.levels - 1))
        config = _config(grid, grid.levels, int(grid.coarsest), growth)
        parts.append(Part(config, 1.0, slice(levels[alone][-1], grid.entries), alone))
    return parts


def _levels_alone(grid: HashGrid) -> int:
    """How many of the first levels need a grid of their own: dense in theirs or ours, or not of their scales.

    They have one vertex less, and one less again where their scale rounds to just below a whole number.
    """
    if grid.coarsest != int(grid.coarsest):
        return grid.levels
    return sum((resolution - 2) ** 3 <= 2**grid.log2_entries for _, resolution, *_ in grid.table.tolist())


def _single(grid: HashGrid, scale: float, resolution: int, size: int, hashed: int, offset: int) -> Part:
    entries = size if hashed else min(-(-(resolution**3) // _ALIGN) * _ALIGN, 2**grid.log2_entries)
    return Part(_config(grid, 1, resolution, 1.0), scale / (resolution - 1), slice(offset, offset + entries))


def _config(grid: HashGrid, levels: int, base: int, growth: float) -> dict[str, Any]:
    return {
        "otype": "HashGrid",
        "n_levels": levels,
        "n_features_per_level": grid.features,
        "log2_hashmap_size": grid.log2_entries,
        "base_resolution": base,
        "per_level_scale": growth,
        "interpolation": "Linear",
    }


def hash_grid(tcnn: ModuleType, u: Tensor, table: Tensor, grid: HashGrid) -> Tensor:
    """As `cuda_ext.hash_grid`, without a sink: features [N, L * F] float32 at u [N, 3], to half precision."""
    u = u.nan_to_num(0.0).clamp(0, 1)
    served = _encodings(tcnn, grid, u.device)
    ends = [*[part.rows.start for part, _, _ in served], grid.entries]
    sections = table.split([b - a for a, b in pairwise(ends)])  # one gradient of the table's size, not one for each
    columns = []
    for (part, encoding, spare), section in zip(served, sections, strict=True):
        parameters = pad(section[: part.rows.stop - part.rows.start].reshape(-1), (spare, 0))
        y = functional_call(encoding, {"params": parameters}, (u * part.factor,))
        columns.append(y[:, part.skipped * grid.features :].float())
    return torch.cat(columns, dim=1)


@lru_cache(maxsize=16)
def _encodings(tcnn: ModuleType, grid: HashGrid, device: torch.device) -> list[tuple[Part, nn.Module, int]]:
    """Every part with its module, and how many parameters come before ours in it."""
    found = []
    for part in parts_of(grid):
        with torch.cuda.device_of(torch.empty(0, device=device)):
            encoding = tcnn.Encoding(3, part.config)
        spare = _release(encoding) - (part.rows.stop - part.rows.start) * grid.features
        if spare < 0 or (spare > 0) != (part.skipped > 0):
            raise RuntimeError(f"tinycudann: a hash grid has {spare} more parameters than expected")
        found.append((part, encoding, spare))
    return found


def mlp(tcnn: ModuleType, x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """As `cuda_ext.mlp`: network of matrices [width_k, width_k+1] on x [N, widths[0]], to half precision."""
    widths = (matrices[0].shape[0], *[matrix.shape[1] for matrix in matrices])
    return functional_call(_network(tcnn, widths, x.device), {"params": network_parameters(matrices)}, (x,)).float()


def network_parameters(matrices: Sequence[Tensor]) -> Tensor:
    """Our matrices [in, out] in their layout: [out, in] by rows, zeros up to whole tiles; flat."""
    return torch.cat([pad(m.T, (0, -m.shape[0] % _TILE, 0, -m.shape[1] % _TILE)).reshape(-1) for m in matrices])


@lru_cache(maxsize=16)
def _network(tcnn: ModuleType, widths: tuple[int, ...], device: torch.device) -> nn.Module:
    config = {
        "otype": "FullyFusedMLP",
        "activation": "ReLU",
        "output_activation": "None",
        "n_neurons": widths[1],
        "n_hidden_layers": len(widths) - 2,
    }
    with torch.cuda.device_of(torch.empty(0, device=device)):
        network = tcnn.Network(widths[0], widths[-1], config)
    tiled = [-(-width // _TILE) * _TILE for width in widths]
    expected = sum(a * b for a, b in pairwise(tiled))
    count = _release(network)
    if count != expected:
        raise RuntimeError(f"tinycudann: a network has {count} parameters, expected {expected}")
    return network


def _release(module: nn.Module) -> int:
    """The number of a module's own parameters, which are given up: every call brings ours."""
    parameters = module.params
    assert isinstance(parameters, nn.Parameter)
    count = parameters.numel()
    module.params = nn.Parameter(parameters.detach().new_empty(0), requires_grad=False)
    return count
