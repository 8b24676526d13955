"""NSVF and Tanks&Temples folders: intrinsics.txt, bbox.txt, pose/*.txt, rgb/*.png."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fields.errors import UserError, raise_all

from ..files import Finder, images_in, read_numbers, require_inside
from ..poses import MAX_COORDINATE, check_pose
from .base import Array, Frame, Lens, LoadOptions, Source, Split, check_count, from_opencv, hold_out, some_of

_PREFIX_RULE = "file names start with 0_ (train), 1_ (validation, or test when there is no 2_) or 2_ (test)"


def looks_like(root: Path) -> bool:
    """True when the folder holds a pose folder and intrinsics.txt, or pose and rgb."""
    return (root / "pose").is_dir() and ((root / "intrinsics.txt").exists() or (root / "rgb").is_dir())


def read(root: Path, options: LoadOptions) -> Source:
    """Photos and poses matched by name; OpenCV camera-to-world poses."""
    lens, layout = read_intrinsics(root / "intrinsics.txt")
    images = {path.stem: path for path in images_in(root / "rgb")}
    poses = {path.stem: path for path in sorted((root / "pose").glob("*.txt"))}
    names = sorted(images.keys() & poses.keys())
    warnings = _check_match(root, images.keys() ^ poses.keys(), len(names), options)
    notes: list[str] = []
    problems = check_count(len(names), "NSVF", root)
    finder, frames = Finder(root), []
    for name in names:
        try:
            pose = _read_pose(require_inside(poses[name], root, poses[name]), options)
            image = finder.find(images[name], images[name])
            frames.append(Frame(images[name].name, image or images[name], pose, lens, str(images[name])))
        except UserError as error:
            problems.append(error)
    bounds = _read_bounds(root / "bbox.txt", problems, warnings)
    raise_all(problems)
    return Source(
        layout,
        root,
        _split(frames, notes),
        "NSVF",
        bounds=bounds,
        warnings=tuple(warnings),
        notes=tuple(notes),
    )


def _check_match(root: Path, unmatched: set[str], matched: int, options: LoadOptions) -> list[str]:
    if not unmatched:
        return []
    names = some_of(sorted(unmatched))
    text = f"{len(unmatched)} names have an image without a pose, or a pose without an image: {names}"
    if options.allow_missing:
        return [f"W-NSVF-COUNT {root}: {text}"]
    raise UserError(
        "E-NSVF-COUNT",
        text,
        where=root,
        got=f"{matched} complete pairs",
        expected="one pose/<name>.txt for each rgb/<name>.png",
        fix="restore the files, or pass --allow-missing to use the complete pairs",
    )


def read_intrinsics(path: Path) -> tuple[Lens, str]:
    """The lens and the dialect: `tanks` (3x3 or 4x4 matrix) or `nsvf` (`f cx cy` first).

    The size line of the second dialect holds two equal numbers in practice; for other images
    the order (height, width) of its origin, the SRN loader, is tried against the image's shape.
    """
    if not path.exists():
        raise UserError(
            "E-NSVF-INTRINSICS",
            "intrinsics.txt is missing",
            where=path,
            got="nothing there",
            expected="a 4x4 matrix, or a line f cx cy 0.",
            fix="copy the file from the source",
        )
    rows = read_numbers(path, "NSVF")
    lengths = [len(row) for row in rows]
    if lengths in ([4] * 4, [4] * 3, [3] * 3):
        focal, centre, layout = (rows[0][0], rows[1][1]), (rows[0][2], rows[1][2]), "tanks"
    elif lengths and lengths[0] in (3, 4):
        focal, centre, layout = (rows[0][0], rows[0][0]), (rows[0][1], rows[0][2]), "nsvf"
    else:
        raise _bad_intrinsics(path, f"rows of {lengths[:5]} numbers")
    size = None
    if layout == "nsvf" and len(rows) > 1 and lengths[-1] == 2 and min(rows[-1]) >= 1 and max(rows[-1]) < 1e6:
        size = (int(rows[-1][1]), int(rows[-1][0]))
    if not all(0 < value < 1e6 for value in focal) or not all(abs(value) < 1e6 for value in centre):
        raise _bad_intrinsics(
            path, f"focal length {focal[0]:g} {focal[1]:g}, centre {centre[0]:g} {centre[1]:g}"
        )
    return Lens(focal, centre=centre, size=size, scalable=size is not None, where=str(path)), layout


def _bad_intrinsics(path: Path, got: str) -> UserError:
    return UserError(
        "E-NSVF-INTRINSICS",
        "intrinsics are not usable",
        where=path,
        got=got,
        expected="a 4x4 matrix, or lines starting with f cx cy 0.",
        fix="copy the file from the source",
    )


def _read_pose(path: Path, options: LoadOptions) -> Array:
    rows = read_numbers(path, "NSVF")
    if [len(row) for row in rows] != [4] * 4:
        raise UserError(
            "E-NSVF-POSE",
            "camera pose is not a 4x4 matrix",
            where=path,
            got=f"rows of {[len(row) for row in rows][:5]} numbers",
            expected="4 rows of 4 numbers",
            fix="copy the file again",
        )
    return from_opencv(check_pose(np.array(rows), "NSVF", str(path), options.fix_poses))


def _read_bounds(path: Path, problems: list[UserError], warnings: list[str]) -> Array | None:
    """[2, 3] from `x0 y0 z0 x1 y1 z1 [voxel size]`; None when there is no such file.

    The numbers are centres of the first and the last voxel, so that half a voxel is added.
    """
    if not path.exists():
        warnings.append(
            f"W-NSVF-BBOX {path}: missing; the scene box is estimated from cameras and silhouettes"
        )
        return None
    try:
        values = [value for row in read_numbers(path, "NSVF-BBOX") for value in row]
    except UserError as error:
        problems.append(error)
        return None
    whole = len(values) in (6, 7) and max(map(abs, values)) <= MAX_COORDINATE
    if not whole or not all(low < high for low, high in zip(values[:3], values[3:6], strict=True)):
        problems.append(
            UserError(
                "E-NSVF-BBOX",
                "scene box is not usable",
                where=path,
                got=" ".join(f"{value:g}" for value in values[:8]),
                expected="x0 y0 z0 x1 y1 z1 with every low below its high",
                fix="correct the box, or remove the file to have it estimated",
            )
        )
        return None
    half = max(values[6], 0.0) / 2 if len(values) == 7 else 0.0
    return np.array(values[:6]).reshape(2, 3) + np.array([[-half], [half]])


def _split(frames: list[Frame], notes: list[str]) -> tuple[Frame, ...]:
    kinds = {frame.name[:2] for frame in frames}
    if not kinds <= {"0_", "1_", "2_"} or "0_" not in kinds or len(kinds) < 2:
        notes.append(f"{_PREFIX_RULE}; these do not, so every 8th image (sorted by name) is held out")
        return tuple(hold_out(frames))
    rule: dict[str, Split] = {"0_": "train", "1_": "val" if "2_" in kinds else "test", "2_": "test"}
    return tuple(replace(frame, split=rule[frame.name[:2]]) for frame in frames)
