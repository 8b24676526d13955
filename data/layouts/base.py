"""What every capture layout is read into before an image is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fields.errors import UserError
from fields.views import Background

Array = NDArray[np.float64]
Split = Literal["train", "test", "val"]

HOLD_OUT_EVERY = 8
MAX_FRAMES = 5000
OPENCV_TO_OPENGL = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class LoadOptions:
    """Settings of `load_views`, which documents them."""

    bounds: Array | None = None  # [2, 3]
    background: Background | None = None
    downscale: int = 1
    allow_missing: bool = False
    force: bool = False
    fix_poses: bool = False


@dataclass(frozen=True)
class Lens:
    """Intrinsics as a file states them; whatever is None follows from the image."""

    focal: tuple[float | None, float | None] = (None, None)  # pixels
    angle: tuple[float | None, float | None] = (None, None)  # whole field of view, radians
    centre: tuple[float | None, float | None] = (None, None)  # pixels
    size: tuple[int, int] | None = None  # width, height that the numbers refer to
    distortion: tuple[float, ...] = (0.0,) * 6  # k1 k2 p1 p2 k3 k4
    scalable: bool = False  # images may be reduced copies of `size`
    where: str = ""  # place of the numbers; frames with equal lenses share them


@dataclass(frozen=True)
class Frame:
    """One photo and its camera."""

    name: str
    image: Path
    pose: Array  # [3, 4] camera to world, OpenGL axes
    lens: Lens
    where: str
    split: Split = "train"
    mask: Path | None = None


@dataclass(frozen=True)
class Source:
    """A capture whose files have been read and checked, but none of its images."""

    layout: str
    root: Path
    frames: tuple[Frame, ...]
    prefix: str  # of error codes: TF, LLFF, NSVF, COLMAP
    bounds: Array | None = None  # [2, 3] when the layout fixes them
    points: Array | None = None  # [P, 3] reconstructed surface points
    depths: tuple[float, float] | None = None  # nearest and farthest content along the view
    ndc_near: float | None = None  # set for forward-facing captures
    warnings: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())


def hold_out(frames: Sequence[Frame]) -> list[Frame]:
    """Frames sorted by name with every eighth, from the first on, in the test split."""
    ordered = sorted(frames, key=lambda frame: frame.name)
    return [
        replace(frame, split="test" if index % HOLD_OUT_EVERY == 0 else "train")
        for index, frame in enumerate(ordered)
    ]


def from_opencv(pose: Array) -> Array:
    """Camera-to-world [3, 4] with OpenCV axes (y down, z forward) to OpenGL axes (y up, z back)."""
    return np.concatenate([pose[:3, :3] @ OPENCV_TO_OPENGL, pose[:3, 3:]], axis=1)


def check_count(count: int, prefix: str, where: object) -> list[UserError]:
    """Problems with the number of frames: `E-…-FRAMES` below 2, `E-LIMIT-FRAMES` above 5000."""
    if count < 2:
        plural = "frame" if count == 1 else "frames"
        return [
            UserError(
                f"E-{prefix}-FRAMES",
                "too few frames",
                where=where,
                got=f"{count} {plural}",
                expected="at least 2",
                fix="add photos with poses",
            )
        ]
    if count > MAX_FRAMES:
        return [
            UserError(
                "E-LIMIT-FRAMES",
                "too many frames",
                where=where,
                got=count,
                expected=f"at most {MAX_FRAMES}",
                fix="keep every n-th frame",
            )
        ]
    return []


def some_of(names: Sequence[str]) -> str:
    """At most ten names, long ones cut, and how many more there are."""
    listed = ", ".join(name if len(name) <= 40 else name[:39] + "…" for name in names[:10])
    return listed + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def missing_images(
    names: Sequence[str], total: int, prefix: str, where: object, tried: str = "png, jpg, jpeg, webp"
) -> UserError:
    """`E-…-MISSING` with at most ten names."""
    return UserError(
        f"E-{prefix}-MISSING",
        f"{len(names)} of {total} images are missing: {some_of(names)}",
        where=where,
        expected=f"a file of each name ({tried} in any case)",
        fix="restore the images, or pass --allow-missing to go on without them",
    )
