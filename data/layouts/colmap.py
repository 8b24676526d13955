"""COLMAP captures: sparse/<model>/{cameras,images,points3D}.{bin,txt} with images/."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from fields.errors import UserError, raise_all

from ..files import Finder, images_in, safe_join
from ..poses import MAX_COORDINATE, check_pose
from .base import (
    Array,
    Frame,
    Lens,
    LoadOptions,
    Source,
    check_count,
    from_opencv,
    hold_out,
    missing_images,
    some_of,
)
from .colmap_model import Model, ModelCamera, ModelImage, count_images, has_model, read_model

_FOLDERS = ("sparse", "colmap/sparse")
_FAR = 1e12  # keeps arithmetic finite until the pose is checked
# Positions of (fx, fy, cx, cy) and of (k1, k2, p1, p2) in a model's parameters; None: zero.
_LENSES: dict[str, tuple[tuple[int, int, int, int], tuple[int | None, ...]]] = {
    "SIMPLE_PINHOLE": ((0, 0, 1, 2), ()),
    "PINHOLE": ((0, 1, 2, 3), ()),
    "SIMPLE_RADIAL": ((0, 0, 1, 2), (3,)),
    "RADIAL": ((0, 0, 1, 2), (3, 4)),
    "OPENCV": ((0, 1, 2, 3), (4, 5, 6, 7)),
}


def looks_like(root: Path) -> bool:
    """True when the folder holds a sparse model."""
    return bool(_models(root))


def _models(root: Path) -> list[Path]:
    folders = []
    for name in _FOLDERS:
        base = root / name
        if base.is_dir():
            folders += [base, *sorted(path for path in base.iterdir() if path.is_dir())]
    return [folder for folder in folders if has_model(folder)]


def read(root: Path, options: LoadOptions) -> Source:
    """The largest model; every eighth photo by name is held out."""
    folder, notes = _largest(root)
    model = read_model(folder)
    _check_agreement(model, options)
    raise_all(check_count(len(model.images), "COLMAP", folder))
    images = _image_folder(root)
    problems: list[UserError] = []
    lenses = _lenses(model, problems)
    frames, missing = _frames(model, root, images, lenses, problems, options)
    warnings = _check_missing(model, images, missing, len(frames), problems, options)
    raise_all(problems)
    warnings += _check_registered(model, images, options)
    points = model.points[(np.abs(model.points) < MAX_COORDINATE).all(axis=1)]  # false for NaN
    if not len(points):
        warnings.append(f"W-COLMAP-POINTS {folder}: no points; the scene box follows from the cameras")
    notes.append("COLMAP names no test images: every 8th image (sorted by name, from the first) is held out")
    return Source(
        "colmap",
        root,
        tuple(hold_out(frames)),
        "COLMAP",
        points=points,
        warnings=tuple(warnings),
        notes=tuple(notes),
    )


def _largest(root: Path) -> tuple[Path, list[str]]:
    models = _models(root)
    if not models:
        raise UserError(
            "E-COLMAP-FILE",
            "no sparse model",
            where=root,
            got="no cameras and images files",
            expected="sparse/0/cameras.bin and images.bin (or .txt)",
            fix="run COLMAP's mapper",
        )
    sizes = {folder: count_images(folder) for folder in models}
    best = max(models, key=lambda folder: sizes[folder])
    if len(models) == 1:
        return best, []
    listed = ", ".join(f"{folder.relative_to(root)}: {size}" for folder, size in sizes.items())
    return best, [f"several sparse models (photos in each: {listed}); the largest is used"]


def _check_agreement(model: Model, options: LoadOptions) -> None:
    """Binary and text in one folder must hold the same photos (`E-COLMAP-DISAGREE`)."""
    if options.force or not all(
        (model.folder / f"{part}{kind}").exists()
        for part in ("cameras", "images")
        for kind in (".bin", ".txt")
    ):
        return
    text = read_model(model.folder, ".txt")
    ours, theirs = ({image.name for image in part.images} for part in (model, text))
    if ours != theirs or text.cameras.keys() != model.cameras.keys():
        raise UserError(
            "E-COLMAP-DISAGREE",
            "binary and text files describe different models",
            where=model.folder,
            got=f"{len(ours)} photos in images.bin, {len(theirs)} in images.txt",
            expected="the same photos and cameras",
            fix="remove the outdated files, or pass --force",
        )


def _image_folder(root: Path) -> Path:
    """images/, or the least reduced images_<factor>/."""
    factors = sorted((int(path.name[7:]), path) for path in root.glob("images_*") if path.name[7:].isdigit())
    candidates = [root / "images", *(path for _, path in factors)]
    found = next((path for path in candidates if path.is_dir()), None)
    if found is None:
        raise UserError(
            "E-COLMAP-IMAGES",
            "no images folder",
            where=root / "images",
            got="nothing there",
            expected="images/",
            fix="put the photos into images/",
        )
    return found


def _lenses(model: Model, problems: list[UserError]) -> dict[int, Lens]:
    lenses = {}
    for number, camera in model.cameras.items():
        try:
            lenses[number] = lens_of(camera, f"{model.folder}:camera {number}")
        except UserError as error:
            problems.append(error)
            lenses[number] = Lens()
    return lenses


def lens_of(camera: ModelCamera, where: str) -> Lens:
    """The lens of a camera; `E-COLMAP-MODEL` for fisheye and rational models."""
    if camera.model not in _LENSES:
        raise UserError(
            "E-COLMAP-MODEL",
            "camera model is not supported",
            where=where,
            got=camera.model,
            expected=", ".join(_LENSES),
            fix="run COLMAP's image_undistorter first",
        )
    (fx, fy, cx, cy), coefficients = _LENSES[camera.model]
    values = camera.parameters
    usable = all(abs(value) < 1e6 for value in values)  # false for NaN too
    if not usable or min(values[fx], values[fy]) <= 0 or not 0 < min(camera.width, camera.height) <= 1e6:
        raise UserError(
            "E-COLMAP-INTRINSICS",
            "camera settings are not usable",
            where=where,
            got=f"{camera.width}x{camera.height}, {' '.join(f'{value:g}' for value in values)}",
            expected="positive size and focal length",
            fix="run COLMAP again",
        )
    distortion = [values[k] if k is not None else 0.0 for k in coefficients]
    return Lens(
        (values[fx], values[fy]),
        centre=(values[cx], values[cy]),
        size=(camera.width, camera.height),
        distortion=tuple(distortion + [0.0] * (6 - len(distortion))),
        scalable=True,
        where=where,
    )


def _frames(
    model: Model,
    root: Path,
    images: Path,
    lenses: dict[int, Lens],
    problems: list[UserError],
    options: LoadOptions,
) -> tuple[list[Frame], list[str]]:
    finder, frames, missing = Finder(root), [], []
    for image in model.images:
        where = f"{model.folder}:image {ascii(image.name)[1:-1]}"
        try:
            path = finder.find(safe_join(images, image.name, where), where)
            pose = pose_of(image, where, options)
            if image.camera not in lenses:
                raise UserError(
                    "E-COLMAP-CAMERA",
                    "photo refers to a camera that is not there",
                    where=where,
                    got=f"camera {image.camera}",
                    expected=f"one of {sorted(lenses)[:10]}",
                    fix="export the model again",
                )
        except UserError as error:
            problems.append(error)
            continue
        if path is None:
            missing.append(image.name)
        else:
            mask = _mask(finder, root, path.relative_to(images))
            frames.append(Frame(image.name, path, pose, lenses[image.camera], where, mask=mask))
    return frames, missing


def pose_of(image: ModelImage, where: str, options: LoadOptions) -> Array:
    """Camera to world, OpenGL axes, from COLMAP's world-to-camera quaternion and translation."""
    length = math.hypot(*image.quaternion)
    if not 1e-8 < length < 1e8:  # false for NaN too
        raise UserError(
            "E-COLMAP-QUAT",
            "rotation is not usable",
            where=where,
            got=f"quaternion of length {length:g}",
            expected="length 1",
            fix="remove this photo or run COLMAP again",
        )
    w, x, y, z = (value / length for value in image.quaternion)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    centre = -rotation.T @ np.clip(image.translation, -_FAR, _FAR)
    return from_opencv(
        check_pose(np.concatenate([rotation.T, centre[:, None]], axis=1), "COLMAP", where, options.fix_poses)
    )


def _mask(finder: Finder, root: Path, relative: Path) -> Path | None:
    """masks/<image>.png (COLMAP's own naming) or masks/<stem>.<any>."""
    base = root / "masks" / relative
    for name in (base.with_name(base.name + ".png"), base.with_suffix("")):
        found = finder.find(name, base)
        if found is not None:
            return found
    return None


def _check_missing(
    model: Model,
    images: Path,
    missing: list[str],
    present: int,
    problems: list[UserError],
    options: LoadOptions,
) -> list[str]:
    if not missing:
        return []
    problem = missing_images(missing, len(model.images), "COLMAP", images)
    if not options.allow_missing:
        problems.append(problem)
        return []
    problems += check_count(present, "COLMAP", images)
    return [f"W-COLMAP-MISSING {images}: {problem.what}"]


def _check_registered(model: Model, images: Path, options: LoadOptions) -> list[str]:
    """Refuse when fewer than half of the photos have poses, unless forced; tell which have none."""
    registered = {Path(image.name).name for image in model.images}
    names = [path.name for path in images_in(images)]
    without = [name for name in names if name not in registered]
    if not without:
        return []
    text = f"{len(names) - len(without)} of {len(names)} images have poses; without: {some_of(without)}"
    if 2 * len(without) > len(names) and not options.force:
        raise UserError(
            "E-COLMAP-FEW",
            text,
            where=images,
            expected="at least half of the images registered",
            fix="take more overlapping photos, or pass --force to use the registered ones",
        )
    return [f"W-COLMAP-FEW {images}: {text}"]
