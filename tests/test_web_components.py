"""The browser components, each in a real browser under the content policy of the page."""

from __future__ import annotations

import base64
import functools
import io
import json
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from web_browser import Files, browser, file_server

from app.web.block_mesh import block_mesh_bytes
from data.class_map import ClassMap, read_png, save_png
from data.layout import Area, Layout, ObjectBox, Opening, Wall
from data.layout_files import read_layout, save_layout
from data.palette import BY_NAME, CLASSES, legend
from fields.glb import glb_bytes
from fields.mesh_types import Mesh

PALETTE = [{"index": entry.index, "name": entry.name, "rgb": list(entry.rgb)} for entry in CLASSES]
LEGEND = [entry.name for entry in legend("room")]
FLOOR, WALL, SOFA = (BY_NAME[name].index for name in ("floor", "wall", "sofa"))
REFUSAL = {"what": "the field cannot be opened", "where": "", "got": "", "expected": "", "fix": ""}
PATIENCE = 30  # seconds: browsers draw without a graphics card here
PAGE = """<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,"><link rel="stylesheet" href="/static/fieldscape.css">
<link rel="stylesheet" href="/page.css"><body><div id="here"></div>
<script type="module" src="/static/boot.js"></script>"""
BOX = [[x, y, z] for x in (0, 1) for y in (0, 2) for z in (0, 1)]
BOX_FACES = [
    [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
    [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
]  # fmt: skip


def box(x: float = 0.0, z: float = 0.0, size: float = 1.0) -> Mesh:
    """A red box, two units high, with a corner at (x, 0, z)."""
    vertices = np.array(BOX, np.float32) * [size, 1, size] + [x, 0, z]
    return Mesh(vertices.astype(np.float32), np.array(BOX_FACES), np.tile(np.float32([1, 0, 0]), (8, 1)))


class Looking(Files):
    """Answers /look with a grey picture of the size asked for, and remembers what was asked."""

    asked: list[dict[str, Any]]
    refusals: list[int]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body)
        status = self.refusals.pop() if self.refusals else 200
        picture = io.BytesIO()
        Image.new("RGB", (body["width"], body["height"]), (40, 90, 160)).save(picture, "PNG")
        answer = picture.getvalue() if status == 200 else json.dumps({"error": REFUSAL}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "image/png" if status == 200 else "application/json")
        self.send_header("Retry-After", "1")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages and the files that components ask for."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text(PAGE)
    (folder / "page.css").write_text("body { margin: 0 } #here { height: 360px }")
    (folder / "box.glb").write_bytes(glb_bytes(box()))
    for i, k in ((0, 0), (1, 0)):
        (folder / f"{i}_{k}.bin").write_bytes(block_mesh_bytes(box(i * 2.4 + 0.5, k * 2.4 + 0.5, 2.2)))
    (folder / "short.bin").write_bytes(block_mesh_bytes(box())[:-4])
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    Looking.asked, Looking.refusals = [], []
    with file_server(site, Looking) as url:
        yield url


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as running:
        yield running


class Shown:
    """A component on a page: its events, and everything that the console said."""

    def __init__(self, page: Any, said: list[str]) -> None:
        self.page, self.said = page, said

    def call(self, expression: str) -> Any:
        """The value of an expression of `c`, the component."""
        return self.page.evaluate(
            f"async () => {{ const c = document.querySelector('#here').component; return {expression} }}"
        )

    def events(self, name: str) -> list[Any]:
        return [detail for event, detail in self.page.evaluate("window.seen") if event == name]

    def wait(self, condition: str) -> None:
        """Until an expression of `c` holds; polled from here, since the page's policy forbids it there."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.call(condition):
                return
            self.page.wait_for_timeout(30)
        raise AssertionError(f"{condition} never came true; the console said {self.said}")

    def show(self, role: str, name: str) -> Any:
        return self.page.get_by_role(role, name=name, exact=True)


@pytest.fixture(scope="module")
def windows(chromium: Any) -> Callable[..., Any]:
    """A window with some settings; windows with the same ones share what the browser keeps of files."""

    @functools.cache
    def opened(**settings: Any) -> Any:
        window = chromium.new_context(viewport={"width": 800, "height": 440}, reduced_motion="reduce", **settings)
        window.set_default_timeout(1000 * PATIENCE)
        return window

    return opened


@pytest.fixture
def mount(windows: Any, address: str) -> Iterator[Any]:
    pages = []

    def start(kind: str, options: dict[str, Any], **settings: Any) -> Shown:
        pages.append(windows(**settings).new_page())
        page = pages[-1]
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"{address}/index.html")
        page.evaluate(
            """([kind, options]) => {
              window.seen = [];
              window.base64 = (blob) => new Promise((resolve) => {
                const reader = Object.assign(new FileReader(), { onload: () => resolve(reader.result.split(",")[1]) });
                reader.readAsDataURL(blob);
              });
              const names = "change notice error grow redo undo select mode loaded frame camera split crop";
              for (const name of names.split(" ")) {
                document.addEventListener(`fs:${name}`, (event) => window.seen.push([name, event.detail]));
              }
              const element = document.querySelector("#here");
              element.remove();
              Object.assign(element.dataset, { component: kind, options: JSON.stringify(options) });
              document.body.append(element);
            }""",
            [kind, options],
        )
        shown = Shown(page, said)
        shown.wait("!!c")
        return shown

    yield start
    for page in pages:
        page.close()


def painter(mount: Any, **more: Any) -> Shown:
    return mount("plan_painter", {"palette": PALETTE, "legend": LEGEND, "width": 6, "height": 4, **more})


def pixels(shown: Shown) -> np.ndarray:
    """Class indices [H, W] of the painter."""
    value = shown.call("({ ...c.value(), indices: c.base64() })")
    return np.frombuffer(base64.b64decode(value["indices"]), np.uint8).reshape(value["height"], value["width"])


def drag(shown: Shown, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag over the sheet, in pixels of the plan."""
    at = shown.call("({ left: c.view.left, top: c.view.top, zoom: c.view.zoom })")
    frame = shown.page.locator(".fs-sheet").bounding_box()
    places = [
        (frame["x"] + at["left"] + (x + 0.5) * at["zoom"], frame["y"] + at["top"] + (y + 0.5) * at["zoom"])
        for x, y in (start, end)
    ]
    shown.page.mouse.move(*places[0])
    shown.page.mouse.down()
    shown.page.mouse.move(*places[1], steps=4)
    shown.page.mouse.up()


def test_block_mesh_bytes_are_laid_out_as_the_header_comment_says() -> None:
    data = block_mesh_bytes(box())
    assert struct.unpack_from("<4s3I", data) == (b"FSBM", 1, 8, 12)
    assert len(data) == 16 + 8 * 20 + 12 * 12
    assert np.array_equal(np.frombuffer(data, "<f4", 24, 16).reshape(8, 3), box().vertices)
    normals = np.frombuffer(data, np.int8, 32, 16 + 96).reshape(8, 4) / 127
    assert np.allclose(np.linalg.norm(normals[:, :3], axis=1), 1, atol=0.02)
    assert np.frombuffer(data, np.uint8, 4, 16 + 128).tolist() == [255, 0, 0, 255]
    assert np.array_equal(np.frombuffer(data, "<u4", 36, 16 + 160).reshape(12, 3), box().faces)


def test_room_tool_draws_a_floor_with_walls_and_undo_takes_it_back(mount: Any) -> None:
    shown = painter(mount)
    shown.page.keyboard.press("Tab")
    shown.show("radio", "Room: floor with walls").click()
    drag(shown, (5, 5), (40, 30))
    plan = pixels(shown)
    assert (plan[5, 5:41] == WALL).all() and (plan[5:31, 40] == WALL).all()
    assert (plan[6:30, 6:40] == FLOOR).all() and (plan[:5] == 0).all()
    shown.page.keyboard.press("Control+z")
    assert not pixels(shown).any()
    shown.page.keyboard.press("Control+Shift+z")
    assert np.array_equal(pixels(shown), plan)
    assert len(shown.events("change")) == 3 and not shown.said


def test_brush_erase_fill_and_pick_paint_what_they_say(mount: Any) -> None:
    shown = painter(mount)
    shown.show("radio", "sofa").click()
    drag(shown, (10, 10), (30, 10))
    assert (pixels(shown)[10:12, 10:31] == SOFA).all()
    shown.page.keyboard.press("e")
    drag(shown, (10, 10), (14, 10))
    assert not pixels(shown)[10:12, 10:14].any()
    shown.page.keyboard.press("f")
    shown.page.keyboard.press("1")
    drag(shown, (50, 35), (50, 35))
    assert set(np.unique(pixels(shown))) == {FLOOR, SOFA}
    shown.page.keyboard.press("i")
    drag(shown, (25, 10), (25, 10))
    assert shown.show("radio", "sofa").get_attribute("aria-checked") == "true"


def test_a_plan_can_be_painted_with_the_keyboard_alone(mount: Any) -> None:
    shown = painter(mount)
    shown.page.locator(".fs-sheet").focus()
    for key in ("r", "2", "Enter", "ArrowRight", "ArrowRight", "ArrowDown", "Enter"):
        shown.page.keyboard.press(key)
    assert (pixels(shown) == WALL).sum() == 6


def test_saved_pictures_and_layouts_are_what_the_command_line_reads(mount: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    indices = rng.integers(0, len(CLASSES), (4, 6)).astype(np.uint8).repeat(10, 0).repeat(10, 1)
    start = base64.b64encode(indices.tobytes()).decode()
    shown = painter(mount, indices=start, origin=[-1.5, 2.0])
    png = shown.call("await base64(await c.toPng())")
    (tmp_path / "plan.png").write_bytes(base64.b64decode(png))
    plan = read_png(tmp_path / "plan.png")
    assert np.array_equal(plan.indices, indices)
    assert plan.origin == (-1.5, 2.0) and plan.metres_per_pixel == 0.1
    (tmp_path / "plan.json").write_text(json.dumps(shown.call("c.toLayout()")))
    assert np.array_equal(read_layout(tmp_path / "plan.json").draw(0.1).indices, indices)


def test_pictures_and_layouts_of_the_command_line_open_as_they_are(mount: Any, site: Path) -> None:
    walls = (Wall((0, 0), (5, 0)), Wall((0, 0), (0, 3)))
    objects = (
        ObjectBox("sofa", (2, 0.4, 2), (1.8, 0.8, 0.9), 0.4),
        ObjectBox("table", (3.6, 0.3, 1), (0.9, 0.7, 0.6), 0),
    )
    floor = Area("floor", ((0, 0), (5, 0), (4.5, 3), (0, 3)))
    layout = Layout("room", (-0.2, -0.2, 5.2, 3.2), (floor,), walls, (Opening("door", 0, 2, 0.9, 0, 2),), objects)
    save_layout(layout, site / "layout.json")
    save_png(layout.draw(0.05), site / "plan.png")
    shown = painter(mount)
    shown.call("c.open('/layout.json')")
    assert np.array_equal(pixels(shown), layout.draw(0.1).indices)
    shown.call("c.open('/plan.png')")
    assert np.array_equal(pixels(shown), layout.draw(0.05).indices)
    assert shown.call("c.value().metresPerPixel") == 0.05 and not shown.events("error")


def test_foreign_colours_become_the_nearest_class_and_foreign_files_are_refused(mount: Any, site: Path) -> None:
    picture = ClassMap(np.full((20, 30), SOFA, np.uint8), (0.0, 0.0), 0.1).rgb()
    picture[:2] += 3
    Image.fromarray(picture).save(site / "smudged.png")
    (site / "words.json").write_text('{"format": "other"}')
    shown = painter(mount)
    shown.call("c.open('/smudged.png')")
    assert (pixels(shown) == SOFA).all()
    assert "60 pixels" in shown.events("notice")[0]["message"]
    shown.call("c.open('/words.json')")
    assert "not a layout" in shown.events("error")[0]["message"]
    assert (pixels(shown) == SOFA).all()


def test_world_view_fetches_blocks_offers_free_cells_and_forgets_what_is_gone(mount: Any) -> None:
    blocks = [{"i": 0, "k": 0, "revision": 1}, {"i": 1, "k": 0, "revision": 1}]
    shown = mount("world_view", {"blocks": blocks, "busy": [{"i": 2, "k": 0}], "blockUrl": "/{i}_{k}.bin?r={revision}"})
    shown.wait("c.blocks.size === 2")
    assert shown.events("loaded") == [{"blocks": 2}]
    assert sorted(shown.call("[...c.free]")) == ["-1,0", "0,-1", "0,1", "1,-1", "1,1"]
    shown.page.evaluate(
        "(options) => { document.querySelector('#here').dataset.options = options }",
        json.dumps({"blocks": blocks[:1], "busy": [], "blockUrl": "/{i}_{k}.bin?r={revision}"}),
    )
    shown.wait("c.blocks.size === 1")
    assert "1,0" in shown.call("[...c.free]") and not shown.said


def test_clicking_a_block_offers_to_make_it_again_and_a_free_cell_to_grow(mount: Any) -> None:
    blocks = [{"i": 0, "k": 0, "revision": 1}, {"i": 1, "k": 0, "revision": 1}]
    shown = mount("world_view", {"blocks": blocks, "blockUrl": "/{i}_{k}.bin", "mode": "plan"})
    shown.wait("c.blocks.size === 2")
    shown.wait("c.mode === 'plan' && c.stage.camera.pitch > 1.57")
    for (i, k), entry in (((1, 0), "Make it again"), ((0, 1), "Grow here")):
        shown.page.mouse.click(*place_of_cell(shown, i, k))
        shown.show("menuitem", entry).click()
    assert shown.events("redo") == [{"i": 1, "k": 0}] and shown.events("grow") == [{"i": 0, "k": 1}]


def place_of_cell(shown: Shown, i: int, k: int) -> tuple[float, float]:
    """Where the middle of a cell is on the screen, while the camera looks straight down."""
    at = shown.call(
        "({ target: c.stage.camera.target, half: c.stage.camera.distance * Math.tan(c.stage.camera.fov / 2) })"
    )
    frame = shown.page.locator("canvas").bounding_box()
    scale = frame["height"] / 2 / at["half"]
    x, z = (0.4 + index * 2.4 + 1.2 for index in (i, k))
    return (
        frame["x"] + frame["width"] / 2 + (x - at["target"][0]) * scale,
        frame["y"] + frame["height"] / 2 + (z - at["target"][2]) * scale,
    )


def test_world_view_draws_its_blocks(mount: Any) -> None:
    shown = mount("world_view", {"blocks": [{"i": 0, "k": 0, "revision": 1}], "blockUrl": "/{i}_{k}.bin"})
    shown.wait("c.blocks.size === 1")
    data = shown.call("await base64(await c.picture())")
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)
    red = (picture[..., 0] > 90) & (picture[..., 1] < 60) & (picture[..., 2] < 60)
    assert 0.03 < red.mean() < 0.6


def test_a_block_that_is_cut_short_is_told_in_a_sentence(mount: Any) -> None:
    shown = mount("world_view", {"blocks": [{"i": 0, "k": 0, "revision": 1}], "blockUrl": "/short.bin"})
    shown.wait("window.seen.some(([name]) => name === 'error')")
    assert shown.events("error")[0]["message"] == "A block mesh arrived cut short."


def test_field_view_asks_coarse_then_fine_for_the_same_camera(mount: Any) -> None:
    Looking.asked.clear()
    shown = mount("field_view", {"fields": [{"id": "a", "label": "A"}], "lookUrl": "/look"})
    shown.wait("window.seen.some(([name, d]) => name === 'frame' && d.quality === 'fine')")
    coarse, fine = Looking.asked[0], Looking.asked[-1]
    assert coarse["quality"] == "coarse" and fine["quality"] == "fine"
    assert coarse["width"] * coarse["height"] < fine["width"] * fine["height"]
    assert coarse["sequence"] < fine["sequence"] and coarse["camera_to_world"] == fine["camera_to_world"]
    rotation = np.array(fine["camera_to_world"])[:, :3]
    assert np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-9) and np.linalg.det(rotation) > 0


def test_dragging_a_field_view_moves_the_camera_and_ends_with_a_fine_picture(mount: Any) -> None:
    shown = mount("field_view", {"fields": [{"id": "a", "label": "A"}], "lookUrl": "/look", "up": [0, 0, 1]})
    shown.wait("window.seen.some(([name, d]) => name === 'frame' && d.quality === 'fine')")
    before = shown.call("c.camera()")
    Looking.asked.clear()
    shown.page.mouse.move(300, 300)
    shown.page.mouse.down()
    shown.page.mouse.move(420, 330, steps=12)
    shown.page.mouse.up()
    after = shown.call("c.camera()")
    assert after["yaw"] != before["yaw"] and after["pitch"] > before["pitch"]
    shown.wait("window.seen.at(-1)[1]?.quality === 'fine'")
    assert Looking.asked[-1]["camera_to_world"] == shown.call("c.camera().cameraToWorld")
    assert after["cameraToWorld"][2][1] > 0  # the camera's up has a share of the world's


def test_two_fields_share_a_camera_and_a_border_that_keys_move(mount: Any) -> None:
    Looking.asked.clear()
    fields = [{"id": "teacher", "label": "Before"}, {"id": "student", "label": "After"}]
    shown = mount("field_view", {"fields": fields, "lookUrl": "/look"})
    shown.wait("window.seen.filter(([name, d]) => name === 'frame' && d.quality === 'fine').length === 2")
    poses = {body["field"]: body["camera_to_world"] for body in Looking.asked}
    assert poses["teacher"] == poses["student"]
    shown.show("slider", "Border between the two fields").focus()
    shown.page.keyboard.press("ArrowLeft")
    assert shown.call("c.options.split") == pytest.approx(0.45)


def test_field_view_waits_for_a_busy_server_and_tells_a_refusal(mount: Any) -> None:
    Looking.asked.clear()
    Looking.refusals[:] = [404, 503]
    shown = mount("field_view", {"fields": [{"id": "a", "label": "A"}], "lookUrl": "/look"})
    shown.wait("window.seen.some(([name]) => name === 'error')")
    assert shown.events("error")[0]["message"] == "The field cannot be opened."
    assert not Looking.refusals and Looking.asked[0]["view"] == Looking.asked[1]["view"]


def test_mesh_view_reads_the_glb_that_export_writes(mount: Any) -> None:
    shown = mount("mesh_view", {"url": "/box.glb"})
    shown.wait("!!c.mesh")
    facts = shown.events("loaded")[0]
    assert facts["faces"] == 12 and facts["size"] == [1, 2, 1]
    shown.show("button", "Wires").click()
    assert shown.call("c.parts[0].wires.count") == 72
    shown.call("c.setCrop([[0, 0, 0], [1, 1, 1]])")
    assert shown.call("c.mesh.parts[0].colour[0]") == 255 and not shown.said


def test_sides_of_the_crop_box_are_dragged_and_moved_with_keys(mount: Any) -> None:
    shown = mount("mesh_view", {"url": "/box.glb", "crop": [[0, 0, 0], [1, 1, 1]]})
    shown.wait("!!c.mesh")
    shown.wait("c.handles.sides.every((side) => side.handle.style.left)")
    side = shown.page.locator("[aria-label^='Crop box, y to']")
    side.hover()  # which waits until it stands still and nothing is over it
    place = side.bounding_box()
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    shown.page.mouse.down()
    shown.page.mouse.move(x, y - 40, steps=3)
    shown.page.mouse.up()
    (low, high) = shown.events("crop")[-1]["crop"]
    assert low == [0, 0, 0] and high[0] == high[2] == 1 and high[1] > 1.1
    assert side.bounding_box()["y"] == pytest.approx(place["y"] - 40, abs=3)
    shown.page.locator("[aria-label^='Crop box, x from']").press("ArrowLeft")
    assert shown.call("c.options.crop[0][0]") < 0
    for _ in range(60):
        shown.page.keyboard.press("ArrowRight")
    (low, high) = shown.call("c.options.crop")
    assert low[0] < high[0] and not shown.said


def test_cameras_view_tells_which_camera_was_clicked(mount: Any) -> None:
    pose = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 3]]
    camera = {
        "camera_to_world": pose,
        "width": 80,
        "height": 60,
        "focal": [90, 90],
        "name": "<b>1</b>.jpg",
        "split": "test",
    }
    far = {**camera, "camera_to_world": [[1, 0, 0, 9], *pose[1:]], "name": "2.jpg", "split": "train"}
    shown = mount("cameras_view", {"cameras": [camera, far], "bounds": [[-1, -1, -1], [1, 1, 1]]})
    assert shown.page.get_by_text("2 cameras · 1 for testing").is_visible()
    shown.page.locator("canvas").focus()
    shown.page.keyboard.press(".")
    assert shown.events("select")[-1] == {"index": 0, "name": "<b>1</b>.jpg"}
    assert shown.page.get_by_text("<b>1</b>.jpg · test").is_visible()


def test_curve_shows_its_newest_value_and_follows_the_pointer(mount: Any) -> None:
    series = [{"name": "PSNR", "unit": "dB", "points": [[1, 10], [2, 20], [3, 30.456]]}]
    shown = mount("curve", {"series": series, "goal": 25})
    shown.wait("document.querySelectorAll('.fs-line').length === 1")
    assert shown.page.get_by_text("30.46 dB").is_visible()
    shown.page.locator("svg.fs-plot").hover(position={"x": 48, "y": 60})
    assert "10 dB at 1" in shown.page.locator(".fs-curve-legend").inner_text()
    shown.page.mouse.move(0, 439)
    shown.call("c.append('PSNR', 4, 31)")
    shown.wait("document.querySelector('.fs-curve-legend').innerText.includes('31 dB')")


@pytest.mark.parametrize("kind", ["plan_painter", "world_view", "field_view", "mesh_view", "cameras_view", "curve"])
def test_components_start_empty_on_a_phone_in_the_dark_and_end_without_a_word(mount: Any, kind: str) -> None:
    options = {"palette": PALETTE} if kind == "plan_painter" else {}
    shown = mount(kind, options, has_touch=True, color_scheme="dark")
    shown.page.evaluate("document.documentElement.dataset.theme = 'auto'")
    shown.page.set_viewport_size({"width": 390, "height": 700})
    shown.page.wait_for_timeout(50)
    assert shown.page.locator(".fs-empty").is_visible()
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= 390
    dark = shown.page.evaluate("getComputedStyle(document.querySelector('#here')).color")
    assert dark == "rgb(236, 238, 242)"
    shown.page.evaluate("document.querySelector('#here').remove()")
    shown.page.wait_for_timeout(50)
    assert not shown.said and not shown.events("error")
