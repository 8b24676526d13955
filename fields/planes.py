"""Which axes planes and lines have, and how they are resampled: shared by VM, tri-planes and scenes."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate

from cuda_ext.planes import LINE_AXES, PLANE_AXES

__all__ = ["LINE_AXES", "PLANE_AXES", "resample_lines", "resample_planes", "resolution_at"]

GROWTH = (0.07, 0.10, 0.13, 0.18, 0.23)  # fractions of a run


def resample_planes(planes: Tensor, resolution: int) -> Tensor:
    """Planes [3, H, W, C] at another resolution [3, R, R, C], bilinear; the outer vertices stay in place."""
    channels_first = planes.detach().permute(0, 3, 1, 2)
    return (
        interpolate(channels_first, (resolution, resolution), mode="bilinear", align_corners=True)
        .permute(0, 2, 3, 1)
        .contiguous()
    )


def resample_lines(lines: Tensor, resolution: int) -> Tensor:
    """Lines [3, R, C] at another resolution, linear; the ends stay where they are."""
    return (
        interpolate(lines.detach().transpose(1, 2), resolution, mode="linear", align_corners=True)
        .transpose(1, 2)
        .contiguous()
    )


def resolution_at(fraction: float, start: int, final: int) -> int:
    """Resolution at this fraction of a run: from `start` to `final` in steps even in the logarithm.

    TensoRF, section 4.4, with its five steps between 2,000 and 7,000 of 30,000 iterations.
    """
    done = sum(fraction >= moment for moment in GROWTH)
    return final if done == len(GROWTH) else round(start * (final / start) ** (done / len(GROWTH)))
