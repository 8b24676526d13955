"""The CUDA kernels' own sources, run on the CPU thread by thread, against the PyTorch reference."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import torch
from emulation import emulated_kernels, emulation
from half_parity import HalfParity, HalfTableParity, halves, problem
from kernel_parity import KernelParity, composite_all, numbers, packed_rays

import cuda_ext
from cuda_ext import accelerators, engine


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The CPU, its kernels replaced by the emulated ones."""
    kernels = emulated_kernels()
    for user in (engine, accelerators):
        monkeypatch.setattr(user, "module", lambda name: (kernels, ""))
    monkeypatch.setattr(accelerators, "_DEVICES", ("cpu",))
    monkeypatch.setattr(sys.modules["cuda_ext.mlp"], "_KEEPERS", ("cpu",))
    monkeypatch.setattr(sys.modules["cuda_ext.hash_grid"], "_HALF_TABLES", ("cpu",))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    yield torch.device("cpu")
    emulation().emulated_order(0)


class TestEmulated(KernelParity, HalfParity, HalfTableParity):
    def test_results_do_not_depend_on_the_order_of_threads(self, device: torch.device) -> None:
        """A missing barrier would show: threads then read what others have not written yet."""
        widths = (20, 64, 40, 5)
        x, weights = numbers(device, 200, 20), numbers(device, cuda_ext.weight_count(widths), seed=1)
        rays = packed_rays(device, [5, 40, 100], 3)
        results = []
        for backwards in (0, 1):
            emulation().emulated_order(backwards)
            leaves = [x.clone().requires_grad_(), weights.clone().requires_grad_()]
            y = cuda_ext.mlp(*leaves, widths)
            slopes = torch.autograd.grad(y.square().sum(), leaves)
            half = problem(device, widths, 100)
            results.append([y.detach(), *slopes, *composite_all(rays), *halves(*half[:2], widths, half[2])])
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))

    def test_mlp_backward_is_the_same_in_every_run(self, device: torch.device) -> None:
        widths, x = (16, 64, 8), numbers(device, 700, 16)
        weights = numbers(device, cuda_ext.weight_count(widths)).requires_grad_()
        runs = [torch.autograd.grad(cuda_ext.mlp(x, weights, widths).sum(), weights)[0] for _ in range(2)]
        assert torch.equal(*runs)
