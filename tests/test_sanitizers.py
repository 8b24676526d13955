"""The CPU kernels built with address and undefined-behaviour sanitizers, under their whole test file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
_RUN = """
import sys
sys.meta_path[:] = [f for f in sys.meta_path if "ScikitBuild" not in type(f).__name__]  # an editable install
sys.path.insert(0, sys.argv[1])
from cuda_ext.engine import module
native, reason = module("_native")
assert native is not None and native.__file__.startswith(sys.argv[1]), reason
"""
_TESTS = _RUN + "import pytest; sys.exit(pytest.main(sys.argv[2:]))"
_OVERFLOW = (
    _RUN
    + """
import torch
from cuda_ext.engine import launch
bits, blocks = torch.zeros(16**3 // 8, dtype=torch.uint8), torch.zeros(7, dtype=torch.uint8)  # one block short
launch("coarsen", bits.device, bits, 16, blocks)
"""
)


def _compiler() -> str:
    found = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if found is None or shutil.which("cmake") is None:
        pytest.skip("no C++ compiler or no cmake")
    return found


def _library(compiler: str) -> str:
    """The sanitizers' library that the process needs before it starts."""
    done = subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=False)
    path = done.stdout.strip()
    if not Path(path).is_absolute():
        pytest.skip(f"{compiler} has no libasan")
    return path


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package `cuda_ext` whose kernels are sanitized."""
    compiler, folder = _compiler(), tmp_path_factory.mktemp("sanitized")
    cmake_dir = subprocess.run([sys.executable, "-m", "nanobind", "--cmake_dir"], capture_output=True, text=True,
                               check=False)  # fmt: skip
    if cmake_dir.returncode:
        pytest.skip("no nanobind in this environment")
    options = [f"-DCMAKE_CXX_COMPILER={compiler}", "-DCMAKE_BUILD_TYPE=Debug", "-DFIELDSCAPE_SANITIZE=ON",
               "-DFIELDSCAPE_CUDA=OFF", f"-Dnanobind_DIR={cmake_dir.stdout.strip()}",
               f"-DPython_EXECUTABLE={sys.executable}"]  # fmt: skip
    build = folder / "build"
    for command in (["cmake", "-S", ROOT, "-B", build, *options],
                    ["cmake", "--build", build, "--target", "_native", "--parallel", "2"]):  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    unwanted = shutil.ignore_patterns("*.so", "csrc", "__pycache__")
    shutil.copytree(ROOT / "cuda_ext", folder / "cuda_ext", ignore=unwanted)
    (module,) = build.glob("_native*")
    shutil.copy(module, folder / "cuda_ext")
    return folder


def _run(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LD_PRELOAD": _library(_compiler()), "OMP_NUM_THREADS": "2", "PYTHONPATH": "",
                   "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}  # fmt: skip
    command = [sys.executable, "-c", code, str(folder), *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_access_out_of_bounds_is_caught(sanitized: Path) -> None:
    done = _run(_OVERFLOW, sanitized)
    assert done.returncode != 0 and "heap-buffer-overflow" in done.stderr and "coarsen" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kernels_stay_in_bounds_and_defined(sanitized: Path) -> None:
    chosen = ["-k", "TestNativeKernels", str(ROOT / "tests" / "test_kernels.py"), "-p", "no:xdist", "--timeout=900"]
    done = _run(_TESTS, sanitized, *chosen)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
