"""The pages in a real browser: what they say and refuse before any job, at desk and phone widths, dark and light."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from web_browser import browser
from web_visitor import SIZES, app_server, visits

from app.web.pages import PAGES


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


WAITS = {"fields": ("fit", "Choose a source first."), "convert": ("convert", "Choose a field first."),
         "export": ("mesh", "Choose a field first.")}  # fmt: skip
FULL = {"code": "E-WEB-QUOTA", "what": "your files take too much space", "where": "", "got": "1001 MB",
        "expected": "at most 1000 MB", "fix": "delete something in the library"}  # fmt: skip


@pytest.mark.parametrize("size, dark", [("desk", False), ("phone", True)])
def test_every_page_opens_fits_the_window_and_says_what_to_do_first(visit, size, dark):
    with visit(size, dark) as visitor:
        visitor.open("worlds")
        for name, (title, _) in PAGES.items():
            visitor.go(name)
            assert visitor.page.inner_text(f"[data-page={name}] h1") == title
            assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            if name in WAITS:
                button, words = WAITS[name]
                assert visitor.part(name, button).is_disabled() and visitor.part(name, "chosen").inner_text() == words
        assert visitor.page.evaluate("document.body.classList.contains('dark')") == dark
        visitor.go("library")
        visitor.part("library", "waiting").wait_for()
        visitor.until("document.querySelector('[data-page=library]').innerText.includes('0 B of 1 GB used')")
        visitor.page.click("[data-page=library] >> text=Paint a world")
        visitor.page.wait_for_selector("[data-page=worlds]:not([hidden])")


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


def test_what_cannot_be_used_or_has_no_room_is_refused_in_a_sentence(visit, tmp_path):
    (tmp_path / "broken.obj").write_text("v 0 0\nf 1 2 3\n")
    with visit() as visitor:
        visitor.open("fields")
        visitor.send("[data-source=mesh]", tmp_path / "broken.obj")
        said = visitor.page.inner_text("[data-page=fields] .fp-bad")
        assert said.startswith("broken.obj cannot be used") and said.endswith(".")
        assert visitor.part("fields", "fit").is_disabled()

        visitor.page.click("[data-source=sample]")
        answer = {"status": 507, "content_type": "application/json", "body": json.dumps({"error": FULL})}
        visitor.page.route("**/api/jobs", lambda route: route.fulfill(**answer))
        visitor.part("fields", "fit").click()
        said = visitor.page.inner_text(".fs-error")
        assert said.startswith("Your files take too much space: found 1001 MB") and said.endswith("in the library.")
        assert visitor.part("fields", "fit").is_enabled()
