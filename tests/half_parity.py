"""What the half-precision kernels of `mlp` must hold: agreement with a reference that rounds where they do.

A test class that inherits `HalfParity` provides the fixture `device`, and says in which kind of halves kernels round
there; inside a test `using("half")` then runs them on that device.
"""

from __future__ import annotations

import pytest
import torch
from kernel_parity import GRIDS, close, gradients, numbers, positions
from torch import Tensor

import cuda_ext
from cuda_ext import HashGrid, reference_only, using
from cuda_ext.mlp import split_weights

NETWORKS = [(3, 16, 1), (32, 64, 64, 16), (27, 128, 100, 3), (5, 7), (1, 1), (40, 33, 64), (16, 16, 16, 16, 16, 4)]
TOLERANCE = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2}  # of the largest value: roundings may fall differently


def by_rounding(
    x: Tensor, weights: Tensor, widths: tuple[int, ...], gy: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Output and gradients of x and weights, with every factor of a product rounded to `dtype`; gy near 1."""

    def rounded(values: Tensor) -> Tensor:
        return values.to(dtype).float()

    matrices = [rounded(matrix) for matrix in split_weights(weights, widths)]
    inputs = [rounded(x)]
    for matrix in matrices[:-1]:
        inputs.append(rounded(torch.relu(inputs[-1] @ matrix)))
    y, g, slopes = inputs[-1] @ matrices[-1], rounded(gy), []
    for k in range(len(matrices) - 1, -1, -1):
        slopes.append((inputs[k].T @ g).reshape(-1))
        g = g @ matrices[k].T
        if k:
            g = rounded(g) * (inputs[k] > 0)
    return y, g, torch.cat(slopes[::-1])


def problem(device: torch.device, widths: tuple[int, ...], count: int) -> tuple[Tensor, Tensor, Tensor]:
    """x, weights and gy of a network."""
    weights = numbers(device, cuda_ext.weight_count(widths), seed=2) * 0.3
    return numbers(device, count, widths[0]), weights, numbers(device, count, widths[-1], seed=7)


def halves(x: Tensor, weights: Tensor, widths: tuple[int, ...], gy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Output and gradients of x and weights by the kernels."""
    leaves = [x.clone().requires_grad_(), weights.clone().requires_grad_()]
    with using("half"):
        y = cuda_ext.mlp(*leaves, widths)
    return y.detach(), *torch.autograd.grad(y, leaves, gy)


class HalfParity:
    """Tests of `mlp` in half precision on the `device` of the subclass."""

    dtype = torch.float16

    @pytest.mark.parametrize("widths", NETWORKS)
    @pytest.mark.parametrize("count", [1, 161])
    def test_half_mlp_agrees_with_rounded_arithmetic(
        self, device: torch.device, widths: tuple[int, ...], count: int
    ) -> None:
        x, weights, gy = problem(device, widths, count)
        wanted = by_rounding(x, weights, widths, gy, self.dtype)
        for actual, expected in zip(halves(x, weights, widths, gy), wanted, strict=True):
            close(actual, expected, TOLERANCE[self.dtype])

    @pytest.mark.parametrize("size", [1e-30, 1e-9, 1.0, 1e6])
    def test_half_gradients_scale_with_the_loss(self, device: torch.device, size: float) -> None:
        widths = (8, 32, 4)
        x, weights, gy = problem(device, widths, 40)
        _, *actual = halves(x, weights, widths, gy * size)
        _, *expected = by_rounding(x, weights, widths, gy, self.dtype)
        for a, b in zip(actual, expected, strict=True):
            close(a / size, b, TOLERANCE[self.dtype])

    def test_half_gradients_of_nothing_are_zero(self, device: torch.device) -> None:
        widths = (8, 32, 4)
        x, weights, gy = problem(device, widths, 40)
        assert not any(slope.any() for slope in halves(x, weights, widths, gy * 0)[1:])

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
    def test_half_gradients_show_what_is_not_finite(self, device: torch.device, bad: float) -> None:
        widths = (8, 32, 4)
        x, weights, gy = problem(device, widths, 40)
        gy[3, 1] = bad
        assert not any(slope.isfinite().all() for slope in halves(x, weights, widths, gy)[1:])

    def test_half_mlp_stays_finite_beyond_the_range_of_halves(self, device: torch.device) -> None:
        widths = (8, 32, 4)
        x, weights, gy = problem(device, widths, 40)
        assert all(values.isfinite().all() for values in halves(x * 1e8, weights, widths, gy))

    def test_half_mlp_without_the_gradient_of_its_input(self, device: torch.device) -> None:
        widths = (8, 20, 4)
        x, weights, gy = problem(device, widths, 70)
        with using("half"):
            (actual,) = gradients(lambda w: cuda_ext.mlp(x, w, widths))(weights)
        close(actual, by_rounding(x, weights, widths, gy, self.dtype)[2], TOLERANCE[self.dtype])

    def test_second_derivatives_of_the_half_mlp_are_the_reference_s(self, device: torch.device) -> None:
        widths = (3, 16, 1)
        x, weights, _ = problem(device, widths, 30)

        def bend() -> Tensor:
            leaf = x.clone().requires_grad_()
            (slope,) = torch.autograd.grad(cuda_ext.mlp(leaf, weights, widths).sum(), leaf, create_graph=True)
            return slope.detach()

        with using("half"):
            actual = bend()
        with reference_only():
            close(actual, bend())

    def test_results_in_halves_are_the_same_in_every_run(self, device: torch.device) -> None:
        widths = (16, 64, 8)
        case = problem(device, widths, 140)
        runs = [halves(*case[:2], widths, case[2]) for _ in range(2)]
        assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))

    def test_nothing_in_gives_nothing_out_in_halves(self, device: torch.device) -> None:
        x, weights, gy = problem(device, (3, 8, 2), 0)
        y, gx, gweights = halves(x, weights, (3, 8, 2), gy)
        assert y.shape == (0, 2) and gx.shape == (0, 3) and not gweights.any()


class HalfTableParity:
    """Tests of a hash grid whose table is read in halves, which GPUs do, on the `device` of the subclass."""

    @pytest.mark.parametrize("grid", GRIDS)
    def test_a_hash_grid_reads_its_table_in_halves(self, device: torch.device, grid: HashGrid) -> None:
        u, table = positions(device, 500), numbers(device, grid.entries, grid.features)
        gy = numbers(device, 500, grid.width, seed=3)

        def values_and_gradient(table: Tensor, sink: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
            y = cuda_ext.hash_grid(u, leaf := table.clone().requires_grad_(), grid, sink)
            y.backward(gy)
            return y.detach(), leaf.grad

        sink = torch.zeros_like(table)
        with using("half"):
            y, gradient = values_and_gradient(table)
            _, nothing = values_and_gradient(table, sink)
        with reference_only():
            expected, its_gradient = values_and_gradient(table.half().float())
            exact, _ = values_and_gradient(table)
        close(y, expected)
        close(gradient, its_gradient)
        close(sink, its_gradient)
        assert nothing is None and (y - exact).abs().max() > 1e-5

    def test_positions_on_a_hash_grid_get_exact_gradients(self, device: torch.device) -> None:
        u, table = positions(device, 100), numbers(device, GRIDS[0].entries, 2)
        slope = gradients(lambda u: cuda_ext.hash_grid(u, table, GRIDS[0]))
        with using("half"):
            (actual,) = slope(u)
        close(actual, slope(u)[0])
