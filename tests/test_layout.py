"""Layouts and class maps: drawn exactly, written and read back without loss, bad files refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from data.class_map import ClassMap, read_png, save_png
from data.layout import Area, Layout, ObjectBox, Opening, Wall
from data.layout_files import read_layout, save_layout
from data.palette import BY_COLOUR, BY_NAME, CLASSES, WORLDS, class_named, legend, nearest_class
from data.plane_geometry import Polygon, clipped, rectangle, separated
from fields.errors import ExitCode, UserError, UserErrors

metres = st.floats(-50, 50, allow_nan=False).map(lambda value: round(value, 3))
lengths = st.floats(0.05, 8).map(lambda value: round(value, 3))
names = st.sampled_from([entry.name for entry in CLASSES])
boxes = st.builds(
    ObjectBox, names, st.tuples(metres, metres, metres), st.tuples(lengths, lengths, lengths), st.floats(-3.2, 3.2)
)
areas = st.builds(
    Area, names, st.lists(st.tuples(metres, metres), min_size=3, max_size=6).map(tuple), st.sampled_from(["", "study"])
)
WALLS = (Wall((0.0, 0.0), (4.0, 0.0)), Wall((4.0, 0.0), (4.0, 3.0), 0.2, 2.5))
OPENINGS = (Opening("door", 0, 2.0, 0.9, 0.0, 2.05), Opening("window", 1, 1.5, 1.2, 0.9, 2.2))


def layout_of(*objects: ObjectBox) -> Layout:
    return Layout("room", (0.0, 0.0, 4.0, 3.0), (), WALLS, OPENINGS, objects)


def test_classes_have_their_place_as_index_and_colours_of_their_own() -> None:
    assert [entry.index for entry in CLASSES] == list(range(len(CLASSES)))
    assert len(BY_NAME) == len(BY_COLOUR) == len(CLASSES)
    assert all(len(legend(world)) >= 7 and "void" not in {c.name for c in legend(world)} for world in WORLDS)


def test_unknown_class_is_refused_and_near_colours_are_named() -> None:
    with pytest.raises(UserError, match="E-LAYOUT-CLASS"):
        class_named("spaceship")
    r, g, b = BY_NAME["sofa"].rgb
    assert nearest_class((r + 3, g - 2, b)).name == "sofa"


@given(st.lists(boxes, max_size=4), st.lists(areas, max_size=3), st.sampled_from(WORLDS))
def test_json_round_trip_is_exact(tmp_path: Path, objects: list[ObjectBox], ground: list[Area], world: Any) -> None:
    layout = Layout(world, (-50.0, -50.0, 50.0, 50.0), tuple(ground), WALLS, OPENINGS, tuple(objects))
    save_layout(layout, tmp_path / "plan.json")
    assert read_layout(tmp_path / "plan.json") == layout


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1), st.floats(0.01, 2), metres)
def test_png_round_trip_is_exact(
    tmp_path: Path, height: int, width: int, seed: int, scale: float, origin: float
) -> None:
    indices = np.random.default_rng(seed).integers(0, len(CLASSES), (height, width), np.uint8)
    save_png(ClassMap(indices, (origin, -origin), scale), tmp_path / "plan.png")
    found = read_png(tmp_path / "plan.png")
    assert (found.indices == indices).all()
    assert (found.origin, found.metres_per_pixel) == ((origin, -origin), scale)
    with Image.open(tmp_path / "plan.png") as picture:
        assert picture.mode == "P" and (np.asarray(picture) == indices).all()


def test_plans_from_a_paint_program_are_read(tmp_path: Path) -> None:
    indices = np.array([[0, 1, 5], [2, 2, 11]], np.uint8)
    rgba = np.dstack([ClassMap(indices, (0.0, 0.0), 1.0).rgb(), np.full((2, 3), 255, np.uint8)])
    rgba[0, 0] = (7, 7, 7, 0)  # transparent: void, whatever its colour
    Image.fromarray(rgba).save(tmp_path / "painted.png")
    found = read_png(tmp_path / "painted.png", 0.25)
    assert (found.indices == indices).all() and found.metres_per_pixel == 0.25 and found.origin == (0.0, 0.0)


@given(boxes.filter(lambda box: box.name != "void"), st.floats(0.01, 0.05))
def test_drawn_area_is_the_boxes_area(box: ObjectBox, scale: float) -> None:
    x, _, z = box.centre
    reach = math.hypot(box.size[0], box.size[2])
    window = (x - reach, z - reach, x + reach, z + reach)
    layout = Layout("room", window, objects=(box,))
    drawn = (layout.draw(scale).indices == BY_NAME[box.name].index).sum() * scale**2
    w, d = box.size[0], box.size[2]
    assert abs(drawn - w * d) <= 2 * (w + d + 2 * scale) * scale  # half a pixel on each side of the outline


def test_upright_box_is_drawn_to_the_pixel() -> None:
    table = ObjectBox("table", (1.0, 0.4, 2.0), (1.0, 0.8, 0.5), math.pi / 2)  # turned: 0.5 wide, 1.0 deep
    plan = Layout("room", (0.0, 0.0, 4.0, 3.0), objects=(table,)).draw(0.05)
    rows, columns = np.nonzero(plan.indices)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (30, 49, 15, 24)
    assert (plan.indices > 0).sum() == 20 * 10


def test_window_and_scale_choose_what_is_drawn() -> None:
    layout = layout_of(ObjectBox("bed", (1.5, 0.4, 1.5), (2.0, 0.8, 1.0), 0.3))
    whole = layout.draw(0.05)
    part = layout.draw(0.05, (1.0, 0.5, 3.0, 2.0))
    assert (whole.indices[10:40, 20:60] == part.indices).all()
    assert part.window == pytest.approx((1.0, 0.5, 3.0, 2.0))
    assert (whole.resampled((1.0, 0.5, 3.0, 2.0), 0.05).indices == part.indices).all()
    outside = whole.resampled((-2.0, -2.0, -1.0, -1.0), 0.1)
    assert outside.indices.shape == (10, 10) and not outside.indices.any()


def test_highest_is_seen_from_above_but_masks_keep_what_lies_below() -> None:
    rug = ObjectBox("rug", (2.0, 0.005, 1.5), (2.0, 0.01, 1.6), 0.0)
    table = ObjectBox("table", (2.0, 0.37, 1.5), (1.0, 0.74, 0.6), 0.0)
    floor = Area("floor", ((0.0, 0.0), (4.0, 0.0), (4.0, 3.0), (0.0, 3.0)))
    layout = Layout("room", (0.0, 0.0, 4.0, 3.0), (floor,), objects=(table, rug))
    assert layout.draw(0.1).indices[15, 20] == BY_NAME["table"].index
    masks = layout.masks(0.1, ("floor", "rug", "table", "bed"))
    assert masks[:3, 15, 20].all() and not masks[3].any() and masks[0].all()
    assert layout.draw(0.1).masks(("floor", "table"))[0].all()


def test_finer_masks_keep_thin_things_whole() -> None:
    fence = ObjectBox("fence", (2.0, 0.5, 1.52), (3.0, 1.0, 0.1), 0.0)  # between two rows of pixel centres
    layout = Layout("village", (0.0, 0.0, 4.0, 3.1), objects=(fence,))
    assert not layout.masks(0.5, ("fence",)).any()
    thin = layout.masks(0.5, ("fence",), finer=8)
    assert thin.shape == (1, 7, 8) and thin[0].any(0).sum() == 6
    fine, coarse = layout.masks(0.05, ("fence",)), layout.masks(0.1, ("fence",), finer=2)
    assert (fine.reshape(1, 31, 2, 40, 2).any(axis=(2, 4)) == coarse).all()


def test_doors_and_windows_are_drawn_into_their_walls() -> None:
    plan = layout_of().draw(0.02, (-0.2, -0.2, 4.2, 3.2))
    x, z = (plan.indices == BY_NAME["door"].index).nonzero()[::-1]
    assert abs(len(x) * 0.02**2 - 0.9 * 0.12) < 0.01
    assert abs((x.mean() + 0.5) * 0.02 - 2.2) < 0.02 and abs((z.mean() + 0.5) * 0.02 - 0.2) < 0.02


@pytest.mark.parametrize(("window", "scale"), [((0, 0, 0, 1), 0.1), ((0, 0, 1, 1), 0), ((0, 0, math.nan, 1), 0.1)])
def test_empty_windows_are_refused(window: Any, scale: float) -> None:
    with pytest.raises(UserError, match="E-LAYOUT-WINDOW"):
        layout_of().draw(scale, window)


def test_plans_with_too_many_pixels_are_refused() -> None:
    with pytest.raises(UserError, match="E-LIMIT-LAYOUT") as refusal:
        layout_of().draw(1e-5)
    assert refusal.value.exit_code == ExitCode.LIMIT


def test_unknown_colours_are_named_with_their_nearest_classes(tmp_path: Path) -> None:
    r, g, b = BY_NAME["sofa"].rgb
    rgb = np.full((8, 8, 3), 255, np.uint8)
    rgb[:2, :3] = (r, g + 9, b)
    Image.fromarray(rgb).save(tmp_path / "plan.png")
    with pytest.raises(UserError, match="E-LAYOUT-COLOUR") as refusal:
        read_png(tmp_path / "plan.png")
    assert "6 pixels" in str(refusal.value) and "sofa #8e44ad" in str(refusal.value)


def _png_with(path: Path, text: str) -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("fieldscape", text)
    Image.new("RGB", (4, 4), (255, 255, 255)).save(path, pnginfo=notes)


@pytest.mark.parametrize("text", ["{}", "nonsense", '{"metres_per_pixel": -1, "origin": [0, 0]}',
                                  '{"metres_per_pixel": 0.1, "origin": [NaN, 0]}'])  # fmt: skip
def test_pictures_with_a_damaged_scale_are_refused(tmp_path: Path, text: str) -> None:
    _png_with(tmp_path / "plan.png", text)
    with pytest.raises(UserError, match="E-LAYOUT-SCALE"):
        read_png(tmp_path / "plan.png")


def test_pictures_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    whole = tmp_path / "whole.png"
    save_png(layout_of().draw(0.02), whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:-60])
    Image.new("L", (9000, 2), 255).save(tmp_path / "long.png")
    for name, code in (("text", "E-IMG"), ("cut", "E-IMG"), ("missing", "E-IMG"), ("long", "E-LIMIT-LAYOUT")):
        with pytest.raises(UserError, match=code):
            read_png(tmp_path / f"{name}.png")


DAMAGE: list[tuple[str, Any, str]] = [
    ("format", "something", "E-LAYOUT-FORMAT"),
    ("version", 2, "E-LAYOUT-FORMAT"),
    ("world", "moon", "E-LAYOUT-VALUE"),
    ("bounds", [0, 0, 0, 1], "E-LAYOUT-VALUE"),
    ("bounds", [0, 0, "4", 1], "E-LAYOUT-VALUE"),
    ("extra", 1, "E-LAYOUT-KEY"),
    ("objects", {}, "E-LAYOUT-VALUE"),
    ("objects", [3], "E-LAYOUT-VALUE"),
    ("objects", [{"name": "ship", "centre": [0, 0, 0], "size": [1, 1, 1], "yaw": 0}], "E-LAYOUT-CLASS"),
    ("objects", [{"name": "bed", "centre": [0, 0, 0], "size": [1, 0, 1], "yaw": 0}], "E-LAYOUT-VALUE"),
    ("objects", [{"name": "bed", "centre": [0, 0], "size": [1, 1, 1], "yaw": 0}], "E-LAYOUT-VALUE"),
    ("objects", [{"name": "bed", "centre": [0, 0, 1e9], "size": [1, 1, 1], "yaw": True}], "E-LAYOUT-VALUE"),
    ("openings", [{"name": "door", "wall": 9, "centre": 1, "width": 1, "bottom": 0, "top": 2}], "E-LAYOUT-VALUE"),
    ("openings", [{"name": "door", "wall": 0, "centre": 3.9, "width": 1, "bottom": 0, "top": 2}], "E-LAYOUT-VALUE"),
    ("openings", [{"name": "door", "wall": 0, "centre": 2, "width": 1, "bottom": 0, "top": 4}], "E-LAYOUT-VALUE"),
    ("walls", [{"start": [0, 0], "end": [0, 0], "thickness": 0.1, "height": 2}], "E-LAYOUT-VALUE"),
    ("areas", [{"name": "floor", "polygon": [[0, 0], [1, 1]]}], "E-LAYOUT-VALUE"),
    ("areas", [{"name": "floor", "polygon": [[0, 0], [1, 1], [0, "1"]]}], "E-LAYOUT-VALUE"),
    ("areas", [{"name": "floor", "polygon": [[0, 0], [1, 1], [0, 1]], "label": "a\nb"}], "E-LAYOUT-VALUE"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "code"), DAMAGE)
def test_damaged_layouts_are_refused(tmp_path: Path, key: str, value: Any, code: str) -> None:
    path = tmp_path / "plan.json"
    save_layout(layout_of(), path)
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, key: value}))
    with pytest.raises(UserError, match=code) as refusal:
        read_layout(path)
    assert refusal.value.exit_code in (ExitCode.BAD_INPUT, ExitCode.LIMIT)


def test_all_problems_of_a_layout_are_told_together(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    save_layout(layout_of(), path)
    document = json.loads(path.read_text())
    document["objects"] = [{"name": "ship", "centre": [0, 0, 0], "size": [-1, 1, 1], "yaw": None, "colour": "red"}]
    path.write_text(json.dumps(document))
    with pytest.raises(UserErrors) as refusal:
        read_layout(path)
    assert len(refusal.value.problems) == 4
    assert "objects[0]:yaw" in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "code"),
    [("[]", "E-LAYOUT-FORMAT"), ("{", "E-JSON-SYNTAX"), ("{\"a\": NaN}", "E-JSON-NONFINITE"), (None, "E-LAYOUT-FILE")],
)  # fmt: skip
def test_files_that_are_no_layouts_are_refused(tmp_path: Path, content: str | None, code: str) -> None:
    if content is not None:
        (tmp_path / "plan.json").write_text(content)
    with pytest.raises(UserError, match=code):
        read_layout(tmp_path / "plan.json")


@given(st.tuples(metres, metres), lengths, lengths, st.floats(-4, 4), st.floats(0.1, 5), st.floats(-4, 4))
def test_separation_of_rectangles_is_by_the_gap_between_them(
    centre: tuple[float, float], w: float, d: float, yaw: float, gap: float, _: float
) -> None:
    first = rectangle(centre, w, d, yaw)
    step = d + gap
    second = rectangle((centre[0] + step * math.sin(yaw), centre[1] + step * math.cos(yaw)), w, d, yaw)
    assert separated(first, second, gap - 1e-6) and not separated(first, second, gap + 1e-6)
    assert not separated(first, first)


def area(polygon: Polygon) -> float:
    x, z = np.array(polygon).T
    return float(abs(x @ np.roll(z, -1) - z @ np.roll(x, -1)) / 2)


def test_clipping_keeps_the_area_inside_the_window() -> None:
    assert area(clipped(rectangle((0.0, 0.0), 2.0, 2.0, 0.0), (0.0, 0.0, 5.0, 5.0))) == pytest.approx(1.0)
    assert area(clipped(rectangle((0.0, 0.0), 2.0, 2.0, math.pi / 4), (0.0, -9.0, 9.0, 9.0))) == pytest.approx(2.0)
    assert clipped(rectangle((9.0, 9.0), 1.0, 1.0, 0.3), (0.0, 0.0, 5.0, 5.0)) == ()
