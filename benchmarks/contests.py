"""The GPU kernels against tiny-cuda-nn, nerfacc and plain PyTorch, same inputs, same configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

import cuda_ext
from app.bench.timing import Contest
from cuda_ext import HashGrid, MarchSpace, ParameterGroup, SparseIndex, line_lookup, reference_only, using
from cuda_ext.accelerators import HALF, find_accelerator
from cuda_ext.march import coarsen, pack_bits

WIDTHS = (32, 64, 64, 16)
OTHER_WIDTHS = ((32, 16, 16, 16), (32, 32, 32, 16), (32, 128, 128, 16))
_RESOLUTION = 128  # of the occupancy grid


@dataclass(frozen=True)
class Entry:
    """One comparison, and what our side must move to or from memory and compute at least; `half`: on matrix units."""

    contest: Contest
    bytes: int
    flops: int = 0
    half: bool = False


class Bench:
    """Builds entries for one device; what is measured is `parts` calls and one synchronisation."""

    def __init__(self, device: torch.device, parts: int) -> None:
        self.device, self.parts = device, parts
        self.generator = torch.Generator().manual_seed(0)

    def random(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator).to(self.device)

    def timed(self, call: Callable[[], object]) -> Callable[[], None]:
        def work() -> None:
            for _ in range(self.parts):
                call()
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)

        return work

    def contest(self, name: str, config: str, ours: Callable[[], object], baseline: str,
                theirs: Callable[[], object]) -> Contest:
        return Contest(name, config, self.timed(ours), baseline, self.timed(theirs), self.parts, self.parts)


def entries(device: torch.device, sizes: list[int], grid: HashGrid, parts: int = 10) -> list[Entry]:
    """All comparisons that this machine's packages admit, for each number of points."""
    bench = Bench(device, parts)
    tcnn, nerfacc = accelerators(device)
    found: list[Entry] = []
    for size in sizes:
        found += hash_grid_entries(bench, size, grid, tcnn)
        for widths in (WIDTHS, *OTHER_WIDTHS):
            found += mlp_entries(bench, size, widths, tcnn)
        found += encoded_entries(bench, size, grid, tcnn)
        found += lookup_entries(bench, size)
        found += composite_entries(bench, size, nerfacc)
        found += march_entries(bench, max(1, size // 64), nerfacc)
        found += adam_entries(bench, size)
    return found


def accelerators(device: torch.device) -> tuple[ModuleType | None, ModuleType | None]:
    """tiny-cuda-nn and nerfacc where they can be used."""
    found = [find_accelerator(name)[0] if device.type == "cuda" else None for name in ("tinycudann", "nerfacc")]
    return found[0], found[1]


def copy_bandwidth(device: torch.device, floats: int, parts: int = 20) -> float:
    """Bytes read and written each second by a device-to-device copy: the limit of memory-bound kernels."""
    source = torch.zeros(floats, device=device)
    target = torch.empty_like(source)
    return 8.0 * floats / _seconds(Bench(device, parts), lambda: target.copy_(source))


def matrix_rate(device: torch.device, side: int, dtype: torch.dtype, parts: int = 20) -> float:
    """FLOP/s of a large matrix product: the limit of networks. float32 is without TF32."""
    torch.backends.cuda.matmul.allow_tf32 = False
    a, b = torch.ones(side, side, dtype=dtype, device=device), torch.ones(side, side, dtype=dtype, device=device)
    return 2.0 * side**3 / _seconds(Bench(device, parts), lambda: a @ b)


def _seconds(bench: Bench, call: Callable[[], object]) -> float:
    work = bench.timed(call)
    work()
    start = perf_counter()
    work()
    return (perf_counter() - start) / bench.parts


def with_backward(forward: Callable[..., Tensor], *inputs: Tensor) -> Callable[[], object]:
    """`forward` and the gradients of its sum."""

    def call() -> object:
        y = forward(*inputs)
        return torch.autograd.grad(y, inputs, torch.ones_like(y))

    return call


def by_reference(call: Callable[[], object]) -> Callable[[], object]:
    """The same call with every operator's PyTorch reference."""

    def run() -> object:
        with reference_only():
            return call()

    return run


def hash_grid_entries(bench: Bench, size: int, grid: HashGrid, tcnn: ModuleType | None) -> list[Entry]:
    """Hash grid, values alone and with the table's gradient, from a table of floats and, on a GPU, of halves."""
    u, table = bench.random(size, 3), bench.random(grid.entries, grid.features).requires_grad_()
    config = f"N={size} L={grid.levels} F={grid.features} 2^{grid.log2_entries}"
    least = size * (12 + grid.width * 4 * 9)
    flops = size * grid.levels * 8 * (3 + 2 * grid.features)

    def ours(table: Tensor) -> Tensor:
        return cuda_ext.hash_grid(u, table, grid)

    baseline, theirs, weights = "pytorch reference", by_reference(lambda: ours(table)), None
    both = by_reference(with_backward(ours, table))
    if tcnn is not None:
        encoding = tcnn.Encoding(3, _tcnn_grid(grid), dtype=torch.float32)
        baseline, weights = "tinycudann fp32", encoding.params
        theirs, both = lambda: encoding(u), with_backward(lambda _: encoding(u), weights)
    own = {"hash_grid": (_without_graph(lambda: ours(table)), with_backward(ours, table))}
    alone = _without_graph(theirs)
    if _has_half(bench):
        own["hash_grid half"] = _in_half(own["hash_grid"][0]), _in_half(own["hash_grid"][1])
    return [
        entry
        for name, (forward, ours_both) in own.items()
        for entry in (
            Entry(bench.contest(f"{name} forward", config, forward, baseline, alone), least, flops),
            Entry(bench.contest(f"{name} forward+backward", config, ours_both, baseline, both), 2 * least, 2 * flops),
        )
    ]


def mlp_entries(bench: Bench, size: int, widths: tuple[int, ...], tcnn: ModuleType | None) -> list[Entry]:
    """A small network against cuBLAS in fp32, and against tiny-cuda-nn's in half precision."""
    x = bench.random(size, widths[0]).requires_grad_()
    weights = ((bench.random(cuda_ext.weight_count(widths)) - 0.5) * 0.3).requires_grad_()
    config = f"N={size} " + "-".join(map(str, widths))
    flops, moved = 2 * size * cuda_ext.weight_count(widths), 4 * size * (widths[0] + widths[-1])

    def ours(x: Tensor, weights: Tensor) -> Tensor:
        return cuda_ext.mlp(x, weights, widths)

    usual = (_without_graph(lambda: ours(x, weights)), with_backward(ours, x, weights))
    rivals = {"pytorch matmul fp32": (by_reference(usual[0]), by_reference(usual[1]))}
    if tcnn is not None:
        network = tcnn.Network(widths[0], widths[-1], _tcnn_network(widths))
        rivals["tinycudann fp16"] = (_without_graph(lambda: network(x)),
                                     with_backward(lambda x, _: network(x), x, network.params))
    own = {"mlp": (usual, 3)}
    if _has_half(bench):  # its backward pass goes forward again
        own["mlp half"] = ((_in_half(usual[0]), _in_half(usual[1])), 4)
    return [
        entry
        for name, ((forward, both), passes) in own.items()
        for rival, (alone, differentiated) in rivals.items()
        for entry in (
            Entry(bench.contest(f"{name} forward", config, forward, rival, alone), moved, flops, name != "mlp"),
            Entry(bench.contest(f"{name} forward+backward", config, both, rival, differentiated), 3 * moved,
                  passes * flops, name != "mlp"),
        )
    ]


def encoded_entries(bench: Bench, size: int, grid: HashGrid, tcnn: ModuleType | None) -> list[Entry]:
    """Hash grid and network together, as a field uses them."""
    widths = (grid.width, *WIDTHS[1:])
    u, table = bench.random(size, 3), bench.random(grid.entries, grid.features).requires_grad_()
    weights = ((bench.random(cuda_ext.weight_count(widths)) - 0.5) * 0.3).requires_grad_()
    config = f"N={size} L={grid.levels} F={grid.features} 2^{grid.log2_entries} " + "-".join(map(str, widths))
    moved = size * (12 + grid.width * 4 * 9 + 4 * (widths[0] + widths[-1]))
    flops = size * (grid.levels * 8 * (3 + 2 * grid.features) + 2 * cuda_ext.weight_count(widths))

    def ours(table: Tensor, weights: Tensor) -> Tensor:
        return cuda_ext.mlp(cuda_ext.hash_grid(u, table, grid), weights, widths)

    forward, both = _without_graph(lambda: ours(table, weights)), with_backward(ours, table, weights)
    rival, alone, differentiated = "pytorch reference", by_reference(forward), by_reference(both)
    if tcnn is not None:
        model = tcnn.NetworkWithInputEncoding(3, widths[-1], _tcnn_grid(grid), _tcnn_network(widths))
        rival, alone = "tinycudann fp16", _without_graph(lambda: model(u))
        differentiated = with_backward(lambda _: model(u), model.params)
    half = _has_half(bench)
    if half:
        forward, both = _in_half(forward), _in_half(both)
    return [
        Entry(bench.contest("hash_grid+mlp forward", config, forward, rival, alone), moved, flops, half),
        Entry(bench.contest("hash_grid+mlp forward+backward", config, both, rival, differentiated), 3 * moved,
              3 * flops, half),
    ]


def lookup_entries(bench: Bench, size: int, channels: int = 16, side: int = 64) -> list[Entry]:
    """Planes, lines and sparse voxels, values and the table's gradient."""
    u = bench.random(size, 3)
    planes, line = bench.random(3, side, side, channels), bench.random(3 * side, channels)
    voxels = torch.ones(side // 4, side // 4, side // 4, dtype=torch.bool).nonzero().to(bench.device)
    index, empty = SparseIndex.of_vertices(voxels, side // 4), bench.random(channels)
    values = bench.random(len(voxels), channels)
    calls: dict[str, tuple[Callable[[Tensor], Tensor], Tensor, int, int]] = {
        "planes": (lambda table: cuda_ext.triplane_lookup(table, u), planes, 3, 4),
        "lines": (lambda table: line_lookup(table, u, sizes=[side] * 3), line, 3, 2),
        "voxels": (lambda table: cuda_ext.sparse_lookup(index, table, u, empty), values, 1, 8),
    }
    found = []
    for name, (call, table, items, corners) in calls.items():
        both = with_backward(call, table.requires_grad_())
        contest = bench.contest(f"{name} forward+backward", f"N={size} C={channels} side={side}", both,
                                "pytorch reference", by_reference(both))
        row = items * channels
        found.append(Entry(contest, size * (24 + 8 * row), 4 * size * row * corners))
    return found


def _has_half(bench: Bench) -> bool:
    return bench.device.type == "cuda" and find_accelerator(HALF)[0] is not None


def _in_half(call: Callable[[], object]) -> Callable[[], object]:
    def run() -> object:
        with using(HALF):
            return call()

    return run


def composite_entries(bench: Bench, size: int, nerfacc: ModuleType | None) -> list[Entry]:
    """Compositing of rays with 64 samples each, values and gradients."""
    rays = max(1, size // 64)
    samples = rays * 64
    density, rgb = (bench.random(samples) * 4).requires_grad_(), bench.random(samples, 3).requires_grad_()
    start = (torch.arange(samples, device=bench.device) % 64).float() / 64
    end, background = start + 1 / 64, bench.random(rays, 3)
    offsets = torch.arange(rays + 1, device=bench.device) * 64

    def ours(density: Tensor, rgb: Tensor) -> Tensor:
        return cuda_ext.composite(density, rgb, start, end, offsets, background)[0]

    baseline, theirs = "pytorch reference", by_reference(with_backward(ours, density, rgb))
    if nerfacc is not None:
        ray = torch.arange(samples, device=bench.device) // 64

        def accumulated(density: Tensor, rgb: Tensor) -> Tensor:
            weights = nerfacc.render_weight_from_density(start, end, density, ray_indices=ray, n_rays=rays)[0]
            return nerfacc.accumulate_along_rays(weights, values=rgb, ray_indices=ray, n_rays=rays)

        baseline, theirs = "nerfacc", with_backward(accumulated, density, rgb)
    both, config = with_backward(ours, density, rgb), f"S={samples} R={rays}"
    contest = bench.contest("composite forward+backward", config, both, baseline, theirs)
    return [Entry(contest, samples * 4 * (7 + 10))]


def march_entries(bench: Bench, rays: int, nerfacc: ModuleType | None) -> list[Entry]:
    """Marching through a ball of occupied cells."""
    axis = (torch.arange(_RESOLUTION) + 0.5) / _RESOLUTION * 2 - 1
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    occupied = (x * x + y * y + z * z < 0.25).to(bench.device)
    bits = pack_bits(occupied.reshape(-1))
    coarse = coarsen(bits, _RESOLUTION)
    space = MarchSpace(torch.tensor([[-1.0] * 3, [1.0] * 3]), _RESOLUTION, False, 3.4641 / 1024, 0.0)
    origins = torch.nn.functional.normalize(bench.random(rays, 3) - 0.5, dim=1) * 2
    directions = torch.nn.functional.normalize((bench.random(rays, 3) - 0.5) - origins, dim=1)
    t, t_end = bench.random(rays) * 0, bench.random(rays) * 0 + 4

    def ours() -> object:
        return cuda_ext.march(origins, directions, t, t_end, bits, coarse, space, 1024)

    baseline, theirs = "pytorch reference", by_reference(ours)
    if nerfacc is not None:
        binaries = occupied.permute(2, 1, 0)[None].contiguous()
        box = torch.tensor([[-1.0, -1, -1, 1, 1, 1]], device=bench.device)
        baseline, grids = "nerfacc", (binaries, box)
        theirs = partial(nerfacc.traverse_grids, origins, directions, *grids, t, t_end, space.step)
    samples = len(ours()[0])  # type: ignore[index]
    return [Entry(bench.contest("march", f"R={rays} S={samples}", ours, baseline, theirs), samples * 44)]


def adam_entries(bench: Bench, size: int) -> list[Entry]:
    """The optimiser's step over dense gradients."""
    p, rival = bench.random(size), bench.random(size).requires_grad_()
    adam = cuda_ext.Adam([ParameterGroup([p], 1e-3)])
    fused = torch.optim.Adam([rival], fused=bench.device.type == "cuda")
    rival.grad = torch.ones_like(rival)
    return [Entry(bench.contest("adam", f"N={size}", adam.step, "torch.optim.Adam", fused.step), 28 * size)]


def _without_graph(call: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> Any:
        with torch.no_grad():
            return call()

    return run


def _tcnn_grid(grid: HashGrid) -> dict[str, object]:
    growth = (grid.finest / grid.coarsest) ** (1 / max(1, grid.levels - 1))
    return {"otype": "HashGrid", "n_levels": grid.levels, "n_features_per_level": grid.features,
            "log2_hashmap_size": grid.log2_entries, "base_resolution": int(grid.coarsest),
            "per_level_scale": growth}


def _tcnn_network(widths: tuple[int, ...]) -> dict[str, object]:
    return {"otype": "FullyFusedMLP", "activation": "ReLU", "output_activation": "None",
            "n_neurons": widths[1], "n_hidden_layers": len(widths) - 2}
