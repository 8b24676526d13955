"""Timing two ways of doing one thing in turn, so that both meet the same moments of a shared machine."""

from __future__ import annotations

import contextlib
import ctypes
import math
import statistics
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from typing import Any

from fields.progress import Progress

Work = Callable[[], object]


@dataclass(frozen=True)
class Contest:
    """Our way and the baseline's; each does `…_parts` equal parts of the work and is timed for one part."""

    name: str
    config: str
    ours: Work
    baseline: str
    theirs: Work
    ours_parts: int = 1
    baseline_parts: int = 1


@dataclass(frozen=True)
class Row:
    """Median seconds for one part; `ratio` = baseline / ours of runs taken in turn, its median; `spread`
    is the range of those ratios over their median."""

    name: str
    config: str
    ours_s: float
    baseline: str
    baseline_s: float
    ratio: float
    spread: float


_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # parameters of mallopt
_REST = 0.02  # seconds before every run: torch's threads still spin for some milliseconds after the last one's work


def measure(contest: Contest, repeat: int, seconds: float = math.inf) -> Row:
    """Run both in turn: once to get warm, then `repeat` times, or until `seconds` are over.

    The first pair counts only where there was no time for another.
    """
    end = time.monotonic() + seconds
    pairs: list[tuple[float, float]] = []
    while len(pairs) <= repeat and (not pairs or time.monotonic() < end):
        ours = _seconds(contest.ours) / contest.ours_parts
        pairs.append((ours, _seconds(contest.theirs) / contest.baseline_parts))
    pairs = pairs[1:] or pairs
    ratios = [theirs / ours for ours, theirs in pairs]
    ratio = statistics.median(ratios)
    return Row(
        contest.name,
        contest.config,
        statistics.median(ours for ours, _ in pairs),
        contest.baseline,
        statistics.median(theirs for _, theirs in pairs),
        ratio,
        (max(ratios) - min(ratios)) / ratio,
    )


def measure_all(
    contests: list[Contest], repeat: int, seconds: float = math.inf
) -> Generator[Progress, None, list[dict[str, Any]]]:
    """A row for each contest; they are the generator's return value. No new run starts after `seconds`, but
    every contest has one."""
    _keep_freed_memory()
    rows, start = [], time.monotonic()
    for index, contest in enumerate(contests):
        elapsed = time.monotonic() - start
        remaining = elapsed / index * (len(contests) - index) if index else 0.0
        yield Progress(index, len(contests), contest.name, elapsed, remaining)
        rows.append(asdict(measure(contest, repeat, (seconds - elapsed) / (len(contests) - index))))
    yield Progress(len(contests), len(contests), "bench", time.monotonic() - start)
    return rows


def _keep_freed_memory() -> None:
    """Have the C library hand out what was freed again, where it can be told to: it is glibc.

    Sides in turn, with blocks of different sizes, would otherwise give pages back and fault them in at every run;
    a job that repeats its own steps does not, and a fault costs more than many a kernel.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        for limit in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
            libc.mallopt(limit, 1 << 30)


def _seconds(work: Work) -> float:
    time.sleep(_REST)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
