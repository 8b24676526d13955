"""The seam report: what neighbouring blocks differ by is measured in known units."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from world_surfaces import FormulaBlocks, RoomPlan, ball, ground, union

from fields.progress import finished
from scenegen.world.seam_picture import gap_map, gap_picture
from scenegen.world.seams import compare, crossings, overlap_of, overlapping_pairs, seam_of, seam_report

WALL_AT = 2.8  # in the middle of the overlap of blocks (0, 0) and (1, 0)


def wall(x: torch.Tensor) -> torch.Tensor:
    """A wall across the overlap, 0.4 m thick."""
    return (x[..., 0] - WALL_AT).abs() - 0.2


SCENE = union(ground, wall)
PLAN = RoomPlan(lambda x, z: (x - WALL_AT).abs() < 0.2)
PAIR = {(0, 0), (1, 0)}


def test_blocks_that_agree_have_perfect_seams() -> None:
    surface = FormulaBlocks(SCENE).surface(PAIR, 64)
    seam, blended = seam_of(surface, overlap_of(surface, ((0, 0), (1, 0))))
    for figures in (seam.figures(), blended.figures()):
        assert figures["gap_mm"] == pytest.approx(0, abs=1e-2) and figures["sign_iou"] == 1
        assert figures["normal_deg"] == pytest.approx(0, abs=0.1)
        assert figures["chamfer_mm"] == pytest.approx(0, abs=1e-2)


def test_a_known_shift_is_found_in_millimetres() -> None:
    surface = FormulaBlocks(SCENE, shift={(1, 0): 0.03}).surface(PAIR, 64)
    seam, blended = (part.figures() for part in seam_of(surface, overlap_of(surface, ((0, 0), (1, 0)))))
    assert seam["gap_mm"] == pytest.approx(30, rel=0.02)
    assert seam["chamfer_mm"] == pytest.approx(30, rel=0.05)
    assert seam["sign_iou"] == pytest.approx(0.34 / 0.4, abs=0.13)
    assert seam["pairs"] == 1 and blended["pairs"] == 2
    assert blended["gap_mm"] == pytest.approx(15, rel=0.25)


def test_a_turned_surface_is_found_in_degrees() -> None:
    x, _, z = np.meshgrid(*[np.arange(24) * 0.05 - 0.6] * 3, indexing="ij")
    turn = math.radians(20)
    seam = compare(x, math.cos(turn) * x + math.sin(turn) * z, 0.05, 0.8)
    assert seam.figures()["normal_deg"] == pytest.approx(20, abs=0.1)


def test_a_surface_that_one_block_lacks_counts_the_overlaps_width() -> None:
    far = np.full((8, 8, 8), 0.4)
    there = np.abs(np.arange(8) - 3.3)[:, None, None] * 0.05 - 0.06 + np.zeros((8, 8, 8))
    figures = compare(there, far, 0.05, 0.8).figures()
    assert figures["chamfer_mm"] == pytest.approx(800) and figures["sign_iou"] == 0
    assert compare(far, far, 0.05, 0.8).figures() == dict.fromkeys(
        ("gap_mm", "sign_iou", "normal_deg", "chamfer_mm")
    ) | {"pairs": 0}


def test_crossings_lie_on_the_surface() -> None:
    axis = np.arange(20.0)
    x = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    points = crossings(np.linalg.norm(x - 9.6, axis=-1) - 6.2)
    assert len(points) > 500 and np.abs(np.linalg.norm(points - 9.6, axis=1) - 6.2).max() < 0.05


def test_every_pair_of_neighbours_is_looked_at_once_and_at_the_same_nodes() -> None:
    blocks = {(i, k) for i in range(-1, 2) for k in range(-1, 2)}
    surface = FormulaBlocks(union(ground, ball((0.5, 0.5, 0.5), 0.8))).surface(blocks, 16)
    pairs = overlapping_pairs(blocks)
    assert len(pairs) == 12 + 8 and len({frozenset(pair) for pair in pairs}) == 20
    for pair in pairs:
        own, theirs = overlap_of(surface, pair).grids
        assert own.shape == theirs.shape and np.abs(own - theirs).max() < 1e-5


def test_the_report_finds_drift_by_ring_and_is_json() -> None:
    blocks = {(i, 0) for i in range(4)}
    shelf = union(ground, lambda x: (x - x.new_tensor([0.0, 0.6, 1.6])).abs()[..., 1:].amax(-1) - 0.3)
    drifting = FormulaBlocks(shelf, shift={index: 0.01 * index[0] ** 2 for index in blocks}).surface(blocks, 32)
    report = json.loads(json.dumps(finished(seam_report(drifting, PLAN, start={(0, 0)})), allow_nan=False))
    assert [row["ring"] for row in report["rings"]] == [0, 1, 2, 3]
    gaps = [row["gap_mm"] for row in report["rings"]]
    assert gaps[0] is None and gaps[1:] == pytest.approx([10, 30, 50], rel=0.1)
    assert report["seams"]["pairs"] == 3 and report["blended"]["gap_mm"] < 0.8 * report["seams"]["gap_mm"]
    assert report["mesh"]["open_edges"] == 0 and report["mesh"]["components"] == 2
    assert {"layout_iou", "layout_recall", "layout_spill", "blocks"} <= report["rings"][0].keys()


def test_layout_is_scored_where_tables_are_painted() -> None:
    table = union(ground, ball((1.2, 0.4, 1.2), 0.45))
    plan = RoomPlan(lambda x, z: (x - 1.2).square() + (z - 1.2).square() < 0.45**2)
    report = finished(seam_report(FormulaBlocks(table).surface({(0, 0)}, 32), plan))
    assert report["rings"][0]["layout_iou"] > 0.85 and report["seams"]["pairs"] == 0


def test_the_middle_block_is_where_rings_begin_by_default() -> None:
    blocks = {(i, k) for i in range(3) for k in range(3)}
    report = finished(seam_report(FormulaBlocks(ground).surface(blocks, 8), PLAN))
    assert [(row["ring"], row["blocks"]) for row in report["rings"]] == [(0, 1), (1, 8)]


def test_the_picture_is_red_only_where_blocks_disagree() -> None:
    surface = FormulaBlocks(SCENE, shift={(1, 1): 0.2}).surface({(i, k) for i in range(2) for k in range(2)}, 32)
    gaps, picture = gap_map(surface), gap_picture(surface)
    assert gaps.shape == (56, 56) and picture.shape == (56, 56, 3)
    assert (gaps[:24, :24] == -1).all() and gaps[10, 28] == pytest.approx(0, abs=1e-4)
    assert gaps[40, 28] == pytest.approx(0.2, abs=1e-3)
    assert picture[40, 28, 0] > 200 > picture[10, 28, 0]
