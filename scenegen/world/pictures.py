"""Previews of a scene: from above, and in perspective, drawn chunk by chunk into one depth buffer.

No graphics library is needed, and memory is that of the picture. Edges of things are darkened by their depth
against their neighbours' (Boucheron 2009, "eye-dome lighting").
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from fields.mesh_types import Mesh
from fields.progress import Progress
from fields.safeio import write_bytes

from .export import painted_chunks
from .materials import BlockPlan, base_colours
from .surface import SceneSurface

CELLS = 32  # of a block's side: enough for a preview
HEIGHT = 480  # pixels of both views
_LONGEST = 1600  # pixels a view is wide at most
_SHARPER = 2  # pixels drawn for each one shown, along both sides
_PITCH, _HEADING = math.radians(50), math.radians(25)
_DISTANCE = 2.2  # of the eye from the middle, in radii of the scene
_LIGHT = np.array([0.4, 0.8, 0.45]) / np.linalg.norm([0.4, 0.8, 0.45])
_AMBIENT, _KEY, _EDGES = 0.62, 0.45, 6.0
_BACKGROUND = 0.93
_GAP = 8
_FRAGMENTS = 2**18  # pixels of triangles looked at together

Box = np.ndarray  # [2, 3] metres


@dataclass(frozen=True, eq=False)
class View:
    """A camera: rows of `axes` [3, 3] are right, up and back; `perspective` 0 draws parallel rays."""

    eye: np.ndarray
    axes: np.ndarray
    scale: float  # pixels a metre, at the distance `perspective` where there is one
    perspective: float
    size: tuple[int, int]  # width, height

    def project(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels [N, 2] (right, down) and depths [N] in metres of places x [N, 3]."""
        seen = (x - self.eye) @ self.axes.T
        depth = -seen[:, 2]
        scale = self.scale * (self.perspective / depth if self.perspective else np.ones_like(depth))
        flat = seen[:, :2] * scale[:, None] * [1, -1]
        return flat + np.array(self.size) / 2, depth


def scene_bounds(surface: SceneSurface) -> Box:
    """The box around all finished blocks."""
    centres = np.array([surface.frame.centre(*index) for index in sorted(surface.finished)])
    return np.stack([centres.min(0), centres.max(0)]) + surface.frame.half * np.array([[-1.0], [1.0]])


def plan_view(box: Box, height: int) -> View:
    """From straight above, north (-z) up."""
    width, depth = box[1, 0] - box[0, 0], box[1, 2] - box[0, 2]
    scale = min(height / depth, _LONGEST * _SHARPER / width)
    size = max(1, round(width * scale)), max(1, round(depth * scale))
    eye = np.array([box[:, 0].mean(), box[1, 1] + 1.0, box[:, 2].mean()])
    return View(eye, np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]), scale, 0.0, size)


def perspective_view(box: Box, height: int) -> View:
    """From the south-east and above, as near as shows everything."""
    sin, cos, tilt = math.sin(_HEADING), math.cos(_HEADING), math.sin(_PITCH)
    back = np.array([sin * math.cos(_PITCH), tilt, cos * math.cos(_PITCH)])
    right = np.array([cos, 0.0, -sin])
    axes = np.stack([right, np.cross(back, right), back])
    low = np.array([box[0], [box[1, 0], box[0, 1] + 0.6 * (box[1, 1] - box[0, 1]), box[1, 2]]])
    middle, radius = low.mean(axis=0), float(np.linalg.norm(low[1] - low[0])) / 2
    distance = _DISTANCE * radius
    corners = np.stack(np.meshgrid(*low.T, indexing="ij"), -1).reshape(-1, 3)
    flat, _ = View(middle + distance * back, axes, 1.0, distance, (0, 0)).project(corners)
    reach = flat.max(axis=0) - flat.min(axis=0)
    scale = min(height / reach[1], _LONGEST * _SHARPER / reach[0])
    size = max(1, round(reach[0] * scale)), max(1, round(reach[1] * scale))
    offset = (flat.max(axis=0) + flat.min(axis=0)) / 2 * [1, -1]  # brings the outline to the middle
    eye = middle + distance * back + offset @ axes[:2]
    return View(eye, axes, scale, distance, size)


class Canvas:
    """A picture that triangles are drawn into, the nearest staying."""

    def __init__(self, view: View) -> None:
        self._view = view
        width, height = view.size
        self._depth = np.full(width * height, np.inf)
        self._rgb = np.full((width * height, 3), _BACKGROUND)

    def draw(self, mesh: Mesh, rgb: np.ndarray) -> None:
        """Draw faces with colours rgb [F, 3] in [0, 1], lit by one light."""
        vectors = mesh.face_vectors()
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
        shaded = rgb * (_AMBIENT + _KEY * np.maximum(unit @ _LIGHT, 0))[:, None]
        pixels, depth = self._view.project(np.asarray(mesh.vertices, np.float64))
        corners, depths = pixels[mesh.faces], depth[mesh.faces]
        first = np.ceil(corners.min(axis=1) - 0.5).clip(0).astype(np.int64)
        last = np.floor(corners.max(axis=1) - 0.5).clip(max=np.array(self._view.size) - 1).astype(np.int64)
        span = (last - first + 1).clip(0)
        towards = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) < 0  # pixels count downward
        seen = np.flatnonzero(towards & (span.min(axis=1) > 0) & (depths.min(axis=1) > 0))
        ends = np.cumsum(span[seen].prod(axis=1))
        for part in np.split(
            seen, np.searchsorted(ends, np.arange(_FRAGMENTS, ends[-1] if len(ends) else 0, _FRAGMENTS))
        ):
            face = np.repeat(part, span[part].prod(axis=1))
            count = np.arange(len(face)) - np.searchsorted(face, face)  # of the pixel within its face
            row, column = np.divmod(count, span[face, 0])
            self._fill(face, first[face] + np.stack([column, row], axis=1), corners, depths, shaded)

    def _fill(
        self, face: np.ndarray, pixel: np.ndarray, corners: np.ndarray, depths: np.ndarray, rgb: np.ndarray
    ) -> None:
        """Pixels [T, 2] of faces [T], where the pixel's centre lies in its face."""
        a, b, c = (corners[face, n] - (pixel + 0.5) for n in range(3))
        weights = np.stack([_cross(b, c), _cross(c, a), _cross(a, b)], axis=1)
        inside = (weights <= 0).all(axis=1)
        face, place, weights = face[inside], pixel[inside] @ [1, self._view.size[0]], weights[inside]
        depth = (weights * depths[face]).sum(axis=1) / weights.sum(axis=1)
        np.minimum.at(self._depth, place, depth)
        nearest = depth == self._depth[place]
        self._rgb[place[nearest]] = rgb[face[nearest]]

    def picture(self) -> np.ndarray:
        """What was drawn with a margin around it, at the size shown: uint8 [H, W, 3]."""
        width, height = self._view.size
        lit = self._rgb * self._edge_shade().reshape(-1, 1)
        image = Image.fromarray((lit.clip(0, 1) * 255 + 0.5).astype(np.uint8).reshape(height, width, 3))
        there = np.isfinite(self._depth).reshape(height, width)
        rows, columns = (np.flatnonzero(there.any(axis=axis)) for axis in (1, 0))
        if len(rows):
            low, high = (max(0, part[0] - _GAP) for part in (columns, rows)), (columns[-1] + _GAP, rows[-1] + _GAP)
            image = image.crop((*low, min(width, high[0]), min(height, high[1])))
        shown = max(1, image.width // _SHARPER), max(1, image.height // _SHARPER)
        return np.asarray(image.resize(shown, Image.Resampling.BOX))

    def _edge_shade(self) -> np.ndarray:
        """Darker [H, W] where a pixel lies behind those around it."""
        width, height = self._view.size
        known = np.isfinite(self._depth)
        far = self._depth[known].max(initial=1.0)
        level = np.log2(np.where(known, self._depth, far)).reshape(height, width)
        padded, behind = np.pad(level, 1, mode="edge"), np.zeros_like(level)
        for row, column in ((0, 1), (2, 1), (1, 0), (1, 2)):
            behind += np.maximum(level - padded[row : row + height, column : column + width], 0)
        return np.where(known.reshape(height, width), np.exp(-_EDGES * behind), 1.0)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def preview(surface: SceneSurface, plan: BlockPlan, height: int = HEIGHT) -> Generator[Progress, None, np.ndarray]:
    """The plan view and the perspective side by side: uint8 [H, W, 3], the return value.

    `surface` may be coarse: `CELLS` of a block's side are enough.
    """
    box, colours = scene_bounds(surface), base_colours(plan.classes)
    canvases = [Canvas(view(box, height * _SHARPER)) for view in (plan_view, perspective_view)]
    for progress, part in painted_chunks(surface, plan, "preview"):
        if part is not None:
            mesh = Mesh(part.mesh.x, part.mesh.faces)
            for canvas in canvases:
                canvas.draw(mesh, colours[part.classes])
        yield progress
    return _beside([canvas.picture() for canvas in canvases])


def save_preview(
    surface: SceneSurface, plan: BlockPlan, path: str | os.PathLike[str], height: int = HEIGHT
) -> Generator[Progress, None, None]:
    """Write `preview` as a PNG.

    Raises:
        UserError: `E-ENV-WRITE`, `E-ENV-DISK`, and what reading a block raises.
    """
    picture = yield from preview(surface, plan, height)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="PNG")
    write_bytes(path, stream.getvalue())


def _beside(pictures: list[np.ndarray]) -> np.ndarray:
    """Pictures in one row, on the ground line of the tallest."""
    height, width = max(p.shape[0] for p in pictures), sum(p.shape[1] for p in pictures) + _GAP * (len(pictures) - 1)
    sheet, left = np.full((height, width, 3), round(_BACKGROUND * 255), np.uint8), 0
    for picture in pictures:
        sheet[height - picture.shape[0] :, left : left + picture.shape[1]] = picture
        left += picture.shape[1] + _GAP
    return sheet
