"""Photo sets of any layout, recognised by content, as one `Capture`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fields.errors import UserError
from fields.views import Background, Capture, Contraction

from .files import existing
from .framing import cameras_that_see, focus_of, ndc_bounds, near_of, scene_bounds
from .layouts import LAYOUTS
from .layouts.base import Array, LoadOptions, Source
from .pixels import SPLITS, background_of, by_split, check_alpha, decode_all, flattened
from .poses import MAX_COORDINATE
from .preflight import Plan, check, report
from .silhouettes import object_bounds

_BACKGROUNDS = ("random", "white", "black", "none")
_SEEN_SHARE = 0.1


def load_views(
    path: str | os.PathLike[str],
    *,
    layout: str = "auto",
    bounds: Sequence[Sequence[float]] | NDArray[np.generic] | torch.Tensor | None = None,
    background: Background | None = None,
    downscale: int = 1,
    allow_missing: bool = False,
    force: bool = False,
    fix_poses: bool = False,
) -> Capture:
    """Load a posed photo set: NeRF-Synthetic, transforms.json, LLFF, NSVF, Tanks&Temples or COLMAP.

    Coordinates stay those of the source (a forward-facing LLFF capture is moved to its mean
    camera). Nothing is written. Files are checked before any pixel is decoded, and all problems
    of a capture are reported together.

    Args:
        path: folder of the capture, or one transforms .json file.
        layout: a key of `data.layouts.LAYOUTS`, or "auto" to go by the folder's content.
        bounds: scene box [2, 3] in place of the one found.
        background: what lies behind the object, in place of what the photos show; with
            "white" or "black" photos with alpha are composited over it.
        downscale: whole factor by which photos are reduced (box filter, premultiplied alpha).
        allow_missing: go on without images or poses that are listed but absent.
        force: accept degenerate poses, few registered images, missing masks, mixed alpha.
        fix_poses: replace matrices that are nearly rotations by the nearest rotation.

    Raises:
        UserError: with the stable codes `E-DATA-…`, `E-JSON-…`, `E-TF-…`, `E-LLFF-…`, `E-NSVF-…`,
            `E-COLMAP-…`, `E-NPY-…`, `E-IMG-…`, `E-MASK-…`, `E-PATH-ESCAPE`, `E-LIMIT-…`, `E-USAGE-…`.
    """
    options = LoadOptions(
        _checked_bounds(bounds),
        _checked_background(background),
        _checked_downscale(downscale),
        allow_missing,
        force,
        fix_poses,
    )
    place = existing(path)
    name, others = recognise(place, layout)
    source = LAYOUTS[name].read(place, options)
    ordered = tuple(sorted(source.frames, key=lambda frame: SPLITS.index(frame.split)))
    source = replace(source, frames=ordered, notes=source.notes + others)
    plan = check(source, options)
    return _assemble(source, plan, options)


def recognise(place: Path, layout: str = "auto") -> tuple[str, tuple[str, ...]]:
    """The layout's key and notes about further layouts that the folder holds.

    Raises:
        UserError: `E-USAGE-LAYOUT` for unknown names, `E-DATA-KIND` when the content does not fit.
    """
    if layout != "auto" and layout not in LAYOUTS:
        raise UserError(
            "E-USAGE-LAYOUT",
            "unknown layout",
            got=repr(layout),
            expected=", ".join(["auto", *LAYOUTS]),
            fix="use auto",
        )
    if place.is_file():
        return "transforms", ()
    found = [name for name, entry in LAYOUTS.items() if entry.looks_like(place)]
    if layout == "auto" and found:
        others = [name for name in found[1:] if LAYOUTS[name].read is not LAYOUTS[found[0]].read]
        return found[0], tuple(
            f"the folder also looks like {name}; pass --layout {name} for it" for name in others
        )
    if layout in found or (layout != "auto" and not found):
        return layout, ()
    if layout != "auto":
        raise UserError(
            "E-DATA-KIND",
            f"no {layout} capture",
            where=place,
            got=f"a folder that looks like {found[0]}",
            expected=LAYOUTS[layout].files,
            fix=f"use --layout auto or --layout {found[0]}",
        )
    entries = sorted(path.name for path in place.iterdir())
    raise UserError(
        "E-DATA-KIND",
        "no capture of a known layout",
        where=place,
        got=", ".join(entries[:8]) or "an empty folder",
        expected=" or ".join(dict.fromkeys(entry.files for entry in LAYOUTS.values())),
        fix="pass the folder that holds these files; photos alone need poses first (for example COLMAP)",
    )


def _checked_bounds(bounds: object) -> Array | None:
    if bounds is None:
        return None
    try:
        box = np.asarray(bounds, dtype=np.float64)
    except (TypeError, ValueError):
        box = np.zeros(0)
    if box.shape != (2, 3) or not (np.abs(box) <= MAX_COORDINATE).all() or not (box[0] < box[1]).all():
        raise UserError(
            "E-USAGE-BOUNDS",
            "bounds are not a box",
            got=bounds,
            expected="2x3 numbers up to a million, every low below its high",
            fix="give x0 y0 z0 x1 y1 z1",
        )
    return box


def _checked_background(background: Background | None) -> Background | None:
    if background is not None and background not in _BACKGROUNDS:
        raise UserError(
            "E-USAGE-BACKGROUND",
            "unknown background",
            got=repr(background),
            expected=", ".join(_BACKGROUNDS),
            fix="leave it out to go by the photos",
        )
    return background


def _checked_downscale(downscale: int) -> int:
    if isinstance(downscale, bool) or not isinstance(downscale, int) or not 1 <= downscale <= 64:
        raise UserError(
            "E-USAGE-DOWNSCALE",
            "downscale is not usable",
            got=downscale,
            expected="a whole number from 1 to 64",
            fix="use 1, 2, 4 or 8",
        )
    return downscale


def _assemble(source: Source, plan: Plan, options: LoadOptions) -> Capture:
    views = decode_all(plan, options.downscale)
    warnings = [*plan.warnings, *check_alpha(views, plan, options)]
    background = options.background or background_of(views)
    views = flattened(views, background)
    focus = focus_of(views.cameras)
    is_object = background != "none"
    contraction: Contraction = "none" if is_object else "unbounded"
    near = near_of(focus, is_object)
    if options.bounds is not None:
        bounds = options.bounds
    elif source.bounds is not None:
        bounds = source.bounds
    elif is_object:
        bounds = object_bounds(views, background, focus, source.depths, source.points)
    else:
        bounds = scene_bounds(focus, source.points)
    seeing = len(views)
    if source.ndc_near is not None:
        contraction, near = "ndc", 0.0
        bounds = ndc_bounds(views.cameras) if options.bounds is None else options.bounds
    else:
        seeing = cameras_that_see(views.cameras, bounds)
        if seeing < _SEEN_SHARE * len(views):
            warnings.append(_outside(source, seeing, len(views), focus.box(focus.half_view)))
    counts = {split: sum(frame.split == split for frame in plan.frames) for split in SPLITS}
    notes = [*report(views.cameras, counts, source.layout, bounds, seeing), *source.notes]
    parts = by_split(views, plan.frames)
    return Capture(
        parts["train"],
        parts["test"],
        torch.from_numpy(bounds).float(),
        contraction,
        background,
        source.layout,
        near,
        parts["val"] if counts["val"] else None,
        tuple(warnings),
        tuple(notes),
    )


def _outside(source: Source, seeing: int, total: int, suggestion: Array) -> str:
    numbers = " ".join(f"{value:.4g}" for value in suggestion.reshape(-1))
    return (
        f"W-TF-OUTSIDE {source.root}: only {seeing} of {total} cameras see the scene box; "
        f"suggested: --bounds {numbers}"
    )
