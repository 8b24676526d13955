"""Plans of unbounded ground: windows, covering blocks, files, made-up ground, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from data.class_map import ClassMap, encode_png, read_png
from data.layout import Area, Layout, ObjectBox, Wall
from data.layout_files import save_layout
from data.palette import BY_NAME, WORLDS, legend
from fields.errors import UserError
from scenegen.blocks import SIZES, BlockFrame, block_frame
from scenegen.world import plan as plan_module
from scenegen.world.composed import beside, composed, parse_size, parse_toward
from scenegen.world.grounds import DrawnGround, PaintedGround
from scenegen.world.neighbours import Index
from scenegen.world.plan import Plan, check_index
from scenegen.world.plan_files import encode_ground, load_plan, read_plan

FRAME = BlockFrame()
CLASSES = tuple(entry.name for entry in legend("room"))
FLOOR, WALL, BED = (BY_NAME[name].index for name in ("floor", "wall", "bed"))


def painted(width: int = 80, height: int = 56, origin: tuple[float, float] = (0.0, 0.0)) -> Plan:
    """A floor with walls around it and a bed, 0.1 m a pixel."""
    indices = np.full((height, width), WALL, np.uint8)
    indices[2:-2, 2:-2] = FLOOR
    indices[10:30, 10:24] = BED
    return Plan((PaintedGround(ClassMap(indices, origin, 0.1)),), CLASSES)


def flat() -> Layout:
    walls = (Wall((0.0, 0.0), (6.0, 0.0)), Wall((0.0, 0.0), (0.0, 4.0)))
    area = Area("floor", ((0.0, 0.0), (6.0, 0.0), (6.0, 4.0), (0.0, 4.0)), "living")
    return Layout(
        "room", (0.0, 0.0, 6.0, 4.0), (area,), walls, (), (ObjectBox("bed", (2.0, 0.3, 2.0), (1.4, 0.6, 2.0), 0.3),)
    )


def png(plan: Plan, path: Path) -> Path:
    path.write_bytes(encode_ground(plan.grounds[0])[1])
    return path


def code_of(error: pytest.ExceptionInfo[UserError]) -> str:
    assert "\n" not in error.value.line() and "Fix:" in error.value.line()
    return error.value.code


def test_pictures_mean_what_drawn_plans_say_of_walls_and_floors() -> None:
    names = ("floor", "wall", "door", "window", "bed")
    row = [BY_NAME[name].index for name in ("void", *names)]
    ground = PaintedGround(ClassMap(np.array([row], np.uint8), (0.0, 0.0), 0.1))
    maps = ground.masks((0.0, 0.0, 0.6, 0.1), 0.1, names)[:, 0].astype(int).tolist()
    assert maps[0] == [0, 1, 0, 1, 0, 1]  # floors go on through doors and below beds
    assert maps[1] == [0, 0, 1, 1, 1, 0]  # doors and windows are in walls
    assert maps[2:] == [[0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1]]


def test_block_sees_its_window_of_the_picture_and_the_floor_under_furniture() -> None:
    plan = painted()
    maps = plan.masks(FRAME, (0, 1))
    assert maps.shape == (len(CLASSES), 32, 32) and maps.dtype == torch.uint8
    whole = plan.grounds[0].masks((0.0, 0.0, 8.0, 5.6), 0.1, CLASSES)
    assert np.array_equal(maps.numpy(), whole[:, 24:56, :32])
    floor, bed = maps[CLASSES.index("floor")], maps[CLASSES.index("bed")]
    assert bed.any() and (floor[bed > 0] == 1).all()


def test_outside_the_plan_everything_is_zero_at_any_distance() -> None:
    for plan in (painted(), Plan((DrawnGround(flat()),), CLASSES)):
        assert not any(plan.masks(FRAME, index).any() for index in ((-9, 0), (40, 40), (2**15, -(2**15))))


@given(i=st.integers(-3, 4), k=st.integers(-3, 4))
@settings(deadline=None, max_examples=20)
def test_neighbouring_windows_show_the_same_ground_where_they_overlap(i: int, k: int) -> None:
    plan = Plan((DrawnGround(flat()), painted(origin=(5.0, -3.0)).grounds[0]), CLASSES)
    here, right, below = (plan.masks(FRAME, index) for index in ((i, k), (i + 1, k), (i, k + 1)))
    assert torch.equal(here[:, :, 24:], right[:, :, :8]) and torch.equal(here[:, 24:], below[:, :8])


def test_drawn_ground_gives_the_maps_that_training_blocks_had() -> None:
    layout, plan = flat(), Plan((DrawnGround(flat()),), CLASSES)
    theirs = layout.masks(FRAME.metres_per_pixel, CLASSES, FRAME.window(FRAME.centre(1, 0)))
    inside = np.arange(32) * 0.1 + 2.4 < 5.99
    assert np.array_equal(plan.masks(FRAME, (1, 0)).numpy()[..., inside], theirs[..., inside])


@pytest.mark.parametrize("origin", [(0.0, 0.0), (-7.3, 2.15), (2.4, -4.8)])
def test_covering_blocks_show_all_that_is_painted_and_none_is_without_use(
    origin: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "_STRETCH", 2)
    plan = painted(origin=origin).joined(painted(30, 30, (origin[0] + 14, origin[1])))
    found = plan.covering(FRAME)
    assert found == sorted(set(found), key=lambda index: index[::-1])
    pixels = np.zeros((400, 400), int)  # how many blocks show each pixel around the origin
    for i, k in found:
        pixels[200 + 24 * k : 232 + 24 * k, 200 + 24 * i : 232 + 24 * i] += 1
    ground = plan.seen((-20.0, -20.0, 20.0, 20.0), 0.1).indices != 0
    assert pixels[ground].min() == 1
    for i, k in found:
        own = (slice(200 + 24 * k, 232 + 24 * k), slice(200 + 24 * i, 232 + 24 * i))
        assert (ground[own] & (pixels[own] == 1)).any()


@given(st.integers(0, 2**16))
@settings(deadline=None, max_examples=15)
def test_ground_elsewhere_does_not_change_which_blocks_cover_a_place(seed: int) -> None:
    rng = np.random.default_rng(seed)
    spots = (rng.random((60, 90)) < 0.01).astype(np.uint8)
    near = Plan((PaintedGround(ClassMap(spots, (-3.0, 0.4), 0.1)),), CLASSES)
    far = painted(origin=(50.0, -30.0))
    assert set(near.joined(far).covering(FRAME)) == {*near.covering(FRAME), *far.covering(FRAME)}


def test_what_was_painted_first_stays_and_later_ground_fills_the_rest() -> None:
    first, second = painted(40, 40), painted(80, 80)
    both = first.joined(second)
    assert torch.equal(both.masks(FRAME, (0, 0)), first.masks(FRAME, (0, 0)))
    assert torch.equal(both.masks(FRAME, (2, 2)), second.masks(FRAME, (2, 2)))
    assert np.array_equal(both.seen((0, 0, 4, 4), 0.1).indices, first.seen((0, 0, 4, 4), 0.1).indices)
    assert both.window == second.window


def test_files_kept_with_a_scene_give_the_same_plan(tmp_path: Path) -> None:
    plan = painted(origin=(-2.0, 0.5)).joined(Plan((DrawnGround(flat()),), CLASSES))
    names = []
    for number, ground in enumerate(plan.grounds):
        suffix, content = encode_ground(ground)
        names.append(f"plan-{number}{suffix}")
        (tmp_path / names[-1]).write_bytes(content)
    again = load_plan(tmp_path, names, CLASSES)
    assert [name.rpartition(".")[2] for name in names] == ["png", "json"]
    assert again.covering(FRAME) == plan.covering(FRAME)
    assert all(torch.equal(again.masks(FRAME, b), plan.masks(FRAME, b)) for b in plan.covering(FRAME))


def test_layouts_and_pictures_of_users_are_read(tmp_path: Path) -> None:
    save_layout(flat(), tmp_path / "flat.json")
    drawn = read_plan(tmp_path / "flat.json", CLASSES)
    assert drawn.covering(FRAME) == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]
    coarse = read_plan(png(painted(), tmp_path / "plan.png"), CLASSES)
    assert coarse.window == pytest.approx((0, 0, 8, 5.6))
    Image.fromarray(coarse.seen((0, 0, 8, 5.6), 0.1).rgb()).save(tmp_path / "bare.png")
    assert read_plan(tmp_path / "bare.png", CLASSES, 0.2).window == pytest.approx((0, 0, 16, 11.2))


@pytest.mark.parametrize("world", WORLDS)
def test_made_up_plan_asks_for_exactly_its_blocks_and_follows_its_seed(world: Any) -> None:
    frame, classes = block_frame(SIZES[world]), tuple(entry.name for entry in legend(world))
    plans = [composed(world, frame, (3, 3), seed, classes) for seed in (4, 4, 5)]
    assert plans[0].covering(frame) == [(i, k) for k in range(3) for i in range(3)]
    maps = [torch.stack([plan.masks(frame, index) for index in plan.covering(frame)]) for plan in plans]
    assert torch.equal(maps[0], maps[1]) and not torch.equal(maps[0], maps[2])


def test_large_made_up_ground_is_several_flats_without_gaps_between() -> None:
    plan = composed("room", FRAME, (14, 2), 0, CLASSES)
    seen = plan.seen(plan.window, 0.1).indices
    assert seen.shape[1] > 300 and not (seen[1:-1, 1:-1] == 0).any()
    assert plan.covering(FRAME) == [(i, k) for k in range(2) for i in range(14)]


@pytest.mark.parametrize("world", WORLDS)
def test_ground_beside_a_plan_adds_its_blocks_and_changes_no_other(world: Any) -> None:
    frame, classes = block_frame(SIZES[world]), tuple(entry.name for entry in legend(world))
    plan = composed(world, frame, (3, 3), 1, classes)
    more = beside(plan, world, frame, parse_toward("+x2,-z1"), 7)
    both = plan.joined(more)
    assert len(more.grounds) == 1
    assert both.covering(frame) == [(i, k) for k in range(-1, 3) for i in range(5)]
    assert torch.equal(both.masks(frame, (1, 1)), plan.masks(frame, (1, 1)))


def test_ground_on_all_sides_surrounds_a_plan() -> None:
    plan = composed("room", FRAME, (2, 2), 1, CLASSES)
    both = plan.joined(beside(plan, "room", FRAME, parse_toward("-x1,+x1,-z1,+z1"), 0))
    assert both.covering(FRAME) == [(i, k) for k in range(-1, 3) for i in range(-1, 3)]
    seen = both.seen(both.window, 0.1).indices
    assert not (seen[1:-1, 1:-1] == 0).any()


@pytest.mark.parametrize(
    ("text", "code"),
    [("", "E-USAGE-SIZE"), ("0x4", "E-USAGE-SIZE"), ("4", "E-USAGE-SIZE"), ("-1x4", "E-USAGE-SIZE"),
     ("1025x1", "E-LIMIT-SIZE"), ("axb", "E-USAGE-SIZE"), ("²x2", "E-USAGE-SIZE")],
)  # fmt: skip
def test_sizes_that_are_none_are_refused(text: str, code: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_size(text)
    assert code_of(caught) == code


@pytest.mark.parametrize(
    ("text", "code"),
    [("", "E-USAGE-TOWARD"), ("x2", "E-USAGE-TOWARD"), ("+y2", "E-USAGE-TOWARD"), ("+x0", "E-USAGE-TOWARD"),
     ("+x2;-z1", "E-USAGE-TOWARD"), ("+x2147483648", "E-USAGE-TOWARD"), ("+x999", "E-LIMIT-SIZE")],
)  # fmt: skip
def test_sides_that_are_none_are_refused(text: str, code: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_toward(text)
    assert code_of(caught) == code


def _empty(folder: Path) -> Path:
    return png(Plan((PaintedGround(ClassMap(np.zeros((40, 40), np.uint8), (0, 0), 0.1)),), CLASSES), folder / "p.png")


def _bounds_beside_the_floor(folder: Path) -> Path:
    save_layout(Layout("room", (50, 50, 60, 60), flat().areas), folder / "p.json")
    return folder / "p.json"


def _village(folder: Path) -> Path:
    indices = np.full((40, 40), BY_NAME["grass"].index, np.uint8)
    return png(Plan((PaintedGround(ClassMap(indices, (0, 0), 0.1)),), CLASSES), folder / "p.png")


def _village_layout(folder: Path) -> Path:
    area = Area("water", ((0, 0), (9, 0), (9, 9)))
    save_layout(Layout("village", (0, 0, 9, 9), (area,)), folder / "p.json")
    return folder / "p.json"


def _no_width(folder: Path) -> Path:
    content = bytearray(encode_png(ClassMap(np.ones((4, 4), np.uint8), (0, 0), 0.1)))
    content[16:20] = bytes(4)
    (folder / "p.png").write_bytes(bytes(content))
    return folder / "p.png"


def _too_wide(folder: Path) -> Path:
    Image.new("L", (8193, 1)).save(folder / "p.png")
    return folder / "p.png"


def _grey16(folder: Path) -> Path:
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 999).save(folder / "p.png")
    return folder / "p.png"


def _photo(folder: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "p.jpg")
    (folder / "p.jpg").rename(folder / "p.png")
    return folder / "p.png"


def _missing(folder: Path) -> Path:
    return folder / "none.png"


@pytest.mark.parametrize(
    ("make", "code", "part"),
    [
        (_grey16, "E-LAYOUT-COLOUR", "palette"),  # B01
        (_photo, "E-LAYOUT-COLOUR", "nearest"),  # B02
        (_no_width, "E-IMG-FORMAT", "p.png"),  # B04
        (_too_wide, "E-LIMIT-LAYOUT", "8192"),  # B05
        (_empty, "E-LAYOUT-EMPTY", "void everywhere"),  # B06, B07
        (_bounds_beside_the_floor, "E-LAYOUT-EMPTY", "paint"),  # B07
        (_village, "E-LAYOUT-WORLD", "grass"),  # B07
        (_village_layout, "E-LAYOUT-WORLD", "water"),
        (_missing, "E-IMG-KIND", "nothing there"),
    ],
)
def test_plans_of_which_nothing_can_be_made_are_refused(tmp_path: Path, make: Any, code: str, part: str) -> None:
    with pytest.raises(UserError) as caught:
        read_plan(make(tmp_path), CLASSES)
    assert code_of(caught) == code and part in caught.value.line()


def test_plan_of_one_class_is_made_with_a_warning(tmp_path: Path) -> None:  # B06
    indices = np.full((40, 40), FLOOR, np.uint8)
    path = png(Plan((PaintedGround(ClassMap(indices, (0, 0), 0.1)),), CLASSES), tmp_path / "p.png")
    with pytest.warns(UserWarning, match="nothing but floor"):
        assert read_plan(path, CLASSES).covering(FRAME) == [(0, 0), (1, 0), (0, 1), (1, 1)]


@pytest.mark.parametrize(("scale", "origin"), [(1000.0, (0.0, 0.0)), (0.1, (1e6, 0.0)), (0.1, (0.0, -1e6))])
def test_plans_beyond_reach_are_refused_before_blocks_are_counted(scale: float, origin: Any) -> None:  # B10
    plan = Plan((PaintedGround(ClassMap(np.full((40, 40), FLOOR, np.uint8), origin, scale)),), CLASSES)
    with pytest.raises(UserError) as caught:
        plan.covering(FRAME)
    assert code_of(caught) == "E-LIMIT-BLOCKS"


@pytest.mark.parametrize("index", [(2**31, 0), (0, -(2**31)), (2**15 + 1, 0)])
def test_block_numbers_beyond_reach_are_refused(index: Index) -> None:  # B10
    check_index((2**15, -(2**15)), "--block")
    with pytest.raises(UserError) as caught:
        check_index(index, "--block")
    assert code_of(caught) == "E-LIMIT-BLOCKS"


def _smoothed(folder: Path, radius: float) -> tuple[Path, np.ndarray]:
    """A plan drawn with anti-aliasing, as paint programs do, and the classes that were meant."""
    colour = {name: BY_NAME[name].rgb for name in ("floor", "wall", "table", "bed")}
    picture = Image.new("RGB", (600, 480), colour["floor"])
    pen = ImageDraw.Draw(picture)
    pen.rectangle((20, 20, 580, 50), fill=colour["wall"])
    pen.ellipse((120, 120, 280, 280), fill=colour["table"])
    pen.polygon(((350, 150), (500, 210), (420, 400), (300, 330)), fill=colour["bed"])
    small = picture.resize((150, 120), Image.Resampling.BOX)
    if radius:
        small = small.filter(ImageFilter.GaussianBlur(radius))
    sharp = picture.resize((150, 120), Image.Resampling.NEAREST)
    stream = io.BytesIO()
    sharp.save(stream, "PNG")
    (folder / "sharp.png").write_bytes(stream.getvalue())
    small.save(folder / "smooth.png")
    return folder / "smooth.png", read_png(folder / "sharp.png").indices


def test_smoothed_edges_become_the_nearer_class_with_one_warning(tmp_path: Path) -> None:  # B03
    path, meant = _smoothed(tmp_path, 0)
    with pytest.warns(UserWarning, match="smoothed edges: [0-9]+ pixels") as told:
        found = read_png(path).indices
    assert len(told) == 1 and {w.category for w in told} == {UserWarning}
    assert (found != meant).mean() < 0.01


def test_blurred_plans_and_lone_colours_are_refused_and_named(tmp_path: Path) -> None:  # B02, B03
    path, _ = _smoothed(tmp_path, 6)
    with pytest.raises(UserError) as caught:
        read_png(path)
    assert code_of(caught) == "E-LAYOUT-COLOUR"
    with Image.open(tmp_path / "sharp.png") as sharp:
        sharp.putpixel((70, 100), (1, 255, 3))
        sharp.save(tmp_path / "one.png")
    with pytest.raises(UserError) as caught:
        read_png(tmp_path / "one.png")
    assert "#01ff03 on 1 pixels" in caught.value.line()


def test_flats_of_a_given_extent_are_as_large_as_asked() -> None:
    from data.rooms import make_flat_scene
    from data.rooms.plan import THICKNESS

    for extent in ((2.3, 2.3), (4.8, 15.2), (9.1, 6.3)):
        scene = make_flat_scene(3, extent)
        x0, z0, x1, z1 = scene.layout.bounds
        assert (x1 - x0 - THICKNESS, z1 - z0 - THICKNESS) == pytest.approx(extent)
    with pytest.raises(UserError) as caught:
        make_flat_scene(0, (1.0, 5.0))
    assert code_of(caught) == "E-USAGE-SIZE"
