"""Floor plans as pictures of classes: one class a pixel, at any scale, in and out of PNG."""

from __future__ import annotations

import io
import json
import math
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from fields.errors import UserError
from fields.safeio import write_bytes

from .class_blends import NO_CLASS, unmixed
from .images import decode, read_header
from .palette import BY_COLOUR, BY_NAME, CLASSES, VOID, class_named, legend, nearest_class
from .plane_geometry import Point, Polygon, Window, bounds_of, inside

MAX_SIDE = 8192
_CHUNK = "fieldscape"  # keyword of the PNG text chunk that keeps scale and origin
_LISTED = 3
_MOST_SMOOTHED = 0.2  # of a picture's pixels
_FLOOR = BY_NAME["floor"].index
_ON_FLOOR = [c.index for c in legend("room") if c.name not in ("wall", "window")]


@dataclass(frozen=True)
class ClassMap:
    """Class indices uint8 [H, W]; pixel [row, column] covers the square of `metres_per_pixel` metres
    at x = origin[0] + column * metres_per_pixel, z = origin[1] + row * metres_per_pixel.
    """

    indices: np.ndarray
    origin: Point
    metres_per_pixel: float

    @property
    def window(self) -> Window:
        """x0, z0, x1, z1 of the picture, metres."""
        height, width = self.indices.shape
        x0, z0 = self.origin
        return x0, z0, x0 + width * self.metres_per_pixel, z0 + height * self.metres_per_pixel

    def masks(self, names: Sequence[str]) -> np.ndarray:
        """One map per class, bool [K, H, W]. The floor goes on under everything that stands on it."""
        maps = np.stack([self.indices == class_named(name).index for name in names])
        if "floor" in names:
            maps[list(names).index("floor")] = np.isin(self.indices, _ON_FLOOR)
        return maps

    def resampled(self, window: Window, metres_per_pixel: float) -> ClassMap:
        """The class at each pixel centre of another window and scale; `void` outside this picture.

        Raises:
            UserError: `E-LIMIT-LAYOUT`, `E-LAYOUT-WINDOW`.
        """
        x, z = pixel_centres(window, metres_per_pixel)
        column = np.floor((x - self.origin[0]) / self.metres_per_pixel).astype(np.int64)
        row = np.floor((z - self.origin[1]) / self.metres_per_pixel).astype(np.int64)
        height, width = self.indices.shape
        known = ((row >= 0) & (row < height))[:, None] & ((column >= 0) & (column < width))[None]
        found = self.indices[row.clip(0, height - 1)[:, None], column.clip(0, width - 1)[None]]
        return ClassMap(np.where(known, found, np.uint8(VOID)), window[:2], metres_per_pixel)

    def rgb(self) -> np.ndarray:
        """The picture in palette colours, uint8 [H, W, 3]."""
        return np.array([entry.rgb for entry in CLASSES], np.uint8)[self.indices]


def pixel_centres(window: Window, metres_per_pixel: float) -> tuple[np.ndarray, np.ndarray]:
    """x [W] and z [H] of the pixel centres of a window; a last pixel may reach past its edge.

    Raises:
        UserError: `E-LAYOUT-WINDOW` for an empty window or scale, `E-LIMIT-LAYOUT` above `MAX_SIDE` pixels.
    """
    sides = (window[2] - window[0], window[3] - window[1])
    if not all(map(math.isfinite, (*window, metres_per_pixel))) or min(*sides, metres_per_pixel) <= 0:
        raise UserError(
            "E-LAYOUT-WINDOW",
            "window of the plan is empty",
            got=f"{window} at {metres_per_pixel} m a pixel",
            expected="x0 < x1, z0 < z1 and a scale above 0, in metres",
            fix="choose another window",
        )
    if max(sides) > MAX_SIDE * metres_per_pixel * (1 + 1e-9):
        raise UserError(
            "E-LIMIT-LAYOUT",
            "plan has too many pixels",
            got=f"{sides[0]:g} x {sides[1]:g} m at {metres_per_pixel:g} m a pixel",
            expected=f"at most {MAX_SIDE} pixels a side",
            fix="use a smaller window or more metres a pixel",
        )
    counts = [max(1, math.ceil(side / metres_per_pixel - 1e-6)) for side in sides]
    x, z = ((np.arange(count) + 0.5) * metres_per_pixel for count in counts)
    return window[0] + x, window[1] + z


def draw(shapes: Iterable[tuple[int, Polygon]], window: Window, metres_per_pixel: float) -> ClassMap:
    """Paint polygons in turn; a pixel belongs to a polygon when its centre does.

    Raises:
        UserError: as `pixel_centres`.
    """
    x, z = pixel_centres(window, metres_per_pixel)
    indices = np.full((len(z), len(x)), VOID, np.uint8)
    for index, polygon in shapes:
        rows, columns, covered = _covered(polygon, x, z)
        indices[rows, columns][covered] = index
    return ClassMap(indices, window[:2], metres_per_pixel)


def draw_masks(
    shapes: Iterable[tuple[int, Polygon]],
    window: Window,
    metres_per_pixel: float,
    names: Sequence[str],
    finer: int = 1,
) -> np.ndarray:
    """Every class drawn by itself, so that they may overlap, bool [K, H, W].

    finer: a pixel is set when any of its `finer` x `finer` parts is, so that thin things stay whole.

    Raises:
        UserError: as `pixel_centres`; `E-LAYOUT-CLASS`.
    """
    height, width = (len(axis) for axis in pixel_centres(window, metres_per_pixel)[::-1])
    x0, z0 = window[:2]
    whole = (x0, z0, x0 + width * metres_per_pixel, z0 + height * metres_per_pixel)
    x, z = pixel_centres(whole, metres_per_pixel / finer)
    maps = np.zeros((len(names), len(z), len(x)), bool)
    channel = {class_named(name).index: k for k, name in enumerate(names)}
    for index, polygon in shapes:
        if index in channel:
            rows, columns, covered = _covered(polygon, x, z)
            maps[channel[index], rows, columns] |= covered
    return maps.reshape(len(names), height, finer, width, finer).max(axis=(2, 4))


def _covered(polygon: Polygon, x: np.ndarray, z: np.ndarray) -> tuple[slice, slice, np.ndarray]:
    """Rows and columns around the polygon, and which of their pixels it covers."""
    x0, z0, x1, z1 = bounds_of(polygon)
    columns = slice(*np.searchsorted(x, (x0, x1 + 1e-9)))
    rows = slice(*np.searchsorted(z, (z0, z1 + 1e-9)))
    return rows, columns, inside(polygon, x[columns], z[rows])


def save_png(plan: ClassMap, path: str | os.PathLike[str]) -> None:
    """Write `encode_png` to a file.

    Raises:
        UserError: `E-ENV-WRITE`, `E-ENV-DISK`.
    """
    write_bytes(path, encode_png(plan))


def encode_png(plan: ClassMap) -> bytes:
    """A palette PNG, with scale and origin in a text chunk."""
    picture = Image.fromarray(plan.indices)
    picture.putpalette([value for entry in CLASSES for value in entry.rgb])  # turns grey into palette mode
    notes = PngImagePlugin.PngInfo()
    place = {"metres_per_pixel": plan.metres_per_pixel, "origin": list(plan.origin)}
    notes.add_text(_CHUNK, json.dumps(place, allow_nan=False))
    stream = io.BytesIO()
    picture.save(stream, format="PNG", pnginfo=notes, optimize=True)
    return stream.getvalue()


def read_png(path: str | os.PathLike[str], metres_per_pixel: float = 0.1) -> ClassMap:
    """A painted plan: any lossless picture in palette colours; transparent pixels are `void`.

    Scale and origin come from the file's own text chunk; without one, `metres_per_pixel` and (0, 0).

    Raises:
        UserError: `E-IMG-*`, `E-LIMIT-IMAGE`, `E-LIMIT-LAYOUT`, `E-LAYOUT-SCALE`, and
            `E-LAYOUT-COLOUR`, which names the nearest classes.
    """
    path = Path(path)
    header = read_header(path)
    if max(header.size) > MAX_SIDE:
        raise UserError(
            "E-LIMIT-LAYOUT",
            "plan has too many pixels",
            where=path,
            got=f"{header.size[0]} x {header.size[1]}",
            expected=f"at most {MAX_SIDE} a side",
            fix="scale the plan down without smoothing",
        )
    pixels = decode(path, header)
    scale, origin = _place(path, metres_per_pixel)
    return ClassMap(_classified(pixels, path), origin, scale)


def _classified(pixels: np.ndarray, path: Path) -> np.ndarray:
    """Class indices [H, W] of RGBA pixels [H, W, 4]; smoothed edges count, with a warning, as the nearer side."""
    rgb = np.where(pixels[..., 3:] == 0, np.uint8(255), pixels[..., :3])
    keys = rgb.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    found, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    colours = [(int(key) >> 16, int(key) >> 8 & 255, int(key) & 255) for key in found]
    unknown = sorted((-int(n), c) for c, n in zip(colours, counts, strict=True) if c not in BY_COLOUR)
    if not unknown:
        table = np.array([BY_COLOUR[colour].index for colour in colours], np.uint8)
        return table[inverse.reshape(keys.shape)]
    smoothed = -sum(n for n, _ in unknown)
    indices = unmixed(rgb) if smoothed <= _MOST_SMOOTHED * keys.size else None
    if indices is None or (indices == NO_CLASS).any():
        raise _unknown_colours(unknown, path)
    warnings.warn(f"{path} has smoothed edges: {smoothed} pixels were given the nearer class", stacklevel=3)
    return indices


def _unknown_colours(unknown: list[tuple[int, tuple[int, int, int]]], path: Path) -> UserError:
    """`unknown`: (minus the number of pixels, colour), the most frequent first."""
    named = [f"{_hex(c)} on {-n} pixels (nearest: {_named(c)})" for n, c in unknown[:_LISTED]]
    more = f" and {len(unknown) - _LISTED} more colours" if len(unknown) > _LISTED else ""
    return UserError(
        "E-LAYOUT-COLOUR",
        f"colours of the plan are not in the palette: {', '.join(named)}{more}",
        where=path,
        expected="the legend's colours",
        fix="paint with them and save as PNG without anti-aliasing",
    )


def _named(rgb: tuple[int, int, int]) -> str:
    entry = nearest_class(rgb)
    return f"{entry.name} {_hex(entry.rgb)}"


def _hex(rgb: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{value:02x}" for value in rgb)


def _place(path: Path, metres_per_pixel: float) -> tuple[float, Point]:
    """Scale and origin from the text chunk."""
    with Image.open(path) as image:
        text = image.info.get(_CHUNK)
    if text is None:
        return metres_per_pixel, (0.0, 0.0)
    try:
        place = json.loads(text)
        scale, (x, z) = float(place["metres_per_pixel"]), map(float, place["origin"])
        if not (0 < scale <= 1000) or not max(abs(x), abs(z)) <= 1e6:
            raise ValueError
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UserError(
            "E-LAYOUT-SCALE",
            "plan's scale or origin cannot be read",
            where=path,
            got=str(text),
            expected='{"metres_per_pixel": 0.1, "origin": [0, 0]}',
            fix="save the picture again without its text notes",
        ) from None
    return scale, (x, z)
