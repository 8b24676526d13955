"""The CUDA kernels' own sources as a library that runs them on the CPU, thread by thread."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from kernel_parity import SOURCES, prototypes

_HEADER = Path(__file__).with_name("emulated_cuda.h")
_NEEDS_DRIVER = {"scratch.cu"}  # memory pools: the emulation brings its own allocator
_PLAIN = {"float": ctypes.c_float, "int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64}


@cache
def emulation() -> ctypes.CDLL:
    """All kernels in one shared library, compiled once; its users are skipped where no g++ is."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to compile the emulated kernels")
    sources = [str(path) for path in sorted((SOURCES / "cuda").glob("*.cu")) if path.name not in _NEEDS_DRIVER]
    flags = ["-std=c++17", "-O1", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
    with tempfile.TemporaryDirectory() as folder:
        target = f"{folder}/kernels.so"
        command = [compiler, *flags, "-include", str(_HEADER), "-x", "c++", *sources, "-o", target]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr
        return ctypes.CDLL(target)  # stays mapped when its file goes


def emulated_kernels() -> SimpleNamespace:
    """The library as the engine sees a compiled module: launchers by name, errors raised."""
    library = emulation()
    launchers = {name: _launcher(library, name, types) for name, types in prototypes().items()}
    return SimpleNamespace(simd="emulated", **launchers)


def _launcher(library: ctypes.CDLL, name: str, types: list[str]) -> Callable[..., None]:
    function = getattr(library, name)
    arguments = [ctypes.c_void_p if text.endswith("*") else _PLAIN[text] for text in types[:-1]]
    function.argtypes, function.restype = [*arguments, ctypes.c_void_p], ctypes.c_int

    def call(*values: float | None) -> None:
        if status := function(*values):
            raise RuntimeError(f"{name}: CUDA error {status}")

    return call
