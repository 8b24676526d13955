"""Jobs that turn a field into files for other programs."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from fields.errors import UserError
from fields.mesh import Mesh, require_atlas, simplify
from fields.mesh_files import save_mesh
from fields.progress import Progress

from ...library import open_field
from ...meshing import MeshOptions, mesh_steps
from ...rendering import PngFolder, Sink, render_to, renderer_for, shots_along
from ...video import Film
from .kinds import Task
from .parameters import MeshParameters, RenderParameters

_SHOWN = "preview.glb"
_SHOWN_FACES = 200_000
_TEXTURED = ("glb", "obj")


def mesh(parameters: MeshParameters, task: Task) -> Generator[Progress, None, dict[str, Any]]:
    """Extract a mesh; the result counts it."""
    if parameters.color == "texture":
        if parameters.format not in _TEXTURED:
            raise UserError("E-USAGE-FORMAT", "this format has no texture", got=parameters.format,
                            expected=" ".join(_TEXTURED), fix="choose glb or obj, or vertex colours")  # fmt: skip
        require_atlas()
    yield Progress(0, 0, "reading")
    opened = open_field(task.inputs["field"])
    options = MeshOptions(
        parameters.resolution, parameters.level, parameters.color, parameters.simplify, parameters.crop,
        0.01 if parameters.keep_largest else 0.0, parameters.frame,
    )  # fmt: skip
    made = yield from mesh_steps(opened.field, options, opened.notes)
    yield Progress(0, 0, "writing")
    target = task.out / f"mesh.{parameters.format}"
    save_mesh(made, target)
    _save_shown(made, task, parameters.format)
    return {
        "file": target.name,
        "vertices": len(made.vertices),
        "faces": len(made.faces),
        "croppable": parameters.frame == "source" and opened.view.ndc_near is None,  # in the crop box's coordinates
        "watertight": made.welded().is_watertight(),
        "volume": made.volume(),
        "bytes": target.stat().st_size,
    }


def render(parameters: RenderParameters, task: Task) -> Generator[Progress, None, dict[str, Any]]:
    """Render along a path; the result tells what was written and how fast."""
    yield Progress(0, 0, "reading")
    opened = open_field(task.inputs["field"])
    size = (parameters.size[0], parameters.size[1]) if parameters.size else None
    shots = shots_along(parameters.path, opened.view, parameters.frames, size)
    film = task.out / "film.mp4"
    sink: Sink = Film(film, parameters.fps) if parameters.film else PngFolder(task.out, {})
    document = yield from render_to(
        opened.field, shots, list(dict.fromkeys(parameters.what)), sink, renderer_for(opened.field, opened.notes)
    )
    return {"files": sink.files, **document}


def _save_shown(made: Mesh, task: Task, written: str) -> None:
    """A GLB for the page's own preview, where the mesh itself is none or too large for that."""
    if written == "glb" and len(made.faces) <= _SHOWN_FACES:
        return
    shown = made if len(made.faces) <= _SHOWN_FACES else simplify(made.welded(), _SHOWN_FACES)
    save_mesh(shown, task.out / _SHOWN)
