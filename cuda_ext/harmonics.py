"""Real spherical harmonics of view directions."""

from __future__ import annotations

import torch
from torch import Tensor

from .engine import LIBRARY, expect, launch, native_for


def spherical_harmonics(directions: Tensor, degree: int) -> Tensor:
    """The first degree^2 real harmonics [N, degree^2] of unit `directions` [N, 3]; degree 1 to 4.

    Not differentiated: directions come from cameras.
    """
    if not 1 <= degree <= 4:
        raise ValueError(f"spherical_harmonics: degree {degree}, expected 1 to 4")
    directions = expect("spherical_harmonics", "directions", directions.detach(), (-1, 3))
    if not native_for(directions.device):
        return spherical_harmonics_reference(directions, degree)
    return torch.ops.fieldscape.spherical_harmonics(directions, degree)


def spherical_harmonics_reference(directions: Tensor, degree: int) -> Tensor:
    """The specification of `spherical_harmonics` (Sloan 2013, appendix A1)."""
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    terms = [torch.full_like(x, 0.28209479177387814)]
    if degree > 1:
        terms += [-0.48860251190291987 * y, 0.48860251190291987 * z, -0.48860251190291987 * x]
    if degree > 2:
        terms += [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.94617469575755997 * zz - 0.31539156525251999,
            -1.0925484305920792 * x * z,
            0.54627421529603959 * (xx - yy),
        ]
    if degree > 3:
        terms += [
            0.59004358992664352 * y * (-3 * xx + yy),
            2.8906114426405538 * x * y * z,
            0.45704579946446572 * y * (1 - 5 * zz),
            0.3731763325901154 * z * (5 * zz - 3),
            0.45704579946446572 * x * (1 - 5 * zz),
            1.4453057213202769 * z * (xx - yy),
            0.59004358992664352 * x * (-xx + 3 * yy),
        ]
    return torch.stack(terms, dim=-1)


LIBRARY.define("spherical_harmonics(Tensor directions, int degree) -> Tensor")


def _forward(directions: Tensor, degree: int) -> Tensor:
    y = directions.new_empty(directions.shape[0], degree * degree)
    launch("spherical_harmonics", directions.device, directions, degree, directions.shape[0], y)
    return y


for _device in ("CPU", "CUDA"):
    LIBRARY.impl("spherical_harmonics", _forward, _device)


@torch.library.register_fake("fieldscape::spherical_harmonics", lib=LIBRARY)
def _(directions: Tensor, degree: int) -> Tensor:
    return directions.new_empty(directions.shape[0], degree * degree)
