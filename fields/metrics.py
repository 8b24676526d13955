"""How alike two pictures are."""

from __future__ import annotations

import math

from torch import Tensor


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of two pictures of one shape with values in [0, 1]; inf when equal.

    Raises:
        ValueError: for shapes that differ or pictures without pixels.
    """
    _check("psnr", a, b)
    error = float((a.double() - b.double()).square().mean())
    return -10 * math.log10(error) if error > 0 else math.inf


def ssim(a: Tensor, b: Tensor) -> float:
    """Structural similarity of two pictures [H, W, 3] or [H, W] with values in [0, 1] (Wang et al. 2004).

    Windows of 7 pixels, as scikit-image computes it; fewer where a side is shorter.

    Raises:
        ValueError: for shapes that differ or sides below 3 pixels.
    """
    from skimage.metrics import structural_similarity

    _check("ssim", a, b)
    if a.dim() not in (2, 3) or min(a.shape[:2]) < 3:
        raise ValueError(f"ssim: shape {list(a.shape)}, expected [H, W] or [H, W, C] of at least 3 x 3")
    window = min(7, (min(a.shape[:2]) - 1) // 2 * 2 + 1)
    pictures = [t.detach().cpu().double().numpy() for t in (a, b)]
    return float(
        structural_similarity(*pictures, data_range=1.0, win_size=window, channel_axis=2 if a.dim() == 3 else None)
    )


def _check(name: str, a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.numel() == 0:
        raise ValueError(f"{name}: shapes {list(a.shape)} and {list(b.shape)}, expected the same pixels")
