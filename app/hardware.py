"""What a run or a measurement ran on: hardware, versions, memory, and the speed of the moment."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

_REPORTED = ("torch", "numpy", "safetensors", "nerfacc", "trimesh", "diffusers", "gradio", "typer")


def program_version() -> str:
    """Fieldscape's own version; `0+source` where it is run from a source tree without being installed."""
    try:
        return metadata.version("fieldscape")
    except metadata.PackageNotFoundError:
        return "0+source"


def package_version(name: str) -> str | None:
    """Version of an installed distribution, without importing it."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Fieldscape, Python and the packages that results depend on."""
    found = {"fieldscape": program_version(), "python": platform.python_version()}
    return found | {name: version for name in _REPORTED if (version := package_version(name))}


def hardware(device: str = "cpu") -> dict[str, Any]:
    """Processor, cores, memory, the native kernels' instruction level and the GPU where one is used."""
    import torch

    native, reason = native_level()
    found: dict[str, Any] = {
        "processor": processor(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "memory_bytes": memory_total(),
        "system": f"{platform.system()} {platform.machine()}",
        "native": native or f"none ({reason})",
        "device": device,
    }
    if device.startswith("cuda"):
        found["gpu"] = torch.cuda.get_device_name(torch.device(device))
    return found


def native_level() -> tuple[str | None, str]:
    """Instruction level of the native CPU kernels (`avx512`, …), or None with the reason they are missing."""
    from cuda_ext.engine import module

    native, reason = module("_native")
    if native is None:
        return None, reason
    return str(native.simd), ""


def processor() -> str:
    """The processor's own name where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_total() -> int:
    """Bytes of memory, or of the control group's limit where that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        return min(total, int(limit)) if limit.isdigit() else total
    except OSError:
        return total


def peak_memory() -> int:
    """Largest resident size of this process so far, bytes."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def calibration(seconds: float = 0.25) -> float:
    """GFLOP/s of one thread multiplying 256 x 256 float32 matrices: how fast the machine is right now.

    Shared machines swing by a factor of two within minutes; timings are read against this figure.
    """
    import torch

    size = 256
    a, b = torch.ones(size, size), torch.ones(size, size)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        best, end = 0.0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            start = time.perf_counter()
            for _ in range(8):
                torch.mm(a, b)
            best = max(best, 8 * 2 * size**3 / (time.perf_counter() - start) / 1e9)
        return best
    finally:
        torch.set_num_threads(before)


def free_memory() -> int:
    """Bytes that can be taken without swapping, as far as the system tells."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return memory_total()
