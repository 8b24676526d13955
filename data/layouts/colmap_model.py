"""COLMAP sparse models, binary and text: https://colmap.github.io/format.html."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fields.errors import UserError

from ..files import is_regular
from .base import Array

# model id -> (name, number of parameters)
_MODELS = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    7: ("FOV", 5),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
    10: ("THIN_PRISM_FISHEYE", 12),
    11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
}
_PARAMETERS = dict(_MODELS.values())
_MAX_FILE_BYTES = 2**31
_MAX_NAME_BYTES = 4096


@dataclass(frozen=True)
class ModelCamera:
    """One lens as COLMAP stores it."""

    model: str
    width: int
    height: int
    parameters: tuple[float, ...]


@dataclass(frozen=True)
class ModelImage:
    """One registered photo: world-to-camera rotation (w x y z) and translation, OpenCV axes."""

    name: str
    camera: int
    quaternion: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True)
class Model:
    """A sparse reconstruction."""

    folder: Path
    cameras: dict[int, ModelCamera]
    images: tuple[ModelImage, ...]
    points: Array  # [P, 3]


def has_model(folder: Path) -> bool:
    """True when the folder holds cameras and images, as .bin or as .txt."""
    return any(
        (folder / f"cameras{kind}").exists() and (folder / f"images{kind}").exists()
        for kind in (".bin", ".txt")
    )


def read_model(folder: Path, kind: str = "") -> Model:
    """The model in `folder`; `kind` is ".bin" or ".txt", by default .bin when it is there.

    Every count is compared with the bytes left before anything is allocated.

    Raises:
        UserError: `E-COLMAP-TRUNCATED`, `-MODEL`, `-NUMBER`, `-FILE`, `E-LIMIT-COLMAP`.
    """
    kind = kind or (".bin" if (folder / "cameras.bin").exists() else ".txt")
    cameras, images, points = (folder / f"{part}{kind}" for part in ("cameras", "images", "points3D"))
    if kind == ".bin":
        xyz = _binary_points(_Bytes(points)) if points.exists() else np.zeros((0, 3))
        return Model(folder, _binary_cameras(_Bytes(cameras)), tuple(_binary_images(_Bytes(images))), xyz)
    xyz = _text_points(points) if points.exists() else np.zeros((0, 3))
    return Model(folder, _text_cameras(cameras), tuple(_text_images(images)), xyz)


def count_images(folder: Path) -> int:
    """How many photos the model claims to hold, without reading it."""
    path = folder / "images.bin"
    if is_regular(path):
        return _Bytes(path).count(1) if path.stat().st_size >= 8 else 0
    path = folder / "images.txt"
    return len(_lines(path)) // 2 if is_regular(path) else 0


class _Bytes:
    """A little-endian file read from the front; reading past its end is a `UserError`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = _content(path)
        self.offset = 0

    def take(self, layout: struct.Struct) -> tuple[float, ...]:
        """The next values."""
        if self.offset + layout.size > len(self.content):
            raise self.truncated(f"the file ends at byte {len(self.content)}")
        values = layout.unpack_from(self.content, self.offset)
        self.offset += layout.size
        return values

    def count(self, smallest: int) -> int:
        """The next uint64, a number of things of at least `smallest` bytes each."""
        number = int(self.take(_COUNT)[0])
        left = len(self.content) - self.offset
        if number * smallest > left and smallest > 1:
            raise self.truncated(f"{number} entries claimed with {left} bytes left")
        return number

    def skip(self, size: int) -> None:
        """Pass over bytes."""
        if self.offset + size > len(self.content):
            raise self.truncated(f"the file ends at byte {len(self.content)}")
        self.offset += size

    def text(self) -> str:
        """The next zero-terminated UTF-8 string."""
        end = self.content.find(b"\0", self.offset, self.offset + _MAX_NAME_BYTES)
        if end < 0:
            raise self.truncated("an image name has no end")
        name = self.content[self.offset : end].decode("utf-8", "replace")
        self.offset = end + 1
        return name

    def truncated(self, got: str) -> UserError:
        """The error for a file that is shorter than it claims."""
        return UserError(
            "E-COLMAP-TRUNCATED",
            "COLMAP file is cut or damaged",
            where=f"{self.path}:byte {self.offset}",
            got=got,
            expected="as many bytes as its counts need",
            fix="copy the sparse model again",
        )


_COUNT = struct.Struct("<Q")
_CAMERA = struct.Struct("<iiQQ")
_IMAGE = struct.Struct("<I7dI")
_POINT = struct.Struct("<Q3d3BdQ")


def _content(path: Path) -> bytes:
    if not is_regular(path):
        raise UserError(
            "E-COLMAP-FILE",
            "part of the sparse model is missing",
            where=path,
            got="no regular file",
            expected="cameras, images and points3D",
            fix="copy the whole sparse model",
        )
    size = path.stat().st_size
    if size > _MAX_FILE_BYTES:
        raise UserError(
            "E-LIMIT-COLMAP",
            "COLMAP file is too large",
            where=path,
            got=f"{size} bytes",
            expected=f"at most {_MAX_FILE_BYTES}",
            fix="use a smaller reconstruction",
        )
    return path.read_bytes()


def _binary_cameras(file: _Bytes) -> dict[int, ModelCamera]:
    cameras = {}
    for _ in range(file.count(_CAMERA.size)):
        where = f"{file.path}:byte {file.offset}"
        number, model, width, height = (int(value) for value in file.take(_CAMERA))
        if model not in _MODELS:
            raise _unknown_model(model, where)
        name, count = _MODELS[model]
        cameras[number] = ModelCamera(name, width, height, file.take(struct.Struct(f"<{count}d")))
    return cameras


def _binary_images(file: _Bytes) -> Iterator[ModelImage]:
    for _ in range(file.count(_IMAGE.size + 9)):
        values = file.take(_IMAGE)
        name = file.text()
        file.skip(24 * file.count(24))
        yield ModelImage(name, int(values[8]), values[1:5], values[5:8])


def _binary_points(file: _Bytes) -> Array:
    points = np.zeros((file.count(_POINT.size), 3))
    for row in range(len(points)):
        values = file.take(_POINT)
        points[row] = values[1:4]
        file.skip(8 * int(values[8]))
    return points


def _unknown_model(model: object, where: str) -> UserError:
    return UserError(
        "E-COLMAP-MODEL",
        "camera model is unknown",
        where=where,
        got=ascii(model),
        expected=", ".join(_PARAMETERS),
        fix="export the model again with a newer COLMAP",
    )


def _lines(path: Path) -> list[tuple[int, str]]:
    """Numbered lines that are no comments; empty ones are kept, as images.txt gives them a meaning."""
    text = _content(path).decode("utf-8-sig", "replace")
    return [(i, line) for i, line in enumerate(text.splitlines(), 1) if not line.startswith("#")]


def _numbers(words: list[str], where: str, count: int) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) < count or not all(math.isfinite(value) for value in values):
        raise UserError(
            "E-COLMAP-NUMBER",
            "line is not usable",
            where=where,
            got=ascii(" ".join(words))[:60],
            expected=f"{count} finite numbers",
            fix="export the model as text again",
        )
    return values


def _text_cameras(path: Path) -> dict[int, ModelCamera]:
    cameras = {}
    for number, line in _lines(path):
        words, where = line.split(), f"{path}:{number}"
        if not words:
            continue
        if len(words) < 2 or words[1] not in _PARAMETERS:
            raise _unknown_model(words[1] if len(words) > 1 else line, where)
        count = _PARAMETERS[words[1]]
        values = _numbers([words[0], *words[2:]], where, 3 + count)
        cameras[int(values[0])] = ModelCamera(
            words[1], int(values[1]), int(values[2]), tuple(values[3 : 3 + count])
        )
    return cameras


def _text_images(path: Path) -> Iterator[ModelImage]:
    """Two lines for each photo, of which the second (its features) may be empty."""
    lines = _lines(path)
    while lines and not lines[0][1].strip():
        lines.pop(0)
    for number, line in lines[::2]:
        words = line.split(maxsplit=9)
        if not words:
            continue
        values = _numbers(words[:9], f"{path}:{number}", 9)
        if len(words) < 10:
            raise UserError(
                "E-COLMAP-NUMBER",
                "photo has no name",
                where=f"{path}:{number}",
                got=ascii(line)[:60],
                expected="id, quaternion, translation, camera, name",
                fix="export the model again",
            )
        yield ModelImage(words[9].strip(), int(values[8]), tuple(values[1:5]), tuple(values[5:8]))


def _text_points(path: Path) -> Array:
    rows = [
        _numbers(line.split(maxsplit=4)[1:4], f"{path}:{number}", 3)
        for number, line in _lines(path)
        if line.strip()
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)
