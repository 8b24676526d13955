"""Images of every allowed kind decode to straight-alpha RGBA; everything else is refused by name."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.images import decode, decode_mask, read_header, shrink
from fields.errors import ExitCode, UserError

GRADIENT = (np.arange(6 * 8 * 3) * 1.7).astype(np.uint8).reshape(6, 8, 3)


def load(path: Path) -> np.ndarray:
    return decode(path, read_header(path))


def refused(path: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        load(path)
    assert str(path) in str(caught.value) or path.name in str(caught.value)
    assert "Fix:" in str(caught.value)
    return caught.value


def test_rgb_photo_becomes_opaque_rgba(tmp_path: Path) -> None:
    Image.fromarray(GRADIENT).save(tmp_path / "a.png")
    pixels = load(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels[..., :3], GRADIENT)
    assert (pixels[..., 3] == 255).all()


def test_alpha_stays_straight(tmp_path: Path) -> None:
    rgba = np.concatenate([GRADIENT, np.full((6, 8, 1), 100, np.uint8)], axis=2)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_array_equal(load(tmp_path / "a.png"), rgba)
    assert read_header(tmp_path / "a.png").alpha


def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32896], [40000, 65278, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(load(tmp_path / "a.png")[..., 0], np.rint(values / 65535 * 255))


def test_16_bit_colour_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    values = np.array([[[0, 32896, 65535], [300, 40000, 65000]]], np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    write_png(tmp_path / "a.png", 2, 1, 16, 2, rows)
    np.testing.assert_allclose(load(tmp_path / "a.png")[..., :3], values / 65535 * 255, atol=1)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "CMYK"])
def test_other_colour_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    source = Image.fromarray(np.full((6, 8, 3), 200, np.uint8))
    source.convert(mode, dither=Image.Dither.NONE).save(path)
    pixels = load(path)
    assert pixels.shape == (6, 8, 4)
    assert (pixels[..., 3] == 255).all()
    np.testing.assert_allclose(pixels[..., :3], 255 if mode == "1" else 200, atol=6)


def test_transparent_palette_colour_becomes_alpha(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), mode=None).convert("P")
    image.save(tmp_path / "a.png", transparency=0)
    assert read_header(tmp_path / "a.png").alpha
    np.testing.assert_array_equal(load(tmp_path / "a.png")[..., 3], [[0, 255], [255, 0]])


def test_exif_orientation_is_applied_once(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(GRADIENT).save(tmp_path / "a.png", exif=exif)
    header = read_header(tmp_path / "a.png")
    assert (header.stored, header.size) == ((8, 6), (6, 8))
    np.testing.assert_array_equal(load(tmp_path / "a.png")[..., :3], np.rot90(GRADIENT, -1))


def test_damaged_exif_counts_as_upright(tmp_path: Path) -> None:
    Image.fromarray(GRADIENT).save(tmp_path / "a.jpg", exif=b"Exif\0\0garbage that is no TIFF")
    assert load(tmp_path / "a.jpg").shape == (6, 8, 4)


def test_single_pixel_loads(tmp_path: Path) -> None:
    Image.fromarray(np.full((1, 1, 3), 7, np.uint8)).save(tmp_path / "a.png")
    assert load(tmp_path / "a.png").tolist() == [[[7, 7, 7, 255]]]


def test_mask_of_zeros_and_ones_is_stretched(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8)).save(tmp_path / "a.png")
    header = read_header(tmp_path / "a.png")
    assert decode_mask(tmp_path / "a.png", header).tolist() == [[0, 255], [255, 0]]


def test_shrinking_ignores_the_colour_of_transparent_pixels() -> None:
    pixels = np.zeros((2, 4, 4), np.uint8)
    pixels[:, 0] = [200, 100, 50, 255]
    pixels[:, 1:] = [9, 250, 9, 0]
    assert shrink(pixels, 2).tolist() == [[[200, 100, 50, 128], [0, 0, 0, 0]]]


def test_shrinking_cuts_what_fills_no_box() -> None:
    assert shrink(np.zeros((5, 7, 4), np.uint8), 3).shape == (1, 2, 4)


def test_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    assert refused(tmp_path / "a.png").code == "E-IMG-EMPTY"


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_cut_image_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refused(path).code in ("E-IMG-CORRUPT", "E-IMG-FORMAT")


def test_flipped_bit_in_a_png_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))
    assert refused(path).code == "E-IMG-CORRUPT"


@pytest.mark.parametrize(
    "content",
    [
        b"just words, no picture",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"II*\0\x08\0\0\0",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"GIF89a\1\0\1\0\0\0\0;",
    ],
)
def test_other_formats_under_the_name_png_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    assert refused(tmp_path / "a.png").code == "E-IMG-FORMAT"


@pytest.mark.parametrize("side", [6400, 9600, 20000])
def test_huge_header_is_refused_before_decoding(tmp_path: Path, side: int) -> None:
    write_png(tmp_path / "a.png", side, side, 8, 2, b"")
    error = refused(tmp_path / "a.png")
    assert error.code == "E-LIMIT-IMAGE" and error.exit_code == ExitCode.LIMIT


def test_animated_image_is_refused(tmp_path: Path) -> None:
    first, second = Image.fromarray(GRADIENT), Image.fromarray(255 - GRADIENT)
    first.save(tmp_path / "a.webp", save_all=True, append_images=[second])
    assert refused(tmp_path / "a.webp").code == "E-IMG-ANIMATED"


def test_folder_pipe_and_dangling_link_are_refused_without_blocking(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    for name in ("folder.png", "pipe.png", "link.png"):
        assert refused(tmp_path / name).code == "E-IMG-KIND"


def test_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(GRADIENT).save(tmp_path / "a.png")

    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", deny)
    assert refused(tmp_path / "a.png").code == "E-IMG-READ"


def write_png(path: Path, width: int, height: int, depth: int, colour: int, rows: bytes) -> None:
    """A PNG chunk by chunk, for headers that Pillow would not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
