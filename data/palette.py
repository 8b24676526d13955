"""Classes of a floor plan: name, index, colour, height and world, here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fields.errors import UserError

World = Literal["room", "village", "city"]
WORLDS: tuple[World, ...] = ("room", "village", "city")
Color = tuple[int, int, int]


@dataclass(frozen=True)
class SemanticClass:
    """One class: `index` in class maps, sRGB colours in 0..255, typical `height` above the ground in metres.

    rgb is for plans, where classes must be told apart; surface is what things of the class look like.
    """

    index: int
    name: str
    rgb: Color
    surface: Color
    height: float
    worlds: tuple[World, ...]


_ROWS: tuple[tuple[str, Color, Color, float, tuple[World, ...]], ...] = (
    ("void", (255, 255, 255), (255, 255, 255), 0.0, WORLDS),  # outside; what an empty sheet shows
    ("floor", (222, 205, 176), (205, 172, 130), 0.0, ("room",)),
    ("wall", (60, 62, 70), (236, 231, 222), 2.8, ("room",)),
    ("door", (204, 136, 68), (176, 124, 74), 2.05, ("room",)),
    ("window", (126, 200, 240), (214, 226, 232), 2.2, ("room",)),
    ("bed", (214, 84, 84), (190, 104, 98), 0.9, ("room",)),
    ("cabinet", (141, 85, 36), (148, 102, 64), 1.4, ("room",)),
    ("chair", (245, 166, 35), (222, 164, 84), 0.9, ("room",)),
    ("lamp", (255, 234, 0), (250, 228, 150), 1.6, ("room", "city")),
    ("sofa", (142, 68, 173), (112, 98, 142), 0.85, ("room",)),
    ("stool", (236, 112, 172), (206, 134, 160), 0.5, ("room",)),
    ("table", (46, 118, 190), (98, 126, 152), 0.74, ("room",)),
    ("rug", (178, 186, 150), (150, 160, 126), 0.01, ("room",)),
    ("plant", (26, 188, 110), (74, 140, 84), 0.9, ("room",)),
    ("grass", (168, 214, 126), (140, 176, 100), 0.0, ("village", "city")),
    ("road", (128, 128, 128), (110, 110, 114), 0.0, ("village", "city")),
    ("pavement", (196, 192, 204), (184, 180, 176), 0.12, ("city",)),
    ("house", (196, 58, 48), (206, 150, 124), 7.0, ("village", "city")),
    ("tower", (92, 74, 150), (150, 150, 172), 30.0, ("city",)),
    ("tree", (28, 104, 44), (66, 118, 62), 6.0, ("village", "city")),
    ("fence", (168, 110, 62), (156, 116, 78), 1.1, ("village",)),
    ("water", (66, 140, 220), (96, 152, 198), 0.0, ("village", "city")),
    ("field", (232, 204, 84), (214, 190, 104), 0.4, ("village",)),
    ("car", (0, 150, 150), (62, 130, 136), 1.5, ("city",)),
)

CLASSES: tuple[SemanticClass, ...] = tuple(SemanticClass(i, *row) for i, row in enumerate(_ROWS))
BY_NAME: dict[str, SemanticClass] = {entry.name: entry for entry in CLASSES}
BY_COLOUR: dict[Color, SemanticClass] = {entry.rgb: entry for entry in CLASSES}
VOID = 0


def legend(world: World) -> tuple[SemanticClass, ...]:
    """Classes of one world without `void`, in index order: the channels of its condition maps."""
    return tuple(entry for entry in CLASSES if world in entry.worlds and entry.index != VOID)


def class_named(name: str) -> SemanticClass:
    """The class called `name`.

    Raises:
        UserError: `E-LAYOUT-CLASS`.
    """
    if name not in BY_NAME:
        raise UserError(
            "E-LAYOUT-CLASS",
            "class is not known",
            got=name,
            expected=" ".join(BY_NAME),
            fix="use one of these names",
        )
    return BY_NAME[name]


def nearest_class(rgb: Color) -> SemanticClass:
    """The class whose colour is nearest to `rgb`, by squared distance in sRGB."""
    return min(CLASSES, key=lambda entry: sum((a - b) ** 2 for a, b in zip(entry.rgb, rgb, strict=True)))
