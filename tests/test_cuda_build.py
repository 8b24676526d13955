"""The CUDA sources build without warnings wherever nvcc is, and the module works where no GPU is."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from kernel_parity import SOURCES, prototypes

from cuda_ext import engine

KERNEL_FILES = sorted((SOURCES / "cuda").glob("*.cu"))
ARCHITECTURES = ("75", "80", "86", "89", "90")


def nvcc(source: Path, folder: Path, architectures: tuple[str, ...]) -> str:
    """Compile one file with all warnings as errors; returns ptxas' report."""
    compiler = shutil.which("nvcc")
    if compiler is None:
        pytest.skip("no nvcc on PATH")
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures]
    warnings = ["-Werror", "all-warnings", "-Xcompiler=-Wall,-Wextra,-Werror"]
    command = [compiler, "-std=c++17", "-O3", *warnings, "-Xptxas", "-v", *targets, "-c", str(source), "-o",
               str(folder / f"{source.stem}.o")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_every_prototype_has_a_cuda_launcher() -> None:
    listed = set(re.findall(r"\bX\((\w+)\)", (SOURCES / "cuda" / "launchers.h").read_text()))
    assert set(prototypes()) == listed


def test_a_kernel_file_compiles_without_warnings_and_without_spills(tmp_path: Path) -> None:
    report = nvcc(SOURCES / "cuda" / "composite.cu", tmp_path, ("90",))
    spilled = re.findall(r"(\d+) bytes spill stores", report)
    assert spilled and set(spilled) == {"0"}


@pytest.mark.slow
@pytest.mark.parametrize("source", KERNEL_FILES, ids=lambda path: path.stem)
def test_every_kernel_file_compiles_for_every_architecture(source: Path, tmp_path: Path) -> None:
    report = nvcc(source, tmp_path, ARCHITECTURES)
    assert set(re.findall(r"(\d+) bytes spill stores", report)) <= {"0"}
    shared = [int(size) for size in re.findall(r"(\d+) bytes smem", report)]
    assert max(shared, default=0) <= 48 * 1024  # what every architecture grants without opting in


def test_the_module_imports_and_counts_devices_without_a_gpu() -> None:
    found, reason = engine.module("_cuda")
    if found is None:
        pytest.skip(f"cuda_ext._cuda is not built: {reason}")
    assert found.device_count() >= 0 and found.runtime_version >= 11000
    assert found.error_text(0) == "no error" and "90" in found.architectures


def test_a_launch_without_a_gpu_is_an_error_and_not_a_crash() -> None:
    found, reason = engine.module("_cuda")
    if found is None:
        pytest.skip(f"cuda_ext._cuda is not built: {reason}")
    if found.device_count():
        pytest.skip("a GPU is here")
    assert found.spherical_harmonics(0, 4, 128, 0, 0) != 0
    assert found.spherical_harmonics(0, 4, 0, 0, 0) == 0  # nothing to do is done anywhere
