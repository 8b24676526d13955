"""How often one owner may ask: token buckets, forgotten when they are full again."""

from __future__ import annotations

import time
from collections.abc import Callable


class Rates:
    """One token bucket for each name: `burst` at once, `rate` a second after that."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens left, when

    def admits(self, name: str) -> bool:
        """Take a token of this name, if one is left."""
        now = self._clock()
        tokens, before = self._buckets.get(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - before) * self._rate)
        if tokens < 1:
            return False
        self._buckets[name] = (tokens - 1, now)
        if len(self._buckets) > 10_000:
            self._forget(now)
        return True

    def _forget(self, now: float) -> None:
        full = [n for n, (tokens, then) in self._buckets.items() if tokens + (now - then) * self._rate >= self._burst]
        for name in full or list(self._buckets)[:1000]:
            del self._buckets[name]
