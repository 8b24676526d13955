"""A scene as one file: GLB chunk by chunk in constant memory, or one welded mesh in the other formats."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from fields.errors import UserError
from fields.mesh_files import FORMATS, save_mesh
from fields.mesh_types import Mesh
from fields.progress import Clock, Progress
from fields.safeio import atomic_writer

from ..block_set import Decoder
from ..blocks import BlockFrame
from .chunks import ChunkMesh, chunk_mesh, chunks_of, weld_chunks
from .glb_stream import GlbStream
from .materials import BlockPlan, Painter, base_colours, glb_material
from .neighbours import Index
from .surface import CELLS, SceneSurface

MAX_WELDED_FACES = 2**25  # 4 GB while they are written
_ORIGIN_STEP = 1024.0  # metres: positions are stored relative to a multiple of it, exact to 0.1 mm


class BlockScene(Protocol):
    """What surfaces need of a scene store."""

    @property
    def frame(self) -> BlockFrame:
        """Where its blocks lie."""
        ...

    def finished(self) -> set[Index]:
        """Blocks that have planes."""
        ...

    def planes(self, index: Index) -> Tensor:
        """Planes [3, C, R, R] of a finished block."""
        ...


@dataclass(frozen=True)
class MeshedScene:
    """What was written."""

    chunks: int
    vertices: int
    faces: int


@dataclass(frozen=True, eq=False)
class PaintedChunk:
    """A chunk's surface, and the channel of the plan [F] that each face belongs to."""

    index: Index
    mesh: ChunkMesh
    classes: np.ndarray


def surface_of(scene: BlockScene, decoder: Decoder, cells: int = CELLS) -> SceneSurface:
    """The surface of a scene's finished blocks, whose planes are read when they are needed.

    Raises:
        UserError: `E-USAGE-CELLS`.
    """
    return SceneSurface(scene.frame, frozenset(scene.finished()), scene.planes, decoder, cells)


def mesh_scene(
    surface: SceneSurface, plan: BlockPlan, out: str | os.PathLike[str]
) -> Generator[Progress, None, MeshedScene]:
    """Write the scene's surface in metres, y up, in the colours of its classes: .glb, .ply, .obj or .stl.

    A GLB has a node for each chunk and a material for each class, and takes the same memory however large the scene
    is; in the other formats vertices have the mean colour of their faces. What was made is the return value.

    Raises:
        UserError: `E-USAGE-FORMAT`, `E-MC-EMPTY`, `E-MC-NAN`, `E-LIMIT-GLB`, `E-LIMIT-MESH`, `E-ENV-WRITE`,
            `E-ENV-DISK`, and what reading a block raises.
    """
    out = Path(out)
    if out.suffix.lower() not in FORMATS:
        raise UserError("E-USAGE-FORMAT", "mesh format cannot be written", where=out,
                        got=out.suffix or "no suffix", expected=" ".join(FORMATS),
                        fix="change the suffix of --out")  # fmt: skip
    if not surface.finished:
        raise _empty(out, "no finished blocks")
    write = _stream_glb if out.suffix.lower() == ".glb" else _save_welded
    return (yield from write(surface, plan, out))


def painted_chunks(
    surface: SceneSurface, plan: BlockPlan, phase: str = "mesh", wanted: Collection[Index] | None = None
) -> Iterator[tuple[Progress, PaintedChunk | None]]:
    """Every chunk, or the `wanted` ones, with its classes, one after another; None where there is no surface."""
    painter, clock = Painter(surface.frame, plan), Clock()
    chunks = [chunk for chunk in chunks_of(surface.finished, surface.across) if wanted is None or chunk in wanted]
    for step, chunk in enumerate(chunks, 1):
        mesh = chunk_mesh(surface, chunk)
        found = None if mesh is None else PaintedChunk(chunk, mesh, _classes(painter, chunk, mesh, surface.cell))
        yield clock.report(step, len(chunks), phase), found


def _classes(painter: Painter, chunk: Index, mesh: ChunkMesh, cell: float) -> np.ndarray:
    """Channels [F]: one for all faces in a cell of the lattice, by their mean place and normal."""
    shape = Mesh(mesh.x, mesh.faces)
    centres, vectors = shape.corners().mean(axis=1), shape.face_vectors()
    inside = np.floor((centres - [0.0, painter.frame.floor, 0.0]) / cell - 0.5).astype(np.int64)
    _, group = np.unique(inside, axis=0, return_inverse=True)
    group = group.reshape(-1)
    place, normal = (
        np.stack([np.bincount(group, part[:, axis]) for axis in range(3)], axis=1) for part in (centres, vectors)
    )
    unit = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
    return painter.classes_of(chunk, place / np.bincount(group)[:, None], unit)[group]


def _stream_glb(surface: SceneSurface, plan: BlockPlan, out: Path) -> Generator[Progress, None, MeshedScene]:
    origin, counts = _origin(surface), np.zeros(3, np.int64)
    with atomic_writer(out) as file, tempfile.TemporaryFile(dir=out.parent) as binary:
        glb = GlbStream(binary, glb_material)
        for progress, part in painted_chunks(surface, plan):
            if part is not None:
                mesh = part.mesh
                faces = {name: mesh.faces[part.classes == k] for k, name in enumerate(plan.classes)}
                glb.add(f"chunk {part.index[0]},{part.index[1]}", mesh.x - origin, mesh.normals, faces)
                counts += 1, len(mesh.x), len(mesh.faces)
            yield progress
        if not counts[0]:
            raise _empty(out, "blocks without any surface")
        glb.finish(file, origin.tolist())
    return MeshedScene(*counts.tolist())


def _origin(surface: SceneSurface) -> np.ndarray:
    """A round place near the middle of the scene: (0, 0, 0) for all that lies within half a kilometre of it."""
    middle = np.array([surface.frame.centre(i, k) for i, k in sorted(surface.finished)]).mean(axis=0)
    return np.round(middle / _ORIGIN_STEP) * _ORIGIN_STEP * [1, 0, 1] + 0.0


def _save_welded(surface: SceneSurface, plan: BlockPlan, out: Path) -> Generator[Progress, None, MeshedScene]:
    parts, faces = [], 0
    for progress, part in painted_chunks(surface, plan):
        if part is not None:
            parts.append(part)
            faces += len(part.mesh.faces)
        if faces > MAX_WELDED_FACES:
            raise UserError("E-LIMIT-MESH", "scene is too large for one welded mesh", where=out, got=f"{faces} faces",
                            expected=f"at most {MAX_WELDED_FACES}", fix="write a .glb, which is streamed")  # fmt: skip
        yield progress
    if not parts:
        raise _empty(out, "blocks without any surface")
    mesh = welded_mesh(parts, plan)
    save_mesh(mesh, out)
    return MeshedScene(len(parts), len(mesh.vertices), len(mesh.faces))


def welded_mesh(parts: list[PaintedChunk], plan: BlockPlan) -> Mesh:
    """Chunks as one mesh, vertices in the mean colour of their faces."""
    x, faces = weld_chunks([part.mesh for part in parts])
    colours = base_colours(plan.classes)[np.concatenate([part.classes for part in parts])]
    return Mesh(x.astype(np.float32), faces, _mean_colours(faces, colours, len(x)))


def _mean_colours(faces: np.ndarray, colours: np.ndarray, count: int) -> np.ndarray:
    """Colours float32 [V, 3] of vertices: means over their faces."""
    corners, each = faces.reshape(-1), np.repeat(colours, 3, axis=0)
    total = np.stack([np.bincount(corners, each[:, axis], count) for axis in range(3)], axis=1)
    return (total / np.bincount(corners, minlength=count)[:, None]).astype(np.float32)


def _empty(out: Path, got: str) -> UserError:
    return UserError("E-MC-EMPTY", "scene has no surface to write", where=out, got=got, expected="finished blocks",
                     fix="generate the scene first")  # fmt: skip
