"""A scene: its plan, and mesh parts with class and colour."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fields.mesh_files import save_mesh
from fields.mesh_types import Mesh

from .layout import Layout, ObjectBox
from .solids import joined, moved

Rgb = tuple[float, float, float]
SINK = 0.01  # metres that things reach into what they stand on, so that no gap and no shared face is left


@dataclass(frozen=True)
class Part:
    """A mesh of one class and one material colour (sRGB in [0, 1]); closed, unless it comes from a kit's file."""

    mesh: Mesh
    name: str
    rgb: Rgb


@dataclass(frozen=True)
class Item:
    """Something to be placed: `parts` around x = z = 0 on y = 0, facing +z; `size` is its exact box.

    kind: what it is for the composer ("nightstand"); name: its class ("cabinet").
    """

    kind: str
    name: str
    size: tuple[float, float, float]
    parts: tuple[Part, ...]


class Kit(Protocol):
    """Where a composer takes its items from."""

    def item(self, kind: str, rng: np.random.Generator) -> Item | None:
        """A random item of a kind in `data.kinds.KINDS`, or None when the kit has none."""


@dataclass(frozen=True)
class _Both:
    first: Kit
    second: Kit

    def item(self, kind: str, rng: np.random.Generator) -> Item | None:
        return self.first.item(kind, rng) or self.second.item(kind, rng)


def with_fallback(kit: Kit | None, fallback: Kit) -> Kit:
    """A kit in which `fallback` gives the kinds that `kit` lacks."""
    return _Both(kit, fallback) if kit else fallback


@dataclass(frozen=True)
class Scene:
    """Plan and geometry that agree: every object's box is the bounding box of its parts."""

    layout: Layout
    parts: tuple[Part, ...]

    def mesh(self) -> Mesh:
        """All parts as one mesh with vertex colours; parts may reach into each other."""
        merged = joined([part.mesh for part in self.parts])
        colors = [np.tile(np.array(part.rgb, np.float32), (len(part.mesh.vertices), 1)) for part in self.parts]
        return Mesh(merged.vertices, merged.faces, np.concatenate(colors))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one .glb, .obj, .ply or .stl to look at; corners are split so that edges look sharp.

        Raises:
            UserError: as `fields.mesh_files.save_mesh`.
        """
        mesh = self.mesh()
        assert mesh.colors is not None
        corners = mesh.faces.reshape(-1)
        faces = np.arange(len(corners)).reshape(-1, 3)
        save_mesh(Mesh(mesh.vertices[corners], faces, mesh.colors[corners]), path)


def make_item(kind: str, name: str, parts: Sequence[tuple[Mesh, Rgb]]) -> Item:
    """An item of the coloured meshes, shifted so that it stands centred on the origin."""
    vertices = np.concatenate([mesh.vertices for mesh, _ in parts]).astype(np.float64)
    low, high = vertices.min(0), vertices.max(0)
    shift = (-(low[0] + high[0]) / 2, -low[1], -(low[2] + high[2]) / 2)
    width, height, depth = (high - low).tolist()
    centred = tuple(Part(moved(mesh, shift), name, rgb) for mesh, rgb in parts)
    return Item(kind, name, (width, height, depth), centred)


def box_at(item: Item, x: float, z: float, yaw: float, floor: float = 0.0) -> ObjectBox:
    """The item's box at a place; `floor` is the height that it stands on."""
    return ObjectBox(item.name, (x, floor + item.size[1] / 2, z), item.size, yaw)


def parts_in(box: ObjectBox, item: Item) -> list[Part]:
    """The item's parts, moved into the box that `box_at` gave."""
    offset = (box.centre[0], box.low, box.centre[2])
    return [Part(_sunk(moved(p.mesh, offset, box.yaw), box.low), p.name, p.rgb) for p in item.parts]


def _sunk(mesh: Mesh, floor: float) -> Mesh:
    """What stands on the floor reaches `SINK` into it."""
    on_floor = mesh.vertices[:, 1] < floor + 1e-4
    vertices = mesh.vertices.copy()
    vertices[on_floor, 1] = floor - SINK
    return Mesh(vertices, mesh.faces, mesh.colors)
