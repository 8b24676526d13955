"""The operators on the CPU: compiled kernels against their references, and the references against theory."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_parity import (
    CPU,
    GRIDS,
    TINY,
    KernelParity,
    agree,
    close,
    gradients,
    in_order,
    march_scene,
    needs_native,
    numbers,
    packed_rays,
    positions,
)
from torch import Tensor

import cuda_ext
from cuda_ext import Adam, HashGrid, MarchSpace, ParameterGroup, engine
from cuda_ext.composite import composite_reference
from cuda_ext.harmonics import spherical_harmonics_reference
from cuda_ext.hash_grid import hash_grid_reference
from cuda_ext.march import coarsen, contract, march, pack_bits, uncontract, unpack_bits
from cuda_ext.mlp import mlp_reference

EDGES = [0.0, -0.0, 1.0, 1 + 2**-24, 1 + 2**-23, -1e-9, 1e30, -1e30, math.inf, -math.inf, math.nan]


@needs_native
class TestNativeKernels(KernelParity):
    """Everything that all compiled kernels must hold, on the CPU."""

    @pytest.fixture
    def device(self) -> torch.device:
        return CPU

    def test_misaligned_table_is_an_error_and_no_crash(self, device: torch.device) -> None:
        """CPU kernels read any alignment."""
        grid = GRIDS[0]
        table = numbers(device, grid.entries * 2 + 1)[1:].view(-1, 2)
        agree(lambda u, t: cuda_ext.hash_grid(u, t, grid), positions(device, 50), table)


class TestHashGrid:
    def test_reference_derivatives_are_right_to_second_order(self) -> None:
        generator = torch.Generator().manual_seed(0)
        u = (0.05 + 0.9 * torch.rand(3, 3, dtype=torch.float64, generator=generator)).requires_grad_()
        table = torch.randn(TINY.entries, 2, dtype=torch.float64, generator=generator)
        leaf = table.clone().requires_grad_()
        hash_grid_reference(u, leaf, TINY).sum().backward()
        touched = (leaf.grad != 0).any(1)
        some = table[touched].requires_grad_()

        def look_up(u: Tensor, some: Tensor) -> Tensor:
            return hash_grid_reference(u, table.masked_scatter(touched[:, None], some), TINY)

        assert torch.autograd.gradcheck(look_up, (u, some), eps=1e-6, atol=1e-5, rtol=1e-3)
        assert torch.autograd.gradgradcheck(look_up, (u, some), eps=1e-6, atol=1e-5, rtol=1e-3)

    def test_constant_table_gives_the_constant_everywhere(self) -> None:
        table = torch.full((TINY.entries, 2), 3.25)
        u = torch.tensor([[a, b, 0.3] for a in EDGES for b in EDGES])
        torch.testing.assert_close(cuda_ext.hash_grid(u, table, TINY), torch.full((len(u), TINY.width), 3.25))

    @needs_native
    @pytest.mark.parametrize("grid", [TINY, HashGrid(2, 8, 6, 3.0, 30.0)])
    def test_edge_positions_agree_with_the_reference(self, grid: HashGrid) -> None:
        u = torch.tensor([[a, b, c] for a in EDGES for b in EDGES for c in EDGES])
        agree(lambda u, t: cuda_ext.hash_grid(u, t, grid), u, numbers(CPU, grid.entries, grid.features))

    def test_values_are_continuous_across_cell_faces(self) -> None:
        table = numbers(CPU, TINY.entries, 2)
        face = torch.tensor([(2 - 0.5) / float(TINY.table["scale"][0]), 0.4, 0.7])
        step = torch.tensor([1e-6, 0.0, 0.0])
        below, above = cuda_ext.hash_grid(torch.stack([face - step, face + step]), table, TINY)
        torch.testing.assert_close(below, above, atol=1e-3, rtol=0)

    @pytest.mark.parametrize("count", [1, 127, 128, 129, 1023, 1025])
    def test_any_number_of_points_agrees(self, count: int) -> None:
        table = numbers(CPU, TINY.entries, 2)
        agree(lambda u: cuda_ext.hash_grid(u, table, TINY), positions(CPU, count))

    def test_strided_inputs_are_read_right(self) -> None:
        u = positions(CPU, 90).T.contiguous().T
        table = numbers(CPU, TINY.entries, 6)[:, ::3]
        assert not u.is_contiguous() and not table.is_contiguous()
        torch.testing.assert_close(
            cuda_ext.hash_grid(u, table, TINY), cuda_ext.hash_grid(u.contiguous(), table.contiguous(), TINY)
        )
        sliced = gradients(lambda u, t: cuda_ext.hash_grid(u, t, TINY).T.contiguous().T)
        for actual, expected in zip(
            sliced(u, table),
            gradients(lambda u, t: cuda_ext.hash_grid(u, t, TINY))(u.contiguous(), table.contiguous()),
            strict=True,
        ):
            close(actual, expected)

    @pytest.mark.parametrize(
        "settings",
        [
            {"levels": 0},
            {"levels": 33},
            {"features": 3},
            {"coarsest": 1.0},
            {"log2_entries": 25},
            {"coarsest": 9.0, "finest": 8.0},
        ],
    )
    def test_impossible_grids_are_refused(self, settings: dict[str, float]) -> None:
        with pytest.raises(ValueError, match="hash grid: "):
            HashGrid(**settings)  # type: ignore[arg-type]


class TestMLP:
    @pytest.mark.parametrize("widths", [(5, 7), (31, 32, 3), (32, 64, 64, 16), (3, 128, 128, 1), (9, 129, 2)])
    def test_every_width_agrees(self, widths: tuple[int, ...]) -> None:
        weights = numbers(CPU, cuda_ext.weight_count(widths), seed=3) * 0.3
        x = numbers(CPU, 201, widths[0])
        agree(lambda x, w: cuda_ext.mlp(x, w, widths), x, weights)
        agree(gradients(lambda x, w: cuda_ext.mlp(x, w, widths)), x, weights)

    def test_reference_derivatives_are_right(self) -> None:
        widths = (3, 8, 2)
        inputs = [numbers(CPU, 4, 3).double(), numbers(CPU, cuda_ext.weight_count(widths), seed=1).double()]
        leaves = [v.requires_grad_() for v in inputs]
        assert torch.autograd.gradcheck(lambda x, w: mlp_reference(x, w, widths), leaves)

    def test_second_order_equals_the_references(self) -> None:
        widths = (6, 16, 16, 2)
        weights = numbers(CPU, cuda_ext.weight_count(widths), seed=1) * 0.4

        def slope_penalty(x: Tensor, weights: Tensor) -> Tensor:
            (slope,) = torch.autograd.grad(cuda_ext.mlp(x, weights, widths)[:, 0].sum(), x, create_graph=True)
            return (slope.norm(dim=1) - 1).square()[:, None]

        agree(gradients(slope_penalty), numbers(CPU, 33, 6), weights)

    def test_slices_of_larger_tensors_are_read_right(self) -> None:
        widths = (4, 8, 3)
        x, weights = numbers(CPU, 20, 9)[:, 2:6], numbers(CPU, 2 * cuda_ext.weight_count(widths))[::2]
        expected = mlp_reference(x.contiguous(), weights.contiguous(), widths)
        close(cuda_ext.mlp(x, weights, widths), expected, 1e-5)


class TestComposite:
    def test_light_is_shared_out_completely(self) -> None:
        rays = packed_rays(CPU, [9, 0, 40], 3)
        color, opacity, depth, weights = cuda_ext.composite(
            rays["density"], torch.ones_like(rays["rgb"]), rays["start"], rays["end"], rays["offsets"], torch.ones(3, 3)
        )
        torch.testing.assert_close(color, torch.ones(3, 3))
        torch.testing.assert_close(opacity[0], weights[:9].sum())
        assert opacity[1] == 0 and depth[1] == 0

    def test_empty_rays_show_the_background_and_pass_its_gradient(self) -> None:
        background = numbers(CPU, 2, 3).requires_grad_()
        none = torch.zeros(0)
        color, *_ = cuda_ext.composite(
            none, torch.zeros(0, 3), none, none, torch.zeros(3, dtype=torch.int64), background
        )
        assert torch.equal(color, background)
        color.sum().backward()
        assert background.grad is not None and torch.equal(background.grad, torch.ones(2, 3))

    def test_opaque_sample_hides_what_is_behind(self) -> None:
        density, rgb = torch.tensor([0.0, 1e9, 5.0], requires_grad=True), torch.eye(3)
        start = torch.tensor([0.0, 1.0, 2.0])
        offsets, black = torch.tensor([0, 3]), torch.zeros(1, 3)
        color, opacity, depth, weights = cuda_ext.composite(density, rgb, start, start + 1, offsets, black)
        torch.testing.assert_close(color, torch.tensor([[0.0, 1.0, 0.0]]))
        assert opacity.item() == 1 and depth.item() == 1.5 and weights[2] == 0
        (gradient,) = torch.autograd.grad(color.sum(), density)
        assert torch.isfinite(gradient).all() and gradient[2] == 0

    def test_reference_derivatives_are_right(self) -> None:
        rays = packed_rays(CPU, [3, 0, 4], 2)
        start, end, offsets = rays["start"].double(), rays["end"].double(), rays["offsets"]
        leaves = [rays[k].double().requires_grad_() for k in ("density", "rgb", "background")]

        def run(density: Tensor, rgb: Tensor, background: Tensor) -> tuple[Tensor, ...]:
            return composite_reference(density, rgb, start, end, offsets, background)[:3]

        assert torch.autograd.gradcheck(run, leaves)

    def test_more_channels_than_the_kernel_holds_are_refused(self) -> None:
        with pytest.raises(ValueError, match="composite: 33 channels"):
            cuda_ext.composite(*in_order(packed_rays(CPU, [2], 33)))


class TestMarch:
    @pytest.mark.parametrize("native", [pytest.param(True, marks=needs_native), False])
    @pytest.mark.parametrize(("unbounded", "cone"), [(False, 0.0), (True, 0.01)])
    def test_waves_give_the_samples_of_one_call(self, native: bool, unbounded: bool, cone: float) -> None:
        space, bits, _, origins, directions = march_scene(unbounded, cone)
        coarse, t, end = coarsen(bits, 16), torch.zeros(60), torch.full((60,), 3.0)
        before, engine._enabled = engine._enabled, native
        try:
            whole = march(origins, directions, t, end, bits, coarse, space, 4096)
            found: list[Tensor] = []
            while bool((t < end).any()):
                ray, start, _, _, _, t = march(origins, directions, t, end, bits, coarse, space, 5)
                found.append(torch.stack([ray.float(), start], dim=1))
        finally:
            engine._enabled = before
        samples = torch.cat(found)
        samples = samples[torch.argsort(samples[:, 0], stable=True)]
        counts = [torch.bincount(rays, minlength=60) for rays in (samples[:, 0].long(), whole[0])]
        same = counts[0] == counts[1]  # rounding may put a midpoint on the other side of a cell's face
        assert same.float().mean() > 0.95 and (counts[0] - counts[1]).abs().max() <= 1
        difference = samples[same[samples[:, 0].long()], 1] - whole[1][same[whole[0]]]
        assert difference.abs().max() < 1e-5

    def test_every_sample_lies_in_an_occupied_cell_of_its_ray(self) -> None:
        space, bits, occupied, origins, directions = march_scene(False, 0.0)
        t, t_end = torch.zeros(60), torch.full((60,), 3.0)
        coarse = coarsen(bits, 16)
        ray, start, end, offsets, x, _ = march(origins, directions, t, t_end, bits, coarse, space, 4096)
        torch.testing.assert_close(end - start, torch.full_like(start, 0.05), atol=1e-5, rtol=0)
        torch.testing.assert_close(x, origins[ray] + (0.5 * (start + end))[:, None] * directions[ray])
        inside = x.abs().amax(1) < 1
        cell = ((x[inside] + 1) * 8).long()
        assert occupied[(cell[:, 2] * 16 + cell[:, 1]) * 16 + cell[:, 0]].float().mean() > 0.999
        assert torch.equal(offsets.diff(), torch.bincount(ray, minlength=60))

    @pytest.mark.parametrize("native", [pytest.param(True, marks=needs_native), False])
    def test_rays_end_where_the_shares_of_their_cells_come_to_one(self, native: bool) -> None:
        space, bits, _, origins, directions = march_scene(False, 0.0)
        rays = origins, directions, torch.zeros(60), torch.full((60,), 3.0), bits, coarsen(bits, 16), space, 4096
        before, engine._enabled = engine._enabled, native
        try:
            whole, none = march(*rays), march(*rays, torch.zeros(16**3))
            four = march(*rays, torch.full((16**3,), 0.25))
        finally:
            engine._enabled = before
        assert torch.equal(none[1], whole[1]) and torch.equal(none[5], whole[5])
        assert torch.equal(four[3].diff(), whole[3].diff().clamp_max(4))
        assert bool((four[5] >= 3).all())

    def test_rays_with_nothing_ahead_take_no_samples(self) -> None:
        space, bits, _, origins, directions = march_scene(False, 0.0)
        one, nine, empty = torch.ones(60), torch.full((60,), 9.0), torch.zeros_like(bits)
        none = march(origins, directions, nine, one, bits, coarsen(bits, 16), space, 8)
        through = march(origins, directions, one, nine, empty, coarsen(empty, 16), space, 8)
        assert len(none[0]) == 0 and len(through[0]) == 0 and bool((through[5] >= 9).all())

    @needs_native
    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30, 0.0])
    @pytest.mark.parametrize(("unbounded", "cone"), [(False, 0.0), (False, 1e-12), (True, 0.01)])
    def test_senseless_rays_end(self, value: float, unbounded: bool, cone: float) -> None:
        space, bits, _, origins, directions = march_scene(unbounded, cone)
        for tensor in (origins, directions):
            changed = tensor.clone()[:6]
            changed[::2] = value
            rays = (changed, directions[:6]) if tensor is origins else (origins[:6], changed)
            out = march(*rays, torch.zeros(6), torch.full((6,), 50.0), bits, coarsen(bits, 16), space, 16)
            assert int(out[3][-1]) <= 6 * 16

    @pytest.mark.parametrize(("limit", "step"), [(0, 0.1), (2**21, 0.1), (4, 0.0), (4, math.nan)])
    def test_senseless_steps_are_refused(self, limit: int, step: float) -> None:
        _, bits, _, origins, directions = march_scene(False, 0.0)
        space = MarchSpace(torch.tensor([[0.0] * 3, [1.0] * 3]), 16, False, step, 0.0)
        with pytest.raises(ValueError, match="march: limit"):
            march(origins, directions, torch.zeros(60), torch.ones(60), bits, coarsen(bits, 16), space, limit)

    @given(st.lists(st.floats(-50, 50, width=32), min_size=3, max_size=3))
    def test_contraction_is_inverted(self, u: list[float]) -> None:
        x = torch.tensor([u], dtype=torch.float64)
        v = contract(x)
        assert bool(((v > 0) & (v < 1)).all())
        torch.testing.assert_close(uncontract(v), x, rtol=1e-6, atol=1e-6)

    def test_bits_are_packed_and_blocks_found(self) -> None:
        occupied = torch.rand(32**3, generator=torch.Generator().manual_seed(0)) < 0.002
        assert torch.equal(unpack_bits(pack_bits(occupied)), occupied)
        blocks = occupied.view(4, 8, 4, 8, 4, 8).permute(0, 2, 4, 1, 3, 5).reshape(64, -1).any(dim=1)
        assert torch.equal(coarsen(pack_bits(occupied), 32).bool(), blocks)


class TestHarmonics:
    def test_harmonics_are_orthonormal_on_the_sphere(self) -> None:
        z, weight = np.polynomial.legendre.leggauss(8)
        angle = np.arange(16) * 2 * math.pi / 16
        radius = np.sqrt(1 - z**2)
        directions = np.stack(
            [radius[:, None] * np.cos(angle), radius[:, None] * np.sin(angle), np.broadcast_to(z[:, None], (8, 16))], -1
        ).reshape(-1, 3)
        y = spherical_harmonics_reference(torch.from_numpy(directions), 4)
        weights = torch.from_numpy(np.repeat(weight * 2 * math.pi / 16, 16))
        torch.testing.assert_close(y.T @ (weights[:, None] * y), torch.eye(16, dtype=torch.float64))

    @pytest.mark.parametrize("degree", [0, 5])
    def test_unknown_degrees_are_refused(self, degree: int) -> None:
        with pytest.raises(ValueError, match=f"spherical_harmonics: degree {degree}"):
            cuda_ext.spherical_harmonics(torch.zeros(1, 3), degree)


def step_all(optimiser: Adam, p: Tensor, steps: int) -> None:
    """Steps on the loss sum(k * p^2) with k growing along p."""
    for _ in range(steps):
        (p.square() * torch.arange(1, len(p) + 1)).sum().backward()
        optimiser.collect()
        optimiser.step()


@pytest.mark.parametrize("native", [pytest.param(True, marks=needs_native), False])
class TestAdam:
    @pytest.fixture(autouse=True)
    def engine_of_choice(self, native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine, "_enabled", native)

    def test_steps_equal_torchs(self, native: bool) -> None:
        ours, theirs = numbers(CPU, 37).requires_grad_(), numbers(CPU, 37).requires_grad_()
        step_all(Adam([ParameterGroup([ours], 0.05, decay=0.01)]), ours, 20)
        judge = torch.optim.Adam([theirs], lr=0.05, betas=(0.9, 0.99), eps=1e-15, weight_decay=0.01)
        for _ in range(20):
            judge.zero_grad()
            (theirs.square() * torch.arange(1, 38)).sum().backward()
            judge.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("count", [3, 16, 4099])
    def test_entries_without_a_gradient_do_not_move(self, native: bool, count: int) -> None:
        p = numbers(CPU, count)
        before = p.clone()
        touched = torch.arange(count) % 3 == 1
        optimiser = Adam([ParameterGroup([p], 0.1, decay=0.5, skip_untouched=True)])
        for sign in (1.0, -2.0):
            optimiser.gradient(p)[touched] = sign
            optimiser.step()
        assert torch.equal(p[~touched], before[~touched]) and bool((p[touched] != before[touched]).all())
        assert not optimiser.state()["first.0"][~touched].any() and not optimiser.gradient(p).any()

    def test_stored_state_continues_bit_for_bit(self, native: bool) -> None:
        whole, broken = numbers(CPU, 21).requires_grad_(), numbers(CPU, 21).requires_grad_()
        step_all(Adam([ParameterGroup([whole], 0.05)]), whole, 9)
        first = Adam([ParameterGroup([broken], 0.05)])
        step_all(first, broken, 4)
        second = Adam([ParameterGroup([broken], 0.05)])
        second.load_state(first.state())
        step_all(second, broken, 5)
        assert torch.equal(whole, broken)

    def test_not_a_number_shows_in_the_norm_and_can_be_discarded(self, native: bool) -> None:
        p = numbers(CPU, 8).requires_grad_()
        optimiser = Adam([ParameterGroup([p], 0.05)])
        (p * math.nan).sum().backward()
        assert not math.isfinite(float(optimiser.collect()))
        optimiser.discard()
        assert float(optimiser.collect()) == 0 and p.grad is None
