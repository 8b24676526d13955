"""Freed memory stays with the process, so that the next step's tensors need not be cleared by the system again."""

from __future__ import annotations

import contextlib
import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_LARGEST_BLOCK, _NEVER = 1 << 25, (1 << 31) - 1  # glibc takes no more


def keep_freed_memory() -> None:
    """Ask the C library to keep what is freed; one that cannot be asked (no glibc) goes on as it does.

    Trainings allocate tensors of some megabytes hundreds of times a step; pages that go back to the system
    between come back cleared, one fault each.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
        mallopt(_TRIM_THRESHOLD, _NEVER)
