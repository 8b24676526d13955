"""What a measurement was taken on: without it, a figure means nothing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib import metadata, util

import torch

from cuda_ext import engine

_PACKAGES = ("torch", "numpy", "nerfacc", "tinycudann")


def hardware(device: torch.device) -> dict[str, object]:
    """The device's name and limits, and the host's."""
    found: dict[str, object] = {"device": device_name(device), "host": platform.machine()}
    found["cores"] = os.cpu_count()
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {"capability": f"{properties.major}.{properties.minor}", "memory": properties.total_memory,
                  "multiprocessors": properties.multi_processor_count, "driver": _driver()}
    return found


def versions() -> dict[str, str]:
    """Versions of what takes part, "" for what is not installed."""
    found = {"python": platform.python_version(), "torch_cuda": torch.version.cuda or ""}
    for name in _PACKAGES:
        found[name] = metadata.version(name) if util.find_spec(name) else ""
    module, _ = engine.module("_cuda")
    found["cuda_kernels"] = f"{module.runtime_version} for {module.architectures}" if module else ""
    return found


def device_name(device: torch.device) -> str:
    """As its maker calls it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu"


def slug(name: str) -> str:
    """The name in lower case, for files."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unknown"


def _driver() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return done.stdout.split("\n")[0].strip()
