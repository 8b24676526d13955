"""Which engine runs a field: our own kernels, in single or half precision, or tinycudann and nerfacc in some places."""

from __future__ import annotations

import torch

from cuda_ext import composite
from cuda_ext.accelerators import ACCELERATORS, HALF, find_accelerator, halves_are_faster, using
from cuda_ext.with_tinycudann import HIDDEN_WIDTHS, MAX_FINEST, MAX_LOG2_ENTRIES, suits_grid, suits_network

from .backends.hash import HashBackend
from .cameras import Rays
from .errors import UserError
from .volume import Volume

NATIVE, AUTO = "native", "auto"


def engines_for(text: str, *volumes: Volume) -> tuple[str, ...]:
    """The accelerators to open the block `using` with for work on these volumes; none for `native`.

    `auto` stands for `half` where that is several times faster and all volumes are densities on the CPU.

    Raises:
        UserError: as `engine_names` and `check_engine`.
    """
    if text == AUTO:
        suits = all(volume.kind == "density" and volume.device.type == "cpu" for volume in volumes)
        return (HALF,) if suits and halves_are_faster() else ()
    names = engine_names(text, volumes[0].device.type)
    for volume in volumes:
        check_engine(volume, names)
    return names


def engine_names(text: str, device: str) -> tuple[str, ...]:
    """The accelerators that `native`, or names of them joined by `+`, such as `half+nerfacc`, stand for.

    None for `auto`, which is left to `engines_for`.

    Raises:
        UserError: `E-USAGE-ENGINE` for another word, `E-ENV-ENGINE` for one that cannot be used on this device.
    """
    if text in (NATIVE, AUTO):
        return ()
    names = tuple(text.split("+"))
    if not set(names) <= set(ACCELERATORS) or len(set(names)) < len(names):
        raise UserError(
            "E-USAGE-ENGINE",
            "unknown engine",
            got=text,
            expected=" ".join((AUTO, NATIVE, *ACCELERATORS, "+".join(ACCELERATORS))),
            fix="choose one",
        )
    for name in names:
        _, reason = find_accelerator(name)
        if reason or not (name == HALF or device.startswith("cuda")):
            raise UserError(
                "E-ENV-ENGINE",
                f"engine {name} cannot be used",
                got=reason or f"--device {device}",
                expected="our native kernels" if name == HALF else f"{name} and an NVIDIA GPU",
                fix="leave --engine out to use our own kernels, and see fieldscape doctor",
            )
    return names


def check_engine(field: Volume, names: tuple[str, ...]) -> None:
    """Refuse accelerators that do not suit this field, and try the others on it once.

    nerfacc compiles its kernels here, which takes minutes the first time.

    Raises:
        UserError: `E-USAGE-ENGINE` for a field they do not suit, `E-ENV-ENGINE` when they fail.
    """
    if HALF in names and field.kind != "density":
        raise _unsuited(HALF, "a signed distance field", "a density, as distances need all digits")
    if "tinycudann" in names:
        _check_tinycudann(field)
    if "nerfacc" in names and field.space.unbounded:
        raise _unsuited("nerfacc", "an unbounded scene", "a bounded one, as it cannot march through contracted space")
    if names:
        _try(field, names)


def _check_tinycudann(field: Volume) -> None:
    if field.kind != "density":
        raise _unsuited("tinycudann", "a signed distance field", "a density, as it computes in half precision")
    found = [module for module in field.modules() if isinstance(module, HashBackend)]
    if not found:
        raise _unsuited("tinycudann", "a field without a hash grid", "backend hash, alone or joined to others")
    for backend in found:
        if not suits_grid(backend.grid):
            raise _unsuited(
                "tinycudann",
                f"finest={backend.grid.finest:g} log2_entries={backend.grid.log2_entries}",
                f"at most {MAX_FINEST} and {MAX_LOG2_ENTRIES}",
            )
        if not suits_network(backend.widths):
            raise _unsuited(
                "tinycudann",
                f"hidden={backend.config.hidden} layers={backend.config.layers}",
                f"hidden of {', '.join(map(str, HIDDEN_WIDTHS))}, and a layer at least",
            )


def _unsuited(name: str, got: str, expected: str) -> UserError:
    return UserError(
        "E-USAGE-ENGINE",
        f"engine {name} does not suit this field",
        got=got,
        expected=expected,
        fix="use --engine native",
    )


@torch.no_grad()
def _try(field: Volume, names: tuple[str, ...]) -> None:
    low, high = field.space.bounds.to(field.device)
    diagonal = torch.nn.functional.normalize(high - low, dim=0)[None]
    rays = Rays(low[None], diagonal, diagonal)
    start, end = field.space.clip(rays.origins, rays.directions, 0.0)
    try:
        with using(*names):
            samples, x, _ = field.occupancy.sample(rays, start, end, 8)
            density = field.density_of(field.features(x), x)
            composite(density, density[:, None], samples.start, samples.end, samples.offsets, density.new_zeros(1, 1))
            if field.device.type == "cuda":
                torch.cuda.synchronize(field.device)
    except Exception as error:  # whatever their builds raise
        raise UserError(
            "E-ENV-ENGINE",
            f"engine {'+'.join(names)} fails on this machine",
            got=f"{type(error).__name__}: {error}",
            expected="a build that fits this GPU and this torch",
            fix="use --engine native, or reinstall the package",
        ) from error
