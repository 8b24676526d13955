"""Somebody with a browser window on the whole app: what tests of the pages share."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SIZES = {"desk": (1280, 800), "phone": (390, 844)}
PATIENCE = 240_000  # milliseconds: jobs run at the lowest priority beside whatever else this machine does
POLL = 100  # milliseconds
EXPECTED = re.compile(r"Failed to load resource.*(4(0|2)\d|507)")  # what the browser says of an answer that refuses


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
            self.page.wait_for_timeout(POLL)

    def choose(self, page: str, field: str, value: str) -> None:
        """Press one of a row of choices."""
        self.page.click(f"[data-page={page}] [name={field}][value='{value}'] + span")

    def state(self, page: str, state: str) -> None:
        """Wait until the job that a page shows has come to a state."""
        self.page.wait_for_selector(f"[data-page={page}] [data-part=job][data-state={state}]", state="attached")

    def press(self, page: str, words: str) -> None:
        """Press a button of a page by exactly these words."""
        self.page.click(f"[data-page={page}] button:text-is('{words}')")

    def more(self, page: str) -> None:
        """Unfold what most people can leave alone."""
        self.page.click(f"[data-page={page}] [data-part=settings] summary")

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


@contextmanager
def app_server(state: Path, port: int = 0) -> Iterator[str]:
    """The address of a server of its own, as `fieldscape app` starts it."""
    command = [sys.executable, "-m", "app", "app", "--port", str(port), "--state", str(state)]
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


def visits(chromium: Any, address: str) -> Callable[..., Any]:
    """Opens windows: `with visit("phone", dark=True) as visitor`; at its end nothing may have gone wrong."""

    @contextmanager
    def opened(size: str = "desk", dark: bool = False) -> Iterator[Visitor]:
        width, height = SIZES[size]
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light",
            has_touch=size == "phone", accept_downloads=True, reduced_motion="reduce",
        )  # fmt: skip
        visitor = Visitor(context.new_page(), address)
        yield visitor
        context.close()
        assert visitor.problems == []

    return opened
