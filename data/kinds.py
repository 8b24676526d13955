"""Kinds of things that composers place, with the sizes that they have in life.

Ranges (low, high) in metres are rounded from common furniture dimensions; they size procedural
furniture and bring models of unknown scale to metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Range = tuple[float, float]


@dataclass(frozen=True)
class Kind:
    """A kind, its class in the palette, and ranges of width (along x), height and depth (along z)."""

    name: str
    width: Range
    height: Range
    depth: Range

    def size(self, rng: np.random.Generator) -> tuple[float, float, float]:
        """A random width, height, depth to the centimetre, the middle more often than the ends."""
        width, height, depth = (
            round(low + (high - low) * float(rng.beta(2, 2)), 2) for low, high in (self.width, self.height, self.depth)
        )
        return width, height, depth


KINDS: dict[str, Kind] = {
    "double_bed": Kind("bed", (1.45, 1.85), (0.85, 1.15), (2.05, 2.2)),
    "single_bed": Kind("bed", (0.92, 1.15), (0.75, 1.05), (1.98, 2.12)),
    "nightstand": Kind("cabinet", (0.4, 0.52), (0.45, 0.58), (0.35, 0.42)),
    "wardrobe": Kind("cabinet", (1.0, 2.0), (1.95, 2.3), (0.56, 0.64)),
    "dresser": Kind("cabinet", (0.8, 1.5), (0.75, 1.05), (0.42, 0.52)),
    "bookshelf": Kind("cabinet", (0.7, 1.3), (1.6, 2.1), (0.28, 0.36)),
    "sideboard": Kind("cabinet", (1.2, 1.8), (0.75, 0.9), (0.4, 0.46)),
    "tv_cabinet": Kind("cabinet", (1.2, 1.9), (1.05, 1.35), (0.38, 0.46)),
    "counter": Kind("cabinet", (1.4, 2.6), (0.88, 0.93), (0.6, 0.64)),
    "fridge": Kind("cabinet", (0.6, 0.75), (1.7, 1.95), (0.62, 0.7)),
    "dining_table": Kind("table", (1.1, 1.9), (0.72, 0.77), (0.78, 0.95)),
    "round_table": Kind("table", (0.9, 1.25), (0.72, 0.77), (0.9, 1.25)),
    "desk": Kind("table", (1.1, 1.6), (0.72, 0.77), (0.58, 0.75)),
    "coffee_table": Kind("table", (0.8, 1.2), (0.36, 0.46), (0.5, 0.65)),
    "side_table": Kind("table", (0.4, 0.5), (0.48, 0.6), (0.4, 0.5)),
    "chair": Kind("chair", (0.42, 0.5), (0.82, 0.95), (0.45, 0.53)),
    "armchair": Kind("chair", (0.72, 0.88), (0.76, 0.9), (0.74, 0.86)),
    "stool": Kind("stool", (0.34, 0.44), (0.42, 0.5), (0.34, 0.44)),
    "sofa": Kind("sofa", (1.6, 2.35), (0.76, 0.88), (0.84, 0.98)),
    "floor_lamp": Kind("lamp", (0.34, 0.46), (1.45, 1.75), (0.34, 0.46)),
    "table_lamp": Kind("lamp", (0.22, 0.28), (0.36, 0.5), (0.22, 0.28)),
    "plant": Kind("plant", (0.4, 0.6), (0.7, 1.4), (0.4, 0.6)),
    "rug": Kind("rug", (1.6, 2.6), (0.012, 0.012), (1.2, 1.8)),
    "house": Kind("house", (7.0, 11.0), (6.0, 8.5), (6.0, 8.5)),
    "barn": Kind("house", (10.0, 14.0), (6.0, 8.0), (7.0, 9.0)),
    "church": Kind("house", (7.0, 8.5), (16.0, 20.0), (15.0, 19.0)),
    "tower": Kind("tower", (14.0, 22.0), (24.0, 62.0), (14.0, 22.0)),
    "block": Kind("house", (10.0, 15.0), (9.0, 20.0), (9.0, 13.0)),
    "tree": Kind("tree", (2.6, 4.6), (4.5, 8.0), (2.6, 4.6)),
    "conifer": Kind("tree", (2.2, 3.4), (5.5, 9.0), (2.2, 3.4)),
    "fence": Kind("fence", (2.0, 4.0), (0.95, 1.15), (0.1, 0.1)),
    "car": Kind("car", (1.7, 1.85), (1.4, 1.55), (3.9, 4.6)),
    "street_lamp": Kind("lamp", (0.3, 0.3), (5.0, 6.0), (1.3, 1.6)),
}
