"""NeRF-Synthetic (Blender) folders: transforms_train.json, transforms_test.json, transforms_val.json."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fields.errors import UserError, raise_all

from ..files import is_regular
from .base import Frame, LoadOptions, Source, Split, hold_out
from .transforms import read_content, read_frames

_SPLITS: tuple[Split, ...] = ("train", "test", "val")
_HALF_EXTENT = 1.5  # the published scenes lie within it


def looks_like(root: Path) -> bool:
    """True when the folder holds a transforms_train.json."""
    return is_regular(root / "transforms_train.json")


def read(root: Path, options: LoadOptions) -> Source:
    """All splits present; without a test file, validation or every eighth image is the test."""
    frames: dict[Split, list[Frame]] = {}
    problems: list[UserError] = []
    warnings: list[str] = []
    notes: list[str] = []
    for split in _SPLITS:
        file = root / f"transforms_{split}.json"
        if split != "train" and not is_regular(file):
            continue
        try:
            found = read_frames(read_content(file), file, options, split)
        except UserError as error:
            problems.append(error)
            continue
        frames[split] = found.frames
        problems += found.problems
        warnings += found.warnings
        notes += found.notes
    raise_all(_flat(problems))
    box = np.array([[-_HALF_EXTENT] * 3, [_HALF_EXTENT] * 3])
    return Source(
        "nerf-synthetic",
        root,
        _with_test(frames, notes),
        "TF",
        bounds=box,
        warnings=tuple(warnings),
        notes=tuple(notes),
    )


def _flat(problems: list[UserError]) -> list[UserError]:
    return [part for problem in problems for part in getattr(problem, "problems", [problem])]


def _with_test(frames: dict[Split, list[Frame]], notes: list[str]) -> tuple[Frame, ...]:
    if "test" not in frames and "val" in frames:
        notes.append("no transforms_test.json: the validation images are the test")
        frames["test"] = [replace(frame, split="test") for frame in frames.pop("val")]
    elif "test" not in frames:
        notes.append("no transforms_test.json: every 8th training image (sorted by name) is held out")
        return tuple(hold_out(frames["train"]))
    return tuple(frame for split in _SPLITS for frame in frames.get(split, []))
