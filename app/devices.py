"""Where tensors live, `auto`, `cpu` or `cuda`, and whether networks are trained in bfloat16 there."""

from __future__ import annotations

from fields.errors import UserError

DEVICES = ("auto", "cpu", "cuda")


def pick_device(name: str) -> str:
    """`cpu` or `cuda` (`cuda:1` for a second GPU); `auto` takes a GPU where one works.

    Raises:
        UserError: `E-USAGE-DEVICE`, `E-ENV-CUDA`.
    """
    if name.partition(":")[0] not in DEVICES or (":" in name and not name.removeprefix("cuda:").isdecimal()):
        raise UserError(
            "E-USAGE-DEVICE", "unknown device", got=name, expected=" ".join(DEVICES), fix="use --device auto"
        )
    if name == "cpu":
        return name
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if count else "cpu"
    if int(name.partition(":")[2] or 0) >= count:
        built = f"torch {torch.__version__}"
        raise UserError(
            "E-ENV-CUDA",
            "no such GPU",
            got=f"{count} usable GPUs ({built})",
            expected=f"one for {name}",
            fix="use --device auto, and see fieldscape doctor",
        )
    return name


def pick_bfloat16(wanted: bool | None, device: str) -> bool:
    """Whether networks are trained in bfloat16: as `wanted`; with None where the hardware multiplies it faster."""
    if wanted is not None:
        return wanted
    from cuda_ext.accelerators import bfloat16_is_faster

    return bfloat16_is_faster(device.partition(":")[0])
