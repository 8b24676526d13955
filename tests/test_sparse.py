"""Sparse voxels: the index, and the kernels against the reference in all orders of derivative."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from kernel_parity import assert_cases_agree_on, needs_native
from torch import Tensor

from cuda_ext import SparseIndex, reference_only, sparse_lookup
from cuda_ext.sparse import sparse_lookup_reference

CASES = [(2, 1.0, 1), (9, 0.5, 28), (17, 0.1, 28), (16, 0.3, 5), (8, 0.0, 4), (24, 0.02, 32)]


def make(resolution: int, share: float, channels: int, count: int = 400) -> tuple[SparseIndex, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    present = torch.rand([resolution] * 3, generator=generator) < share
    index = SparseIndex.of_vertices(present.nonzero().flip(1), resolution)
    values = torch.randn(int(present.sum()), channels, generator=generator)
    empty = torch.randn(channels, generator=generator)
    return index, values, torch.rand(count, 3, generator=generator), empty


def derivatives(f: Callable[[Tensor, Tensor], Tensor], u: Tensor, values: Tensor) -> list[Tensor]:
    """Value, first derivatives, and those of a function of the position gradient."""
    u, values = u.clone().requires_grad_(), values.clone().requires_grad_()
    y = f(u, values)
    gy = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape).requires_grad_()
    gu, gvalues = torch.autograd.grad(y, (u, values), gy, create_graph=True)
    mixed = torch.autograd.grad((gu * gu.detach().roll(1, 1)).sum(), (u, values, gy), allow_unused=True)
    return [y, gu, gvalues, *[torch.zeros(1) if g is None else g for g in mixed]]


def close(a: Tensor, b: Tensor) -> bool:
    if not b.numel():
        return a.shape == b.shape
    return bool((a.double() - b.double()).abs().max() <= 1e-4 * b.double().abs().max().clamp_min(0.1))


@needs_native
@pytest.mark.parametrize(("resolution", "share", "channels"), CASES)
def test_kernels_agree_with_the_reference_in_double_precision(resolution: int, share: float, channels: int) -> None:
    index, values, u, empty = make(resolution, share, channels)
    exact = empty.double()
    ours = derivatives(lambda u, v: sparse_lookup(index, v, u, empty), u, values)
    truth = derivatives(lambda u, v: sparse_lookup_reference(index, v, u, exact), u.double(), values.double())
    for name, a, b in zip(["y", "gu", "gvalues", "ggu", "ggvalues", "ggy"], ours, truth, strict=True):
        assert close(a, b), name


def test_reference_passes_gradcheck() -> None:
    index, values, u, empty = make(9, 0.5, 2, count=4)
    arguments = (u.double().requires_grad_(), values.double().requires_grad_())
    f = lambda u, v: sparse_lookup_reference(index, v, u, empty.double())  # noqa: E731
    assert torch.autograd.gradcheck(f, arguments, fast_mode=True)
    assert torch.autograd.gradgradcheck(f, arguments, fast_mode=True)


def test_a_full_grid_is_a_dense_grid() -> None:
    index, values, u, empty = make(10, 1.1, 3)
    volume = torch.zeros(10, 10, 10, 3)
    x, y, z = index.vertices(1000).T
    volume[z, y, x] = values
    theirs = torch.nn.functional.grid_sample(
        volume.permute(3, 0, 1, 2)[None], 2 * u[None, None, None] - 1, align_corners=True
    )[0, :, 0, 0].T
    torch.testing.assert_close(sparse_lookup(index, values, u, empty), theirs, atol=1e-5, rtol=1e-4)


def test_index_finds_what_it_was_made_of() -> None:
    present = torch.rand(20, 20, 20, generator=torch.Generator().manual_seed(0)) < 0.05
    vertices = present.nonzero().flip(1)[torch.randperm(int(present.sum()))]
    index = SparseIndex.of_vertices(vertices, 20)
    assert torch.equal(index.vertices(len(vertices)), vertices)
    assert torch.equal(index.rows(vertices, len(vertices)), torch.arange(len(vertices)))
    missing = (~present).nonzero().flip(1)
    assert (index.rows(missing, len(vertices)) == -1).all()


def test_memory_follows_the_occupied_blocks() -> None:
    vertices = torch.tensor([[0, 0, 0], [511, 511, 511], [510, 511, 511]])
    index = SparseIndex.of_vertices(vertices, 512)
    assert index.slots.shape[0] == 2
    assert index.blocks.numel() + index.slots.numel() < 300_000


def test_empty_space_has_the_empty_features() -> None:
    index, values, u, empty = make(8, 0.0, 4)
    torch.testing.assert_close(sparse_lookup(index, values, u, empty), empty.expand(len(u), -1))


@pytest.mark.parametrize("native", [pytest.param(True, marks=needs_native), False])
def test_an_index_that_points_nowhere_is_harmless(native: bool) -> None:
    index, values, u, empty = make(9, 1.1, 4)
    slots, blocks = index.slots.clone(), index.blocks.clone()
    slots[0], slots[1, 0], blocks[1, 0, 0] = 2**31 - 1, -(2**31), 2**31 - 1
    broken = SparseIndex(9, blocks, slots)
    if native:
        y = sparse_lookup(broken, values, u, empty)
    else:
        with reference_only():
            y = sparse_lookup(broken, values, u, empty)
    assert y.isfinite().all()


@pytest.mark.parametrize("native", [pytest.param(True, marks=needs_native), False])
def test_positions_on_and_beyond_the_border_are_safe(native: bool) -> None:
    inf, nan = float("inf"), float("nan")
    exact = [[0.0, 0, 0], [1, 1, 1], [0.25, 0.5, 0.75]]
    u = torch.tensor([*exact, [-3, 0.5, 2], [inf, -inf, nan], [nan] * 3, [1e30] * 3])
    inside = torch.tensor([*exact, [0, 0.5, 1], [1, 0, 0], [0] * 3, [1] * 3])
    index, values, _, empty = make(9, 0.7, 6)

    def run(u: Tensor) -> tuple[Tensor, Tensor]:
        u = u.clone().requires_grad_()
        y = sparse_lookup(index, values, u, empty)
        return y.detach(), torch.autograd.grad(y.sum(), u)[0]

    if native:
        (y, gu), (expected, _) = run(u), run(inside)
    else:
        with reference_only():
            (y, gu), (expected, _) = run(u), run(inside)
    torch.testing.assert_close(y, expected)
    assert gu.isfinite().all() and (gu[3, [0, 2]] == 0).all() and (gu[4:] == 0).all()


def test_no_points_give_no_features_and_no_gradient() -> None:
    index, values, _, empty = make(9, 0.5, 4)
    u = torch.zeros(0, 3, requires_grad=True)
    y = sparse_lookup(index, values.requires_grad_(), u, empty)
    assert y.shape == (0, 4)
    y.sum().backward()
    assert values.grad is not None and not values.grad.any()


@needs_native
@pytest.mark.parametrize("second", [False, True])
def test_sink_takes_exactly_the_gradient(second: bool) -> None:
    index, values, u, empty = make(9, 0.5, 4)

    def loss(sink: Tensor | None) -> Tensor:
        position = u.clone().requires_grad_()
        y = sparse_lookup(index, values, position, empty, sink)
        if not second:
            return y.square().sum()
        return torch.autograd.grad(y.sum(), position, create_graph=True)[0].square().sum()

    values.requires_grad_()
    loss(None).backward()
    sink = torch.zeros_like(values)
    expected, values.grad = values.grad, None
    loss(sink).backward()
    assert expected is not None and values.grad is None
    torch.testing.assert_close(sink, expected, atol=1e-3, rtol=1e-4)


@needs_native
def test_result_does_not_depend_on_the_number_of_threads() -> None:
    index, values, u, empty = make(17, 0.5, 28, count=3000)
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(derivatives(lambda u, v: sparse_lookup(index, v, u, empty), u, values))
    finally:
        torch.set_num_threads(1)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_wrong_arguments_are_named() -> None:
    index, values, u, empty = make(9, 0.5, 4)
    with pytest.raises(ValueError, match="empty has shape"):
        sparse_lookup(index, values, u, empty[:2])
    with pytest.raises(TypeError, match="values has dtype"):
        sparse_lookup(index, values.double(), u, empty)
    with pytest.raises(ValueError, match="blocks has shape"):
        SparseIndex(40, index.blocks, index.slots)


@needs_native
@pytest.mark.parametrize("level", ["baseline", "avx2"])
def test_every_instruction_set_agrees(level: str) -> None:
    assert_cases_agree_on(level, "test_sparse")


@needs_native
def test_operator_is_registered_correctly() -> None:
    index, values, u, empty = make(9, 0.5, 4, count=5)
    arguments = (u.requires_grad_(), values.requires_grad_(), None, empty, index.blocks, index.slots, 9)
    torch.library.opcheck(
        torch.ops.fieldscape.sparse_lookup.default,
        arguments,
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
