"""SOURCE of a command: a capture folder, a mesh file, or the built-in sample."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fields.errors import UserError

if TYPE_CHECKING:
    from data.mesh_sdf import MeshSDF
    from fields.views import Capture

SAMPLE = "sample"
SPLITS = ("train", "test", "val")
_SAMPLE_SIZE = 160


@dataclass(frozen=True)
class SourceOptions:
    """How a source is read; `bounds` is [low, high] in place of the box found."""

    bounds: list[list[float]] | None = None
    allow_missing: bool = False
    downscale: int = 1


@dataclass(frozen=True)
class Source:
    """What a field is made from: exactly one of `capture` and `mesh` is there."""

    name: str
    capture: Capture | None = None
    mesh: MeshSDF | None = None
    seconds: float = 0.0  # that reading took

    @property
    def is_mesh(self) -> bool:
        return self.mesh is not None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was found, and what looks wrong with it."""
        if self.capture is not None:
            return (*self.capture.notes, *self.capture.warnings)
        return self.mesh.report.notes if self.mesh is not None else ()

    def require_capture(self) -> Capture:
        """The photos.

        Raises:
            UserError: `E-USAGE-SOURCE` for a mesh.
        """
        if self.capture is None:
            raise UserError(
                "E-USAGE-SOURCE",
                "this needs photos",
                where=self.name,
                got="a mesh",
                expected="a capture folder",
                fix=f"name a capture, or {SAMPLE}",
            )
        return self.capture


def names_mesh(text: str) -> bool:
    """Whether SOURCE is taken for a mesh file: anything with a suffix that is not a folder or .json."""
    path = Path(text)
    return (
        bool(path.suffix)
        and path.suffix.lower() != ".json"
        and not path.is_dir()
        and (path.is_file() or path.suffix.lower() in _mesh_suffixes())
    )


def open_source(text: str, options: SourceOptions | None = None) -> Source:
    """Read SOURCE whole; nothing is written.

    Raises:
        UserError: whatever `data.load_views` or `data.meshes.load_mesh` refuse.
    """
    start = time.perf_counter()
    found = _open(text, options or SourceOptions())
    return replace(found, seconds=time.perf_counter() - start)


def _open(text: str, options: SourceOptions) -> Source:
    if text == SAMPLE:
        return Source(text, capture=_sample(options))
    if "\0" in text:
        raise UserError(
            "E-DATA-NOTFOUND",
            "no such source",
            got="a name with a NUL character",
            expected="a capture folder or a mesh file",
            fix="check the name",
        )
    if names_mesh(text):
        return Source(text, mesh=_mesh(text, options))
    from data import load_views

    capture = load_views(text, bounds=options.bounds, downscale=options.downscale, allow_missing=options.allow_missing)
    return Source(text, capture=capture)


def split_source(text: str, default: str = "test") -> tuple[str, str]:
    """(SOURCE, split) of `SOURCE[:split]`."""
    source, colon, split = text.rpartition(":")
    return (source, split) if colon and split in SPLITS else (text, default)


def views_of(capture: Capture, split: str, name: str) -> Capture:
    """The capture, after it was made sure that it has photos in `split`.

    Raises:
        UserError: `E-USAGE-SPLIT`.
    """
    present = [known for known in SPLITS if getattr(capture, known) is not None and len(getattr(capture, known))]
    if split not in present:
        raise UserError(
            "E-USAGE-SPLIT",
            "source has no such split",
            where=name,
            got=split,
            expected=" ".join(present),
            fix=f"use --split {present[0]}",
        )
    return capture


def _mesh_suffixes() -> tuple[str, ...]:
    from data.meshes import READERS

    return tuple(READERS)


def _mesh(text: str, options: SourceOptions) -> MeshSDF:
    import torch

    from data.mesh_sdf import MeshSDF
    from data.meshes import load_mesh

    found = MeshSDF(load_mesh(text))
    if options.bounds is not None:
        found.bounds = torch.tensor(options.bounds)
    return found


def _sample(options: SourceOptions) -> Capture:
    import torch

    from data.procedural import make_capture

    capture = make_capture(size=max(8, _SAMPLE_SIZE // options.downscale))
    return capture if options.bounds is None else replace(capture, bounds=torch.tensor(options.bounds))
