"""Which engine runs an operator: native CPU kernels, CUDA kernels, or the PyTorch reference."""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

LIBRARY = torch.library.Library("fieldscape", "DEF")
_enabled = os.environ.get("FIELDSCAPE_NATIVE", "1") != "0"
_threads = torch.get_num_threads()


@cache
def module(name: str) -> tuple[ModuleType | None, str]:
    """A compiled module of this package ("_native", "_cuda"), or None with the reason."""
    try:
        return importlib.import_module(f"cuda_ext.{name}"), ""
    except (ImportError, OSError) as error:
        return None, str(error)


@cache
def _warn_slow(device: str, reason: str) -> None:
    warnings.warn(
        f"native kernels for {device} are not available ({reason}); the PyTorch reference runs instead, "
        "10 to 50 times slower. `fieldscape doctor` tells more.",
        RuntimeWarning,
        stacklevel=4,
    )


def enabled() -> bool:
    """Whether compiled kernels may run: FIELDSCAPE_NATIVE is not 0, and this is not inside `reference_only`."""
    return _enabled


@contextlib.contextmanager
def reference_only() -> Iterator[None]:
    """Run every operator's PyTorch reference inside the block (tests, benchmarks)."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before


def threads() -> int:
    """Threads that CPU kernels use."""
    return _threads


def set_threads(count: int) -> None:
    """Use `count` threads in CPU kernels, whatever torch uses."""
    global _threads
    _threads = max(1, int(count))


@contextlib.contextmanager
def quiet_torch(unless: bool = False) -> Iterator[None]:
    """One thread for torch's own operators inside the block, `unless` they do most of the work.

    The kernels here keep their threads.

    Between our kernels torch handles small tensors only, and its second thread would spin at barriers
    on a core that the kernels (or somebody else) could use.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(before if unless else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def native_for(device: torch.device) -> bool:
    """Whether compiled kernels serve this device; warns once, with the reason, when they cannot."""
    if not _enabled:
        return False
    name = {"cpu": "_native", "cuda": "_cuda"}.get(device.type)
    if name is None:
        return False
    found, reason = module(name)
    if found is None:
        _warn_slow(device.type, reason)
    return found is not None


def launch(kernel: str, device: torch.device, *arguments: Any) -> None:
    """Call a compiled kernel: tensors become pointers, None a null pointer."""
    values = [a.data_ptr() if isinstance(a, Tensor) else 0 if a is None else a for a in arguments]
    if device.type == "cpu":
        getattr(module("_native")[0], kernel)(*values, _threads)
        return
    stream = torch.cuda.current_stream(device).cuda_stream
    with torch.cuda.device(device):
        status = getattr(module("_cuda")[0], kernel)(*values, stream)
    if status:
        raise RuntimeError(f"{kernel}: CUDA error {status}")


def expect(
    operator: str,
    name: str,
    tensor: Tensor,
    shape: tuple[int, ...],
    like: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The tensor, contiguous, after its dtype, shape (-1 admits any size) and device were checked.

    Raises:
        TypeError, ValueError: naming the operator and the argument.
    """
    if tensor.dtype != dtype:
        raise TypeError(f"{operator}: {name} has dtype {tensor.dtype}, expected {dtype}")
    if tensor.dim() != len(shape) or any(
        want not in (-1, have) for want, have in zip(shape, tensor.shape, strict=True)
    ):
        wanted = ["any" if size == -1 else size for size in shape]
        raise ValueError(f"{operator}: {name} has shape {list(tensor.shape)}, expected {wanted}")
    if like is not None and tensor.device != like.device:
        raise ValueError(f"{operator}: {name} is on {tensor.device}, expected {like.device}")
    return tensor.contiguous()


def expect_runs(operator: str, offsets: Tensor, rays: int, samples: int, like: Tensor) -> Tensor:
    """`offsets` [R + 1] (any R for `rays` -1), checked to rise from 0 to the number of samples.

    On a GPU the values are not looked at: that would wait for everything queued before.
    """
    offsets = expect(operator, "offsets", offsets, (rays + 1 if rays >= 0 else -1,), like, torch.int64)
    if offsets.device.type != "cpu":
        return offsets
    runs = offsets.numpy()
    if not (len(runs) and runs[0] == 0 and runs[-1] == samples and (runs[1:] >= runs[:-1]).all()):
        raise ValueError(f"{operator}: offsets do not rise from 0 to {samples}, the number of samples")
    return offsets
