"""LLFF folders: poses_bounds.npy with images/ or images_<factor>/."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fields.errors import UserError, raise_all

from ..files import Finder, images_in, read_npy
from ..framing import NDC_NEAR_FRACTION, forward_facing, recentred
from ..poses import check_pose
from .base import Array, Frame, Lens, LoadOptions, Source, check_count, hold_out

FILE = "poses_bounds.npy"
_COLUMNS = 17


def looks_like(root: Path) -> bool:
    """True when the folder holds poses_bounds.npy."""
    return (root / FILE).exists()


def read(root: Path, options: LoadOptions) -> Source:
    """Poses [down, right, back] turned to OpenGL axes; forward-facing captures are recentred for NDC.

    A forward-facing capture without masks keeps its scale, but its frame is moved to the mean
    camera, because normalised device coordinates need the view along -z (NeRF, appendix C).
    """
    table = read_table(root / FILE)
    folder, notes = _image_folder(root)
    images = images_in(folder)
    _check_match(root, folder, len(images), len(table))
    raise_all(check_count(len(table), "LLFF", root / FILE))
    lens = _lens(table, root / FILE)
    masks = _mask_folder(root, folder)
    finder, problems, frames = Finder(root), [], []
    for index, path in enumerate(images):
        try:
            pose = _pose(table[index], f"{root / FILE}:row {index}", options)
            image = finder.find(path, path) or path
            frames.append(Frame(path.name, image, pose, lens, str(path), mask=_mask(masks, path, finder)))
        except UserError as error:
            problems.append(error)
    raise_all(problems)
    depths = (float(np.percentile(table[:, 15], 1)), float(np.percentile(table[:, 16], 99)))
    frames, near = _for_ndc(frames, lens, depths, notes)
    notes.append("LLFF names no test images: every 8th image (sorted by name, from the first) is held out")
    return Source(
        "llff", root, tuple(hold_out(frames)), "LLFF", depths=depths, ndc_near=near, notes=tuple(notes)
    )


def read_table(path: Path) -> Array:
    """The checked [N, 17] table: 3x5 pose with height, width, focal; near; far."""
    if not path.exists():
        raise UserError(
            "E-LLFF-MISSING",
            "poses_bounds.npy is missing",
            where=path,
            got="nothing there",
            expected="the camera poses",
            fix="run the pose estimation (LLFF imgs2poses)",
        )
    table = read_npy(path)
    if table.dtype.kind != "f":
        raise UserError(
            "E-LLFF-DTYPE",
            "poses are not real numbers",
            where=path,
            got=str(table.dtype),
            expected="float64",
            fix="save the array as float64",
        )
    if table.ndim != 2 or table.shape[1] != _COLUMNS:
        raise UserError(
            "E-LLFF-SHAPE",
            "table of poses has the wrong shape",
            where=path,
            got=str(table.shape),
            expected="(N, 17): 3x5 pose, near, far",
            fix="run the pose estimation again",
        )
    rows: Array = table.astype(np.float64)
    raise_all(
        problem for row, values in enumerate(rows) for problem in _check_row(values, f"{path}:row {row}")
    )
    return rows


def _check_row(values: Array, where: str) -> list[UserError]:
    if not np.isfinite(values).all():
        return [
            UserError(
                "E-LLFF-NONFINITE",
                "row holds NaN or infinity",
                where=where,
                got=f"column {int(np.argmin(np.isfinite(values)))}",
                expected="finite numbers",
                fix="remove this photo and its row",
            )
        ]
    height, width, focal = values[[4, 9, 14]]
    problems = []
    if min(height, width, focal) <= 0 or max(height, width, focal) > 1e6:
        problems.append(
            UserError(
                "E-LLFF-INTRINSICS",
                "size or focal length is not usable",
                where=where,
                got=f"height {height:g}, width {width:g}, focal {focal:g}",
                expected="more than 0",
                fix="run the pose estimation again",
            )
        )
    near, far = values[15:]
    if not 0 < near < far:
        problems.append(
            UserError(
                "E-LLFF-BOUNDS",
                "depth bounds are not usable",
                where=where,
                got=f"near {near:g}, far {far:g}",
                expected="0 < near < far",
                fix="run the pose estimation again",
            )
        )
    return problems


def _lens(table: Array, path: Path) -> Lens:
    sizes = table[:, [4, 9, 14]]
    different = np.abs(sizes - sizes[0]).max(axis=1) > 1e-6 * sizes[0].max()
    if different.any():
        row = int(different.argmax())
        raise UserError(
            "E-LLFF-INTRINSICS",
            "photos have different cameras",
            where=f"{path}:row {row}",
            got=f"height, width, focal {sizes[row].tolist()}",
            expected=f"{sizes[0].tolist()} as in row 0",
            fix="use a COLMAP or transforms.json capture for several cameras",
        )
    height, width, focal = sizes[0].tolist()
    return Lens((focal, focal), size=(round(width), round(height)), scalable=True, where=str(path))


def _pose(row: Array, where: str, options: LoadOptions) -> Array:
    pose = row[:15].reshape(3, 5)[:, :4]
    down, right, back, position = pose.T
    return check_pose(np.stack([right, -down, back, position], axis=1), "LLFF", where, options.fix_poses)


def _image_folder(root: Path) -> tuple[Path, list[str]]:
    """images/, or the most reduced images_<factor>/ when that is absent."""
    if images_in(root / "images"):
        return root / "images", []
    factors = {int(path.name[7:]): path for path in root.glob("images_*") if path.name[7:].isdigit()}
    present = [factor for factor, path in sorted(factors.items()) if images_in(path)]
    if not present:
        raise UserError(
            "E-LLFF-IMAGES",
            "no images",
            where=root / "images",
            got="nothing there",
            expected="images/ or images_4/ or images_8/",
            fix="put the photos into images/",
        )
    return factors[present[-1]], [
        f"images/ is absent: using images_{present[-1]}/ (1/{present[-1]} of full size)"
    ]


def _check_match(root: Path, folder: Path, images: int, poses: int) -> None:
    if images == poses:
        return
    names = [path.name for path in images_in(folder)]
    extra = (
        f"; photos beyond row {poses - 1}: {', '.join(names[poses : poses + 10])}" if images > poses else ""
    )
    raise UserError(
        "E-LLFF-COUNT",
        f"photos and poses differ in number{extra}",
        where=root,
        got=f"{images} photos in {folder.name}/, {poses} rows in {FILE}",
        expected="as many of each",
        fix="remove the photos that the pose estimation dropped (LLFF view_imgs.txt lists the kept ones)",
    )


def _mask_folder(root: Path, folder: Path) -> dict[str, Path]:
    masks = root / folder.name.replace("images", "masks")
    return {path.stem: path for path in images_in(masks)}


def _mask(masks: dict[str, Path], image: Path, finder: Finder) -> Path | None:
    found = masks.get(image.stem) or masks.get(image.name)
    return finder.find(found, found) if found else None


def _for_ndc(
    frames: list[Frame], lens: Lens, depths: tuple[float, float], notes: list[str]
) -> tuple[list[Frame], float | None]:
    """Recentred frames and the near plane of a forward-facing capture, else the frames as they are."""
    near = NDC_NEAR_FRACTION * depths[0]
    poses = np.stack([frame.pose for frame in frames])
    if any(frame.mask for frame in frames) or not forward_facing(poses, lens, near):
        return frames, None
    notes.append("forward-facing: the frame is that of the mean camera")
    moved = recentred(poses)
    return [replace(frame, pose=pose) for frame, pose in zip(frames, moved, strict=True)], near
