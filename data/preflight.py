"""Everything that can be known about a capture before a pixel is decoded."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fields.cameras import Cameras
from fields.errors import UserError, raise_all

from .images import Header, read_header
from .layouts.base import MAX_FRAMES, Array, Frame, LoadOptions, Source, some_of
from .lenses import check_lenses, check_sizes, far_centres, make_cameras, size_text
from .poses import COINCIDENT

MAX_PIXEL_BYTES = 12 * 2**30


@dataclass(frozen=True)
class Plan:
    """A capture that is known to be sound but for the content of its images."""

    frames: tuple[Frame, ...]
    headers: tuple[Header, ...]
    mask_headers: tuple[Header | None, ...]
    cameras: Cameras  # at the size of the files
    warnings: tuple[str, ...]


def check(source: Source, options: LoadOptions) -> Plan:
    """Read the image headers, settle the lenses, and refuse what cannot be fitted.

    Raises:
        UserError: `E-IMG-…`, `E-MASK-…`, `E-…-INTRINSICS`, `E-TF-DEGENERATE`, `E-LIMIT-PIXELS`.
    """
    frames = source.frames
    found = [*source.warnings, *_degenerate(source, options), *_repeats(frames)]
    problems: list[UserError] = []
    if len(frames) > MAX_FRAMES:
        problems.append(
            UserError(
                "E-LIMIT-FRAMES",
                "too many frames",
                where=source.root,
                got=len(frames),
                expected=f"at most {MAX_FRAMES}",
                fix="keep every n-th frame",
            )
        )
    headers = _headers([frame.image for frame in frames], problems)
    masks = _headers([frame.mask for frame in frames], problems)
    raise_all(problems)
    photos = [header for header in headers if header is not None]
    raise_all(
        [
            *_check_masks(frames, photos, masks, options),
            *check_sizes(frames, photos, source.prefix),
            *_check_total(photos, options, source),
        ]
    )
    cameras = make_cameras(frames, photos, source)
    raise_all(check_lenses(frames, cameras, source.prefix))
    found += far_centres(frames, cameras)
    return Plan(frames, tuple(photos), tuple(masks), cameras, tuple(found))


def _headers(paths: list[Path | None], problems: list[UserError]) -> list[Header | None]:
    headers: dict[Path, Header | None] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
        for path in dict.fromkeys(path for path in paths if path is not None):
            try:
                headers[path] = read_header(path)
            except UserError as error:
                headers[path] = None
                problems.append(error)
    return [headers[path] if path is not None else None for path in paths]


def _degenerate(source: Source, options: LoadOptions) -> list[str]:
    centres = np.stack([frame.pose[:, 3] for frame in source.frames])
    spread = float(np.ptp(centres, axis=0).max())
    if spread > COINCIDENT:
        return []
    what = "all cameras stand at the same place, so depth cannot be found"
    if options.force:
        return [f"W-TF-DEGENERATE {source.root}: {what}"]
    raise UserError(
        "E-TF-DEGENERATE",
        what,
        where=source.root,
        got=f"camera centres within {spread:.1g}",
        expected="photos from different places",
        fix="check the poses, or pass --force",
    )


def _repeats(frames: tuple[Frame, ...]) -> Iterator[str]:
    """`W-TF-DUP` for files listed twice in a split, `W-TF-LEAK` for files in train and test."""
    by_split: dict[str, Counter[str]] = defaultdict(Counter)
    for frame in frames:
        by_split[frame.split][str(frame.image)] += 1
    for split, counts in by_split.items():
        twice = [Path(name).name for name, count in counts.items() if count > 1]
        if twice:
            yield f"W-TF-DUP {len(twice)} images are listed more than once in {split}: {some_of(twice)}"
    for split in ("test", "val"):
        shared = sorted(Path(name).name for name in by_split["train"].keys() & by_split[split].keys())
        if shared:
            yield f"W-TF-LEAK {len(shared)} {split} images are training images too: {some_of(shared)}"


def _check_masks(
    frames: tuple[Frame, ...], photos: list[Header], masks: list[Header | None], options: LoadOptions
) -> Iterator[UserError]:
    without = [frame.name for frame, mask in zip(frames, masks, strict=True) if mask is None]
    if without and len(without) < len(frames) and not options.force:
        yield UserError(
            "E-MASK-MISSING",
            "some images have no mask",
            where=some_of(without),
            got=f"{len(frames) - len(without)} masks for {len(frames)} images",
            expected="a mask for every image, or none",
            fix="add the masks, or pass --force to show these images whole",
        )
    for frame, photo, mask in zip(frames, photos, masks, strict=True):
        if mask is not None and mask.size != photo.size:
            yield UserError(
                "E-MASK-SIZE",
                "mask and image differ in size",
                where=frame.mask or "",
                got=size_text(mask.size),
                expected=f"{size_text(photo.size)} as {frame.name}",
                fix="scale the mask to the image",
            )


def _check_total(photos: list[Header], options: LoadOptions, source: Source) -> Iterator[UserError]:
    total = sum(
        4 * (photo.size[0] // options.downscale) * (photo.size[1] // options.downscale) for photo in photos
    )
    if total > MAX_PIXEL_BYTES:
        factor = int(np.ceil(options.downscale * (total / MAX_PIXEL_BYTES) ** 0.5))
        yield UserError(
            "E-LIMIT-PIXELS",
            "the photos do not fit in memory",
            where=source.root,
            got=f"{total / 2**30:.1f} GiB decoded",
            expected=f"at most {MAX_PIXEL_BYTES / 2**30:g} GiB",
            fix=f"pass --downscale {factor}",
        )
    smallest = min((min(photo.size) for photo in photos), default=1)
    if options.downscale > smallest:
        yield UserError(
            "E-USAGE-DOWNSCALE",
            "downscale leaves no pixel",
            where=source.root,
            got=options.downscale,
            expected=f"at most {smallest}",
            fix="use a smaller factor",
        )


def report(cameras: Cameras, counts: dict[str, int], layout: str, bounds: Array, seeing: int) -> list[str]:
    """What was found, for people: layout, splits, sizes, fields of view, box."""
    sizes = Counter(tuple(size) for size in cameras.size.tolist())
    angle = torch.rad2deg(2 * torch.atan(cameras.size[:, 0] / (2 * cameras.focal[:, 0])))
    listed = ", ".join(
        f"{size_text((int(size[0]), int(size[1])))} ({count})" for size, count in sizes.most_common(4)
    )
    low, high = (" ".join(f"{value:.4g}" for value in corner) for corner in bounds)
    return [
        f"layout {layout}: " + ", ".join(f"{count} {split}" for split, count in counts.items() if count),
        f"images {listed}; field of view across {float(angle.min()):.1f} to {float(angle.max()):.1f} degrees",
        f"bounds [{low}] to [{high}]; {seeing} of {len(cameras)} cameras see them",
    ]
