"""Any folder of meshes as a kit of furniture or buildings for the composers.

A model's kind comes from the folder's `kit.json`, or from the words of its name; its scale from the
sizes that its kind has in life. Models look to +z, as glTF has it, unless `kit.json` says otherwise.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from trimesh.visual import ColorVisuals

from fields.errors import UserError, raise_all
from fields.mesh_types import Mesh
from fields.safeio import read_json

from .files import require_inside, safe_join
from .kinds import KINDS, Kind
from .kit_names import guessed_kind
from .meshes import READERS, load_mesh
from .palette import BY_NAME
from .scene import Item, Rgb, make_item
from .solids import moved

MAX_MODELS = 2000
MAPPING = "kit.json"
_MAX_COLOURS = 24
_BACKED = ("bed", "chair", "sofa")  # classes whose high side is the back
_MISFIT = 3.0  # times larger or smaller than its kind: not what its name says


@dataclass(frozen=True)
class Model:
    """A mesh file, its kind, and the angle in radians that brings its front to +z."""

    path: Path
    kind: str
    turn: float = 0.0


class MeshKit:
    """Models read from files, by kind."""

    def __init__(self, items: dict[str, list[Item]]) -> None:
        self.items = items

    def item(self, kind: str, rng: np.random.Generator) -> Item | None:
        """A random model of a kind, or None when the kit has none."""
        models = self.items.get(kind)
        return models[int(rng.integers(len(models)))] if models else None


def load_kit(folder: str | os.PathLike[str]) -> MeshKit:
    """Every usable model below `folder`, in metres.

    Raises:
        UserError: `E-KIT-FOLDER`, `E-KIT-EMPTY`, `E-KIT-MAPPING`, `E-LIMIT-KIT`, and the errors of
            `data.meshes.load_mesh`, those of all models together.
    """
    items: dict[str, list[Item]] = {}
    problems = []
    for model in find_models(folder):
        try:
            item = read_model(model)
        except UserError as error:
            problems.append(error)
            continue
        if item is not None:
            items.setdefault(model.kind, []).append(item)
    raise_all(problems)
    if not items:
        raise UserError(
            "E-KIT-EMPTY", "no mesh has a name that tells what it is", where=folder, got="no usable model",
            expected=f"names such as chair_1.glb, or a {MAPPING}", fix=f"name the kinds in {MAPPING}",
        )  # fmt: skip
    return MeshKit(items)


def find_models(folder: str | os.PathLike[str]) -> list[Model]:
    """The models of a kit in name order: those in `kit.json`, else all whose names tell their kind.

    `kit.json`: {"models": {"relative/path.glb": "chair" or {"kind": "chair", "turn_degrees": 90}}}.

    Raises:
        UserError: `E-KIT-FOLDER`, `E-KIT-MAPPING`, `E-LIMIT-KIT`, `E-PATH-ESCAPE`, `E-JSON-*`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(
            "E-KIT-FOLDER", "kit is not a folder", where=folder, got="no such folder",
            expected="a folder of mesh files", fix="check the path",
        )  # fmt: skip
    mapping = folder / MAPPING
    models = _mapped(mapping) if mapping.is_file() else _guessed(folder)
    if len(models) > MAX_MODELS:
        raise UserError(
            "E-LIMIT-KIT", "kit has too many models", where=folder, got=len(models),
            expected=f"at most {MAX_MODELS}", fix=f"name the wanted ones in {MAPPING}",
        )  # fmt: skip
    return models


def _guessed(folder: Path) -> list[Model]:
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in READERS and not path.name.startswith("."):
            kind = guessed_kind(path.name.split(".")[0])
            if kind:
                found.append(Model(require_inside(path, folder, folder), kind))
    return found


def _mapped(mapping: Path) -> list[Model]:
    document = read_json(mapping)
    rows = document.get("models") if isinstance(document, dict) else None
    if not isinstance(rows, dict):
        raise _mapping_error(mapping, "models", type(rows).__name__, '{"models": {"chair.glb": "chair"}}')
    return [_entry(mapping, name, value) for name, value in sorted(rows.items())]


def _entry(mapping: Path, name: str, value: Any) -> Model:
    entry = {"kind": value} if isinstance(value, str) else value
    if not isinstance(entry, dict) or not set(entry) <= {"kind", "turn_degrees"}:
        raise _mapping_error(mapping, name, value, '"chair" or {"kind": "chair", "turn_degrees": 90}')
    kind, turn = entry.get("kind"), entry.get("turn_degrees", 0)
    if kind not in KINDS:
        raise _mapping_error(mapping, name, kind, " ".join(KINDS))
    if not isinstance(turn, int | float) or isinstance(turn, bool) or abs(turn) > 360:
        raise _mapping_error(mapping, name, turn, "degrees from -360 to 360")
    path = require_inside(safe_join(mapping.parent, name, mapping), mapping.parent, mapping)
    return Model(path, kind, math.radians(turn))


def _mapping_error(mapping: Path, place: str, got: object, expected: str) -> UserError:
    return UserError(
        "E-KIT-MAPPING", "entry of the kit's mapping is not valid", where=f"{mapping}:{place}", got=got,
        expected=expected, fix=f"correct {MAPPING}",
    )  # fmt: skip


def read_model(model: Model) -> Item | None:
    """The model at the scale of its kind; None when its proportions are not of that kind at all.

    Raises:
        UserError: as `data.meshes.load_mesh`.
    """
    source = load_mesh(model.path, allow_flat=True)
    kind = KINDS[model.kind]
    mesh = moved(Mesh(source.vertices.astype(np.float32), source.faces.astype(np.int64)), (0, 0, 0), model.turn)
    vertices = mesh.vertices.astype(np.float64)
    wanted = np.array([np.mean(axis) for axis in (kind.width, kind.height, kind.depth)])
    size = np.maximum(np.ptp(vertices, axis=0), 1e-9)
    if model.turn == 0 and _sideways(size, wanted):
        vertices = moved(mesh, (0, 0, 0), math.pi / 2).vertices.astype(np.float64)
        size = size[[2, 1, 0]]
    vertices = vertices * _scale(size, wanted, kind)
    if model.turn == 0 and kind.name in _BACKED and _back_in_front(vertices):
        vertices = vertices * [-1, 1, -1]
    ratio = np.ptp(vertices, axis=0) / wanted
    if ratio.max() > _MISFIT or ratio.min() < 1 / _MISFIT:
        return None
    visual = source.visual
    colours = visual.vertex_colors[:, :3] if isinstance(visual, ColorVisuals) and visual.kind == "vertex" else None
    return make_item(model.kind, kind.name, _by_colour(vertices.astype(np.float32), mesh.faces, colours, kind))


def _sideways(size: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether width and depth fit their kind clearly better when exchanged."""
    shape, aim = math.log(size[0] / size[2]), math.log(wanted[0] / wanted[2])
    return abs(-shape - aim) + 0.4 < abs(shape - aim)


def _scale(size: np.ndarray, wanted: np.ndarray, kind: Kind) -> np.ndarray:
    """Factors [3]: the same on all axes, but what is flat gets the thickness of its kind."""
    if kind.height[1] < 0.05:
        across = math.sqrt(wanted[0] * wanted[2] / (size[0] * size[2]))
        return np.array([across, wanted[1] / size[1], across])
    return np.full(3, float(np.median(wanted / size)))


def _back_in_front(vertices: np.ndarray) -> bool:
    """Whether the high part of a seat or bed lies on its +z side."""
    low, high = vertices.min(0), vertices.max(0)
    top = vertices[vertices[:, 1] > low[1] + 0.8 * (high[1] - low[1])]
    return float(top[:, 2].mean()) > (low[2] + high[2]) / 2 + 0.1 * (high[2] - low[2])


def _by_colour(
    vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray | None, kind: Kind
) -> list[tuple[Mesh, Rgb]]:
    """One mesh for each colour of the file; the class colour for files without any, and for very many."""
    shades = np.full((1, 3), 255) if colours is None else np.unique(colours[faces[:, 0]], axis=0)
    if len(shades) > _MAX_COLOURS or (shades == 255).all():
        r, g, b = BY_NAME[kind.name].rgb
        return [(Mesh(vertices, faces), (r / 255, g / 255, b / 255))]
    assert colours is not None
    parts: list[tuple[Mesh, Rgb]] = []
    for shade in shades:
        own = faces[(colours[faces[:, 0]] == shade).all(1)]
        used, index = np.unique(own, return_inverse=True)
        r, g, b = (shade / 255).tolist()
        parts.append((Mesh(vertices[used], index.reshape(-1, 3)), (r, g, b)))
    return parts
