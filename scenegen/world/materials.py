"""Which class of the plan a face belongs to, and what each class looks like.

A distance has no labels, so a face takes the class that is painted nearest below it and can be as high as the face
is: the ground where it lies flat and low, else what stands there, else wall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from data.palette import SemanticClass, class_named
from fields.glb import linear_from_srgb

from ..blocks import OVERLAP, PIXELS, BlockFrame
from .neighbours import Index

_GROUND_HEIGHT = 0.45  # metres: lower classes are ground
_OPENINGS = {"door": 0.0, "window": 0.8}  # metres above the ground: there they begin, and wall is below and above
_STEP = round((1 - OVERLAP) * PIXELS)  # pixels between neighbouring blocks

# In pixels of the plan.
_REACH = 1.5  # farther from anything painted a face is floor or wall
_FLAT_BELOW = 0.4  # height up to which flat faces are ground
_HIGHER, _BEYOND = 0.2, 2.0  # what a pixel of unusual height weighs; beyond ground and openings it is wrong
_INSET = 0.4  # a face's place is looked up this far inside the solid
_LYING, _STEEP = 3.0, 1.0  # against standing classes for flat low faces, and against ground for steep ones


class BlockPlan(Protocol):
    """What materials need of a plan."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the channels."""
        ...

    def masks(self, frame: BlockFrame, index: Index) -> Tensor:
        """Class maps uint8 [K, 32, 32] of a block's window."""
        ...


@dataclass(frozen=True)
class Painter:
    """Finds the class of faces of a scene with blocks in `frame` under `plan`."""

    frame: BlockFrame
    plan: BlockPlan

    def classes_of(self, chunk: Index, centres: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Channels of the plan, int64 [F], for faces of a chunk with centres [F, 3] in metres and unit normals."""
        pixel = self.frame.metres_per_pixel
        classes = [class_named(name) for name in self.plan.classes]
        place = centres / pixel - _INSET * normals
        corner = (np.array(chunk) - 1) * _STEP
        distances = _distances(self._maps(chunk))
        column, row = (
            np.floor(place[:, axis] - corner[n]).astype(np.int64).clip(0, distances.shape[1] - 1)
            for n, axis in enumerate((0, 2))
        )
        return _scores(classes, distances[:, row, column].T, centres[:, 1] / pixel, normals[:, 1], pixel).argmin(1)

    def _maps(self, chunk: Index) -> np.ndarray:
        """Class maps bool [K, P, P] under a chunk and the blocks before it: rows z, columns x."""
        side = _STEP + PIXELS
        maps = np.zeros((len(self.plan.classes), side, side), bool)
        for di in (0, 1):
            for dk in (0, 1):
                here = self.plan.masks(self.frame, (chunk[0] - 1 + di, chunk[1] - 1 + dk)).numpy() > 0
                maps[:, dk * _STEP : dk * _STEP + PIXELS, di * _STEP : di * _STEP + PIXELS] |= here
        return maps


def base_colours(classes: Sequence[str]) -> np.ndarray:
    """sRGB colours of classes in [0, 1], [K, 3]."""
    return np.array([class_named(name).surface for name in classes]) / 255


def glb_material(name: str) -> dict[str, object]:
    """A matt material in the class's colour, which glTF wants in linear light."""
    rgb = linear_from_srgb(base_colours([name])[0])
    factor = [round(float(value), 6) for value in rgb]
    surface = {"baseColorFactor": [*factor, 1.0], "metallicFactor": 0.0, "roughnessFactor": 1.0}
    return {"name": name, "pbrMetallicRoughness": surface, "doubleSided": True}


def _distances(maps: np.ndarray) -> np.ndarray:
    """Pixels to the nearest painted one of each class, [K, P, P]; far where a class is not painted."""
    far = float(sum(maps.shape[1:]))
    return np.stack([distance_transform_edt(~one) if one.any() else np.full(one.shape, far) for one in maps])


def _scores(
    classes: Sequence[SemanticClass], distances: np.ndarray, height: np.ndarray, up: np.ndarray, pixel: float
) -> np.ndarray:
    """How ill each class fits each face, in pixels, [F, K].

    distances: [F, K] pixels; height: [F] pixels above the ground; up: [F] upward part of the unit normals.
    """
    names = [entry.name for entry in classes]
    ground = np.array([entry.height < _GROUND_HEIGHT for entry in classes])
    tops = np.maximum([entry.height / pixel for entry in classes], _FLAT_BELOW)
    bottoms = np.array([_OPENINGS.get(name, -np.inf) / pixel for name in names])
    weight = np.where(ground | np.isin(names, list(_OPENINGS)), _BEYOND, _HIGHER)
    wrong = weight * (np.maximum(height[:, None] - tops, 0) + np.maximum(bottoms - height[:, None], 0))
    flat = np.square(up) * (height < _FLAT_BELOW)
    steep = (1 - np.abs(up)) * (height > -_FLAT_BELOW)
    posture = np.where(ground, _STEEP * steep[:, None], _LYING * flat[:, None])
    near = distances.copy()
    if ground.any():
        near[:, ground.argmax()] = np.minimum(near[:, ground.argmax()], _REACH)
    if "wall" in names:
        near[:, names.index("wall")] = np.minimum(near[:, names.index("wall")], _REACH)
    # Of classes painted over one another: the special ground, and the lowest thing that is high enough.
    order = np.where(ground, -0.01 * np.arange(len(classes)), 0.01 * np.minimum(tops, 50))
    return near + wrong + posture + order
