"""Figures that compare pictures."""

from __future__ import annotations

import math

import pytest
import torch

from fields.metrics import psnr, ssim


def picture(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_psnr_of_a_known_error() -> None:
    a = picture(9, 11, 3) * 0.5
    assert psnr(a, a + 0.1) == pytest.approx(20, abs=1e-3)
    assert psnr(a, a) == math.inf
    assert psnr(torch.zeros(4, 4), torch.ones(4, 4)) == 0


def test_ssim_is_one_for_equal_pictures_and_falls_with_noise() -> None:
    a = picture(32, 24, 3)
    noise = picture(32, 24, 3, seed=1) - 0.5
    assert ssim(a, a) == pytest.approx(1)
    values = [ssim(a, (a + k * noise).clamp(0, 1)) for k in (0.1, 0.3, 1.0)]
    assert 1 > values[0] > values[1] > values[2]


def test_ssim_of_plain_pictures_is_the_luminance_term() -> None:
    a, b, c1 = 0.2, 0.6, 0.01**2
    expected = (2 * a * b + c1) / (a * a + b * b + c1)
    assert ssim(torch.full((16, 16), a), torch.full((16, 16), b)) == pytest.approx(expected, abs=1e-4)


def test_small_and_grey_pictures_have_an_ssim() -> None:
    assert ssim(picture(3, 4, 3), picture(3, 4, 3)) == pytest.approx(1)
    assert ssim(picture(5, 6), picture(5, 6)) == pytest.approx(1)


@pytest.mark.parametrize("figure", [psnr, ssim])
def test_pictures_of_different_shapes_are_refused(figure: object) -> None:
    with pytest.raises(ValueError, match="same pixels"):
        figure(picture(8, 8, 3), picture(8, 9, 3))  # type: ignore[operator]
    with pytest.raises(ValueError, match="same pixels"):
        figure(picture(0, 8, 3), picture(0, 8, 3))  # type: ignore[operator]


def test_ssim_refuses_pictures_without_room_for_a_window() -> None:
    with pytest.raises(ValueError, match="at least 3 x 3"):
        ssim(picture(2, 9, 3), picture(2, 9, 3))
