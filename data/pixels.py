"""The pixels of a capture: decoded in parallel into one store, and what they show behind the object."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from fields.cameras import Cameras
from fields.errors import UserError, raise_all
from fields.views import Background, Views

from .images import decode, decode_mask, shrink
from .layouts.base import Frame, LoadOptions, some_of
from .preflight import Plan

SPLITS = ("train", "test", "val")  # the order in which the store holds them
_BORDER_LEVEL = 5  # grey levels from pure white or black
_BORDER_SHARE = 0.9
_MAX_THREADS = 8


def decode_all(plan: Plan, factor: int) -> Views:
    """Every photo in one store; files are decoded in parallel (Pillow releases the GIL)."""
    cameras = _reduced(plan.cameras, factor)
    counts = cameras.size.prod(dim=1)
    starts = (torch.cumsum(counts, 0) - counts).tolist()
    store = np.empty((int(counts.sum()), 4), dtype=np.uint8)

    def fill(index: int) -> UserError | None:
        frame, mask_header = plan.frames[index], plan.mask_headers[index]
        try:
            pixels = decode(frame.image, plan.headers[index])
            if frame.mask is not None and mask_header is not None:
                pixels = pixels.copy()
                pixels[..., 3] = decode_mask(frame.mask, mask_header)
        except UserError as error:
            return error
        store[starts[index] : starts[index] + int(counts[index])] = shrink(pixels, factor).reshape(-1, 4)
        return None

    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        problems = [problem for problem in pool.map(fill, range(len(plan.frames))) if problem]
    raise_all({problem.where: problem for problem in problems}.values())  # a file may serve several splits
    return Views(cameras, torch.from_numpy(store), tuple(frame.name for frame in plan.frames))


def _reduced(cameras: Cameras, factor: int) -> Cameras:
    """Cameras of photos reduced by `images.shrink`, which cuts odd pixels off at the far sides."""
    if factor == 1:
        return cameras
    return replace(
        cameras, focal=cameras.focal / factor, centre=cameras.centre / factor, size=cameras.size // factor
    )


def _image_parts(views: Views) -> list[NDArray[np.uint8]]:
    """The pixels of each photo, [H, W, 4] without a copy."""
    sizes, starts = views.cameras.size.tolist(), views.starts.tolist()
    pixels = views.pixels.numpy()
    return [
        pixels[start : start + width * height].reshape(height, width, 4)
        for (width, height), start in zip(sizes, starts, strict=True)
    ]


def check_alpha(views: Views, plan: Plan, options: LoadOptions) -> list[str]:
    """`E-IMG-MIXED` when only some photos have alpha; `W-IMG-EMPTY` for photos that show nothing."""
    lowest = [int(part[..., 3].min()) for part in _image_parts(views)]
    empty = [
        frame.name
        for frame, part, low in zip(plan.frames, _image_parts(views), lowest, strict=True)
        if low == 0 and not part[..., 3].any()
    ]
    plain = [
        frame
        for frame, header in zip(plan.frames, plan.headers, strict=True)
        if not header.alpha and frame.mask is None
    ]
    if plain and min(lowest) < 255 and not options.force:
        raise UserError(
            "E-IMG-MIXED",
            "some images have no alpha while others have",
            where=plain[0].image,
            got=f"{len(plain)} of {len(plan.frames)} images without alpha",
            expected="alpha in all images or in none",
            fix="export these images with alpha, or pass --force to take them as opaque",
        )
    if empty:
        return [f"W-IMG-EMPTY {len(empty)} images are wholly transparent: {some_of(empty)}"]
    return []


def background_of(views: Views) -> Background:
    """What the photos show behind the object, from their alpha and their borders."""
    if bool((views.pixels[:, 3] < 255).any()):
        return "random"
    borders = np.concatenate(
        [np.concatenate([part[0], part[-1], part[:, 0], part[:, -1]])[:, :3] for part in _image_parts(views)]
    )
    if (borders >= 255 - _BORDER_LEVEL).all(axis=1).mean() > _BORDER_SHARE:
        return "white"
    return "black" if (borders <= _BORDER_LEVEL).all(axis=1).mean() > _BORDER_SHARE else "none"


def flattened(views: Views, background: Background) -> Views:
    """Opaque photos for every background but "random"; white and black are composited in."""
    if background == "random":
        return views
    for part in _image_parts(views):
        if background != "none" and int(part[..., 3].min()) < 255:
            alpha = part[..., 3:].astype(np.float32) / 255
            behind = 255.0 if background == "white" else 0.0
            part[..., :3] = np.rint(part[..., :3] * alpha + behind * (1 - alpha))
        part[..., 3] = 255
    return views


def by_split(views: Views, frames: tuple[Frame, ...]) -> dict[str, Views]:
    """Views of each split; frames are ordered by split, so that no pixel is copied."""
    parts, ends = {}, [*views.starts.tolist(), len(views.pixels)]
    first = 0
    for split in SPLITS:
        last = first + sum(frame.split == split for frame in frames)
        parts[split] = Views(
            views.cameras[first:last], views.pixels[ends[first] : ends[last]], views.names[first:last]
        )
        first = last
    return parts
