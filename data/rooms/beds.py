"""Beds."""

from __future__ import annotations

import numpy as np

from fields.mesh_types import Mesh

from ..scene import Item, make_item
from ..solids import box, cushion, ellipsoid
from .frames import LAP, Coloured, legs
from .style import LINEN, Style, darker

_Size = tuple[float, float, float]


def bed(kind: str, size: _Size, style: Style, rng: np.random.Generator) -> Item:
    """Frame, headboard at the back, mattress, blanket and one pillow or two; the foot end faces +z."""
    w, h, d = size
    frame, top, board = float(rng.uniform(0.26, 0.34)), 0.0, 0.07
    top = frame + float(rng.uniform(0.16, 0.24))
    length, z = d - board, board / 2
    padded = rng.random() < 0.4
    parts: list[Coloured] = [
        (cushion((w, h, board), 0.03, (0, 0, -d / 2 + board / 2)) if padded
         else box((w, h, board), (0, 0, -d / 2 + board / 2)), style.fabric if padded else style.wood),
        (cushion((w - 0.06, top - frame + 0.05, length - 0.03), 0.05, (0, frame - 0.05, z - 0.005)), LINEN),
        *_base(w, frame, length, z, style),
        (_blanket(w, top, length, z, float(rng.uniform(0.55, 0.72))), style.accent),
    ]  # fmt: skip
    if rng.random() < 0.4:
        parts.append((box((w, frame + 0.12, 0.05), (0, 0, d / 2 - 0.025)), style.wood))
    count = 2 if w > 1.3 else 1
    pillow = (0.5 * w / count + 0.14 if count == 2 else 0.6 * w, 0.16, 0.4)
    for i in range(count):
        x = 0.0 if count == 1 else (i - 0.5) * 0.48 * w
        shape = ellipsoid((min(pillow[0], 0.45 * w if count == 2 else w), *pillow[1:]), (x, top - 0.04, -d / 2 + 0.3))
        parts.append((shape, darker(LINEN, 0.97)))
    return make_item(kind, "bed", parts)


def _base(w: float, frame: float, length: float, z: float, style: Style) -> list[Coloured]:
    foot = 0.14 if style.legs else 0.05
    rail: Coloured = (box((w, frame - foot, length + LAP), (0, foot, z - LAP / 2)), style.wood)
    if not style.legs:
        return [rail, (box((w - 0.1, foot + LAP, length - 0.1), (0, 0, z)), darker(style.wood, 0.6))]
    under = [(mesh, rgb) for mesh, rgb in legs(w - 0.06, length - 0.08, foot, 0.07, darker(style.wood))]
    return [rail, *under]


def _blanket(w: float, top: float, length: float, z: float, share: float) -> Mesh:
    """A cover over the foot end, a little wider than the mattress."""
    cover = share * length
    return cushion((w - 0.02, 0.14, cover), 0.03, (0, top - 0.1, z + (length - cover) / 2 - 0.01))
