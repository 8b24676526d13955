"""Products of planes and lines: one pass agrees with the lookups that it is made of."""

from __future__ import annotations

import pytest
import torch
from kernel_parity import close, needs_native, run_with
from torch import Tensor

from cuda_ext import line_lookup, product_lookup, reference_only, triplane_lookup

# Channels below, at, and beside whole vectors; vertices of planes (height, width) and of lines.
CASES = [(1, (5, 5), 5), (4, (9, 9), 9), (13, (3, 7), 6), (24, (17, 17), 17), (33, (1, 4), 1), (96, (6, 2), 40)]


def make(channels: int, plane: tuple[int, int], line: int, count: int = 700) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(channels)
    u = torch.rand(count, 3, generator=generator) * 1.2 - 0.1  # some of them outside
    planes = torch.randn(3, *plane, channels, generator=generator, requires_grad=True)
    return u, planes, torch.randn(3, line, channels, generator=generator, requires_grad=True)


def composed(lines: Tensor, u: Tensor, planes: Tensor | None) -> Tensor:
    found = line_lookup(lines, u)
    return found.prod(1) if planes is None else triplane_lookup(planes, u) * found


@needs_native
@pytest.mark.parametrize("with_planes", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_one_pass_agrees_with_lookups_and_their_products(
    case: tuple[int, tuple[int, int], int], with_planes: bool
) -> None:
    u, planes, lines = make(*case)
    factors = (lines, planes) if with_planes else (lines,)
    y = product_lookup(lines, u, planes if with_planes else None)
    with reference_only():
        expected = composed(lines, u, planes if with_planes else None)
        gy = torch.linspace(-1, 1, y.numel()).view(y.shape)
        truth = torch.autograd.grad(expected, factors, gy)
    found = torch.autograd.grad(y, factors, gy)
    for ours, theirs in zip((y, *found), (expected, *truth), strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("with_planes", [True, False])
def test_positions_that_want_gradients_get_them_twice(with_planes: bool) -> None:
    u, planes, lines = make(2, (4, 3), 5, count=3)
    u = (u.clamp(0, 1) * 0.8 + 0.1).requires_grad_()
    y = product_lookup(lines, u, planes if with_planes else None)
    expected = composed(lines, u, planes if with_planes else None)
    for ours, theirs in zip(derivatives(y, u, lines), derivatives(expected, u, lines), strict=True):
        close(ours, theirs)
        assert theirs.any()


def derivatives(y: Tensor, u: Tensor, lines: Tensor) -> tuple[Tensor, Tensor]:
    (gu,) = torch.autograd.grad(y.sum(), u, create_graph=True)
    return gu, torch.autograd.grad(gu.square().sum(), lines)[0]


@needs_native
@pytest.mark.parametrize("with_planes", [True, False])
def test_sinks_take_exactly_the_gradient(with_planes: bool) -> None:
    u, planes, lines = make(13, (3, 7), 6)
    given = planes if with_planes else None
    product_lookup(lines, u, given).square().sum().backward()
    expected = [lines.grad, planes.grad]
    lines.grad = planes.grad = None
    sinks = torch.ones_like(lines), torch.ones_like(planes)
    product_lookup(lines, u, given, sinks[0], sinks[1] if with_planes else None).square().sum().backward()
    assert lines.grad is None and planes.grad is None
    for sink, gradient in zip(sinks, expected, strict=True):
        if gradient is not None:
            close(sink - 1, gradient)


@needs_native
def test_no_points_give_no_products_and_no_gradient() -> None:
    _, planes, lines = make(4, (9, 9), 9)
    y = product_lookup(lines, torch.zeros(0, 3), planes)
    assert y.shape == (0, 3, 4)
    y.sum().backward()
    assert lines.grad is not None and not lines.grad.any()


@needs_native
def test_wrong_arguments_are_named() -> None:
    u, planes, lines = make(4, (9, 9), 9)
    with pytest.raises(ValueError, match="product_lookup: planes"):
        product_lookup(lines, u, planes[..., :3])
    with pytest.raises(ValueError, match="product_lookup: lines"):
        product_lookup(lines[:2], u, planes)
    with pytest.raises(ValueError, match="product_lookup: a sink"):
        product_lookup(lines, u, planes, lines[:, :4])
    with pytest.raises(ValueError, match="product_lookup: a sink"):
        product_lookup(lines, u, None, None, planes)


@needs_native
@pytest.mark.parametrize("level", ["baseline", "avx2"])
def test_every_instruction_set_agrees(level: str) -> None:
    run_with(
        level,
        "import test_products as t\n"
        "for case in t.CASES:\n"
        "    t.test_one_pass_agrees_with_lookups_and_their_products(case, True)\n"
        "    t.test_one_pass_agrees_with_lookups_and_their_products(case, False)\n",
    )
