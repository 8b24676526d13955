"""Hash grid and network in one pass: the same as one after the other."""

from __future__ import annotations

import pytest
import torch
from kernel_parity import CPU, TINY, needs_native, numbers, positions

import cuda_ext
from cuda_ext import HashGrid, reference_only, using


@needs_native
@pytest.mark.parametrize("engines", [[], ["half"]])
@pytest.mark.parametrize("grid", [TINY, HashGrid(5, 1, 6, 3.0, 30.0), HashGrid(2, 8, 14, 3.0, 30.0)])
@pytest.mark.parametrize("count", [0, 1, 129, 1025, 50_000])
def test_one_pass_equals_one_after_the_other(count: int, grid: HashGrid, engines: list[str]) -> None:
    u, table, widths = positions(CPU, count), numbers(CPU, grid.entries, grid.features), (grid.width, 33, 3)
    weights = numbers(CPU, cuda_ext.weight_count(widths)) * 0.3
    with using(*engines):
        fused = cuda_ext.hash_network(u, table, grid, weights, widths)
        apart = cuda_ext.hash_network(u, table, grid, weights.clone().requires_grad_(), widths)
    assert apart.requires_grad and not fused.requires_grad
    assert torch.equal(fused, apart)
    if not engines:
        with reference_only():
            expected = cuda_ext.hash_network(u, table, grid, weights, widths)
        torch.testing.assert_close(fused, expected, atol=1e-4, rtol=1e-4)
