"""When a long job stores its state: now and then, and when it is closed before its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable

from fields.progress import Progress

STATE_SECONDS = 20.0  # of work between two states
STATE_SHARE = 0.03  # of the time that saving them may take: large fields on slow disks are saved less often


def saved(
    steps: Iterable[Progress],
    save: Callable[[str], None],
    seconds: float = STATE_SECONDS,
    share: float = STATE_SHARE,
) -> Generator[Progress, None, None]:
    """Pass on the reports of `steps`, and call `save` with the job's status between two of them.

    The status is "running", or "interrupted" when the generator is closed before its end.
    """
    due = time.monotonic() + seconds
    try:
        for progress in steps:
            start = time.monotonic()
            if start >= due:
                save("running")
                end = time.monotonic()
                due = end + max(seconds, (end - start) / share)
            yield progress
    except GeneratorExit:
        save("interrupted")
        raise
