"""A small picture of a field that is being made, renewed now and then at little cost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from fields.progress import Progress
from fields.safeio import write_bytes
from fields.volume import Volume

from ...pictures import jpeg
from ...rendering import Shots

PREVIEW = "preview.jpg"
SIDE = 240
_LEAST_SECONDS = 1.5
_SHARE = 0.04  # of the job's time
_SECONDS = 0.4  # that one picture may take
_FIRST_GUESS = 3e-4  # seconds a pixel: fields are opaque nowhere and slow at first
_LEAST_SIDE = 24
Result = TypeVar("Result")


class Preview:
    """Writes pictures of one volume from one camera, smaller while the volume is slow to look at."""

    def __init__(self, volume: Volume, shots: Shots, renderer: Callable[..., dict[str, Tensor]], file: Path) -> None:
        self._volume, self._shots, self._renderer, self._file = volume, shots, renderer, file
        self._due = time.monotonic() + _LEAST_SECONDS
        self._rate = _FIRST_GUESS  # seconds a pixel

    def draw(self, whole: bool = False) -> None:
        """Renew the picture; `whole` is as large as it gets, however long that takes."""
        shots, (width, height) = self._shots, self._shots.cameras.size[0].tolist()
        scale = 1.0 if whole else min(1.0, math.sqrt(_SECONDS / self._rate / (width * height)))
        size = max(_LEAST_SIDE, round(width * scale)), max(_LEAST_SIDE, round(height * scale))
        cameras, start = shots.cameras.resized(*size), time.monotonic()
        views: dict[str, Any] = self._renderer(
            self._volume, cameras, 0, background=shots.background, what=("rgb",), near=shots.near
        )
        end = time.monotonic()
        self._rate = (end - start) / (size[0] * size[1])
        write_bytes(self._file, jpeg(views["rgb"]))
        self._due = end + max(_LEAST_SECONDS, (end - start) / _SHARE)

    def during(self, steps: Generator[Progress, None, Result]) -> Generator[Progress, None, Result]:
        """Pass on the reports of a job, with the picture renewed between some of them and at the end."""
        result = yield from self._watched(steps)
        self.draw(whole=True)
        return result

    def _watched(self, steps: Generator[Progress, None, Result]) -> Generator[Progress, None, Result]:
        while True:
            try:
                progress = next(steps)
            except StopIteration as end:
                return end.value
            if time.monotonic() >= self._due and progress.step > 0:
                self.draw()
            try:
                yield progress
            except GeneratorExit:
                steps.close()
                raise
