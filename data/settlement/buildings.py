"""Houses, barns, a church, blocks and towers; doors face +z."""

from __future__ import annotations

import itertools

import numpy as np

from fields.mesh_types import Mesh

from ..scene import Item, Rgb, make_item
from ..solids import box, frustum, gable, moved

_Size = tuple[float, float, float]
_Coloured = tuple[Mesh, Rgb]
_LAP = 0.05
_EAVES = 0.35  # metres that roofs reach over walls
_GLASS: Rgb = (0.30, 0.38, 0.46)
_STONE: Rgb = (0.72, 0.69, 0.63)
_DOOR: Rgb = (0.36, 0.24, 0.16)
_PLASTER: tuple[Rgb, ...] = ((0.92, 0.88, 0.80), (0.86, 0.78, 0.64), (0.80, 0.72, 0.66), (0.90, 0.90, 0.88))
_ROOFS: tuple[Rgb, ...] = ((0.62, 0.27, 0.20), (0.48, 0.30, 0.22), (0.34, 0.35, 0.40))
_TIMBER: Rgb = (0.45, 0.31, 0.21)
_FACADES: tuple[Rgb, ...] = ((0.76, 0.74, 0.70), (0.62, 0.50, 0.43), (0.56, 0.60, 0.64), (0.82, 0.78, 0.70))


def _pick(rng: np.random.Generator, colours: tuple[Rgb, ...]) -> Rgb:
    return colours[int(rng.integers(len(colours)))]


def house(kind: str, size: _Size, rng: np.random.Generator) -> Item:
    """One or two storeys under a gable roof, with a chimney and perhaps a wing."""
    w, h, d = size[0] - 2 * _EAVES, size[1], size[2] - 2 * _EAVES
    walls, roof = _pick(rng, _PLASTER), _pick(rng, _ROOFS)
    eaves = float(rng.uniform(0.42, 0.52)) * h
    wing = rng.random() < 0.4
    deep = 0.66 * d if wing else d
    main: list[_Coloured] = [
        (box((w, eaves, deep)), walls),
        *_roof(w, h - eaves, deep, eaves, roof),
        *_openings(w, deep, eaves),
        (box((0.6, h - 0.55 * eaves, 0.6), (0.3 * w, 0.55 * eaves, -0.15 * deep)), roof),
    ]
    if wing:
        side = -1 if rng.random() < 0.5 else 1
        main += _wing(side * 0.28 * w, (0.36 * w, 0.8 * h, d - deep + 0.4 * deep), eaves, (deep, d), (walls, roof))
    return make_item(kind, "house", main)


def _wing(x: float, size: _Size, eaves: float, depths: tuple[float, float], rgb: tuple[Rgb, Rgb]) -> list[_Coloured]:
    """A gabled wing to the front, lower than the house."""
    w, h, d = size
    z = -depths[0] / 2 + depths[1] - d / 2
    eaves *= 0.9
    roof = [(moved(mesh, (x, 0, z), np.pi / 2), colour) for mesh, colour in _roof(d, h - eaves, w, eaves, rgb[1])]
    front = box((0.5 * w, 1.2, 0.1), (x, 1.0, z + d / 2))
    return [(box((w, eaves, d), (x, 0, z)), rgb[0]), *roof, (front, _GLASS)]


def _roof(w: float, h: float, d: float, eaves: float, rgb: Rgb) -> list[_Coloured]:
    return [(gable(w + 2 * _EAVES, h + _LAP, d + 2 * _EAVES, (0, eaves - _LAP, 0)), rgb)]


def _openings(w: float, d: float, eaves: float) -> list[_Coloured]:
    """A door in the middle of the front, and windows in rows on the front and the back."""
    thick, z = 0.1, d / 2
    parts: list[_Coloured] = [(box((1.1, 2.1, thick), (0, 0, z)), _DOOR)]
    for y in np.arange(0.95, eaves - 1.2, 2.5):
        for x in np.linspace(-w / 2 + 1.2, w / 2 - 1.2, max(2, int(w / 2.4))):
            parts.append((box((0.95, 1.15, thick), (float(x), float(y), -z)), _GLASS))
            if abs(x) > 1.15 or y > 2.0:
                parts.append((box((0.95, 1.15, thick), (float(x), float(y), z)), _GLASS))
    return parts


def barn(kind: str, size: _Size, rng: np.random.Generator) -> Item:
    """A timber hall with a wide gate and a steep roof."""
    w, h, d = size[0] - 2 * _EAVES, size[1], size[2] - 2 * _EAVES
    eaves = 0.5 * h
    gate = min(3.2, 0.9 * eaves)
    return make_item(kind, "house", [
        (box((w, eaves, d)), _TIMBER),
        *_roof(w, h - eaves, d, eaves, _pick(rng, _ROOFS)),
        (box((3.4, gate, 0.12), (0, 0, d / 2)), _DOOR),
    ])  # fmt: skip


def church(kind: str, size: _Size, rng: np.random.Generator) -> Item:
    """A nave with a steep roof and a tower with a spire over its front."""
    w, h, d = size[0] - 2 * _EAVES, size[1], size[2] - _EAVES
    side = 0.62 * w
    shaft, eaves, roof = 0.55 * h, 0.26 * h, _pick(rng, _ROOFS)
    nave, z = d - 0.8 * side, -0.4 * side
    parts: list[_Coloured] = [
        (box((w, eaves, nave), (0, 0, z)), _STONE),
        (moved(gable(nave + _EAVES, 0.2 * h, w + 2 * _EAVES), (0, eaves - _LAP, z), np.pi / 2), roof),
        (box((side, shaft, side), (0, 0, d / 2 - side / 2)), _STONE),
        (frustum((side + 0.4, h - shaft, side + 0.4), (0.04, 0.04), (0, shaft - _LAP, d / 2 - side / 2)), roof),
        (box((1.6, 2.8, 0.12), (0, 0, d / 2)), _DOOR),
    ]
    for y in (0.5 * shaft, 0.78 * shaft):
        parts.append((box((0.8, 1.5, 0.12), (0, y, d / 2)), _GLASS))
    for x in (-w / 2, w / 2):
        steps = np.arange(z - nave / 2 + 1.5, z + nave / 2 - 1.5, 2.6)
        parts += [(box((0.12, 0.55 * eaves, 0.9), (x, 0.25 * eaves, float(s))), _GLASS) for s in steps]
    return make_item(kind, "house", parts)


def block(kind: str, size: _Size, rng: np.random.Generator) -> Item:
    """A town house with windows on all floors and a flat or gabled roof."""
    w, h, d = size
    rgb = _pick(rng, _FACADES)
    pitched = h < 14 and rng.random() < 0.5
    top = h - 2.6 if pitched else h - 0.5
    parts: list[_Coloured] = [(box((w - 0.4, top, d - 0.4)), rgb)]
    if pitched:
        parts.append((gable(w, h - top + _LAP, d, (0, top - _LAP, 0)), _pick(rng, _ROOFS)))
    else:
        parts.append((box((w, 0.5 + _LAP, d), (0, top - _LAP, 0)), (0.5, 0.49, 0.48)))
    parts += _facade(w - 0.4, d - 0.4, top)
    parts.append((box((0.5 * w, 2.4, 0.12), (0, 0.0, d / 2 - 0.2)), _GLASS))
    return make_item(kind, "house", parts)


def _facade(w: float, d: float, top: float) -> list[_Coloured]:
    """Windows in a regular grid on all four sides, from the second floor up."""
    parts: list[_Coloured] = []
    for y in np.arange(3.6, top - 1.9, 3.0):
        for x in np.linspace(-w / 2 + 1.3, w / 2 - 1.3, max(2, int(w / 2.6))):
            parts += [(box((1.2, 1.6, 0.12), (float(x), float(y), s * d / 2)), _GLASS) for s in (-1, 1)]
        for z in np.linspace(-d / 2 + 1.3, d / 2 - 1.3, max(2, int(d / 2.6))):
            parts += [(box((0.12, 1.6, 1.2), (s * w / 2, float(y), float(z))), _GLASS) for s in (-1, 1)]
    return parts


def tower(kind: str, size: _Size, rng: np.random.Generator) -> Item:
    """A high-rise that steps back once or twice, banded with glass, plant rooms on top."""
    w, h, d = size
    rgb = _pick(rng, _FACADES)
    parts: list[_Coloured] = [(box((w, 4.2, d)), (0.4, 0.4, 0.42))]
    levels = [0.0, *sorted(rng.uniform(0.45, 0.85, int(rng.integers(0, 3))).tolist()), 1.0]
    low, height = 4.2 - _LAP, h - 4.2 - 2.0
    for i, (start, end) in enumerate(itertools.pairwise(levels)):
        shrink = 0.94 - 0.16 * i
        bottom, top = low + start * height - (_LAP if i else 0), low + end * height
        parts.append((box((shrink * w, top - bottom, shrink * d), (0, bottom, 0)), rgb))
        bands = np.arange(bottom + 1.2, top - 2.0, 3.4)
        parts += [(box((shrink * w + 0.16, 1.7, shrink * d + 0.16), (0, float(y), 0)), _GLASS) for y in bands]
    shrink = 0.5 * (0.94 - 0.16 * (len(levels) - 2))
    parts.append(
        (box((shrink * w, h - low - height + _LAP, shrink * d), (0, low + height - _LAP, 0)), (0.45, 0.45, 0.46))
    )
    return make_item(kind, "tower", parts)
