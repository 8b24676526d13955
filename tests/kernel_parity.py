"""What every set of compiled kernels must hold: agreement with the PyTorch reference to 1e-4.

A test class that inherits `KernelParity` provides the fixture `device`; inside a test the operators then run
those kernels on that device.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import cuda_ext
from cuda_ext import HashGrid, MarchSpace, ParameterGroup, engine, reference_only
from cuda_ext.march import coarsen, pack_bits
from cuda_ext.planes import line_lookup, triplane_lookup
from cuda_ext.sparse import SparseIndex, sparse_lookup

CPU = torch.device("cpu")
needs_native = pytest.mark.skipif(engine.module("_native")[0] is None, reason="native kernels are not built")
Outputs = Tensor | tuple[Tensor, ...]
TOLERANCE = 1e-4
SOURCES = Path(cuda_ext.__file__).parent / "csrc"
# On CUDA they are composed of the other operators.
CPU_ONLY = {"hash_network_forward", "product_lookup_forward", "product_lookup_backward", "render_loss"}
NETWORKS = [(3, 16, 1), (32, 64, 64, 16), (27, 128, 100, 3), (5, 7), (1, 1), (40, 33, 64)]
LENGTHS = [5, 0, 32, 1, 100, 33, 64, 0]  # of rays: empty, whole warps, more and less
GRIDS = [
    HashGrid(5, 2, 9, 4.0, 64.0),
    HashGrid(9, 1, 8, 3.0, 40.0),
    HashGrid(3, 4, 10, 4.0, 50.0),
    HashGrid(2, 8, 9, 5.0, 30.0),
]

TINY = HashGrid(3, 2, 5, 2.0, 9.0)


def prototypes() -> dict[str, list[str]]:
    """Argument types, as declared, of every kernel that has a CUDA launcher."""
    texts = [(SOURCES / name).read_text() for name in ("prototypes.inc", "cuda/prototypes.inc")]
    found = re.findall(r"void (\w+)\(([^)]*)\);", re.sub(r"//.*", "", "".join(texts)))
    return {
        name: [argument.strip().rsplit(maxsplit=1)[0] for argument in arguments.split(",")]
        for name, arguments in found
        if name not in CPU_ONLY
    }


def close(actual: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    """Equal to `tolerance` of the largest value: where sums cancel, single entries have no digits."""
    scale = float(expected.detach().abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance * scale)


def numbers(device: torch.device, *shape: int, seed: int = 0) -> Tensor:
    """Normal numbers, the same on every device."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device)


def positions(device: torch.device, count: int, seed: int = 1) -> Tensor:
    """Positions inside the unit cube; every third run of four shares a cell, as along a ray."""
    u = torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) * 0.98 + 0.01
    for i in range(0, count - 4, 12):
        u[i + 1 : i + 4] = u[i] + 1e-4
    return u.to(device)


def off_faces(u: Tensor, grid: HashGrid) -> Tensor:
    """The positions at which no level's derivative jumps, however the last bit is rounded."""
    scale = torch.tensor(grid.table["scale"].copy(), device=u.device)
    cells = u[:, :, None] * scale + 0.5
    return u[((cells - cells.round()).abs() > 1e-4).all(2).all(1)]


def outside(device: torch.device) -> Tensor:
    """Positions beyond the cube, on its faces, infinite and not a number."""
    inf, nan = float("inf"), float("nan")
    rows = [[-1.0, 0.5, 2.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [inf, -inf, 0.5], [nan, 0.2, 0.9]]
    return torch.tensor(rows, device=device)


def in_order(rays: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """The arguments of `composite`."""
    return tuple(rays[k] for k in ("density", "rgb", "start", "end", "offsets", "background"))


def march_scene(unbounded: bool, cone: float) -> tuple[MarchSpace, Tensor, Tensor, Tensor, Tensor]:
    """A space, its bits, and 60 rays from all over."""
    space = MarchSpace(torch.tensor([[-1.0, -1, -1], [1, 1, 1]]), 16, unbounded, 0.05, cone)
    occupied = torch.rand(16**3, generator=torch.Generator().manual_seed(2)) < 0.3
    origins = numbers(CPU, 60, 3)
    directions = torch.nn.functional.normalize(numbers(CPU, 60, 3, seed=1), dim=1)
    return space, pack_bits(occupied), occupied, origins, directions


def assert_cases_agree_on(simd: str, module: str) -> None:
    """Run a test module's comparison with the reference in double precision, for all its CASES, at most with `simd`."""
    run_with(
        simd,
        f"import {module} as t\n"
        "for case in t.CASES: t.test_kernels_agree_with_the_reference_in_double_precision(*case)\n",
    )


def run_with(simd: str, code: str) -> str:
    """What Python prints for some code beside these tests, in a process of at most that instruction set."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{code}"],
        env={**os.environ, "FIELDSCAPE_SIMD": simd},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def both(function: Callable[..., Outputs], *inputs: object) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs of the compiled kernels and of the reference."""
    actual = function(*inputs)
    with reference_only():
        expected = function(*inputs)
    listed = [[out] if isinstance(out, Tensor) else list(out) for out in (actual, expected)]
    return listed[0], listed[1]


def agree(function: Callable[..., Outputs], *inputs: Tensor) -> None:
    """Both give the same outputs."""
    for actual, expected in zip(*both(function, *inputs), strict=True):
        close(actual, expected)


def gradients(function: Callable[..., Tensor], *inputs: Tensor) -> Callable[..., tuple[Tensor, ...]]:
    """The function that maps inputs to the gradients of <random, function(inputs)>."""

    def run(*values: Tensor) -> tuple[Tensor, ...]:
        leaves = [v.detach().clone().requires_grad_() for v in values]
        y = function(*leaves)
        return torch.autograd.grad((y * numbers(y.device, *y.shape, seed=7)).sum(), leaves)

    return run


def second_gradients(function: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, ...]]:
    """Maps (u, table, gy) to the gradients of <q, d<gy, function(u, table)>/du>, as for losses on normals."""

    def run(u: Tensor, table: Tensor, gy: Tensor) -> tuple[Tensor, ...]:
        leaves = [v.detach().clone().requires_grad_() for v in (u, table, gy)]
        y = function(*leaves[:2])
        (slope,) = torch.autograd.grad((y * leaves[2]).sum(), leaves[:1], create_graph=True)
        along = (slope * numbers(u.device, *u.shape, seed=5)).sum()
        return torch.autograd.grad(along, leaves, allow_unused=True, materialize_grads=True)

    return run


def packed_rays(device: torch.device, lengths: list[int], channels: int) -> dict[str, Tensor]:
    """Samples of rays with these lengths, front to back."""
    generator = torch.Generator().manual_seed(3)
    total, count = sum(lengths), len(lengths)
    gaps = torch.rand(total, generator=generator) * 0.1
    start = torch.cat([torch.zeros(0), *[gap.cumsum(0) for gap in gaps.split(lengths)]])
    rays = {
        "density": torch.rand(total, generator=generator) * 8,
        "start": start,
        "end": start + 0.05,
        "rgb": torch.rand(total, channels, generator=generator),
        "background": torch.rand(count, channels, generator=generator),
        "offsets": torch.tensor([0, *lengths]).cumsum(0),
    }
    return {name: tensor.to(device) for name, tensor in rays.items()}


def composite_all(rays: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """`composite` of packed rays."""
    return cuda_ext.composite(
        rays["density"], rays["rgb"], rays["start"], rays["end"], rays["offsets"], rays["background"]
    )


class KernelParity:
    """Tests of every operator on the `device` of the subclass."""

    @pytest.mark.parametrize("grid", GRIDS)
    def test_hash_grid_values_agree_also_outside_the_cube(self, device: torch.device, grid: HashGrid) -> None:
        u = torch.cat([positions(device, 301), outside(device)])
        table = numbers(device, grid.entries, grid.features)
        agree(lambda u, table: cuda_ext.hash_grid(u, table, grid), u, table)

    @pytest.mark.parametrize("grid", GRIDS)
    def test_hash_grid_gradients_agree(self, device: torch.device, grid: HashGrid) -> None:
        run = gradients(lambda u, table: cuda_ext.hash_grid(u, table, grid))
        agree(run, off_faces(positions(device, 301), grid), numbers(device, grid.entries, grid.features))

    @pytest.mark.parametrize("grid", GRIDS)
    def test_hash_grid_second_order_agrees(self, device: torch.device, grid: HashGrid) -> None:
        run = second_gradients(lambda u, table: cuda_ext.hash_grid(u, table, grid))
        u = off_faces(positions(device, 150), grid)
        table, gy = numbers(device, grid.entries, grid.features), numbers(device, len(u), grid.width, seed=4)
        agree(run, u, table, gy)

    def test_hash_grid_sink_receives_the_table_gradient(self, device: torch.device) -> None:
        grid = GRIDS[0]
        u, table = positions(device, 64), numbers(device, grid.entries, 2).requires_grad_()
        sink = torch.ones_like(table)
        cuda_ext.hash_grid(u, table, grid, sink).sum().backward()
        assert table.grad is None
        with reference_only():
            (expected,) = torch.autograd.grad(cuda_ext.hash_grid(u, table, grid).sum(), table)
        close(sink - 1, expected)

    def test_misaligned_table_is_an_error_and_no_crash(self, device: torch.device) -> None:
        grid = GRIDS[0]
        table = numbers(device, grid.entries * 2 + 1)[1:].view(-1, 2)
        with pytest.raises(RuntimeError, match="716"):
            cuda_ext.hash_grid(positions(device, 8), table, grid)

    @pytest.mark.parametrize("widths", NETWORKS)
    @pytest.mark.parametrize("count", [1, 300])
    def test_mlp_values_and_gradients_agree(self, device: torch.device, widths: tuple[int, ...], count: int) -> None:
        x = numbers(device, count, widths[0])
        weights = numbers(device, cuda_ext.weight_count(widths), seed=2) * 0.3
        agree(lambda x, w: cuda_ext.mlp(x, w, widths), x, weights)
        agree(gradients(lambda x, w: cuda_ext.mlp(x, w, widths)), x, weights)

    def test_mlp_gradient_of_weights_alone_agrees(self, device: torch.device) -> None:
        widths, x = (8, 20, 4), numbers(device, 70, 8)
        agree(gradients(lambda w: cuda_ext.mlp(x, w, widths)), numbers(device, cuda_ext.weight_count(widths)))

    @pytest.mark.parametrize("degree", [1, 2, 3, 4])
    def test_spherical_harmonics_agree(self, device: torch.device, degree: int) -> None:
        directions = torch.nn.functional.normalize(numbers(device, 200, 3), dim=1)
        agree(lambda d: cuda_ext.spherical_harmonics(d, degree), directions)

    @pytest.mark.parametrize("channels", [1, 3, 7])
    def test_composite_and_its_gradients_agree(self, device: torch.device, channels: int) -> None:
        rays = packed_rays(device, LENGTHS, channels)

        def colors(density: Tensor, rgb: Tensor, background: Tensor) -> tuple[Tensor, ...]:
            return composite_all(rays | {"density": density, "rgb": rgb, "background": background})

        def mixed(*inputs: Tensor) -> Tensor:
            color, opacity, depth, _ = colors(*inputs)
            return torch.cat([color, opacity[:, None], depth[:, None]], dim=1)

        inputs = rays["density"], rays["rgb"], rays["background"]
        agree(colors, *inputs)
        agree(gradients(mixed), *inputs)

    @pytest.mark.parametrize("stop", [1e-3, 0.3])
    def test_visible_samples_agree(self, device: torch.device, stop: float) -> None:
        rays = packed_rays(device, LENGTHS, 3)
        light = torch.tensor([1.0, 1, 0.5, 1e-4, 1, 0.9, 1, 0], device=device)
        samples = [rays[name] for name in ("density", "start", "end", "offsets")]
        actual, expected = both(cuda_ext.visible, *samples, light, stop)
        assert torch.equal(actual[0], expected[0])
        close(actual[1], expected[1])

    @pytest.mark.parametrize("unbounded", [False, True])
    @pytest.mark.parametrize("cone", [0.0, 0.02])
    @pytest.mark.parametrize("blocked", [False, True])
    def test_march_finds_the_same_samples(
        self, device: torch.device, unbounded: bool, cone: float, blocked: bool
    ) -> None:
        bounds = torch.tensor([[-1.0, -2, -1], [1, 1, 2]])
        space = MarchSpace(bounds, 32, unbounded, 0.03, cone)
        occupied = torch.rand(32**3, generator=torch.Generator().manual_seed(8)) < 0.2
        occupied.view(4, 8, 4, 8, 4, 8)[1:3, :, :, :, 2:] = False  # whole blocks are empty
        bits = pack_bits(occupied.to(device))
        coarse = coarsen(bits, 32)
        with reference_only():
            assert torch.equal(coarse, coarsen(bits, 32))
        origins = numbers(device, 150, 3) * 0.5
        directions = torch.nn.functional.normalize(numbers(device, 150, 3, seed=2), dim=1)
        directions[0] = torch.tensor([1.0, 0, 0])
        t, t_end = torch.zeros(150, device=device), torch.full((150,), 4.0, device=device)
        t_end[1] = 0
        shares = numbers(device, 32**3, seed=3).abs() / 4 if blocked else None
        found, wanted = both(cuda_ext.march, origins, directions, t, t_end, bits, coarse, space, 40, shares)
        counts = found[3].diff(), wanted[3].diff()
        same = counts[0] == counts[1]  # rounding may put a midpoint on the other side of a cell's face
        assert same.float().mean() > 0.95 and (counts[0] - counts[1]).abs().max() <= 2
        keep = [same[out[0]] for out in (found, wanted)]
        for k in (1, 2, 4):
            difference = (found[k][keep[0]] - wanted[k][keep[1]]).abs()
            assert (difference < 1e-3).float().mean() > 0.97

    @pytest.mark.parametrize("first", [0, 1])
    def test_adam_agrees_also_on_unaligned_parameters(self, device: torch.device, first: int) -> None:
        results = []
        for reference in (False, True):
            p = numbers(device, 40 + first)[first:]
            adam = cuda_ext.Adam([ParameterGroup([p], 0.01, decay=0.1, skip_untouched=True)])
            for step in range(3):
                gradient = numbers(device, 40, seed=step)
                gradient[8:16] = gradient[21] = gradient[38] = 0
                adam.gradient(p).copy_(gradient)
                if reference:
                    with reference_only():
                        adam.step()
                else:
                    adam.step()
                assert not adam.gradient(p).any()
            results.append(p)
        close(results[0], results[1])

    @pytest.mark.parametrize("channels", [4, 5])
    @pytest.mark.parametrize("sizes", [[(9, 7), (5, 6), (8, 1)], [9, 1, 6]])
    def test_planes_and_lines_agree_to_second_order(self, device: torch.device, sizes: list, channels: int) -> None:
        is_plane = isinstance(sizes[0], tuple)
        rows = sum(size[0] * size[1] if is_plane else size for size in sizes)

        def look_up(u: Tensor, table: Tensor) -> Tensor:
            return (triplane_lookup if is_plane else line_lookup)(table, u, sizes=sizes)

        u, table = positions(device, 90), numbers(device, rows, channels)
        agree(look_up, torch.cat([u, outside(device)]), table)
        agree(gradients(look_up), u, table)
        agree(second_gradients(look_up), u, table, numbers(device, 90, 3, channels, seed=4))

    @pytest.mark.parametrize("channels", [4, 5])
    def test_sparse_grid_agrees_to_second_order(self, device: torch.device, channels: int) -> None:
        chosen = torch.rand(12, 12, 12, generator=torch.Generator().manual_seed(1)) < 0.6
        vertices = chosen.nonzero().to(device)
        index, empty = SparseIndex.of_vertices(vertices, 12), numbers(device, channels, seed=9)

        def look_up(u: Tensor, values: Tensor) -> Tensor:
            return sparse_lookup(index, values, u, empty)

        u, values = positions(device, 90), numbers(device, len(vertices), channels)
        agree(look_up, torch.cat([u, outside(device)]), values)
        agree(gradients(look_up), u, values)
        agree(second_gradients(look_up), u, values, numbers(device, 90, channels, seed=4))

    def test_nothing_in_gives_nothing_out(self, device: torch.device) -> None:
        grid, none = GRIDS[0], torch.zeros(0, 3, device=device)
        table = numbers(device, grid.entries, 2)
        assert cuda_ext.hash_grid(none, table, grid).shape == (0, 10)
        assert cuda_ext.spherical_harmonics(none, 4).shape == (0, 16)
        gu, gtable = gradients(lambda u, t: cuda_ext.hash_grid(u, t, grid))(none, table)
        assert gu.shape == (0, 3) and not gtable.any()
        gx, gweights = gradients(lambda x, w: cuda_ext.mlp(x, w, (3, 8, 2)))(none, numbers(device, 40))
        assert gx.shape == (0, 3) and not gweights.any()
        rays = packed_rays(device, [], 3)
        out = composite_all(rays)
        assert out[0].shape == (0, 3) and out[3].shape == (0,)
        assert triplane_lookup(numbers(device, 3, 4, 4, 2), none).shape == (0, 3, 2)
