"""A mesh as binary glTF 2.0: positions, normals, 16-bit linear colours and a matt, two-sided material.

Written here because viewers take a missing material for polished metal, and because glTF wants
linear colours (Khronos, "glTF 2.0 Specification", 3.7.2.1): 8 bits of linear light would band
in the shadows.
"""

from __future__ import annotations

import io
import json
import struct

import numpy as np

from .mesh_types import Mesh

_FLOAT, _UINT32, _UINT16 = 5126, 5125, 5123
_VERTEX_DATA, _INDEX_DATA = 34962, 34963
_MATT = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
_MATERIAL: dict[str, object] = {"name": "matt", "pbrMetallicRoughness": _MATT, "doubleSided": True}


def glb_bytes(mesh: Mesh) -> bytes:
    """The content of a .glb file with one node and one mesh."""
    writer = _Writer()
    bounds = {"min": mesh.vertices.min(0).tolist(), "max": mesh.vertices.max(0).tolist()}
    attributes = {
        "POSITION": writer.add(mesh.vertices.astype("<f4"), _FLOAT, "VEC3", _VERTEX_DATA, **bounds),
        "NORMAL": writer.add(mesh.normals().astype("<f4"), _FLOAT, "VEC3", _VERTEX_DATA),
    }
    if mesh.colors is not None:
        rgba = np.ones((len(mesh.colors), 4))
        rgba[:, :3] = linear_from_srgb(mesh.colors)
        packed = (rgba * 65535 + 0.5).astype("<u2")
        attributes["COLOR_0"] = writer.add(packed, _UINT16, "VEC4", _VERTEX_DATA, normalized=True)
    material = _MATERIAL
    pictures: dict[str, object] = {}
    if mesh.uv is not None and mesh.texture is not None:
        # glTF counts v downward, with the picture's first row at 0.
        attributes["TEXCOORD_0"] = writer.add((mesh.uv * [1, -1] + [0, 1]).astype("<f4"), _FLOAT, "VEC2", _VERTEX_DATA)
        view = writer.add_view(png_bytes(mesh.texture))
        pictures = {"images": [{"bufferView": view, "mimeType": "image/png"}], "textures": [{"source": 0}]}
        material = {**material, "pbrMetallicRoughness": {**_MATT, "baseColorTexture": {"index": 0}}}
    indices = writer.add(mesh.faces.astype("<u4").reshape(-1, 1), _UINT32, "SCALAR", _INDEX_DATA)
    primitive = {"attributes": attributes, "indices": indices, "material": 0, "mode": 4}
    return writer.finish(
        {
            "asset": {"version": "2.0", "generator": "Fieldscape"},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0}],
            "meshes": [{"primitives": [primitive]}],
            "materials": [material],
            **pictures,
        }
    )


def png_bytes(image: np.ndarray) -> bytes:
    """A PNG file of uint8 [H, W, 3]."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG")
    return stream.getvalue()


def linear_from_srgb(rgb: np.ndarray) -> np.ndarray:
    """Linear light of sRGB values in [0, 1], any shape (IEC 61966-2-1)."""
    rgb = np.clip(np.asarray(rgb, np.float64), 0, 1)
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


class _Writer:
    """Collects accessors, each with a buffer view of its own, into the one binary chunk."""

    def __init__(self) -> None:
        self._accessors: list[dict] = []
        self._views: list[dict] = []
        self._binary = bytearray()

    def add(self, values: np.ndarray, component: int, kind: str, target: int, **extra: object) -> int:
        """Append `values` [count, components]; gives the number of its accessor."""
        content = np.ascontiguousarray(values).tobytes()
        view = self.add_view(content, target=target)
        accessor = {"bufferView": view, "componentType": component, "type": kind}
        self._accessors.append({**accessor, "count": len(values), **extra})
        return len(self._accessors) - 1

    def add_view(self, content: bytes, **extra: object) -> int:
        """Append bytes to the binary chunk; gives the number of their buffer view."""
        self._views.append({"buffer": 0, "byteOffset": len(self._binary), "byteLength": len(content), **extra})
        self._binary += content + bytes(-len(content) % 4)
        return len(self._views) - 1

    def finish(self, document: dict) -> bytes:
        """Header, JSON chunk and binary chunk."""
        document = {
            **document,
            "accessors": self._accessors,
            "bufferViews": self._views,
            "buffers": [{"byteLength": len(self._binary)}],
        }
        text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        size = 12 + 8 + len(text) + 8 + len(self._binary)
        chunks = ((b"JSON", text), (b"BIN\0", bytes(self._binary)))
        head = struct.pack("<4sII", b"glTF", 2, size)
        return head + b"".join(struct.pack("<I4s", len(part), kind) + part for kind, part in chunks)
