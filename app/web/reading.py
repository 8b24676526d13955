"""What somebody sent, looked at in a process of its own: `python -m app.web.reading`.

Decoders of pictures and meshes are the likeliest place for a malicious file to do harm, so they run here with little
memory and time; the server only sees one line of JSON, `result` or `error`.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

from fields.errors import UserError

from ..console import finite
from .answers import described
from .jobs.worker import limit
from .limits import Limits
from .unpack import unpack

_CAMERAS = 300
_THUMBNAIL = 240
_PREVIEW_FACES = 200_000
_DEPTH = 3  # folders in which a capture may lie


def main() -> None:
    """Look at the upload in the working folder, within the limits that the line on stdin tells."""
    order = json.loads(sys.stdin.readline())
    limits = Limits(**order["limits"])
    limit(limits.reader_memory, limits.expanded)
    resource.setrlimit(resource.RLIMIT_CPU, (limits.reader_seconds, limits.reader_seconds))
    try:
        found = {"result": finite(look(Path(), limits))}
    except UserError as error:
        found = {"error": described(error)}
    except MemoryError:
        found = {"error": described(UserError("E-LIMIT-MEMORY", "what you sent is too large", fix="send less"))}
    print(json.dumps(found, allow_nan=False), flush=True)


def look(folder: Path, limits: Limits) -> dict[str, Any]:
    """Kind, place (`entry`, below `content` where `unpacked`) and report of an upload in its job's folder.

    Raises:
        UserError: whatever the archive, the photos, the mesh, the plan or the field file is refused for.
    """
    out, content = folder / "out", folder / "content"
    if content.is_dir():
        return _folder(content, out)
    (file,) = [path for path in out.iterdir() if not path.name.startswith(".")]
    if file.suffix.lower() == ".zip":
        unpack(file, content, limits)
        file.unlink()
        return _folder(content, out)
    return {**_file(file, out), "entry": file.name, "unpacked": False}


def _folder(content: Path, out: Path) -> dict[str, Any]:
    """A capture in a folder or below it, or the one mesh that is there."""
    from data.meshes import READERS

    files = sorted(path for path in content.rglob("*") if path.is_file())
    meshes = [path for path in files if path.suffix.lower() in READERS]
    place = _capture_in(content)
    if place is None and len(meshes) == 1:
        return {**_file(meshes[0], out), "entry": meshes[0].relative_to(content).as_posix(), "unpacked": True}
    place = place or content
    return {**_capture(place, out), "entry": place.relative_to(content).as_posix(), "unpacked": True}


def _capture_in(folder: Path, depth: int = _DEPTH) -> Path | None:
    """The first folder that looks like a capture."""
    from data.capture import recognise

    try:
        recognise(folder)
        return folder
    except UserError:
        below = sorted(path for path in folder.iterdir() if path.is_dir()) if depth else []
        found = (_capture_in(path, depth - 1) for path in below)
        return next((path for path in found if path is not None), None)


def _file(file: Path, out: Path) -> dict[str, Any]:
    from data.meshes import READERS

    suffix = file.suffix.lower()
    if suffix in READERS:
        return _mesh(file, out)
    if suffix == ".safetensors":
        return _field(file)
    if suffix in (".png", ".json"):
        return _plan(file)
    raise UserError("E-DATA-KIND", "this kind of file is not known", where=file.name, got=suffix or "no suffix",
                    expected=".zip .png .json .safetensors " + " ".join(READERS),
                    fix="send photos with poses as a zip or folder, a mesh, a floor plan, or a field")  # fmt: skip


def _capture(place: Path, out: Path) -> dict[str, Any]:
    from data import load_views

    capture = load_views(place)
    views = [(split, capture.split(split)) for split in ("train", "test", "val") if getattr(capture, split) is not None]
    cameras = [
        {"name": name, "split": split, "camera_to_world": v.cameras.camera_to_world[i].tolist(),
         "focal": v.cameras.focal[i].tolist(), "width": int(v.cameras.size[i, 0]), "height": int(v.cameras.size[i, 1])}
        for split, v in views for i, name in enumerate(v.names)
    ]  # fmt: skip
    _thumbnail(capture, out / "preview.jpg")
    step = -(-len(cameras) // _CAMERAS)
    from ..viewpoint import of_capture

    report = {"layout": capture.layout, "images": len(cameras), "size": capture.train.cameras.size[0].tolist(),
              "cameras": cameras[::step], "bounds": [list(map(float, corner)) for corner in capture.bounds],
              "up": of_capture(capture).up, "notes": list(capture.notes),
              "warnings": list(capture.warnings)}  # fmt: skip
    return {"kind": "capture", "report": report}


def _thumbnail(capture: Any, file: Path) -> None:
    """The first photo, small."""
    from fields.safeio import write_bytes

    from ..pictures import jpeg

    photo = capture.train.image(0)
    step = max(1, max(photo.shape[:2]) // _THUMBNAIL)
    write_bytes(file, jpeg(photo[::step, ::step]))


def _mesh(file: Path, out: Path) -> dict[str, Any]:
    import numpy as np

    from data.meshes import load_mesh
    from fields.mesh import Mesh, simplify
    from fields.mesh_files import save_mesh

    found = load_mesh(file)
    mesh = Mesh(np.asarray(found.vertices, np.float32), np.asarray(found.faces, np.int64))
    report = {"vertices": len(mesh.vertices), "faces": len(mesh.faces), "watertight": bool(found.is_watertight),
              "size": np.ptp(mesh.vertices, axis=0).tolist(),
              "bounds": [mesh.vertices.min(axis=0).tolist(), mesh.vertices.max(axis=0).tolist()]}  # fmt: skip
    save_mesh(simplify(mesh, _PREVIEW_FACES), out / "preview.glb")
    return {"kind": "mesh", "report": report}


def _field(file: Path) -> dict[str, Any]:
    from ..library import open_field

    opened = open_field(str(file))
    field = opened.field
    report = {"backend": field.name, "kind": field.kind, "parameters": field.parameter_count, "bytes": opened.bytes,
              "bounds": field.space.bounds.tolist(), "source": str(opened.notes.get("source", ""))}  # fmt: skip
    return {"kind": "field", "report": report}


def _plan(file: Path) -> dict[str, Any]:
    from data.class_map import read_png
    from data.layout_files import read_layout

    if file.suffix.lower() == ".json":
        layout = read_layout(file)
        return {"kind": "plan", "report": {"window": [float(v) for v in layout.bounds]}}
    plan = read_png(file)
    height, width = plan.indices.shape
    return {"kind": "plan", "report": {"width": width, "height": height, "metres_per_pixel": plan.metres_per_pixel}}


if __name__ == "__main__":
    main()
