"""The pages in a real browser: every path that a person takes, at desk and phone widths, dark and light."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from web_browser import browser

from app.web.pages import PAGES
from data.procedural import make_capture, write_capture

ROOT = Path(__file__).parents[1]
SIZES = {"desk": (1280, 800), "phone": (390, 844)}
PATIENCE = 240_000  # milliseconds: jobs run at the lowest priority beside whatever else this machine does
BOX = """v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\nv 1 0 1\nv 1 1 1\nv 0 1 1
f 1 4 3 2\nf 5 6 7 8\nf 1 2 6 5\nf 2 3 7 6\nf 3 4 8 7\nf 4 1 5 8\n"""
EXPECTED = re.compile(r"Failed to load resource.*4(0|2)\d")  # what the browser says of an answer that refuses


class Visitor:
    """Somebody with a browser window, and whatever went wrong in it."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address = page, address
        self.problems: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: self._say(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self._asked(request.url))

    def _say(self, text: str) -> None:
        if not EXPECTED.search(text):
            self.problems.append(text)

    def _asked(self, url: str) -> None:
        if not url.startswith((self.address, "data:", "blob:")):
            self.problems.append(f"asked for {url}")

    def open(self, name: str) -> None:
        """Load the app at a page."""
        self.page.goto(f"{self.address}/#{name}")
        self.page.wait_for_selector(f"[data-page={name.partition('/')[0]}]:not([hidden])")

    def go(self, name: str) -> None:
        """Follow the navigation."""
        self.page.click(f".fp-nav [data-link={name}]")
        self.page.wait_for_selector(f"[data-page={name}]:not([hidden])")

    def part(self, page: str, part: str) -> Any:
        return self.page.locator(f"[data-page={page}] [data-part={part}]")

    def until(self, expression: str) -> None:
        """Wait for something to be true; playwright's own way needs `eval`, which the pages forbid."""
        end = time.monotonic() + PATIENCE / 1000
        while not self.page.evaluate(expression):
            assert time.monotonic() < end, f"waited in vain for {expression}"
            self.page.wait_for_timeout(200)

    def choose(self, page: str, field: str, value: str) -> None:
        """Press one of a row of choices."""
        self.page.click(f"[data-page={page}] [name={field}][value='{value}'] + span")

    def send(self, press: str, file: Path) -> None:
        """Choose a file in the dialog that a press opens."""
        with self.page.expect_file_chooser() as chooser:
            self.page.click(press)
        chooser.value.set_files(file)

    def takes(self, press: Callable[[], None]) -> Path:
        """The file that the browser is given after a press."""
        with self.page.expect_download() as download:
            press()
        return Path(download.value.path())


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own, as `fieldscape app` starts it."""
    state = tmp_path_factory.mktemp("state")
    command = [sys.executable, "-m", "app", "app", "--port", "0", "--state", str(state)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        try:
            yield next(found[0] for line in process.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def visit(chromium: Any, address: str) -> Callable[..., Any]:
    """Opens a window: `with visit("phone", dark=True) as visitor`; at its end nothing may have gone wrong."""

    @contextmanager
    def opened(size: str = "desk", dark: bool = False) -> Iterator[Visitor]:
        width, height = SIZES[size]
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light",
            has_touch=size == "phone", accept_downloads=True,
        )  # fmt: skip
        visitor = Visitor(context.new_page(), address)
        yield visitor
        context.close()
        assert visitor.problems == []

    return opened


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small capture as a zip."""
    folder = tmp_path_factory.mktemp("photos")
    write_capture(make_capture(views=8, test_views=2, size=40), folder / "capture")
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        for file in sorted((folder / "capture").rglob("*.*")):
            archive.write(file, file.relative_to(folder / "capture"))
    return folder / "photos.zip"


def fit(visitor: Visitor, photos: Path, seconds: int = 2) -> None:
    """Fit a small field to the photos and wait until one can look at it."""
    page = visitor.page
    visitor.open("fields")
    visitor.send("[data-source=photos]", photos)
    page.wait_for_selector("[data-page=fields] [data-part=fit]:enabled")
    page.click("[data-page=fields] [data-part=settings] summary")
    visitor.choose("fields", "preset", "tiny")
    page.fill("[data-page=fields] [name=own]", str(seconds))
    visitor.part("fields", "fit").click()
    visitor.part("fields", "results").wait_for()


@pytest.mark.parametrize("size, dark", [("desk", False), ("phone", True)])
def test_every_page_opens_and_nothing_is_wider_than_the_window(visit, size, dark):
    with visit(size, dark) as visitor:
        visitor.open("worlds")
        for name, (title, _) in PAGES.items():
            visitor.go(name)
            assert visitor.page.inner_text(f"[data-page={name}] h1") == title
            assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert visitor.page.evaluate("document.body.classList.contains('dark')") == dark


def test_the_theme_that_one_chooses_stays(visit):
    with visit("desk") as visitor:
        visitor.open("library")
        light = visitor.page.evaluate("getComputedStyle(document.body).backgroundColor")
        visitor.page.click("[data-part=theme]")
        visitor.page.reload()
        visitor.page.wait_for_selector("[data-page=library]:not([hidden])")
        assert visitor.page.evaluate("document.body.classList.contains('dark')")
        assert visitor.page.evaluate("getComputedStyle(document.body).backgroundColor") != light


@pytest.mark.parametrize("size", SIZES)
def test_examples_and_furnishing_fill_the_plan(visit, size):
    painter = "document.querySelector('[data-page=worlds] [data-part=painter]').component"
    painted = f"{painter}.value().indices.filter(Boolean).length"
    with visit(size) as visitor:
        visitor.open("worlds")
        visitor.page.wait_for_selector("[data-part=painter] canvas")
        assert visitor.page.evaluate(painted) == 0
        visitor.page.click("[data-example] >> nth=0")
        assert visitor.page.evaluate(painted) > 500
        visitor.page.evaluate(f"{painter}.undo()")
        assert visitor.page.evaluate(f"{painted} === 0 && {painter}.value().width === 96")
        visitor.page.evaluate(f"{painter}.redo()")
        assert visitor.page.evaluate(painted) > 500
        visitor.part("worlds", "new").click()
        assert visitor.page.evaluate(painted) == 0
        visitor.part("worlds", "furnish").click()
        visitor.until(f"{painted} > 500")


def test_what_cannot_be_used_is_refused_in_a_sentence(visit, tmp_path):
    (tmp_path / "broken.obj").write_text("v 0 0\nf 1 2 3\n")
    with visit() as visitor:
        visitor.open("fields")
        visitor.send("[data-source=mesh]", tmp_path / "broken.obj")
        said = visitor.page.inner_text("[data-page=fields] .fp-bad")
        assert said.startswith("broken.obj cannot be used") and said.endswith(".")
        assert visitor.part("fields", "fit").is_disabled()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("size, dark", [("desk", False), ("phone", True)])
def test_photos_become_a_field_that_is_looked_at_converted_exported_and_kept(visit, photos, size, dark):
    with visit(size, dark) as visitor:
        page = visitor.page
        fit(visitor, photos)
        page.wait_for_selector("[data-page=fields] [data-part=viewer] .fs-chip")
        page.click("[data-page=fields] [data-part=viewer] >> text=Depth")
        assert visitor.takes(lambda: visitor.part("fields", "download").click()).stat().st_size > 10_000

        visitor.part("fields", "to-convert").click()
        page.wait_for_selector("[data-page=convert] .fp-pick[aria-pressed=true]")
        page.select_option("[data-page=convert] [name=backend]", "vm")
        visitor.choose("convert", "preset", "tiny")
        visitor.choose("convert", "seconds", "15")
        visitor.part("convert", "convert").click()
        visitor.part("convert", "results").wait_for()
        assert "to the original" in visitor.part("convert", "numbers").inner_text()
        assert visitor.takes(lambda: visitor.part("convert", "report").click()).stat().st_size > 1000

        visitor.part("convert", "to-export").click()
        page.wait_for_selector("[data-page=export] .fp-pick[aria-pressed=true]")
        page.fill("[data-page=export] [name=resolution]", "32")
        visitor.part("export", "mesh").click()
        visitor.part("export", "results").wait_for()
        assert "faces" in visitor.part("export", "numbers").inner_text()
        visitor.part("export", "crop-on").click()
        visitor.part("export", "crop").wait_for()
        assert visitor.takes(lambda: visitor.part("export", "download").click()).read_bytes()[:4] == b"glTF"

        visitor.go("library")
        visitor.until("document.querySelectorAll('.fp-item').length === 4")
        page.click(".fp-item:has-text('Mesh of') >> text=Rename")
        page.fill("[data-part=name]", "My mesh <b>")
        page.click("[data-part=yes]")
        page.wait_for_selector(".fp-item:has-text('My mesh <b>')")
        page.reload()
        page.click(".fp-item:has-text('My mesh <b>') >> text=Delete")
        page.click("[data-part=yes]")
        visitor.until("document.querySelectorAll('.fp-item').length === 3")
        visitor.choose("library", "show", "worlds")
        visitor.part("library", "waiting").wait_for()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_fit_is_watched_stopped_and_gone_on_with_after_a_reload(visit, photos):
    with visit() as visitor:
        page = visitor.page
        visitor.open("fields")
        visitor.send("[data-source=photos]", photos)
        page.wait_for_selector("[data-page=fields] [data-part=cameras] canvas")
        page.click("[data-page=fields] [data-part=settings] summary")
        page.fill("[data-page=fields] [name=own]", "60")
        visitor.part("fields", "fit").click()
        visitor.part("fields", "preview").wait_for()
        visitor.until("document.querySelector('[data-page=fields] [data-part=job]').innerText.includes('left')")
        page.click("[data-page=fields] [data-part=job] >> text=Stop")
        page.wait_for_selector("[data-page=fields] [data-part=job][data-state=cancelled]")
        page.reload()
        page.click("[data-page=fields] [data-part=job] >> text=Go on")
        page.wait_for_selector("[data-page=fields] [data-part=job][data-state=running]")
        page.click("[data-page=fields] [data-part=job] >> text=Stop")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_mesh_is_looked_over_before_it_is_fitted(visit, tmp_path):
    (tmp_path / "box.obj").write_text(BOX)
    with visit("phone") as visitor:
        visitor.open("fields")
        visitor.send("[data-source=mesh]", tmp_path / "box.obj")
        visitor.page.wait_for_selector("[data-page=fields] .fp-verdict")
        assert "12 faces, watertight" in visitor.part("fields", "report").inner_text()
        assert "a surface" in visitor.part("fields", "chosen").inner_text()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("size, dark", [("desk", False), ("phone", True)])
def test_a_world_grows_block_by_block_and_where_one_clicks(visit, size, dark):
    with visit(size, dark) as visitor:
        page = visitor.page
        visitor.open("worlds")
        page.click("[data-example] >> nth=0")
        visitor.choose("worlds", "quality", "quick")
        visitor.part("worlds", "generate").click()
        visitor.part("worlds", "downloads").wait_for()
        blocks = "document.querySelector('[data-page=worlds] [data-part=world]').component.blocks.size"
        first = page.evaluate(blocks)
        assert first > 0
        view = visitor.part("worlds", "world")
        view.evaluate("node => node.component.emit('grow', {i: 0, k: -1})")
        visitor.until(f"{blocks} === {first + 1}")
        visitor.part("worlds", "downloads").wait_for()
        visitor.part("worlds", "undo").click()
        visitor.until(f"{blocks} === {first}")
        visitor.part("worlds", "downloads").wait_for()
        assert visitor.takes(lambda: visitor.part("worlds", "picture").click()).read_bytes()[:4] == b"\x89PNG"
        assert zipfile.is_zipfile(visitor.takes(lambda: visitor.part("worlds", "archive").click()))
        assert visitor.takes(lambda: visitor.part("worlds", "mesh").click()).read_bytes()[:4] == b"glTF"
