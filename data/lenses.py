"""Lenses: do the stated intrinsics fit the images, and which cameras do they make."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from fields.cameras import Cameras, undistort
from fields.errors import UserError

from .images import Header
from .layouts.base import Frame, Lens, Source
from .projection import distort

_LENS_TOLERANCE = 0.5  # pixels
_CENTRE_RANGE = (0.2, 0.8)  # of the image, for the principal point


def check_sizes(frames: tuple[Frame, ...], photos: list[Header], prefix: str) -> Iterator[UserError]:
    """Photos that share a lens share a size, and it is the size that the lens states."""
    groups: dict[Lens, list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        groups[frame.lens].append(index)
    overall = Counter(photo.size for photo in photos)
    reported: set[Path] = set()
    for lens, members in groups.items():
        common = max({photos[i].size for i in members}, key=lambda size: overall[size])
        expected = common if lens.size is None or lens.scalable else lens.size
        reference = next((frames[i].name for i in members if photos[i].size == expected), "the intrinsics")
        for index in members:
            if photos[index].size != expected and frames[index].image not in reported:
                reported.add(frames[index].image)
                yield _wrong_size(frames[index], photos[index], expected, reference, prefix)
        if lens.scalable and lens.size is not None and not _same_shape(lens.size, common):
            yield UserError(
                f"E-{prefix}-INTRINSICS",
                "images and intrinsics differ in shape",
                where=lens.where,
                got=f"images of {size_text(common)}",
                expected=f"{size_text(lens.size)} or a reduced copy of it",
                fix="use the images that the poses were made from",
            )


def _wrong_size(
    frame: Frame, photo: Header, expected: tuple[int, int], reference: str, prefix: str
) -> UserError:
    if photo.orientation > 1 and photo.stored == expected:
        return UserError(
            "E-IMG-ORIENT",
            "EXIF orientation turns the image away from its intrinsics",
            where=frame.image,
            got=f"orientation {photo.orientation}, upright {size_text(photo.size)}",
            expected=size_text(expected),
            fix="remove the EXIF tag, or estimate the poses on upright images",
        )
    return UserError(
        f"E-{prefix}-INTRINSICS",
        "image size does not fit its intrinsics",
        where=frame.image,
        got=size_text(photo.size),
        expected=f"{size_text(expected)} as {reference}",
        fix="scale the image, or give each frame its own w, h and focal length",
    )


def _same_shape(lens: tuple[int, int], image: tuple[int, int]) -> bool:
    """True when `image` is `lens` scaled, within the rounding of one pixel."""
    scale = image[0] / lens[0]
    return (
        abs(image[1] - lens[1] * scale) <= 1.0 + scale or abs(image[0] - lens[0] * image[1] / lens[1]) <= 1.5
    )


def size_text(size: tuple[int, int]) -> str:
    """`640x480`."""
    return f"{size[0]}x{size[1]}"


def make_cameras(frames: tuple[Frame, ...], photos: list[Header], source: Source) -> Cameras:
    """Cameras at the size of the images, whatever size the intrinsics refer to."""
    focal, centre = zip(
        *(_intrinsics(frame.lens, photo.size) for frame, photo in zip(frames, photos, strict=True)),
        strict=True,
    )
    return Cameras(
        torch.from_numpy(np.stack([frame.pose for frame in frames])).float(),
        torch.tensor(focal, dtype=torch.float32),
        torch.tensor(centre, dtype=torch.float32),
        torch.tensor([photo.size for photo in photos]),
        torch.tensor([frame.lens.distortion for frame in frames], dtype=torch.float32),
        source.ndc_near,
    )


def _intrinsics(lens: Lens, size: tuple[int, int]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Focal lengths and principal point in pixels of an image of this size."""
    stated = lens.size or size
    scale = (size[0] / stated[0], size[1] / stated[1])
    given = [
        focal or (stated[axis] / (2 * np.tan(angle / 2)) if angle else None)
        for axis, (focal, angle) in enumerate(zip(lens.focal, lens.angle, strict=True))
    ]
    fx, fy = given[0] or given[1] or 0.0, given[1] or given[0] or 0.0
    centre = [stated[axis] / 2 if value is None else value for axis, value in enumerate(lens.centre)]
    return (float(fx * scale[0]), float(fy * scale[1])), (centre[0] * scale[0], centre[1] * scale[1])


def check_lenses(frames: tuple[Frame, ...], cameras: Cameras, prefix: str) -> Iterator[UserError]:
    """The focal length is positive and the distortion can be undone within the image."""
    done: set[Lens] = set()
    for index, frame in enumerate(frames):
        if frame.lens in done:
            continue
        done.add(frame.lens)
        if not bool(torch.isfinite(cameras.focal[index]).all()) or float(cameras.focal[index].min()) <= 1e-6:
            yield UserError(
                f"E-{prefix}-INTRINSICS",
                "focal length is not usable",
                where=frame.lens.where,
                got=cameras.focal[index].tolist(),
                expected="more than 0",
                fix="correct the intrinsics",
            )
            continue
        error = _undistortion_error(cameras, index)
        if not error <= _LENS_TOLERANCE:
            yield UserError(
                f"E-{prefix}-INTRINSICS",
                "lens distortion cannot be undone",
                where=frame.lens.where,
                got=f"{error:.3g} pixels off at the image border",
                expected=f"at most {_LENS_TOLERANCE}",
                fix="undistort the images first",
            )


def _undistortion_error(cameras: Cameras, index: int) -> float:
    """Pixels by which undoing and redoing the distortion misses, worst along the image border."""
    lens = cameras.distortion[index].double()
    if not bool(lens.any()):
        return 0.0
    along = torch.linspace(0, 1, 9, dtype=torch.float64)
    zero, one = torch.zeros_like(along), torch.ones_like(along)
    border = torch.cat(
        [torch.stack(pair, -1) for pair in ((along, zero), (along, one), (zero, along), (one, along))]
    )
    focal, centre = cameras.focal[index].double(), cameras.centre[index].double()
    plane = (border * cameras.size[index] - centre) / focal
    with np.errstate(all="ignore"):
        back = distort(undistort(plane, lens).numpy(), lens.numpy())
        return float(np.abs((back - plane.numpy()) * focal.numpy()).max())


def far_centres(frames: tuple[Frame, ...], cameras: Cameras) -> Iterator[str]:
    """`W-TF-CENTRE` when a principal point is so far out that the intrinsics may be of another size."""
    share = cameras.centre / cameras.size
    outside = ((share < _CENTRE_RANGE[0]) | (share > _CENTRE_RANGE[1])).any(dim=1).nonzero()
    if len(outside):
        index = int(outside[0])
        at = "/".join(f"{value:.0%}" for value in share[index].tolist())
        yield (
            f"W-TF-CENTRE {frames[index].lens.where}: the principal point lies at {at} of the image; "
            "are the intrinsics those of another resolution?"
        )
