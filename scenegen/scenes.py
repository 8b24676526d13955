"""Where scenes come from: seeds of the procedural composers, or a folder of mesh files with their layouts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.layout import Layout
from data.layout_files import read_layout
from data.meshes import READERS, load_mesh
from data.palette import World
from data.rooms import make_room_scene
from data.scene import Scene
from data.settlement import make_city_scene, make_village_scene
from fields.errors import UserError

from .solids import SolidUnion, solids_of_mesh, solids_of_scene

MAX_SCENES = 1_000_000
_ROOM_SIZES = ((1, 1), (2, 1), (1, 2), (2, 2))


@dataclass(frozen=True)
class SceneSource:
    """A scene that is not made or read yet: `number` of a procedural `world`, or a mesh file."""

    name: str
    world: World
    seed: int = 0
    path: str = ""

    def open(self) -> tuple[SolidUnion, Layout | None]:
        """The scene's solids, and its plan where it has one.

        Raises:
            UserError: `E-MESH-…` and the like for files, `E-LAYOUT-…`.
        """
        if not self.path:
            scene = _COMPOSERS[self.world](self.seed)
            return solids_of_scene(scene), scene.layout
        plan = Path(self.path).with_suffix(".json")
        layout = read_layout(plan) if plan.is_file() else None
        return solids_of_mesh(load_mesh(self.path, allow_flat=True)), layout

    def identity(self) -> list[str | int]:
        """What the scene follows from, for comparing stores: changed files are other scenes."""
        return [self.name, self.seed, Path(self.path).stat().st_size if self.path else 0]


def _rooms(seed: int) -> Scene:
    size = _ROOM_SIZES[int(np.random.default_rng([seed, 7]).integers(len(_ROOM_SIZES)))]
    return make_room_scene(seed, size)


_COMPOSERS: dict[World, Callable[[int], Scene]] = {
    "room": _rooms,
    "village": make_village_scene,
    "city": make_city_scene,
}
PROCEDURAL: dict[str, World] = {"rooms": "room", "village": "village", "city": "city"}


def procedural_sources(text: str, seed: int, usual: int) -> list[SceneSource]:
    """Scenes for `rooms`, `rooms:600`, `village:20` or `city:20`; without a number there are `usual` ones.

    Raises:
        UserError: `E-USAGE-PROCEDURAL`.
    """
    kind, colon, number = text.partition(":")
    count = int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 0 if colon else usual
    if kind not in PROCEDURAL or not 1 <= count <= MAX_SCENES:
        raise UserError("E-USAGE-PROCEDURAL", "--procedural is not understood", got=text,
                        expected=f"{', '.join(PROCEDURAL)}, and a number of scenes from 1 to {MAX_SCENES}",
                        fix="use --procedural rooms:400")  # fmt: skip
    seeds = np.random.SeedSequence([seed, 3]).generate_state(count, np.uint32)
    return [SceneSource(f"{kind}-{i:06}", PROCEDURAL[kind], int(s)) for i, s in enumerate(seeds)]


def folder_sources(folder: str, world: World) -> list[SceneSource]:
    """The mesh files below a folder, sorted by name; `x.json` beside `x.glb` is its layout.

    Meshes are in metres with y up and their floor at y = 0.

    Raises:
        UserError: `E-BLOCKS-SCENES`.
    """
    root = Path(folder)
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in READERS and p.is_file()) if root.is_dir() else []
    if not files:
        raise UserError("E-BLOCKS-SCENES", "no scene meshes", where=folder,
                        got="an empty folder" if root.is_dir() else "no folder", expected=" ".join(READERS),
                        fix="check the path, or use --procedural rooms")  # fmt: skip
    return [SceneSource(p.relative_to(root).as_posix(), world, path=str(p)) for p in files]
