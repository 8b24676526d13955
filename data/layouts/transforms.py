"""transforms.json of instant-ngp and nerfstudio; its frames are NeRF-Synthetic's too."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fields.errors import UserError, raise_all
from fields.safeio import read_json

from ..files import IMAGE_SUFFIXES, Finder, is_regular, safe_join
from ..poses import check_pose
from .base import Frame, Lens, LoadOptions, Source, Split, check_count, hold_out, missing_images
from .transforms_lens import LENS_KEYS, lens_of

FILE = "transforms.json"
_SPLIT_KEYS: dict[str, Split] = {"train_filenames": "train", "val_filenames": "val", "test_filenames": "test"}


def looks_like(root: Path) -> bool:
    """True when the folder holds a transforms.json."""
    return is_regular(root / FILE)


def read(path: Path, options: LoadOptions) -> Source:
    """A folder with transforms.json, or such a file itself."""
    file = path if path.is_file() else path / FILE
    content = read_content(file)
    found = read_frames(content, file, options)
    raise_all(found.problems)
    notes, warnings = list(found.notes), list(found.warnings)
    frames = _split(content, found.frames, file, notes)
    if any("mask_path" in frame for frame in content["frames"]):
        warnings.append(f"W-TF-MASK {file}: mask_path is not used; put object masks into the images' alpha")
    return Source(
        "transforms", file.parent, tuple(frames), "TF", warnings=tuple(warnings), notes=tuple(notes)
    )


def read_content(file: Path) -> dict[str, Any]:
    """The JSON object of a transforms file, with its settings and its number of frames checked."""
    if not is_regular(file):
        raise UserError(
            "E-DATA-KIND",
            f"{file.name} is missing",
            where=file.parent,
            expected="a regular file",
            fix="pass the folder that holds it",
        )
    content = _parsed(file)
    if not isinstance(content, dict):
        raise UserError(
            "E-JSON-SYNTAX",
            "not a transforms file",
            where=f"{file}:1:1",
            got=type(content).__name__,
            expected="a JSON object",
            fix="check the file",
        )
    frames = content.get("frames")
    if not isinstance(frames, list):
        raise UserError(
            "E-TF-FRAMES",
            "no list of frames",
            where=f"{file}:/frames",
            got="nothing" if frames is None else type(frames).__name__,
            expected="a list with at least 2 frames",
            fix="check that the file is complete",
        )
    raise_all([*check_count(len(frames), "TF", f"{file}:/frames"), *_check_scale(content, file)])
    return content


def _parsed(file: Path) -> Any:
    """Strict JSON, with the JSON pointer of a number that is not finite in the error."""
    try:
        return read_json(file)
    except UserError as error:
        if error.code != "E-JSON-NONFINITE":
            raise
        pointer = next(_not_finite(json.loads(file.read_bytes().decode("utf-8-sig")), ""), "")
        raise UserError(
            error.code,
            error.what,
            where=f"{file}:{pointer}",
            got=error.got,
            expected="a finite number",
            fix="remove this frame or estimate its pose again",
        ) from None


def _not_finite(value: Any, pointer: str) -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield pointer
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, child in children:
        yield from _not_finite(child, f"{pointer}/{key}")


def _check_scale(content: Mapping[str, Any], file: Path) -> Iterator[UserError]:
    scale = content.get("aabb_scale", 1)
    if isinstance(scale, bool) or scale not in [2**k for k in range(8)]:
        yield UserError(
            "E-TF-AABB",
            "aabb_scale is not usable",
            where=f"{file}:/aabb_scale",
            got=ascii(scale),
            expected="a power of two from 1 to 128",
            fix="set it to 1, 2, 4, 8, 16, 32, 64 or 128",
        )


@dataclass
class Found:
    """What reading the frames of one file gave."""

    frames: list[Frame]
    problems: list[UserError]
    warnings: list[str]
    notes: list[str]


def read_frames(
    content: Mapping[str, Any], file: Path, options: LoadOptions, split: Split = "train"
) -> Found:
    """Every frame of a transforms file, and every problem of the file."""
    found = Found([], [], [], [])
    finder, missing, renamed = Finder(file.parent), [], 0
    try:
        shared = lens_of(content, str(file))
    except UserError as error:
        found.problems.append(error)
        shared = Lens()
    for index, frame in enumerate(content["frames"]):
        where = f"{file}:/frames/{index}"
        try:
            made, written = _frame(frame, where, finder, content, shared, options)
        except UserError as error:
            found.problems.append(error)
            continue
        if made is None:
            missing.append(written)
        else:
            renamed += not written.replace("\\", "/").endswith(made.image.name)
            found.frames.append(replace(made, split=split))
    _report_missing(found, missing, len(content["frames"]), file, options)
    if renamed:
        found.notes.append(f"{file.name}: {renamed} images found under another case or extension")
    return found


def _report_missing(found: Found, missing: list[str], total: int, file: Path, options: LoadOptions) -> None:
    if not missing:
        return
    problem = missing_images(missing, total, "TF", file)
    if not options.allow_missing:
        found.problems.append(problem)
    elif not found.problems:
        found.problems += check_count(len(found.frames), "TF", file)
        found.warnings.append(f"W-TF-MISSING {file}: {problem.what}")


def _frame(
    frame: Any, where: str, finder: Finder, content: Mapping[str, Any], shared: Lens, options: LoadOptions
) -> tuple[Frame | None, str]:
    """The frame (None when its image is absent) and the path as written."""
    if not isinstance(frame, dict) or "file_path" not in frame:
        raise UserError(
            "E-TF-PATH",
            "frame has no file_path",
            where=where,
            got=type(frame).__name__,
            expected="an object with file_path and transform_matrix",
            fix="name the image of this frame",
        )
    written = frame["file_path"]
    path = safe_join(finder.root, written, f"{where}/file_path")
    image = finder.find(path, f"{where}/file_path", IMAGE_SUFFIXES)
    pose = check_pose(frame.get("transform_matrix"), "TF", f"{where}/transform_matrix", options.fix_poses)
    own = any(key in frame for key in LENS_KEYS)
    lens = lens_of({**content, **frame}, where) if own else shared
    if image is None:
        return None, written
    return Frame(image.relative_to(finder.root).as_posix(), image, pose, lens, where), written


def _split(content: Mapping[str, Any], frames: list[Frame], file: Path, notes: list[str]) -> list[Frame]:
    """Splits by train/val/test_filenames, else every eighth image for testing."""
    if not any(content.get(key) for key in _SPLIT_KEYS):
        notes.append("no test images are named: every 8th image (sorted by name, from the first) is held out")
        return hold_out(frames)
    chosen: dict[str, Split] = {}
    for key, split in _SPLIT_KEYS.items():
        names = content.get(key) or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UserError(
                "E-TF-SPLIT",
                "list of file names is not usable",
                where=f"{file}:/{key}",
                got=type(names).__name__,
                expected="a list of strings",
                fix="write image paths",
            )
        chosen |= {_plain(name): split for name in names}
    keys = [(frame, _key(frame, chosen)) for frame in frames]
    result = [replace(frame, split=chosen[key]) for frame, key in keys if key is not None]
    splits = {frame.split for frame in result}
    if "train" not in splits or len(splits) < 2:
        raise UserError(
            "E-TF-SPLIT",
            "the named splits leave nothing to train or to test on",
            where=file,
            got=f"{len(result)} of {len(frames)} frames named",
            expected="train and test or val names",
            fix="name the frames as in file_path, or remove the lists",
        )
    if len(result) < len(frames):
        notes.append(f"{len(frames) - len(result)} frames are in no split and are left out")
    if "test" not in splits:
        result = [replace(frame, split="test") if frame.split == "val" else frame for frame in result]
    return result


def _key(frame: Frame, chosen: Mapping[str, Split]) -> str | None:
    names = (frame.name, frame.name.rsplit(".", 1)[0])
    return next((name for name in names if name in chosen), None)


def _plain(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")
