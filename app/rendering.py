"""Rendering cameras and paths to pictures and films."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from fields.cameras import Cameras
from fields.errors import UserError
from fields.field import Field
from fields.progress import Progress
from fields.render import render_view
from fields.safeio import write_bytes
from fields.sphere_trace import render_sdf_view

from .camera_file import read_path
from .hardware import program_version
from .pictures import beside, depth_range, picture_of, png, to_bytes
from .source import open_source, split_source, views_of
from .viewpoint import PATHS, Viewpoint

VIDEO_SUFFIXES = (".mp4",)


@dataclass(frozen=True)
class Shots:
    """Cameras to render, with a file name for each."""

    cameras: Cameras
    names: tuple[str, ...]
    background: float = 1.0
    near: float = 0.0

    def __len__(self) -> int:
        return len(self.names)


def shots_along(path: str, view: Viewpoint, count: int, size: tuple[int, int] | None) -> Shots:
    """Shots along `orbit`, `spiral` or the path in a JSON file.

    Raises:
        UserError: `E-USAGE-PATH`, and what `read_path` refuses.
    """
    size = size or view.picture_size
    if path in PATHS:
        cameras = PATHS[path](view, count, size)
    elif path.endswith(".json"):
        cameras = read_path(Path(path), view, size)
    else:
        raise UserError(
            "E-USAGE-PATH",
            "unknown camera path",
            got=path,
            expected=f"{' '.join(PATHS)} or a .json file",
            fix="use --path orbit",
        )
    names = tuple(f"{index:04}" for index in range(len(cameras)))
    return Shots(cameras, names, view.background, view.near)


def shots_of(source: str, size: tuple[int, int] | None) -> Shots:
    """Shots from the cameras of `SOURCE[:split]`.

    Raises:
        UserError: `E-USAGE-SPLIT`, and what loading refuses.
    """
    name, split = split_source(source)
    capture = views_of(open_source(name).require_capture(), split, name)
    views = capture.split(split)
    cameras = views.cameras if size is None else views.cameras.resized(*size)
    return Shots(cameras, tuple(_safe(text) for text in _distinct(views.names)), capture.background_value, capture.near)


class Sink(Protocol):
    """Where finished pictures go; `files` names what was written."""

    files: list[str]

    def add(self, name: str, pictures: dict[str, Tensor]) -> None:
        """Take the pictures [H, W, 3] of one shot."""

    def close(self, complete: bool) -> None:
        """End of the work; nothing half-made stays when it is not complete."""


class PngFolder:
    """One PNG for each shot and picture: NAME.png, or NAME_depth.png … where there are several."""

    def __init__(self, folder: Path, notes: dict[str, str]) -> None:
        self.folder, self.notes = folder, notes | {"Software": f"Fieldscape {program_version()}"}
        self.files: list[str] = []

    def add(self, name: str, pictures: dict[str, Tensor]) -> None:
        for what, picture in pictures.items():
            file = f"{name}.png" if len(pictures) == 1 else f"{name}_{what}.png"
            write_bytes(self.folder / file, png(picture, self.notes))
            self.files.append(file)

    def close(self, complete: bool) -> None:
        """Every finished picture is whole, and stays."""


def renderer_for(field: Field, notes: dict[str, Any]) -> Callable[..., dict[str, Tensor]]:
    """What renders a field best: a shape that never had colours is shown as clay, by sphere tracing."""
    return render_sdf_view if field.kind == "sdf" and not notes.get("colors", True) else render_view


def render_to(
    field: Field,
    shots: Shots,
    what: Sequence[str],
    sink: Sink,
    renderer: Callable[..., dict[str, Tensor]] = render_view,
) -> Generator[Progress, None, dict[str, Any]]:
    """Render every shot into `sink`; the return value says how many, how fast, and the span of depths."""
    needed = tuple(dict.fromkeys([*what, *(("opacity",) if {"depth", "normal"} & set(what) else ())]))
    started, span, spent = time.perf_counter(), (0.0, 1.0), 0.0
    complete = False
    try:
        for index, name in enumerate(shots.names):
            before = time.perf_counter()
            views = renderer(field, shots.cameras, index, background=shots.background, what=needed, near=shots.near)
            spent += time.perf_counter() - before
            if index == 0 and "depth" in what:
                span = depth_range(views["depth"], views["opacity"])
            sink.add(name, {key: picture_of(key, views, span) for key in what})
            done, elapsed = index + 1, time.perf_counter() - started
            yield Progress(done, len(shots), "render", elapsed, elapsed / done * (len(shots) - done))
        complete = True
    finally:
        sink.close(complete)
    return {
        "frames": len(shots),
        "ms_per_frame": 1000 * spent / max(1, len(shots)),
        "depth_span": list(span) if "depth" in what else None,
    }


def film_frame(pictures: dict[str, Tensor]) -> np.ndarray:
    """All pictures of a shot side by side, uint8 [H, W, 3] with even sides as video codecs want them."""
    frame = to_bytes(beside(list(pictures.values()), gap=0))
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _safe(name: str) -> str:
    """A photo's name as a file name: no folders, no suffix."""
    stem = Path(name.replace("\\", "/")).name
    stem = stem.rsplit(".", 1)[0] if "." in stem[1:] else stem
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in stem)[:100] or "view"


def _distinct(names: Sequence[str]) -> list[str]:
    """Names with a number before them where two would give the same file."""
    plain = [_safe(name) for name in names]
    return list(names) if len(set(plain)) == len(plain) else [f"{k:04}_{name}" for k, name in enumerate(plain)]
