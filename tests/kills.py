"""Killing a process in the middle of writing a file."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

_POLL = 0.0005  # seconds


def half_written(folder: Path) -> set[Path]:
    """Temporary files that `fields.safeio` has not renamed, or never will."""
    return set(folder.glob(".tmp-*"))


def hold_while_writing(pid: int, alive: Callable[[], bool], folder: Path, known: set[Path]) -> bool:
    """Wait until the process writes a file in `folder` and halt it there; False when it ended before.

    `known` are the half-written files that were there before it. A write takes a millisecond or two, so it is
    looked at again once the process stands still: whoever kills it then hits the write for certain.
    """
    while alive():
        if half_written(folder) - known:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                while alive() and not _is_halted(pid):
                    time.sleep(_POLL)
                if half_written(folder) - known:
                    return alive()
                os.kill(pid, signal.SIGCONT)
        time.sleep(_POLL)
    return False


def _is_halted(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] == "T"
