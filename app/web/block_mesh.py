"""A mesh as the bytes that the page's world view draws; the layout is described in static/world_view.js."""

from __future__ import annotations

import struct

import numpy as np

from fields.mesh_types import Mesh

MAGIC = b"FSBM"
VERSION = 1
_PLAIN = np.array([0.72, 0.72, 0.74], np.float32)  # sRGB of a mesh without colours


def block_mesh_bytes(mesh: Mesh) -> bytes:
    """Header, positions f32 (metres), normals i8x4, sRGB colours u8x4 and indices u32, all little-endian."""
    colors = np.broadcast_to(_PLAIN, mesh.vertices.shape) if mesh.colors is None else mesh.colors
    arrays = (
        mesh.vertices.astype("<f4"),  # [V, 3]
        _padded(mesh.normals(), np.int8, 127, 0),  # [V, 4]
        _padded(np.clip(colors, 0, 1), np.uint8, 255, 255),  # [V, 4]
        mesh.faces.astype("<u4"),  # [F, 3]
    )
    header = struct.pack("<4s3I", MAGIC, VERSION, len(mesh.vertices), len(mesh.faces))
    return header + b"".join(array.tobytes() for array in arrays)


def _padded(values: np.ndarray, kind: type[np.integer], scale: int, last: int) -> np.ndarray:
    """values [V, 3] times `scale`, rounded, with a fourth column of `last`, so that vertices stay aligned."""
    whole = np.full((len(values), 4), last, kind)
    whole[:, :3] = np.rint(values * scale)
    return whole
