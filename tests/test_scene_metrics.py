"""Figures of generated blocks, on sets whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from scenegen.adherence import class_recall, layout_scores
from scenegen.block_surface import column_heights, grid_sdf, lattice_axes, occupied_columns, surface_points
from scenegen.metrics import chamfer_matrix, copying, self_matrix, set_scores


def clouds(count: int, seed: int, shift: float = 0.0) -> list[np.ndarray]:
    """Blobs at random places; `shift` moves all of them along x."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(count, 1, 3)) + np.array([shift, 0, 0])
    return list(centres + 0.05 * generator.normal(size=(count, 24, 3)))


def scores(a: list[np.ndarray], b: list[np.ndarray]) -> tuple[float, float, float]:
    found = set_scores(self_matrix(a), chamfer_matrix(a, b), self_matrix(b))
    return found.mmd, found.cov, found.nna


def test_chamfer_agrees_with_all_pairs() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.random((30, 3)), generator.random((20, 3))
    squared = np.square(a[:, None] - b[None]).sum(-1)
    wanted = squared.min(1).mean() + squared.min(0).mean()
    assert chamfer_matrix([a], [b, a]) == pytest.approx(np.array([[wanted, 0.0]]))


def test_set_of_the_same_distribution_cannot_be_told_apart() -> None:
    found = [scores(clouds(40, seed), clouds(40, seed + 100)) for seed in range(3)]
    assert np.mean([nna for _, _, nna in found]) == pytest.approx(0.5, abs=0.08)
    assert all(0.3 < cov < 0.9 for _, cov, _ in found)


def test_set_somewhere_else_is_always_told_apart() -> None:
    mmd, cov, nna = scores(clouds(20, 0), clouds(20, 1, shift=50.0))
    assert nna == 1.0 and cov < 0.2 and mmd > 1000


def test_set_of_one_block_covers_one_and_a_copy_of_the_reference_covers_all() -> None:
    reference = clouds(20, 0)
    _, cov, _ = scores([reference[0] + 1e-4 * k for k in range(20)], reference)
    assert cov == pytest.approx(1 / 20)
    mmd, cov, nna = scores(reference, reference)
    assert (mmd, cov, nna) == (0.0, 1.0, 0.0)


def test_ties_count_half() -> None:
    found = set_scores(
        np.array([[np.inf, 1.0], [1.0, np.inf]]), np.ones((2, 2)), np.array([[np.inf, 1.0], [1.0, np.inf]])
    )
    assert found.nna == 0.5


def test_copies_of_training_blocks_are_noticed() -> None:
    train, held_out = clouds(30, 0), clouds(30, 1)
    across = chamfer_matrix(held_out, train)
    copied = copying(chamfer_matrix([cloud + 1e-3 for cloud in train[:10]], train), across)
    honest = copying(chamfer_matrix(clouds(30, 2), train), across)
    assert copied["close"] == 1.0 and honest["close"] < 0.2  # type: ignore[operator]
    assert sum(honest["histogram"]) == sum(honest["held_out_histogram"]) == 30  # type: ignore[call-overload]


def plan(*rectangles: tuple[int, int, int, int, int], classes: int = 3, blocks: int = 1) -> Tensor:
    """Class maps with (class, row, column, height, width) painted in every block."""
    maps = torch.zeros(blocks, classes, 32, 32, dtype=torch.uint8)
    for k, row, column, height, width in rectangles:
        maps[:, k, row : row + height, column : column + width] = 1
    return maps


def test_furniture_where_it_is_painted_scores_one_and_elsewhere_nothing() -> None:
    layout = torch.cat([plan((0, 4, 4, 8, 8)), plan((0, 20, 20, 8, 8))])
    right = layout[:, 0].bool()
    found = layout_scores(right, layout, [0, 1], [2])
    assert (found["iou"], found["recall"], found["spill"], found["shuffled"]) == (1.0, 1.0, 0.0, 0.0)
    wrong = layout_scores(right.flip(0), layout, [0, 1], [2])
    assert (wrong["iou"], wrong["recall"], wrong["spill"], wrong["shuffled"]) == (0.0, 0.0, 1.0, 1.0)


def test_walls_and_pixels_beside_them_count_neither_way() -> None:
    layout = plan((0, 4, 4, 8, 8), (2, 0, 20, 32, 2))
    occupied = layout[:, 0].bool()
    occupied[:, :, 19:23] = True
    assert layout_scores(occupied, layout, [0], [2])["iou"] == 1.0


def test_half_covered_furniture_has_half_the_recall_and_a_pixel_of_spill_is_free() -> None:
    layout = plan((0, 4, 4, 8, 8), (1, 20, 20, 4, 4))
    half = plan((0, 4, 4, 4, 8))[:, 0].bool()
    assert layout_scores(half, layout, [0], [2])["recall"] == 0.5
    assert class_recall(half, layout, [0, 1]) == [0.5, 0.0]
    wider = plan((0, 3, 3, 10, 10))[:, 0].bool()
    assert layout_scores(wider, layout, [0], [2])["spill"] == 0.0
    assert np.isnan(class_recall(half, layout, [2])[0])


def test_scores_of_an_empty_plan_are_not_numbers() -> None:
    empty = plan()
    assert np.isnan(layout_scores(empty[:, 0].bool(), empty, [0], [2])["iou"])


class Ball:
    """A ball of radius 0.5 at (0.3, -0.2, 0.1), whatever the planes."""

    centre = torch.tensor([0.3, -0.2, 0.1])

    def __call__(self, planes: Tensor, points: Tensor) -> Tensor:
        return (points - self.centre).norm(dim=-1) - 0.5


def test_surface_points_lie_evenly_on_the_surface() -> None:
    sdf = grid_sdf(Ball(), torch.zeros(3, 1, 2, 2), lattice_axes(48))
    assert sdf.shape == (49, 49, 49)
    points = surface_points(sdf.numpy(), 4000, np.random.default_rng(0))
    assert points is not None and points.shape == (4000, 3)
    offset = points - Ball.centre.numpy()
    assert np.abs(np.linalg.norm(offset, axis=1) - 0.5).max() < 2e-3
    assert np.abs(offset.mean(0)).max() < 0.02
    assert surface_points(np.ones((4, 4, 4)), 10, np.random.default_rng(0)) is None


def test_columns_are_occupied_where_the_surface_stands_between_the_heights() -> None:
    occupied = occupied_columns(Ball(), torch.zeros(3, 1, 2, 2), -0.9, 0.9, 32)
    rows, columns = occupied.nonzero().T
    assert ((columns + 0.5) / 16 - 1).mean().item() == pytest.approx(0.3, abs=0.02)
    assert ((rows + 0.5) / 16 - 1).mean().item() == pytest.approx(0.1, abs=0.02)
    assert int(occupied.sum()) == pytest.approx(np.pi * 0.25 * 16 * 16, rel=0.05)
    assert not occupied_columns(Ball(), torch.zeros(3, 1, 2, 2), 0.5, 0.9, 32).any()


def test_heights_are_those_of_the_topmost_solid() -> None:
    heights = column_heights(Ball(), torch.zeros(3, 1, 2, 2), 32, levels=201)
    assert heights.max().item() == pytest.approx((1 - 0.2 + 0.5) / 2, abs=0.01)
    assert heights[0, 0] == 0
