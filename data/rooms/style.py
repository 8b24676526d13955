"""Colours that go together in one home."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..scene import Rgb

_WOODS: tuple[Rgb, ...] = ((0.72, 0.53, 0.34), (0.50, 0.33, 0.20), (0.83, 0.69, 0.50), (0.36, 0.24, 0.17))
_FABRICS: tuple[Rgb, ...] = (
    (0.30, 0.42, 0.55), (0.55, 0.35, 0.33), (0.42, 0.50, 0.40), (0.62, 0.56, 0.47), (0.35, 0.33, 0.42)
)  # fmt: skip
_ACCENTS: tuple[Rgb, ...] = ((0.80, 0.47, 0.25), (0.75, 0.64, 0.30), (0.32, 0.55, 0.55), (0.66, 0.38, 0.48))
_WALLS: tuple[Rgb, ...] = ((0.93, 0.91, 0.87), (0.90, 0.92, 0.92), (0.94, 0.89, 0.82))
LINEN: Rgb = (0.93, 0.92, 0.89)
METAL: Rgb = (0.28, 0.28, 0.30)
SCREEN: Rgb = (0.06, 0.06, 0.08)
WHITE: Rgb = (0.94, 0.94, 0.93)
GLOW: Rgb = (0.99, 0.93, 0.76)
LEAF: Rgb = (0.25, 0.48, 0.24)
CLAY: Rgb = (0.70, 0.42, 0.30)


@dataclass(frozen=True)
class Style:
    """Colours of one home, and whether its furniture stands on plinths or on legs."""

    wood: Rgb
    fabric: Rgb
    accent: Rgb
    wall: Rgb
    legs: bool


def make_style(rng: np.random.Generator) -> Style:
    """A random style."""
    wood, fabric, accent, wall = (choices[int(rng.integers(len(choices)))]
                                  for choices in (_WOODS, _FABRICS, _ACCENTS, _WALLS))  # fmt: skip
    return Style(wood, fabric, accent, wall, bool(rng.random() < 0.5))


def darker(rgb: Rgb, factor: float = 0.8) -> Rgb:
    """The colour with its light scaled."""
    r, g, b = (min(1.0, value * factor) for value in rgb)
    return r, g, b
