"""The fused pixel loss agrees with the operators it is made of."""

import pytest
import torch
from torch import Tensor

from cuda_ext import using, weight_count
from cuda_ext.render_loss import DensityRule, render_loss, render_loss_reference

WIDTHS = (31, 32, 32, 3)
RULE = DensityRule(max_log=6.0, scale=3.0, stop=1e-2)


def scene(counts: list[int]) -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(0)
    offsets = torch.tensor([0, *counts]).cumsum(0)
    samples, rays = int(offsets[-1]), len(counts)
    start = torch.rand(samples, generator=g)
    end = start + 0.01 + 0.02 * torch.rand(samples, generator=g)
    features = (torch.randn(samples, 16, generator=g) * 2 + 1).requires_grad_()
    harmonics = torch.randn(rays, 16, generator=g)
    weights = (torch.randn(weight_count(WIDTHS), generator=g) * 0.3).requires_grad_()
    wanted, behind = torch.rand(rays, 3, generator=g), torch.rand(rays, 3, generator=g)
    return features, harmonics, weights, start, end, offsets, wanted, behind


@pytest.mark.parametrize("counts", [[3], [0, 5, 0], [20, 1, 0, 33, 64] * 20, [0, 0]])
def test_loss_and_gradients_agree_with_the_reference(counts: list[int]) -> None:
    features, harmonics, weights, *rest = scene(counts)
    loss = render_loss(features, harmonics, weights, WIDTHS, *rest, RULE)
    expected = render_loss_reference(features, harmonics, weights, WIDTHS, *rest, RULE)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    if features.shape[0]:
        found = torch.autograd.grad(loss * 3, (features, weights))
        wanted = torch.autograd.grad(expected * 3, (features, weights))
        for a, b in zip(found, wanted, strict=True):
            assert torch.allclose(a, b, rtol=1e-3, atol=1e-5 * float(b.abs().max()))


@pytest.mark.parametrize("counts", [[3], [0, 5, 0], [20, 1, 0, 33, 64] * 20, [0, 0]])
def test_a_network_in_halves_is_nearly_the_same(counts: list[int]) -> None:
    features, harmonics, weights, *rest = scene(counts)
    exact = render_loss(features, harmonics, weights, WIDTHS, *rest, RULE)
    with using("half"):
        loss = render_loss(features, harmonics, weights, WIDTHS, *rest, RULE)
    assert loss.item() == pytest.approx(exact.item(), rel=0.01)
    if features.shape[0]:
        assert loss.item() != exact.item()
        for a, b in zip(*(torch.autograd.grad(x, (features, weights)) for x in (loss, exact)), strict=True):
            assert (a - b).norm() < 0.08 * b.norm()  # a unit near its kink may fall on the other side


@pytest.mark.parametrize("counts", [[3], [0, 5, 0], [20, 1, 0, 33, 64] * 20, [0, 0]])
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_harmonic_colours_agree_with_the_reference(counts: list[int], degree: int) -> None:
    features, harmonics, _, *rest = scene(counts)
    features = torch.randn(len(features), 1 + 3 * degree**2, generator=torch.Generator().manual_seed(1))
    features.requires_grad_()
    given = features, harmonics[:, : degree**2].contiguous(), None, (), *rest, RULE
    loss, expected = render_loss(*given), render_loss_reference(*given)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    if features.shape[0]:
        (found,), (wanted,) = (torch.autograd.grad(x * 3, features) for x in (loss, expected))
        assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-5 * float(wanted.abs().max()))


def test_samples_behind_a_wall_get_no_gradient() -> None:
    features, harmonics, weights, *rest = scene([10])
    with torch.no_grad():
        features[3, 0] = 20.0
    render_loss(features, harmonics, weights, WIDTHS, *rest, RULE).backward()
    assert features.grad is not None
    assert bool((features.grad[4:] == 0).all()) and bool((features.grad[:3] != 0).any())


def test_shapes_that_do_not_fit_are_named() -> None:
    features, harmonics, weights, start, end, offsets, wanted, behind = scene([4, 4])
    with pytest.raises(ValueError, match="render_loss: wanted"):
        render_loss(features, harmonics, weights, WIDTHS, start, end, offsets, wanted[:1], behind, RULE)
    with pytest.raises(ValueError, match="widths"):
        render_loss(features[:, :9].contiguous(), harmonics, weights, WIDTHS, start, end, offsets, wanted, behind, RULE)
    with pytest.raises(ValueError, match="render_loss: 15 coefficients"):
        render_loss(features, harmonics, None, (), start, end, offsets, wanted, behind, RULE)
