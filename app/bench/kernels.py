"""Operators: native kernels against their PyTorch references."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ext import (
    Adam,
    HashGrid,
    MarchSpace,
    ParameterGroup,
    composite,
    hash_network,
    march,
    reference_only,
    using,
    weight_count,
)
from cuda_ext.accelerators import HALF, find_accelerator
from cuda_ext.march import coarsen, pack_bits
from cuda_ext.planes import PLANE_AXES, triplane_lookup

from .timing import Contest, Work

REFERENCE = "PyTorch reference"
_POINTS = 65536
_WIDTHS = (32, 64, 64, 16)
_RAYS, _PER_RAY = 8192, 16
_GRID = 128


def contests() -> list[Contest]:
    """Hash grid with network, planes, compositing, marching and the optimiser."""
    return [*_encodings(), _planes(), _compositing(), _marching(), _optimiser()]


def referenced(work: Work) -> Work:
    """The same work with every operator's PyTorch reference."""

    def run() -> object:
        with reference_only():
            return work()

    return run


def _versus(name: str, config: str, work: Work) -> Contest:
    return Contest(name, config, work, REFERENCE, referenced(work))


def _encodings() -> list[Contest]:
    found = []
    for log2_entries in (15, 19):
        grid, generator = HashGrid(log2_entries=log2_entries), torch.Generator().manual_seed(0)
        u = torch.rand(_POINTS, 3, generator=generator)
        table = (torch.rand(grid.entries, grid.features, generator=generator) - 0.5).requires_grad_()
        weights = (torch.rand(weight_count(_WIDTHS), generator=generator) - 0.5).requires_grad_()
        network = "-".join(map(str, _WIDTHS))
        config = f"N={_POINTS} L={grid.levels} F={grid.features} T=2^{log2_entries} MLP {network}"
        works = {"forward": _forward(u, table, weights, grid), "forward + backward": _both(u, table, weights, grid)}
        for way, work in works.items():
            found += [
                _versus(f"hash grid + mlp, {way}", config, work),
                _versus(f"hash grid + mlp in halves, {way}", config, _in_halves(work)),
            ]
    return found


def _in_halves(work: Work) -> Work:
    """The same with networks in half precision: against a reference in single precision, as nothing else has them."""

    def run() -> object:
        with using(*[HALF] if find_accelerator(HALF)[0] else []):  # not where the reference runs
            return work()

    return run


def _forward(u: Tensor, table: Tensor, weights: Tensor, grid: HashGrid) -> Work:
    def run() -> Tensor:
        with torch.no_grad():
            return hash_network(u, table, grid, weights, _WIDTHS)

    return run


def _both(u: Tensor, table: Tensor, weights: Tensor, grid: HashGrid) -> Work:
    def run() -> tuple[Tensor, ...]:
        y = hash_network(u, table, grid, weights, _WIDTHS)
        return torch.autograd.grad(y, (table, weights), torch.ones_like(y))

    return run


def _planes() -> Contest:
    """Three planes of 32 channels, against F.grid_sample in its own layout."""
    channels, side = 32, 128
    generator = torch.Generator().manual_seed(0)
    u = torch.rand(_POINTS, 3, generator=generator)
    ours = torch.rand(3, side, side, channels, generator=generator).requires_grad_()
    theirs = ours.detach().permute(0, 3, 1, 2).contiguous().requires_grad_()
    place = torch.stack([u[:, list(axes)] for axes in PLANE_AXES])[:, None] * 2 - 1  # [3, 1, N, 2]

    def run() -> tuple[Tensor, ...]:
        y = triplane_lookup(ours, u)
        return torch.autograd.grad(y, ours, torch.ones_like(y))

    def run_torch() -> tuple[Tensor, ...]:
        y = torch.nn.functional.grid_sample(theirs, place, padding_mode="border", align_corners=True)
        return torch.autograd.grad(y, theirs, torch.ones_like(y))

    config = f"N={_POINTS} 3x{channels}x{side}x{side}"
    return Contest("plane lookup, forward + backward", config, run, "torch grid_sample", run_torch)


def _compositing() -> Contest:
    generator = torch.Generator().manual_seed(0)
    count = _RAYS * _PER_RAY
    density = (8 * torch.rand(count, generator=generator)).requires_grad_()
    rgb = torch.rand(count, 3, generator=generator).requires_grad_()
    start = torch.arange(_PER_RAY).repeat(_RAYS) / _PER_RAY
    end, offsets = start + 1 / _PER_RAY, torch.arange(0, count + 1, _PER_RAY)
    background = torch.ones(_RAYS, 3)

    def run() -> tuple[Tensor, ...]:
        color = composite(density, rgb, start, end, offsets, background)[0]
        return torch.autograd.grad(color, (density, rgb), torch.ones_like(color))

    return _versus("composite, forward + backward", f"{_RAYS} rays of {_PER_RAY} samples", run)


def _marching() -> Contest:
    """Rays through a box of which a ball of 6 % is occupied."""
    generator = torch.Generator().manual_seed(0)
    axis = (torch.arange(_GRID) + 0.5) / _GRID - 0.5
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    bits = pack_bits((x * x + y * y + z * z < 0.25**2).reshape(-1))
    coarse = coarsen(bits, _GRID)
    space = MarchSpace(torch.tensor([[0.0] * 3, [1.0] * 3]), _GRID, False, 3**0.5 / 512, 0.0)
    origins = torch.rand(_RAYS, 3, generator=generator)
    origins[:, 2] = -0.5
    directions = torch.nn.functional.normalize(torch.rand(_RAYS, 3, generator=generator) - origins, dim=1)
    t, t_end = torch.full((_RAYS,), 0.25), torch.full((_RAYS,), 2.0)
    return _versus(
        "march",
        f"{_RAYS} rays, {_GRID}^3 grid, at most 1024 samples each",
        lambda: march(origins, directions, t, t_end, bits, coarse, space, 1024),
    )


def _optimiser() -> Contest:
    """A step on a table of 2^15 entries at 16 levels, against torch.optim.Adam."""
    entries = HashGrid(log2_entries=15).entries
    ours, theirs = (torch.nn.Parameter(torch.rand(entries, 2)) for _ in range(2))
    adam = Adam([ParameterGroup([ours], 1e-2, skip_untouched=True)])
    optimiser = torch.optim.Adam([theirs], lr=1e-2)
    gradient = torch.rand(entries, 2)

    def run() -> None:
        adam.gradient(ours).copy_(gradient)
        adam.step(1.0)

    def run_torch() -> None:
        theirs.grad = gradient
        optimiser.step()

    return Contest("adam step", f"{entries * 2} parameters, all touched", run, "torch.optim.Adam", run_torch)
