"""Pictures of fields as a page asks for them: small and at once while it moves, whole when it stands still."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cuda_ext.accelerators import using
from fields.cameras import Cameras
from fields.engines import AUTO, engines_for

from ..library import OpenField, open_field
from ..pictures import PICTURES, depth_range, jpeg, picture_of
from ..rendering import renderer_for
from ..viewpoint import Viewpoint

_OPEN = 3  # fields kept at hand
_BAND_SECONDS = 0.05  # of a fine picture, between looks at what else is asked for
_LEAST_SIDE = 24
_FIRST_GUESS = 1e-5  # seconds a pixel
_COARSE_QUALITY, _FINE_QUALITY = 80, 93


class Stale(Exception):
    """Nobody waits for the picture any more."""


class Painter:
    """Keeps fields open and knows how long their pixels take."""

    def __init__(self, seconds: dict[str, float]) -> None:
        """seconds: what a picture of each quality may take; it is smaller than asked for otherwise."""
        self._seconds = seconds
        self._fields: dict[tuple[str, int], OpenField] = {}
        self._rates: dict[tuple[str, str, str], float] = {}  # path, mode, quality: seconds a pixel

    def about(self, path: str) -> dict[str, Any]:
        """What a page must know before it looks: the field's box, where to stand, what can be shown."""
        opened = self._opened(path)
        view, field = opened.view, opened.field
        return {
            "backend": field.name,
            "kind": field.kind,
            "parameters": field.parameter_count,
            "bytes": opened.bytes,
            "bounds": field.space.bounds.tolist(),
            "contraction": field.space.contraction,
            "modes": list(PICTURES),
            "viewpoint": {"centre": view.centre, "up": view.up, "distance": view.distance, "inward": view.inward,
                          "elevation": view.elevation, "fov": 2 * math.atan(0.5 / view.lens[1])},
            "forward_facing": view.ndc_near is not None,
        }  # fmt: skip

    def paint(self, order: dict[str, Any], between: Callable[[], None]) -> tuple[dict[str, Any], bytes]:
        """A JPEG and what is worth telling about it; `between` is called between parts of a fine one.

        Raises:
            UserError: what opening the field refuses. Whatever `between` raises.
        """
        start = time.perf_counter()
        opened = self._opened(order["path"])
        opening = time.perf_counter() - start
        coarse, mode = order["quality"] == "coarse", order["mode"]
        key = (order["path"], mode, order["quality"])  # small pictures take longer a pixel than large ones
        width, height = order["width"], order["height"]
        scale = min(1.0, math.sqrt(self._seconds[order["quality"]] / self._rate(key) / (width * height)))
        size = max(_LEAST_SIDE, round(width * scale)), max(_LEAST_SIDE, round(height * scale))
        whole = coarse or opened.view.ndc_near is not None  # NDC rays go by the whole picture's size
        rows = size[1] if whole else max(1, round(_BAND_SECONDS / self._rate(key) / size[0]))
        with using(*engines_for(AUTO, opened.field)):
            views = self._rendered(opened, order, size, rows, between)
        span = depth_range(views["depth"], views["opacity"]) if mode == "depth" else (0.0, 1.0)
        picture = jpeg(picture_of(mode, views, span), _COARSE_QUALITY if coarse else _FINE_QUALITY)
        seconds = time.perf_counter() - start - opening
        self._learn(key, seconds / (size[0] * size[1]))
        return {"scale": round(size[0] / width, 3), "milliseconds": round(1000 * seconds)}, picture

    def _rendered(
        self, opened: OpenField, order: dict[str, Any], size: tuple[int, int], rows: int, between: Callable[[], None]
    ) -> dict[str, Tensor]:
        """The views that a mode needs, rendered in bands of some rows."""
        view = opened.view
        camera = camera_of(order["camera_to_world"], order["fov"], size, view)
        render = renderer_for(opened.field, opened.notes)
        mode = order["mode"]
        what = ("rgb",) if mode == "rgb" else tuple(dict.fromkeys((mode, "opacity")))
        parts = []
        for first in range(0, size[1], rows):
            if first:
                between()
            band = band_of(camera, first, min(size[1], first + rows))
            parts.append(render(opened.field, band, 0, background=view.background, what=what, near=view.near))
        return {name: torch.cat([part[name] for part in parts]) for name in what}

    def _opened(self, path: str) -> OpenField:
        key = (path, Path(path).stat().st_mtime_ns)
        found = self._fields.pop(key, None) or open_field(path)
        self._fields[key] = found
        while len(self._fields) > _OPEN:
            del self._fields[next(iter(self._fields))]
        return found

    def _rate(self, key: tuple[str, str, str]) -> float:
        return self._rates.get(key, _FIRST_GUESS)

    def _learn(self, key: tuple[str, str, str], rate: float) -> None:
        """News count by half; a coarse picture that took longer counts whole, as promptness comes first."""
        mean = 0.5 * (self._rates.get(key, rate) + rate)
        self._rates[key] = max(rate, mean) if key[2] == "coarse" else mean
        if len(self._rates) > 100:
            del self._rates[next(iter(self._rates))]


def camera_of(pose: list[list[float]], fov: float, size: tuple[int, int], view: Viewpoint) -> Cameras:
    """A camera with a vertical angle of `fov` degrees; a forward-facing field keeps the lens it was taken with."""
    width, height = size
    focal = height / 2 / math.tan(math.radians(fov) / 2)
    cameras = Cameras.pinhole(torch.tensor([pose], dtype=torch.float32), focal, width, height, view.ndc_near)
    if view.ndc_near is not None:
        cameras.focal.copy_(torch.tensor([[view.lens[0] * width, view.lens[1] * height]]))
    return cameras


def band_of(camera: Cameras, first: int, last: int) -> Cameras:
    """Rows `first` to `last` of a camera's picture as a camera."""
    width = int(camera.size[0, 0])
    centre = camera.centre - torch.tensor([0.0, float(first)])
    return replace(camera, centre=centre, size=torch.tensor([[width, last - first]]))
