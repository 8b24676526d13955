"""Blocks seen from above, and sheets of them."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from data.palette import class_named
from fields.safeio import write_bytes

from .block_set import Decoder
from .block_surface import column_heights

SIZE = 64  # pixels of a block's side
_GAP = 4
_LIGHT = (-0.5, -0.7)  # slope towards which a surface is bright


def block_picture(decoder: Decoder, planes: Tensor, size: int = SIZE) -> np.ndarray:
    """Heights of one block's planes [3, C, R, R] from above, brighter where higher and shaded: uint8 [S, S, 3]."""
    heights = column_heights(decoder, planes, size).numpy()
    down, across = np.gradient(heights * size)
    shade = _LIGHT[0] * across + _LIGHT[1] * down
    grey = 0.15 + 0.7 * heights + 0.12 * np.tanh(shade)
    return np.repeat((grey.clip(0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


def plan_picture(layout: Tensor, classes: Sequence[str], size: int = SIZE) -> np.ndarray:
    """Class maps [K, H, W] in the palette's colours, later classes over earlier ones: uint8 [S, S, 3]."""
    colours = np.full((*layout.shape[-2:], 3), 255, np.uint8)
    for maps, name in zip(layout.numpy(), classes, strict=True):
        colours[maps > 0] = class_named(name).rgb
    return np.asarray(Image.fromarray(colours).resize((size, size), Image.Resampling.NEAREST))


def save_sheet(rows: Sequence[Sequence[np.ndarray]], path: str | os.PathLike[str]) -> None:
    """Write pictures [S, S, 3] of one size as a PNG, row by row.

    Raises:
        UserError: `E-ENV-WRITE`, `E-ENV-DISK`.
    """
    side = rows[0][0].shape[0] + _GAP
    sheet = np.full((side * len(rows) + _GAP, side * len(rows[0]) + _GAP, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for k, picture in enumerate(row):
            top, left = _GAP + i * side, _GAP + k * side
            sheet[top : top + side - _GAP, left : left + side - _GAP] = picture
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, format="PNG")
    write_bytes(path, stream.getvalue())
