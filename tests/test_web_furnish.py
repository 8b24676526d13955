"""'Furnish it for me': what is painted stays, what is missing for rooms is added."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.web.furnish import answer, furnished_plan
from app.web.rectangles import free_rectangles, largest_rectangle
from data.palette import BY_NAME
from fields.errors import UserError

FLOOR, WALL, DOOR, BED = (BY_NAME[name].index for name in ("floor", "wall", "door", "bed"))
SHELL = [BY_NAME[name].index for name in ("void", "floor", "wall", "door", "window")]


def _sheet(width: int = 80, height: int = 60) -> np.ndarray:
    return np.zeros((height, width), np.uint8)


def _furniture(plan: np.ndarray) -> int:
    return int((~np.isin(plan, SHELL)).sum())


def test_an_empty_sheet_becomes_a_furnished_flat():
    plan = furnished_plan(_sheet(), 3)
    assert plan.shape == (60, 80)
    assert (plan == WALL).sum() > 200 and (plan == DOOR).any() and _furniture(plan) > 300


def test_a_floor_without_walls_gets_walls_and_a_door():
    painted = _sheet()
    painted[10:50, 10:60] = FLOOR
    plan = furnished_plan(painted, 1)
    ring = np.concatenate([plan[9, 9:61], plan[50, 9:61], plan[9:51, 9], plan[9:51, 60]])
    assert np.isin(ring, (WALL, DOOR)).all() and (ring == DOOR).any()
    assert _furniture(plan[10:50, 10:60]) > 100 and _furniture(plan) == _furniture(plan[10:50, 10:60])


def test_what_walls_enclose_becomes_floor_and_the_walls_stay_as_they_are():
    painted = _sheet()
    painted[5, 5:75] = painted[55, 5:75] = painted[5:56, 5] = painted[5:56, 74] = WALL
    painted[5, 30:39] = DOOR
    plan = furnished_plan(painted, 2)
    assert (plan[painted != 0] == painted[painted != 0]).all()
    assert (plan[6:55, 6:74] == FLOOR).any() and _furniture(plan) > 200


def test_painted_furniture_is_not_painted_over():
    painted = _sheet()
    painted[10:50, 10:60] = FLOOR
    painted[11:31, 11:26] = BED
    for seed in range(4):
        assert (furnished_plan(painted, seed)[11:31, 11:26] == BED).all()


def test_equal_seeds_give_equal_plans_and_others_do_not():
    assert (furnished_plan(_sheet(), 5) == furnished_plan(_sheet(), 5)).all()
    assert (furnished_plan(_sheet(), 5) != furnished_plan(_sheet(), 6)).any()


def test_a_plan_without_room_for_furniture_is_refused():
    painted = _sheet()
    painted[10:15, 10:15] = FLOOR
    with pytest.raises(UserError, match="E-LAYOUT-EMPTY"):
        furnished_plan(painted, 0)


def test_the_answer_has_the_size_of_the_request():
    request = {"width": 80, "height": 60, "indices": base64.b64encode(_sheet().tobytes()).decode(), "seed": 3}
    told = answer(request)
    assert (told["width"], told["height"]) == (80, 60)
    assert base64.b64decode(told["indices"]) == furnished_plan(_sheet(), 3).tobytes()


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0}, {"width": 513}, {"width": "80"}, {"width": True}, {"height": 61}, {"indices": "###"},
        {"indices": base64.b64encode(b"\xff" * 4800).decode()}, {"seed": -1}, {"seed": 2**31}, {"seed": None},
    ],
)  # fmt: skip
def test_requests_out_of_range_are_refused(change):
    request = {"width": 80, "height": 60, "indices": base64.b64encode(_sheet().tobytes()).decode(), "seed": 3}
    with pytest.raises(UserError, match="E-LAYOUT-VALUE"):
        answer({**request, **change})


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_no_free_rectangle_is_larger_than_the_largest(free):
    top, left, bottom, right = largest_rectangle(free)
    assert free[top:bottom, left:right].all()
    height, width = free.shape
    areas = [
        (b - t) * (r - s)
        for t in range(height) for b in range(t + 1, height + 1) for s in range(width) for r in range(s + 1, width + 1)
        if free[t:b, s:r].all()
    ]  # fmt: skip
    assert (bottom - top) * (right - left) == max(areas, default=0)


@settings(max_examples=30, deadline=None)
@given(arrays(bool, (12, 12)))
def test_free_rectangles_are_free_large_enough_and_apart(free):
    taken = np.zeros_like(free)
    for top, left, bottom, right in free_rectangles(free, 3):
        assert min(bottom - top, right - left) >= 3
        assert free[top:bottom, left:right].all() and not taken[top:bottom, left:right].any()
        taken[top:bottom, left:right] = True
