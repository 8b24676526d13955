"""The CUDA kernels on a GPU. Without one every test here is skipped, and says so."""

from __future__ import annotations

import pytest
import torch
from half_parity import HalfParity, HalfTableParity, halves, problem
from kernel_parity import GRIDS, KernelParity, agree, close, gradients, numbers, positions

import cuda_ext
from cuda_ext import engine, reference_only

pytestmark = pytest.mark.cuda


@pytest.fixture
def device() -> torch.device:
    """The GPU, with the compiled module there."""
    if not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU")
    found, reason = engine.module("_cuda")
    assert found is not None, f"a GPU is here, but cuda_ext._cuda is not: {reason}"
    torch.backends.cuda.matmul.allow_tf32 = False  # the reference is fp32
    return torch.device("cuda", torch.cuda.current_device())


class TestCuda(KernelParity, HalfParity, HalfTableParity):
    def test_the_module_sees_the_devices_that_torch_sees(self, device: torch.device) -> None:
        assert engine.module("_cuda")[0].device_count() == torch.cuda.device_count()

    def test_mlp_gradients_agree_over_several_chunks(self, device: torch.device) -> None:
        widths, x = (32, 64, 64, 16), numbers(device, 150_000, 32)
        weights = numbers(device, cuda_ext.weight_count(widths), seed=2) * 0.2
        agree(gradients(lambda x, w: cuda_ext.mlp(x, w, widths)), x, weights)

    def test_mlp_gradients_are_the_same_in_every_run(self, device: torch.device) -> None:
        widths, x = (32, 64, 16), numbers(device, 70_000, 32)
        run = gradients(lambda w: cuda_ext.mlp(x, w, widths))
        weights = numbers(device, cuda_ext.weight_count(widths))
        assert torch.equal(run(weights)[0], run(weights)[0])

    def test_half_mlp_agrees_over_several_chunks(self, device: torch.device) -> None:
        widths = (32, 64, 64, 16)
        x, weights, gy = problem(device, widths, 150_000)
        whole = halves(x, weights, widths, gy)
        parts = [halves(x[i : i + 50_000], weights, widths, gy[i : i + 50_000]) for i in range(0, 150_000, 50_000)]
        for k in range(2):
            close(whole[k], torch.cat([part[k] for part in parts]), 1e-2)
        close(whole[2], torch.stack([part[2] for part in parts]).sum(0), 1e-2)

    def test_mlp_differentiates_twice(self, device: torch.device) -> None:
        widths = (3, 16, 1)
        weights = numbers(device, cuda_ext.weight_count(widths))

        def slope(x: torch.Tensor) -> torch.Tensor:
            leaf = x.detach().requires_grad_()
            y = cuda_ext.mlp(leaf, weights, widths)
            (gx,) = torch.autograd.grad(y.square().sum(), leaf, create_graph=True)
            (result,) = torch.autograd.grad(gx.square().sum(), leaf)
            return result

        agree(slope, numbers(device, 100, 3))

    def test_large_hash_grid_agrees(self, device: torch.device) -> None:
        grid = cuda_ext.HashGrid(16, 2, 19, 16.0, 2048.0)
        u, table = positions(device, 1 << 17), numbers(device, grid.entries, 2)
        actual = cuda_ext.hash_grid(u, table, grid)
        with reference_only():
            expected = cuda_ext.hash_grid(u, table, grid)
        close(actual, expected, 1e-3)  # 2048 cells of fp32 positions: 1e-4 of a cell is rounding

    def test_kernels_run_on_the_current_stream(self, device: torch.device) -> None:
        grid, table = GRIDS[0], numbers(device, GRIDS[0].entries, 2)
        u = positions(device, 1000)
        expected = cuda_ext.hash_grid(u, table, grid)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            torch.cuda._sleep(20_000_000)
            actual = cuda_ext.hash_grid(u * 1.0, table, grid)  # wrong unless it waits for the product
        stream.synchronize()
        assert torch.equal(actual, expected)
