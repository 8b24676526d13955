"""Which axes planes and lines have, and how they are resampled: shared by VM, tri-planes and scenes."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import interpolate

from cuda_ext.planes import LINE_AXES, PLANE_AXES

__all__ = ["LINE_AXES", "PLANE_AXES", "resample_lines", "resample_planes", "resolution_at"]


def resample_planes(planes: Tensor, resolution: int) -> Tensor:
    """Planes [3, H, W, C] at another resolution [3, R, R, C], bilinear; outer vertices stay where they are."""
    channels_first = planes.detach().permute(0, 3, 1, 2)
    return interpolate(channels_first, (resolution, resolution), mode="bilinear", align_corners=True
                       ).permute(0, 2, 3, 1).contiguous()


def resample_lines(lines: Tensor, resolution: int) -> Tensor:
    """Lines [3, R, C] at another resolution, linear; the ends stay where they are."""
    return interpolate(lines.detach().transpose(1, 2), resolution, mode="linear", align_corners=True
                       ).transpose(1, 2).contiguous()


def resolution_at(fraction: float, start: int, final: int, at: tuple[float, ...]) -> int:
    """Resolution at this fraction of a run that grows from `start` to `final` at the fractions `at`.

    Steps are even in the logarithm (TensoRF, section 4.4).
    """
    done = sum(fraction >= moment for moment in at)
    if done == len(at):
        return final
    return round(math.exp(math.log(start) + (math.log(final) - math.log(start)) * done / len(at)))
