"""Planes and lines: the kernels against the reference, in all orders of derivative."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from kernel_parity import assert_cases_agree_on, needs_native
from torch import Tensor

from cuda_ext import line_lookup, reference_only, triplane_lookup
from cuda_ext.planes import LINE_AXES, PLANE_AXES, plane_lookup_reference

# Square, flat, long and degenerate factors; channels below, at, and beside whole vectors.
Sizes = list[tuple[int, ...]]
PLANES: list[tuple[Sizes, int]] = [
    ([(5, 5)] * 3, 4),
    ([(3, 7), (6, 2), (4, 9)], 13),
    ([(1, 5), (5, 1), (1, 1)], 3),
    ([(9, 8)] * 3, 24),
    ([(17, 17)] * 3, 32),
    ([(4, 4)] * 3, 1),
]
LINES: list[tuple[Sizes, int]] = [
    ([(5,)] * 3, 4),
    ([(3,), (7,), (2,)], 13),
    ([(1,), (4,), (6,)], 3),
    ([(33,)] * 3, 40),
]
CASES = PLANES + LINES


def lookup(u: Tensor, table: Tensor, sizes: Sizes, sink: Tensor | None = None) -> Tensor:
    if len(sizes[0]) == 2:
        return triplane_lookup(table, u, sink, sizes)
    return line_lookup(table, u, sink, [size[0] for size in sizes])


def make(sizes: Sizes, channels: int, count: int = 300) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    rows = sum(math.prod(size) for size in sizes)
    return torch.rand(count, 3, generator=generator), torch.randn(rows, channels, generator=generator)


def derivatives(f: Callable[[Tensor, Tensor], Tensor], u: Tensor, table: Tensor) -> list[Tensor]:
    """Value, first derivatives, and those of a function of the position gradient."""
    u, table = u.clone().requires_grad_(), table.clone().requires_grad_()
    y = f(u, table)
    gy = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape).requires_grad_()
    gu, gtable = torch.autograd.grad(y, (u, table), gy, create_graph=True)
    mixed = torch.autograd.grad((gu * gu.detach().roll(1, 1)).sum(), (u, table, gy), allow_unused=True)
    return [y, gu, gtable, *[torch.zeros(1) if g is None else g for g in mixed]]


def close(a: Tensor, b: Tensor) -> bool:
    return bool((a.double() - b.double()).abs().max() <= 1e-4 * b.double().abs().max().clamp_min(1e-3))


@needs_native
@pytest.mark.parametrize(("sizes", "channels"), CASES)
def test_kernels_agree_with_the_reference_in_double_precision(sizes: Sizes, channels: int) -> None:
    u, table = make(sizes, channels)
    ours = derivatives(lambda u, t: lookup(u, t, sizes), u, table)
    truth = derivatives(lambda u, t: plane_lookup_reference(u, t, sizes), u.double(), table.double())
    for name, a, b in zip(["y", "gu", "gtable", "ggu", "ggtable", "ggy"], ours, truth, strict=True):
        assert close(a, b), name


@pytest.mark.parametrize(("sizes", "channels"), [PLANES[1], LINES[1]])
def test_reference_passes_gradcheck(sizes: Sizes, channels: int) -> None:
    u, table = make(sizes, 2, count=4)
    table = table.double().requires_grad_()
    u = (u.double() * 0.8 + 0.1).requires_grad_()
    f = lambda u, t: plane_lookup_reference(u, t, sizes)  # noqa: E731
    assert torch.autograd.gradcheck(f, (u, table))
    assert torch.autograd.gradgradcheck(f, (u, table))


def test_planes_agree_with_grid_sample() -> None:
    u = torch.rand(50, 3)
    planes = torch.randn(3, 6, 8, 5)
    ours = triplane_lookup(planes, u)
    for p, axes in enumerate(PLANE_AXES):
        grid = 2 * u[:, axes][None, None] - 1
        theirs = torch.nn.functional.grid_sample(planes[p].permute(2, 0, 1)[None], grid, align_corners=True)
        torch.testing.assert_close(ours[:, p], theirs[0, :, 0].T, atol=1e-5, rtol=1e-4)


def test_lines_run_along_the_axis_their_plane_leaves_out() -> None:
    assert all({*axes, line} == {0, 1, 2} for axes, line in zip(PLANE_AXES, LINE_AXES, strict=True))
    ramp = torch.linspace(0, 1, 11)[None, :, None].expand(3, -1, -1).contiguous()
    u = torch.rand(20, 3)
    torch.testing.assert_close(line_lookup(ramp, u)[:, :, 0], u[:, list(LINE_AXES)])


@pytest.mark.parametrize("native", [pytest.param(True, marks=needs_native), False])
@pytest.mark.parametrize(("sizes", "channels"), [PLANES[0], LINES[0]])
def test_positions_on_and_beyond_the_border_are_safe(sizes: Sizes, channels: int, native: bool) -> None:
    inf, nan = float("inf"), float("nan")
    exact = [[0.0, 0, 0], [1, 1, 1], [0.25, 0.5, 0.75]]
    u = torch.tensor([*exact, [-3, 0.5, 2], [inf, -inf, nan], [nan] * 3, [1e30] * 3])
    inside = torch.tensor([*exact, [0, 0.5, 1], [1, 0, 0], [0] * 3, [1] * 3])
    _, table = make(sizes, channels)

    def run(u: Tensor) -> tuple[Tensor, Tensor]:
        u = u.clone().requires_grad_()
        y = lookup(u, table, sizes)
        return y.detach(), torch.autograd.grad(y.sum(), u)[0]

    if native:
        (y, gu), (expected, _) = run(u), run(inside)
    else:
        with reference_only():
            (y, gu), (expected, _) = run(u), run(inside)
    torch.testing.assert_close(y, expected)
    assert y.isfinite().all() and gu.isfinite().all()
    assert (gu[3, [0, 2]] == 0).all() and (gu[4:] == 0).all() and gu[3, 1] != 0


@pytest.mark.parametrize(("sizes", "channels"), [PLANES[0], LINES[0]])
def test_no_points_give_no_features_and_no_gradient(sizes: Sizes, channels: int) -> None:
    _, table = make(sizes, channels)
    u = torch.zeros(0, 3, requires_grad=True)
    y = lookup(u, table.requires_grad_(), sizes)
    assert y.shape == (0, 3, channels)
    y.sum().backward()
    assert u.grad is not None and u.grad.shape == (0, 3)
    assert table.grad is not None and not table.grad.any()


@needs_native
@pytest.mark.parametrize(("sizes", "channels"), [PLANES[1], LINES[1]])
def test_sink_takes_exactly_the_gradient(sizes: Sizes, channels: int) -> None:
    u, table = make(sizes, channels)
    table.requires_grad_()
    lookup(u, table, sizes).square().sum().backward()
    sink = torch.ones_like(table)
    expected, table.grad = table.grad, None
    lookup(u, table, sizes, sink).square().sum().backward()
    assert expected is not None and table.grad is None
    torch.testing.assert_close(sink - 1, expected, atol=1e-4, rtol=1e-4)


@needs_native
def test_sink_takes_the_second_order_too() -> None:
    sizes, channels = PLANES[1]
    u, table = make(sizes, channels)

    def slope(sink: Tensor | None, table: Tensor) -> Tensor:
        position = u.clone().requires_grad_()
        y = lookup(position, table, sizes, sink)
        return torch.autograd.grad(y.sum(), position, create_graph=True)[0].square().sum()

    table.requires_grad_()
    slope(None, table).backward()
    sink = torch.zeros_like(table)
    expected, table.grad = table.grad, None
    slope(sink, table).backward()
    assert expected is not None and table.grad is None
    torch.testing.assert_close(sink, expected, atol=1e-3, rtol=1e-4)


@needs_native
@pytest.mark.parametrize(("sizes", "channels"), [PLANES[3], LINES[3]])
def test_result_does_not_depend_on_the_number_of_threads(sizes: Sizes, channels: int) -> None:
    u, table = make(sizes, channels, count=2000)
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(derivatives(lambda u, t: lookup(u, t, sizes), u, table))
    finally:
        torch.set_num_threads(1)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize(
    ("planes", "u", "message"),
    [
        (torch.zeros(2, 4, 4, 3), torch.zeros(1, 3), "planes has shape"),
        (torch.zeros(3, 4, 4, 3), torch.zeros(1, 2), "u has shape"),
        (torch.zeros(3, 4, 4, 3).double(), torch.zeros(1, 3), "planes has dtype"),
        (torch.zeros(3, 0, 4, 3), torch.zeros(1, 3), "sizes"),
        (torch.zeros(3, 4, 4, 0), torch.zeros(1, 3), "channels"),
    ],
)
def test_wrong_arguments_are_named(planes: Tensor, u: Tensor, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        triplane_lookup(planes, u)


def test_table_must_hold_the_rows_of_its_sizes() -> None:
    with pytest.raises(ValueError, match="factors has shape"):
        triplane_lookup(torch.zeros(47, 4), torch.zeros(1, 3), sizes=[(4, 4)] * 3)


@needs_native
@pytest.mark.parametrize("level", ["baseline", "avx2"])
def test_every_instruction_set_agrees(level: str) -> None:
    assert_cases_agree_on(level, "test_planes")


@needs_native
def test_operator_is_registered_correctly() -> None:
    u, table = make(*PLANES[0], count=5)
    arguments = (u.requires_grad_(), table.requires_grad_(), None, [5] * 6, 2)
    torch.library.opcheck(
        torch.ops.fieldscape.plane_lookup.default,
        arguments,
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
