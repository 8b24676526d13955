"""What holds for all operators: same bits in every run, named errors, and every instruction set alike."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from kernel_parity import (
    CPU,
    TINY,
    close,
    in_order,
    march_scene,
    needs_native,
    numbers,
    packed_rays,
    positions,
)
from torch import Tensor

import cuda_ext
from cuda_ext import Adam, HashGrid, ParameterGroup, engine, reference_only
from cuda_ext.march import coarsen, march


@pytest.fixture
def restore_threads() -> Iterator[None]:
    before = engine.threads()
    yield
    engine.set_threads(before)


def train_a_little() -> list[Tensor]:
    """Values and gradients of grid, network and compositing, as bits."""
    grid, widths = HashGrid(4, 2, 8, 4.0, 64.0), (8, 32, 4)
    u, table = positions(CPU, 3000).requires_grad_(), numbers(CPU, grid.entries, 2).requires_grad_()
    weights = (numbers(CPU, cuda_ext.weight_count(widths), seed=5) * 0.3).requires_grad_()
    y = cuda_ext.mlp(cuda_ext.hash_grid(u, table, grid), weights, widths)
    offsets = torch.arange(0, 3001, 30)
    start = torch.arange(30).repeat(100) * 0.1
    color, *_ = cuda_ext.composite(
        y[:, 3].exp(), y[:, :3].contiguous(), start, start + 0.1, offsets, torch.ones(100, 3)
    )
    return [color.detach(), *torch.autograd.grad(color.square().sum(), (u, table, weights))]


@needs_native
@pytest.mark.usefixtures("restore_threads")
def test_results_do_not_depend_on_threads_or_runs() -> None:
    runs = []
    for count in (1, 2, 2, 3):
        engine.set_threads(count)
        runs.append(train_a_little())
    assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(runs[0], run, strict=True))


@needs_native
def test_gradient_in_the_sink_is_the_returned_one() -> None:
    u, table = positions(CPU, 500), numbers(CPU, TINY.entries, 2).requires_grad_()
    sink = torch.zeros(TINY.entries, 2)
    (cuda_ext.hash_grid(u, table, TINY, sink) ** 2).sum().backward()
    assert table.grad is None
    (expected,) = torch.autograd.grad((cuda_ext.hash_grid(u, table, TINY) ** 2).sum(), table)
    assert torch.equal(sink, expected)


def hash_network(u: Tensor, table: Tensor, widths: tuple[int, ...], extra: int = 0) -> Tensor:
    weights = torch.zeros(cuda_ext.weight_count(widths) + extra)
    return cuda_ext.hash_network(u, table, TINY, weights, widths)


WRONG: list[tuple[str, type[Exception], Callable[[], object]]] = [
    ("hash_grid: u has dtype", TypeError, lambda: cuda_ext.hash_grid(ones(3).double(), zeros(), TINY)),
    ("hash_grid: u has shape", ValueError, lambda: cuda_ext.hash_grid(ones(2), zeros(), TINY)),
    ("hash_grid: table has shape", ValueError, lambda: cuda_ext.hash_grid(ones(3), zeros()[1:], TINY)),
    ("hash_grid: table is on meta", ValueError, lambda: cuda_ext.hash_grid(ones(3), zeros().to("meta"), TINY)),
    ("hash_grid: sink has shape", ValueError, lambda: cuda_ext.hash_grid(ones(3), zeros(), TINY, zeros()[1:])),
    ("hash_network: table has shape", ValueError, lambda: hash_network(ones(3), zeros()[1:], (TINY.width, 4))),
    ("hash_network: weights has shape", ValueError, lambda: hash_network(ones(3), zeros(), (TINY.width, 4), 3)),
    ("hash_network: widths", ValueError, lambda: hash_network(ones(3), zeros(), (TINY.width + 1, 4))),
    (
        "hash_grid: sink is not contiguous",
        ValueError,
        lambda: cuda_ext.hash_grid(ones(3), zeros(), TINY, torch.zeros(TINY.entries, 4)[:, ::2]),
    ),
    ("mlp: x has shape", ValueError, lambda: cuda_ext.mlp(torch.zeros(1, 4), torch.zeros(15), (3, 5))),
    ("mlp: weights has shape", ValueError, lambda: cuda_ext.mlp(torch.zeros(1, 3), torch.zeros(14), (3, 5))),
    ("mlp: x has dtype", TypeError, lambda: cuda_ext.mlp(torch.zeros(1, 3).half(), torch.zeros(15), (3, 5))),
    ("mlp: widths", ValueError, lambda: cuda_ext.mlp(torch.zeros(1, 3), torch.zeros(0), (3, 0))),
    (
        "composite: rgb has shape",
        ValueError,
        lambda: cuda_ext.composite(
            torch.zeros(2), torch.zeros(3, 3), torch.zeros(2), torch.zeros(2), torch.tensor([0, 2]), torch.zeros(1, 3)
        ),
    ),
    (
        "composite: offsets has dtype",
        TypeError,
        lambda: cuda_ext.composite(
            torch.zeros(2),
            torch.zeros(2, 3),
            torch.zeros(2),
            torch.zeros(2),
            torch.tensor([0, 2]).int(),
            torch.zeros(1, 3),
        ),
    ),
    (
        "visible: light has shape",
        ValueError,
        lambda: cuda_ext.visible(*[torch.zeros(2)] * 3, torch.tensor([0, 2]), torch.ones(2), 0.1),
    ),
    ("coarsen: bits has dtype", TypeError, lambda: coarsen(torch.zeros(512), 16)),
    ("spherical_harmonics: directions has shape", ValueError, lambda: cuda_ext.spherical_harmonics(torch.zeros(3), 2)),
]


def ones(width: int) -> Tensor:
    return torch.ones(1, width)


def zeros() -> Tensor:
    return torch.zeros(TINY.entries, 2)


@pytest.mark.parametrize(("message", "kind", "call"), WRONG, ids=[row[0] for row in WRONG])
def test_wrong_arguments_are_named(message: str, kind: type[Exception], call: Callable[[], object]) -> None:
    with pytest.raises(kind, match=message):
        call()


@needs_native
def test_operators_are_registered_as_torch_wants() -> None:
    grid_key = (3, 2, 5, 2.0, 9.0)
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    u, table = positions(CPU, 20).requires_grad_(), zeros().requires_grad_()
    back = (u.detach(), table.detach(), None, numbers(CPU, 20, 6), True, True, *grid_key)
    operators, cases = torch.ops.fieldscape, packed_rays(CPU, [4, 0, 3], 3)
    for operator, arguments in (
        (operators.hash_grid, (u, table, None, *grid_key)),
        (operators.hash_grid_backward, back),
        (operators.mlp, (numbers(CPU, 9, 3), torch.ones(24), [3, 8], True)),
        (operators.composite, in_order(cases)),
        (operators.spherical_harmonics, (numbers(CPU, 5, 3), 3)),
    ):
        torch.library.opcheck(operator.default, arguments, test_utils=checks)


_ISA_RUN = """
import sys
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[2])
import test_kernel_contracts
from cuda_ext import engine
parts = test_kernel_contracts.instruction_set_values()
import numpy as np
np.savez(sys.argv[1], *[p.numpy() for p in parts], simd=np.array(engine.module("_native")[0].simd))
"""


def instruction_set_values() -> list[Tensor]:
    """What every instruction set must compute alike: all kernels, and Adam's choice of entries."""
    p = numbers(CPU, 77)
    optimiser = Adam([ParameterGroup([p], 0.1, skip_untouched=True)])
    optimiser.gradient(p)[::5] = 1.0
    optimiser.step()
    grid = HashGrid(2, 4, 8, 4.0, 16.0)
    wide = cuda_ext.hash_grid(positions(CPU, 101), numbers(CPU, grid.entries, 4), grid)
    space, bits, _, origins, directions = march_scene(False, 0.0)
    begin, end = torch.zeros(60), torch.full((60,), 3.0)
    t = march(origins, directions, begin, end, bits, coarsen(bits, 16), space, 64)[5]
    return [*train_a_little(), p, wide, t.clamp_max(3.0), cuda_ext.spherical_harmonics(directions, 4)]


@needs_native
@pytest.mark.parametrize("simd", ["baseline", "avx2", "avx512", "avx512bf16", "amx"])
def test_instruction_sets_agree(simd: str, tmp_path: Path) -> None:
    target, here = tmp_path / "values.npz", Path(__file__).parent
    path = os.pathsep.join([str(here.parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"FIELDSCAPE_SIMD": simd, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, "-c", _ISA_RUN, str(target), str(here)]
    done = subprocess.run(command, env=environment, timeout=120, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(target) as stored:
        if str(stored["simd"]) != simd:
            pytest.skip(f"this processor runs {stored['simd']} at most")
        found = [torch.from_numpy(stored[f"arr_{k}"]) for k in range(len(stored.files) - 1)]
    with reference_only():
        expected = instruction_set_values()
    for actual, wanted in zip(found, expected, strict=True):
        close(actual, wanted, 1e-5 if simd != "baseline" else 2e-5)
