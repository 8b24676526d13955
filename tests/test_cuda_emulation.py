"""The CUDA kernels' own sources, run on the CPU thread by thread, against the PyTorch reference."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from kernel_parity import CPU_ONLY, KernelParity, composite_all, numbers, packed_rays

import cuda_ext
from cuda_ext import engine

SOURCES = Path(cuda_ext.__file__).parent / "csrc"
EMULATION = Path(__file__).with_name("emulated_cuda.h")
NEEDS_DRIVER = {"scratch.cu"}  # memory pools: the emulation brings its own allocator


def prototypes() -> dict[str, list[str]]:
    """Argument types, as in prototypes.inc, of every kernel that has a launcher."""
    text = re.sub(r"//.*", "", (SOURCES / "prototypes.inc").read_text())
    return {name: [argument.strip().rsplit(maxsplit=1)[0] for argument in arguments.split(",")]
            for name, arguments in re.findall(r"void (\w+)\(([^)]*)\);", text) if name not in CPU_ONLY}


def ctype(name: str) -> type:
    """How ctypes passes an argument of this C type."""
    plain = {"float": ctypes.c_float, "int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64}
    return ctypes.c_void_p if name.endswith("*") else plain[name]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """All kernels in one shared library."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to compile the emulated kernels")
    target = tmp_path_factory.mktemp("emulation") / "kernels.so"
    sources = [str(path) for path in sorted((SOURCES / "cuda").glob("*.cu")) if path.name not in NEEDS_DRIVER]
    command = [compiler, "-std=c++17", "-O1", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror",
               "-Wno-unknown-pragmas", "-include", str(EMULATION), "-x", "c++", *sources, "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(target))


def bind(library: ctypes.CDLL) -> SimpleNamespace:
    """The library as the engine sees a compiled module: launchers by name, errors raised."""

    def launcher(name: str, types: list[str]):
        function = getattr(library, name)
        function.argtypes, function.restype = [*map(ctype, types[:-1]), ctypes.c_void_p], ctypes.c_int

        def call(*arguments: float) -> None:
            if status := function(*arguments):
                raise RuntimeError(f"{name}: CUDA error {status}")

        return call

    return SimpleNamespace(**{name: launcher(name, types) for name, types in prototypes().items()})


@pytest.fixture
def device(library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The CPU, its kernels replaced by the emulated ones."""
    kernels = bind(library)
    monkeypatch.setattr(engine, "module", lambda name: (kernels, ""))
    yield torch.device("cpu")
    library.emulated_order(0)


class TestEmulated(KernelParity):
    def test_results_do_not_depend_on_the_order_of_threads(self, device: torch.device, library: ctypes.CDLL
                                                           ) -> None:
        """A missing barrier would show: threads then read what others have not written yet."""
        widths = (20, 64, 40, 5)
        x, weights = numbers(device, 200, 20), numbers(device, cuda_ext.weight_count(widths), seed=1)
        rays = packed_rays(device, [5, 40, 100], 3)
        results = []
        for backwards in (0, 1):
            library.emulated_order(backwards)
            leaves = [x.clone().requires_grad_(), weights.clone().requires_grad_()]
            y = cuda_ext.mlp(*leaves, widths)
            slopes = torch.autograd.grad(y.square().sum(), leaves)
            results.append([y.detach(), *slopes, *composite_all(rays)])
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))

    def test_mlp_backward_is_the_same_in_every_run(self, device: torch.device) -> None:
        widths, x = (16, 64, 8), numbers(device, 700, 16)
        weights = numbers(device, cuda_ext.weight_count(widths)).requires_grad_()
        runs = [torch.autograd.grad(cuda_ext.mlp(x, weights, widths).sum(), weights)[0] for _ in range(2)]
        assert torch.equal(*runs)
