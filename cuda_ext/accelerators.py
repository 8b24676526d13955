"""What else can run some of our operators: where it is, and what was chosen.

`half` are our own kernels in half precision, on a GPU and on the CPU; the others are other people's packages for GPUs.
None is ever needed. tinycudann raises EnvironmentError where it finds no GPU, and nerfacc compiles its kernels at its
first call, so neither is touched before a GPU answered.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType

import torch
from torch import Tensor

from .engine import enabled, module, native_for

HALF = "half"
ACCELERATORS = (HALF, "tinycudann", "nerfacc")
_DEVICES = ("cuda",)  # the others have no CPU kernels for what we take from them
_chosen: dict[str, ModuleType] = {}


def find_accelerator(name: str) -> tuple[ModuleType | None, str]:
    """The module, or None with the reason why it cannot be used here."""
    if name != HALF and name not in sys.modules and importlib.util.find_spec(name) is None:
        return None, "not installed"
    if name != HALF and not torch.cuda.is_available():
        return None, "installed, but no GPU answers"
    if not enabled():
        return None, "FIELDSCAPE_NATIVE=0 asks for the PyTorch reference"
    if name == HALF:
        return module("_cuda" if torch.cuda.is_available() else "_native")
    try:
        return importlib.import_module(name), ""
    except Exception as error:  # ImportError, OSError, and NameError where no built variant suits the GPU
        return None, f"does not import ({type(error).__name__}: {error})"


def halves_are_faster() -> bool:
    """Whether our CPU kernels compute small networks several times faster in half precision: by AMX tiles."""
    native = module("_native")[0] if enabled() else None
    return native is not None and native.simd == "amx"


def bfloat16_is_faster(device: str) -> bool:
    """Whether torch multiplies matrices faster in bfloat16: on GPUs that have it and on CPUs with AMX.

    On CPUs with AVX512-BF16 alone it hardly pays.
    """
    if device == "cpu":
        return bool(torch.cpu.get_capabilities().get("amx_bf16", False))
    return torch.cuda.is_bf16_supported(including_emulation=False)


@contextlib.contextmanager
def using(*names: str) -> Iterator[None]:
    """Run the operators that these have with them inside the block, the others with our usual kernels.

    half: `mlp` up to a width of 128 (any, by AMX), before tinycudann, and the network of `render_loss`; fp16 on a GPU,
    bfloat16 on a CPU. On a GPU only: tinycudann: `hash_grid`, and the `mlp`s whose shape its fused kernels take.
    nerfacc: `march` and `composite`.

    Raises:
        RuntimeError: one cannot be used here, with the reason.
    """
    global _chosen
    found = {}
    for name in names:
        usable, reason = find_accelerator(name)
        if usable is None:
            raise RuntimeError(f"{name}: {reason}")
        found[name] = usable
    before, _chosen = _chosen, found
    try:
        yield
    finally:
        _chosen = before


def accelerator(name: str, tensor: Tensor) -> ModuleType | None:
    """The chosen one of this name if it is to run an operator on this tensor [N, ...] (N > 0)."""
    device = tensor.device
    if name not in _chosen or not len(tensor) or not enabled():
        return None
    own = name == HALF and device.type == "cpu" and native_for(device)
    return _chosen[name] if own or device.type in _DEVICES else None
