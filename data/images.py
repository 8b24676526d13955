"""Photos and masks: headers first, then pixels as straight-alpha RGBA of 8 bits."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fields.errors import UserError

from .files import is_regular

Pixels = NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 40_000_000
_ORIENTATION_TAG = 274
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Header:
    """What an image file says before it is decoded."""

    stored: tuple[int, int]  # width, height in the file
    size: tuple[int, int]  # width, height once turned upright
    orientation: int  # EXIF, 1 upright
    alpha: bool  # has an alpha channel or a transparent colour


def read_header(path: Path) -> Header:
    """The header of a PNG, JPEG or WebP file; nothing is decoded.

    Raises:
        UserError: `E-IMG-KIND` (no regular file), `E-IMG-READ`, `E-IMG-EMPTY`, `E-IMG-FORMAT`,
            `E-IMG-ANIMATED`, `E-LIMIT-IMAGE` (more than 40 megapixels).
    """
    with _opened(path) as image:
        pictures = getattr(image, "n_frames", 1)
        if pictures > 1:
            raise UserError(
                "E-IMG-ANIMATED",
                "image is animated",
                where=path,
                got=f"{pictures} pictures",
                expected="a single picture",
                fix="export one picture",
            )
        turn = _orientation(image)
        width, height = image.size
        alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
        return Header((width, height), (height, width) if turn >= 5 else (width, height), turn, alpha)


def decode(path: Path, header: Header) -> Pixels:
    """The photo upright as [H, W, 4] uint8, straight alpha.

    16-bit grey is scaled by 255/65535; grey, palette and CMYK become RGB.

    Raises:
        UserError: `E-IMG-CORRUPT` for damaged or cut files.
    """
    with _opened(path, damaged=True) as image:
        if image.size != header.stored:
            raise _damaged(path, "the file changed while it was read")
        image.load()
        pixels = _rgba(image)
        if header.orientation in _TURNS:
            pixels = np.asarray(Image.fromarray(pixels).transpose(_TURNS[header.orientation]))
        return pixels


def decode_mask(path: Path, header: Header) -> Pixels:
    """A mask as [H, W] uint8: 255 object, 0 not; files of zeros and ones are stretched."""
    grey = decode(path, header)[..., 0]
    return grey * np.uint8(255) if grey.max() == 1 else grey


def shrink(pixels: Pixels, factor: int) -> Pixels:
    """Box filter by a whole factor with premultiplied alpha, [H, W, 4] -> [H//f, W//f, 4].

    Columns and rows that fill no whole box are cut off at the right and the bottom.
    """
    if factor == 1:
        return pixels
    height, width = pixels.shape[0] // factor, pixels.shape[1] // factor
    boxes = (
        pixels[: height * factor, : width * factor]
        .reshape(height, factor, width, factor, 4)
        .astype(np.float32)
    )
    alpha = boxes[..., 3:]
    weight = alpha.sum(axis=(1, 3))
    rgb = (boxes[..., :3] * alpha).sum(axis=(1, 3)) / np.maximum(weight, 1)
    return np.rint(np.concatenate([rgb, weight / factor**2], axis=-1)).astype(np.uint8)


def _rgba(image: Image.Image) -> Pixels:
    if image.mode.startswith("I"):
        grey = np.rint(np.asarray(image).astype(np.float32) * (255 / 65535)).clip(0, 255).astype(np.uint8)
        return np.stack([grey, grey, grey, np.full_like(grey, 255)], axis=-1)
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGB")
    return np.asarray(image.convert("RGBA"))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation; a damaged EXIF block counts as upright."""
    if "exif" not in image.info:
        return 1
    with contextlib.suppress(Exception):
        turn = image.getexif().get(_ORIENTATION_TAG, 1)
        return turn if turn in _TURNS else 1
    return 1


@contextlib.contextmanager
def _opened(path: Path, damaged: bool = False) -> Iterator[Image.Image]:
    """The file open in Pillow, with whatever its decoders raise turned into a `UserError`.

    `damaged`: the header was read before, so trouble means damaged content.
    """
    if not is_regular(path):
        raise UserError(
            "E-IMG-KIND",
            "image is not a regular file",
            where=path,
            got=_kind(path),
            expected="a PNG, JPEG or WebP file",
            fix="replace it by the image",
        )
    try:
        if path.stat().st_size == 0:
            raise UserError(
                "E-IMG-EMPTY",
                "image file is empty",
                where=path,
                got="0 bytes",
                expected="a PNG, JPEG or WebP file",
                fix="copy the image again",
            )
        with _open_quietly(path) as image:
            yield image
    except UserError:
        raise
    except PermissionError as error:
        raise UserError(
            "E-IMG-READ",
            "image cannot be read",
            where=path,
            got=error.strerror or "no permission",
            expected="a readable file",
            fix="change the file's permissions",
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path, "far more") from error
    except Exception as error:  # Pillow's decoders raise a dozen kinds for damaged files
        raise _damaged(path, str(error)) if damaged else _bad_format(path, error) from error


def _open_quietly(path: Path) -> Image.Image:
    """`Image.open` limited to our formats, with the size checked before any pixel is touched."""
    image = Image.open(path, formats=FORMATS)
    if image.width * image.height > MAX_PIXELS or min(image.size) < 1:
        image.close()
        raise _too_large(path, f"{image.width} x {image.height} pixels")
    return image


def _kind(path: Path) -> str:
    if path.is_dir():
        return "a folder"
    return "a pipe, device or dangling link" if os.path.lexists(path) else "nothing there"


def _too_large(path: Path, got: str) -> UserError:
    return UserError(
        "E-LIMIT-IMAGE",
        "image is too large",
        where=path,
        got=got,
        expected=f"at most {MAX_PIXELS // 1_000_000} megapixels",
        fix="scale the images down",
    )


def _bad_format(path: Path, error: Exception) -> UserError:
    known = isinstance(error, Image.UnidentifiedImageError)
    return UserError(
        "E-IMG-FORMAT",
        "not a PNG, JPEG or WebP image",
        where=path,
        got=f"a file that starts with {_start(path)}" if known else str(error),
        expected="PNG, JPEG or WebP content",
        fix="convert the image",
    )


def _start(path: Path) -> str:
    with open(path, "rb") as file:
        return ascii(file.read(8))


def _damaged(path: Path, got: str) -> UserError:
    return UserError(
        "E-IMG-CORRUPT",
        "image is damaged or cut",
        where=path,
        got=got or "unreadable content",
        expected="a complete image",
        fix="copy or export the image again",
    )
