"""Running the command line inside a test."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli import main
from data.procedural import make_capture, write_capture

_KEPT: list[tempfile.TemporaryDirectory[str]] = []


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and its two streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


def run(*words: object) -> Outcome:
    """`fieldscape WORDS…` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = int(end.code or 0)
    return Outcome(code, out.getvalue(), err.getvalue())


def refused(outcome: Outcome, exit_code: int, *parts: str) -> None:
    """The command ended with this code and one line, without a traceback, that has these parts in it."""
    assert outcome.code == exit_code, outcome.err
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error[E-") and len(lines[0]) <= 400, outcome.err
    assert "Traceback" not in outcome.err
    for part in parts:
        assert part in lines[0], f"{part!r} is not in {lines[0]!r}"


@functools.cache
def tiny_capture() -> Path:
    """A capture folder of 8 + 3 photos, 48 pixels square, made once."""
    _KEPT.append(tempfile.TemporaryDirectory(prefix="fieldscape-tests-"))
    folder = Path(_KEPT[-1].name)
    write_capture(make_capture(8, 3, 48), folder / "capture")
    return folder / "capture"


@functools.cache
def tiny_run() -> Path:
    """A run folder with a hash field fitted to `tiny_capture` for some steps, made once; do not change it."""
    out = tiny_capture().parent / "run"
    outcome = run("fit", tiny_capture(), "--out", out, "--preset", "tiny", "--steps", 96)
    assert outcome.code == 0, outcome.err
    return out
