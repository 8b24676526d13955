"""A triangle mesh in world coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Mesh:
    """Triangles whose corners run counter-clockwise seen from outside.

    vertices: float32 [V, 3] in scene units; faces: int64 [F, 3]; colors: float32 sRGB in [0, 1]
    [V, 3], or None; uv: float32 [V, 2] in [0, 1] with v upward, and texture: uint8 sRGB [H, W, 3], top row
    first, or None.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colors: np.ndarray | None = None
    uv: np.ndarray | None = None
    texture: np.ndarray | None = None

    def corners(self) -> np.ndarray:
        """Corner positions of every face, float64 [F, 3, 3]."""
        return self.vertices[self.faces].astype(np.float64)

    def face_vectors(self) -> np.ndarray:
        """Outward vectors whose length is twice the face's area, float64 [F, 3]."""
        a, b, c = self.corners().transpose(1, 0, 2)
        return np.cross(b - a, c - a)

    def areas(self) -> np.ndarray:
        """Face areas [F]."""
        return np.linalg.norm(self.face_vectors(), axis=1) / 2

    def normals(self) -> np.ndarray:
        """Outward unit normals at the vertices, area-weighted, float32 [V, 3]; +y where none is defined."""
        vectors = np.repeat(self.face_vectors(), 3, 0)
        index, count = self.faces.reshape(-1), len(self.vertices)
        total = np.stack([np.bincount(index, vectors[:, i], count) for i in range(3)], 1)
        length = np.linalg.norm(total, axis=1, keepdims=True)
        unit = np.divide(total, length, where=length > 0, out=np.tile([0.0, 1.0, 0.0], (count, 1)))
        return unit.astype(np.float32)

    def volume(self) -> float:
        """Enclosed volume by the divergence theorem; positive when a closed mesh faces outward."""
        a, b, c = (self.corners() - self.vertices.mean(0, dtype=np.float64)).transpose(1, 0, 2)
        return float((a * np.cross(b, c)).sum() / 6)

    def welded(self) -> Mesh:
        """The surface without colours, vertices at the same place made one: without the seams of a texture."""
        if self.uv is None:
            return self
        vertices, index = np.unique(self.vertices, axis=0, return_inverse=True)
        return Mesh(vertices, index.reshape(-1)[self.faces])

    def is_watertight(self) -> bool:
        """Whether every directed edge occurs once and its opposite occurs once too."""
        ends = self.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
        count = len(self.vertices)
        there, back = ends[:, 0] * count + ends[:, 1], ends[:, 1] * count + ends[:, 0]
        there.sort()
        back.sort()
        return bool(len(there) and (there == back).all() and (np.diff(there) > 0).all())
