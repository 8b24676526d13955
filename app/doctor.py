"""What is installed, built and used on this machine, and why not."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import util

from .hardware import (
    free_memory,
    memory_total,
    native_level,
    package_version,
    processor,
    program_version,
    usable_cores,
)
from .report import size_text

OK, MISSING, PROBLEM = "ok", "absent", "problem"
_POINTS = 8192
_MIN_MEMORY = 4 * 2**30
_EXTRAS = {
    "video": ("imageio_ffmpeg", "films (.mp4)"),
    "texture": ("xatlas", "textured meshes"),
    "viewer": ("viser", "the live viewer"),
    "cluster": ("ray", "work on several machines"),
}


@dataclass(frozen=True)
class Check:
    """One thing looked at: `verdict` is ok, absent (nothing is lost but speed or an extra) or problem."""

    name: str
    verdict: str
    found: str
    fix: str = ""

    def line(self) -> str:
        """For people."""
        mark = {OK: "✓", MISSING: "–", PROBLEM: "✗"}[self.verdict]
        return f"{mark} {self.name:<12} {self.found}" + (f"  → {self.fix}" if self.fix else "")


def examine() -> Iterator[Check]:
    """Every check in turn; none of them raises."""
    for check in (
        _program,
        _torch,
        _machine,
        _native,
        _speed,
        _gpu,
        _cuda_kernels,
        _tinycudann,
        _nerfacc,
        _extras,
        _backends,
        _temporary,
    ):
        yield _guarded(check)


def _guarded(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:
        return Check(
            check.__name__.lstrip("_"),
            PROBLEM,
            f"{type(error).__name__}: {error}",
            "reinstall fieldscape and its dependencies",
        )


def _program() -> Check:
    return Check("fieldscape", OK, f"{program_version()}, Python {sys.version.split()[0]}")


def _torch() -> Check:
    import torch

    threads, cores = torch.get_num_threads(), usable_cores()
    text = f"{torch.__version__}, {threads} threads"
    if threads > cores:
        return Check("torch", PROBLEM, f"{text} on {cores} cores", f"set OMP_NUM_THREADS={cores}")
    fix = f"unset OMP_NUM_THREADS to use all {cores} cores" if threads < cores else ""
    return Check("torch", OK, text, fix)


def _machine() -> Check:
    free, total = free_memory(), memory_total()
    memory = f"{size_text(min(free, total))} of {size_text(total)} memory free"
    text = f"{processor()}, {usable_cores()} cores, {memory}"
    if free < _MIN_MEMORY:
        return Check("machine", PROBLEM, text, "close other programs, or use --preset tiny and --downscale")
    return Check("machine", OK, text)


def _native() -> Check:
    level, reason = native_level()
    if os.environ.get("FIELDSCAPE_NATIVE") == "0":
        return Check("native", MISSING, "switched off by FIELDSCAPE_NATIVE=0", "unset it")
    if level is None:
        return Check(
            "native",
            PROBLEM,
            f"CPU kernels are missing ({reason}): everything runs 10 to 50 times slower",
            "install a C++17 compiler and reinstall fieldscape from source, or use a published wheel",
        )
    return Check("native", OK, f"CPU kernels, {level} instructions")


def _speed() -> Check:
    """The field core with native kernels and with the PyTorch reference, a tenth of a second each."""
    import torch

    from cuda_ext import HashGrid, hash_network, reference_only, weight_count

    grid, widths = HashGrid(log2_entries=15), (32, 32, 16)
    generator = torch.Generator().manual_seed(0)
    u = torch.rand(_POINTS, 3, generator=generator)
    table = torch.rand(grid.entries, grid.features, generator=generator)
    weights = torch.rand(weight_count(widths), generator=generator)

    def rate(seconds: float) -> float:
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            hash_network(u, table, grid, weights, widths)
            count += 1
        return count * _POINTS / (time.perf_counter() - start) / 1e6

    with torch.no_grad():
        with reference_only():
            reference = rate(0.1)
        if native_level()[0] is None:
            return Check("speed", MISSING, f"{reference:.1f} M points/s by the PyTorch reference alone")
        rate(0.02)
        ours = rate(0.1)
    text = f"{ours:.1f} M points/s through hash grid and network, {ours / reference:.1f}x the PyTorch reference"
    if ours < 2 * reference:
        return Check("speed", PROBLEM, text, "other work may hold the processor: try again when it is idle")
    return Check("speed", OK, text)


def _gpu() -> Check:
    import torch

    if torch.cuda.is_available():
        name, memory = torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory
        return Check("gpu", OK, f"{name}, {size_text(memory)}, CUDA {torch.version.cuda}")
    if torch.version.cuda is None:
        return Check(
            "gpu",
            MISSING,
            "torch was built without CUDA: everything runs on the CPU",
            "with an NVIDIA GPU, install a CUDA build of torch",
        )
    return Check(
        "gpu",
        MISSING,
        f"torch is built for CUDA {torch.version.cuda}, but no GPU answers",
        "check nvidia-smi and the driver",
    )


def _cuda_kernels() -> Check:
    import torch

    from cuda_ext.engine import module

    found, reason = module("_cuda")
    if found is not None:
        return Check("cuda kernels", OK, "built")
    if not torch.cuda.is_available():
        return Check("cuda kernels", MISSING, "not built, and no GPU would use them")
    return Check(
        "cuda kernels",
        PROBLEM,
        f"not built ({reason}): the GPU runs the PyTorch reference",
        "install nvcc of torch's CUDA version and reinstall fieldscape from source",
    )


def _tinycudann() -> Check:
    return _accelerator(
        "tinycudann", "pip install git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch"
    )


def _nerfacc() -> Check:
    return _accelerator("nerfacc", "pip install nerfacc")


def _accelerator(name: str, install: str) -> Check:
    """An engine that `--engine` may name; none is needed."""
    import torch

    from cuda_ext.accelerators import find_accelerator

    found, reason = find_accelerator(name)
    if found is None:
        text = f"engine not usable: {reason} (an optional accelerator; our own kernels do without)"
        return Check(name, MISSING, text, install if torch.cuda.is_available() else "")
    return Check(name, OK, f"{package_version(name) or 'installed'}, with --engine {name}")


def _extras() -> Check:
    states = [
        f"{extra} {'yes' if util.find_spec(module) else 'no'} ({purpose})"
        for extra, (module, purpose) in _EXTRAS.items()
    ]
    missing = [extra for extra, (module, _) in _EXTRAS.items() if util.find_spec(module) is None]
    fix = f"pip install 'fieldscape[{','.join(missing)}]' for the rest" if missing else ""
    return Check("extras", MISSING if missing else OK, ", ".join(states), fix)


def _backends() -> Check:
    from fields.backends import BACKENDS

    return Check("backends", OK, " ".join(BACKENDS))


def _temporary() -> Check:
    import shutil
    import tempfile

    free = shutil.disk_usage(tempfile.gettempdir()).free
    fix = "free some space" if free < 2**30 else ""
    return Check("disk", PROBLEM if fix else OK, f"{size_text(free)} free for temporary files", fix)
