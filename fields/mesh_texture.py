"""The field's colours on a mesh as a texture: an atlas of the surface, painted texel by texel."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .errors import UserError
from .mesh_edit import seen_color
from .mesh_types import Mesh
from .progress import Clock, Progress

_TEXELS_PER_FACE = 24
_SIDES = (256, 4096)
_PADDING = 2  # texels between charts, so that filtering at a seam stays within one
_CHUNK = 1 << 16
_FACES_AT_ONCE = 1 << 14


def require_atlas() -> None:
    """Raises UserError `E-ENV-XATLAS` where the package that unwraps surfaces is missing."""
    try:
        import xatlas  # noqa: F401
    except ImportError:
        raise UserError(
            "E-ENV-XATLAS",
            "textures need a package that is not installed",
            got="no module xatlas",
            expected="xatlas",
            fix="pip install fieldscape[texture], or use --color vertex",
        ) from None


def paint_texture(
    mesh: Mesh, color: Callable[[Tensor, Tensor], Tensor], device: torch.device | str = "cpu"
) -> Generator[Progress, None, Mesh]:
    """The mesh with `uv` and `texture`; vertices on the seams of the atlas occur once for each side.

    `color` as in `vertex_colors`. Texels outside every chart take the colour of the nearest one inside, so that
    filtering at a seam mixes in nothing foreign.

    Raises:
        UserError: `E-ENV-XATLAS`.
    """
    require_atlas()
    import xatlas
    from scipy.ndimage import distance_transform_edt

    clock = Clock()
    yield Progress(0, 1, "unwrap")
    side = _side(len(mesh.faces))
    pack = xatlas.PackOptions()
    pack.resolution, pack.padding = side, _PADDING
    atlas = xatlas.Atlas()
    atlas.add_mesh(mesh.vertices, mesh.faces.astype(np.uint32))
    atlas.generate(pack_options=pack)
    origin, faces, uv = atlas[0]
    unwrapped = Mesh(mesh.vertices[origin], faces.astype(np.int64), uv=uv.astype(np.float32))
    normals = mesh.normals()[origin]
    texel, face, weight = _texels(unwrapped.faces, uv * side, side)
    image, painted = np.zeros((side * side, 3), np.uint8), np.zeros(side * side, bool)
    painted[texel] = True
    for first in range(0, len(texel), _CHUNK):
        part = slice(first, first + _CHUNK)
        corner = unwrapped.faces[face[part]]
        x = np.einsum("nk,nkc->nc", weight[part], unwrapped.vertices[corner]).astype(np.float32)
        outward = np.einsum("nk,nkc->nc", weight[part], normals[corner]).astype(np.float32)
        outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
        rgb = seen_color(torch.from_numpy(x).to(device), torch.from_numpy(outward).to(device), color)
        image[texel[part]] = (rgb.numpy() * 255 + 0.5).astype(np.uint8)
        yield clock.report(min(first + _CHUNK, len(texel)), len(texel), "paint")
    nearest = distance_transform_edt(~painted.reshape(side, side), return_distances=False, return_indices=True)
    image = image.reshape(side, side, 3)[tuple(nearest)]
    return replace(unwrapped, texture=image[::-1].copy())


def _side(faces: int) -> int:
    """Texels along the picture: a power of two that gives every face some."""
    wanted = math.sqrt(_TEXELS_PER_FACE * faces)
    return int(np.clip(2 ** math.ceil(math.log2(max(wanted, 1))), *_SIDES))


def _texels(faces: np.ndarray, uv: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every texel whose centre lies in a face: its number [T] (v upward), face [T] and corner weights [T, 3].

    uv [V, 2] in texels. Faces are tested against the texels of their bounding boxes, boxes of one size together.
    """
    corners = uv[faces].astype(np.float64)  # [F, 3, 2]
    low = np.floor(corners.min(axis=1) - 0.5).astype(np.int64).clip(0, side - 1)
    span = np.ceil(corners.max(axis=1) - 0.5).astype(np.int64).clip(0, side - 1) - low + 1
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for size in np.unique(span, axis=0):
        same = np.flatnonzero((span == size).all(axis=1))
        step = max(1, _FACES_AT_ONCE // int(size.prod()))
        found += [_inside(corners, low, same[i : i + step], size, side) for i in range(0, len(same), step)]
    texel, face, weight = (np.concatenate(part) for part in zip(*found, strict=True))
    _, once = np.unique(texel, return_index=True)
    return texel[once], face[once], weight[once]


def _inside(
    corners: np.ndarray, low: np.ndarray, face: np.ndarray, size: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texels in some faces with bounding boxes of `size` texels, by barycentric coordinates."""
    offset = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), -1).reshape(-1, 2)
    at = low[face][:, None] + offset  # [f, n, 2]
    a, b, c = (corners[face][:, None, k] for k in range(3))
    ab, ac, ap = b - a, c - a, at + 0.5 - a
    area = _cross(ab, ac)
    area = np.where(np.abs(area) < 1e-12, np.inf, area)
    second, third = _cross(ap, ac) / area, _cross(ab, ap) / area
    weight = np.stack([1 - second - third, second, third], -1)
    which, place = np.nonzero((weight >= -1e-9).all(axis=-1))
    chosen = at[which, place]
    return chosen[:, 1] * side + chosen[:, 0], face[which], weight[which, place]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
