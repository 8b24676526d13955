"""Whole paths in a real browser: worlds, fields, conversions, exports and the library, with the jobs they start."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import tiny_run
from web_browser import browser
from web_visitor import Visitor, app_server, visits

from data.procedural import make_capture, write_capture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
BOX = """v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\nv 1 0 1\nv 1 1 1\nv 0 1 1
f 1 4 3 2\nf 5 6 7 8\nf 1 2 6 5\nf 2 3 7 6\nf 3 4 8 7\nf 4 1 5 8\n"""
BOTH = pytest.mark.parametrize("size, dark", [("desk", False), ("phone", True)])
VIEW = "document.querySelector('[data-page=worlds] [data-part=world]').component"
PAINTER = "document.querySelector('[data-page=worlds] [data-part=painter]').component"
CARDS = "document.querySelectorAll('.fp-item').length"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with app_server(tmp_path_factory.mktemp("state")) as found:
        yield found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def visit(chromium: Any, address: str) -> Callable[..., Any]:
    return visits(chromium, address)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small capture as a zip."""
    folder = tmp_path_factory.mktemp("photos")
    write_capture(make_capture(views=8, test_views=2, size=40), folder / "capture")
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        for file in sorted((folder / "capture").rglob("*.*")):
            archive.write(file, file.relative_to(folder / "capture"))
    return folder / "photos.zip"


def fit(visitor: Visitor, photos: Path, seconds: int) -> None:
    """Begin to fit a small field to the photos."""
    visitor.open("fields")
    visitor.send("[data-source=photos]", photos)
    visitor.page.wait_for_selector("[data-page=fields] [data-part=cameras] canvas")
    visitor.more("fields")
    visitor.choose("fields", "preset", "tiny")
    visitor.page.fill("[data-page=fields] [name=own]", str(seconds))
    visitor.part("fields", "fit").click()


def mesh(visitor: Visitor, **choices: str) -> str:
    """Make a coarse mesh of the chosen field; what is said of it."""
    made = visitor.page.evaluate("location.hash")
    visitor.page.fill("[data-page=export] [name=resolution]", "32")
    for name, value in choices.items():
        visitor.choose("export", name, value)
    visitor.part("export", "mesh").click()
    visitor.until(f"location.hash !== '{made}'")
    visitor.part("export", "results").wait_for()
    return str(visitor.part("export", "numbers").inner_text())


def load(visitor: Visitor, page: str) -> None:
    """Open a page and give it a field file."""
    visitor.open(page)
    with visitor.page.expect_file_chooser() as chooser:
        visitor.press(page, "Open a field file")
    chooser.value.set_files(tiny_run() / "field.safetensors")
    visitor.page.wait_for_selector(f"[data-page={page}] .fp-pick[aria-pressed=true]")


@BOTH
def test_photos_become_a_field_that_is_looked_at_converted_exported_and_kept(visit, photos, size, dark):
    with visit(size, dark) as visitor:
        page = visitor.page
        fit(visitor, photos, 2)
        visitor.part("fields", "results").wait_for()
        page.wait_for_selector("[data-page=fields] [data-part=viewer] canvas.fs-frame")
        for mode in ("Depth", "Normals", "Opacity", "Colour"):
            with page.expect_response("**/api/look") as answer:
                page.click(f"[data-page=fields] [data-part=viewer] >> text={mode}")
            assert answer.value.ok
        assert visitor.takes(lambda: visitor.part("fields", "download").click()).stat().st_size > 10_000

        visitor.part("fields", "to-convert").click()
        page.wait_for_selector("[data-page=convert] .fp-pick[aria-pressed=true]")
        page.select_option("[data-page=convert] [name=backend]", "vm")
        visitor.choose("convert", "preset", "tiny")
        visitor.choose("convert", "seconds", "15")
        visitor.more("convert")
        page.fill("[data-page=convert] [name=psnr]", "3")  # at once
        visitor.part("convert", "convert").click()
        visitor.part("convert", "results").wait_for()
        assert "to the original" in visitor.part("convert", "numbers").inner_text()
        assert visitor.takes(lambda: visitor.part("convert", "report").click()).stat().st_size > 1000

        visitor.part("convert", "to-export").click()
        page.wait_for_selector("[data-page=export] .fp-pick[aria-pressed=true]")
        assert "faces" in mesh(visitor)
        assert visitor.takes(lambda: visitor.part("export", "download").click()).read_bytes()[:4] == b"glTF"

        visitor.go("library")
        visitor.until(f"{CARDS} === 4")
        visitor.choose("library", "show", "meshes")
        visitor.until(f"{CARDS} === 1")
        visitor.choose("library", "show", "worlds")
        visitor.part("library", "waiting").wait_for()


def test_a_fit_is_watched_stopped_and_gone_on_with_after_a_reload(visit, photos):
    with visit() as visitor:
        fit(visitor, photos, 60)
        visitor.part("fields", "preview").wait_for()
        visitor.until("document.querySelector('[data-page=fields] [data-part=job]').innerText.includes('left')")
        visitor.press("fields", "Stop")
        visitor.state("fields", "cancelled")
        visitor.page.reload()
        visitor.press("fields", "Go on")
        visitor.state("fields", "running")
        visitor.press("fields", "Stop")
        visitor.state("fields", "cancelled")


def test_a_mesh_is_looked_over_before_it_is_fitted(visit, tmp_path):
    (tmp_path / "box.obj").write_text(BOX)
    with visit("phone") as visitor:
        visitor.open("fields")
        visitor.send("[data-source=mesh]", tmp_path / "box.obj")
        visitor.page.wait_for_selector("[data-page=fields] .fp-verdict")
        assert "12 faces, watertight" in visitor.part("fields", "report").inner_text()
        assert "a surface" in visitor.part("fields", "chosen").inner_text()


def test_a_field_file_is_cropped_reduced_textured_and_written_in_every_format(visit):
    with visit(dark=True) as visitor:
        page = visitor.page
        load(visitor, "export")
        whole = mesh(visitor)
        visitor.part("export", "crop-on").click()
        told = visitor.part("export", "crop").inner_text()
        handle = page.locator("[aria-label^='Crop box, z to']").bounding_box()
        page.mouse.move(handle["x"] + 14, handle["y"] + 14)
        page.mouse.down()
        page.mouse.move(handle["x"] + 14, handle["y"] + 60, steps=4)
        page.mouse.up()
        assert visitor.part("export", "crop").inner_text() != told
        assert mesh(visitor) != whole
        visitor.part("export", "crop-off").click()

        page.fill("[data-page=export] [name=simplify]", "200")
        assert "OBJ" in mesh(visitor, format="obj", color="texture")
        archive = zipfile.ZipFile(visitor.takes(lambda: visitor.part("export", "download").click()))
        assert {Path(name).suffix for name in archive.namelist()} >= {".obj", ".mtl", ".png"}
        assert "PLY" in mesh(visitor, format="ply")
        assert visitor.takes(lambda: visitor.part("export", "download").click()).read_bytes()[:3] == b"ply"
        assert page.is_disabled("[data-page=export] [name=color][value=texture]")
        assert "STL" in mesh(visitor, format="stl", color="none")
        assert visitor.takes(lambda: visitor.part("export", "download").click()).stat().st_size > 84


def test_films_play_in_the_library_where_things_are_renamed_opened_taken_and_removed(visit):
    with visit("phone") as visitor:
        page = visitor.page
        visitor.open("convert")
        load(visitor, "convert")
        visitor.open("library")
        page.click(".fp-item button:text-is('Open')")
        visitor.part("fields", "film").click()
        page.wait_for_selector(".fp-item video")
        visitor.until("document.querySelector('.fp-item video').readyState > 0")
        film = visitor.takes(lambda: page.click(".fp-item:has(video) button:text-is('Download')"))
        assert film.read_bytes()[4:8] == b"ftyp"

        page.click(".fp-item:has(video) button:text-is('Rename')")
        page.fill("[data-part=name]", "My film <b>")
        page.click("[data-part=yes]")
        page.wait_for_selector(".fp-item:has-text('My film <b>')")
        page.reload()
        page.click(".fp-item:has-text('My film <b>') >> text=Delete")
        page.click("[data-part=yes]")
        visitor.until(f"{CARDS} === 1")


def test_what_was_made_is_there_after_the_server_started_again(chromium, tmp_path):
    with app_server(tmp_path) as address:
        port = int(address.rpartition(":")[2])
        context = chromium.new_context()
        visitor = Visitor(context.new_page(), address)
        load(visitor, "convert")
    with app_server(tmp_path, port) as again:
        assert again == address
        visitor.page.reload()
        visitor.page.wait_for_selector("[data-page=convert] .fp-pick[aria-pressed=true]")
        visitor.go("library")
        visitor.until(f"{CARDS} === 1")
        context.close()


@BOTH
def test_a_world_grows_block_by_block_and_where_one_clicks(visit, size, dark):
    blocks = f"{VIEW}.blocks.size"
    with visit(size, dark) as visitor:
        page = visitor.page
        visitor.open("worlds")
        visitor.until(f"Boolean({PAINTER})")
        page.evaluate(f"{PAINTER}.resize(3.2, 3.2)")
        visitor.choose("worlds", "quality", "quick")
        visitor.more("worlds")
        page.fill("[data-page=worlds] [name=steps]", "2")
        visitor.part("worlds", "generate").click()
        settled(visitor)
        first = page.evaluate(blocks)
        assert first > 0

        click(visitor, page.evaluate(f"[...{VIEW}.free][0]"), "Grow here")
        visitor.until(f"{blocks} === {first + 1}")
        settled(visitor)
        before = page.evaluate(f"[...{VIEW}.revisions.values()].join()")
        click(visitor, "0,0", "Make it again")
        visitor.until(f"[...{VIEW}.revisions.values()].join() !== '{before}'")
        settled(visitor)
        click(visitor, "0,0", "Undo the last change")
        visitor.until("document.querySelector('[data-page=worlds] [data-part=downloads]').hidden")
        settled(visitor)
        visitor.part("worlds", "undo").click()
        visitor.until(f"{blocks} === {first}")
        settled(visitor)
        assert visitor.part("worlds", "undo").is_hidden()
        assert visitor.takes(lambda: visitor.part("worlds", "picture").click()).read_bytes()[:4] == b"\x89PNG"
        assert zipfile.is_zipfile(visitor.takes(lambda: visitor.part("worlds", "archive").click()))
        assert visitor.takes(lambda: visitor.part("worlds", "mesh").click()).read_bytes()[:4] == b"glTF"

        page.reload()
        page.wait_for_selector("[data-page=worlds]:not([hidden])")
        visitor.until(f"Boolean({VIEW}) && {blocks} === {first}")
        visitor.part("worlds", "waiting").wait_for(state="hidden")


def settled(visitor: Visitor) -> None:
    """Wait until nothing is made in the scene any more, and look at it from above."""
    visitor.part("worlds", "downloads").wait_for()
    visitor.page.evaluate(f"{VIEW}.stage.canvas.scrollIntoView({{block: 'center'}})")
    visitor.page.evaluate(f"{VIEW}.setMode('plan'), {VIEW}.fit()")
    visitor.until(f"{VIEW}.stage.camera.pitch > 1.57")
    visitor.page.wait_for_timeout(300)  # phones scroll


def click(visitor: Visitor, cell: str, entry: str) -> None:
    """Click the middle of a block or free cell and choose from its menu."""
    x, y = visitor.page.evaluate(
        """(cell) => {
          const { stage, options } = document.querySelector("[data-page=worlds] [data-part=world]").component;
          const { size, stride } = options.frame;
          const [x, z] = cell.split(",").map((index) => (size - stride) / 2 + (Number(index) + 0.5) * stride);
          const [right, up, w] = [0, 1, 3].map((n) => {
            const m = stage.matrix;
            return m[n] * x + m[8 + n] * z + m[12 + n];
          });
          const box = stage.canvas.getBoundingClientRect();
          return [box.left + ((right / w + 1) / 2) * box.width, box.top + ((1 - up / w) / 2) * box.height];
        }""",
        cell,
    )
    visitor.page.mouse.click(x, y)
    visitor.page.click(f"[data-page=worlds] [role=menuitem]:has-text('{entry}')")
