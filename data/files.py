"""Looking into a capture folder without ever leaving it."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fields.errors import UserError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
TEXT_LIMIT_BYTES = 2**20


def existing(path: str | os.PathLike[str]) -> Path:
    """`path`, which must be a folder or a JSON file.

    Raises:
        UserError: `E-DATA-NOTFOUND`, which names the nearest parent that exists.
    """
    found = Path(path)
    if found.is_dir() or (found.suffix.lower() == ".json" and found.is_file()):
        return found
    if found.exists():
        raise UserError(
            "E-DATA-NOTFOUND",
            "not a capture folder",
            where=found,
            got="a file",
            expected="a folder, or a transforms .json file",
            fix="pass the folder that holds the images",
        )
    parent = next((folder for folder in found.absolute().parents if folder.is_dir()), Path("/"))
    raise UserError(
        "E-DATA-NOTFOUND",
        "capture folder does not exist",
        where=found,
        got="nothing there",
        expected="an existing folder",
        fix=f"check the spelling; the nearest folder that exists is {parent}",
    )


def is_regular(path: Path) -> bool:
    """True for a plain file (links followed): never for folders, pipes and devices."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def require_inside(path: Path, root: Path, where: object) -> Path:
    """`path` when it lies below `root` after following links; else `E-PATH-ESCAPE`."""
    real, real_root = os.path.realpath(path), os.path.realpath(root)
    if os.path.commonpath([real, real_root]) != real_root:
        raise _escape(where, path)
    return path


def safe_join(root: Path, relative: object, where: object) -> Path:
    """`root / relative` for a relative path written in a capture file.

    Raises:
        UserError: `E-TF-PATH` for anything but a printable non-empty string,
            `E-PATH-ESCAPE` for absolute paths and `..`.
    """
    if not isinstance(relative, str) or not relative.strip() or not relative.isprintable():
        kind = "an empty string" if relative == "" else type(relative).__name__
        raise UserError(
            "E-TF-PATH",
            "image path is not usable",
            where=where,
            got=ascii(relative) if isinstance(relative, str) and relative else kind,
            expected="a relative path",
            fix="write the image's path relative to this file",
        )
    plain = relative.replace("\\", "/")
    parts = plain.split("/")
    if plain.startswith("/") or ".." in parts or ":" in parts[0]:
        raise _escape(where, relative)
    return root.joinpath(*(part for part in parts if part not in ("", ".")))


def _escape(where: object, got: object) -> UserError:
    return UserError(
        "E-PATH-ESCAPE",
        "path leaves the capture folder",
        where=where,
        got=got,
        expected="a path inside the folder",
        fix="move the file into the folder",
    )


class Finder:
    """Finds files of one capture whatever the case of their names; folders are listed once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._listed: dict[Path, dict[str, str]] = {}

    def listing(self, folder: Path) -> dict[str, str]:
        """Lower-case name -> real name of every entry."""
        if folder not in self._listed:
            try:
                names = sorted(os.listdir(folder))
            except OSError:
                names = []
            self._listed[folder] = {name.lower(): name for name in names}
        return self._listed[folder]

    def find(self, path: Path, where: object, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> Path | None:
        """The file called `path`, with any case and, when the name lacks it, any known extension."""
        listing = self.listing(path.parent)
        if path.name in listing.values():
            return require_inside(path, self.root, where)
        for name in (path.name, *(path.name + suffix for suffix in suffixes)):
            real = listing.get(name.lower())
            if real is not None:
                return require_inside(path.with_name(real), self.root, where)
        return None


def images_in(folder: Path) -> list[Path]:
    """Image files of a folder by name, sorted."""
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."
    )


def read_numbers(path: Path, prefix: str) -> list[list[float]]:
    """Numbers of a small text file, one list for each line that is not empty.

    Raises:
        UserError: `E-<prefix>-NUMBER` for words, decimal commas and numbers that are not finite.
    """
    if not is_regular(path) or path.stat().st_size > TEXT_LIMIT_BYTES:
        raise UserError(
            f"E-{prefix}-FILE",
            "not a small text file",
            where=path,
            expected=f"a regular file of at most {TEXT_LIMIT_BYTES} bytes",
            fix="check the folder",
        )
    rows = []
    for number, line in enumerate(path.read_bytes().decode("utf-8", "replace").splitlines(), 1):
        words = [word.rstrip(",") for word in line.lstrip("\ufeff").split()]
        if words:
            rows.append([_number(word, prefix, f"{path}:{number}") for word in words])
    return rows


def _number(word: str, prefix: str, where: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        fix = "write decimal points, not commas" if "," in word else "write a finite number"
        raise UserError(
            f"E-{prefix}-NUMBER",
            "not a finite number",
            where=where,
            got=ascii(word),
            expected="a number such as 1.5",
            fix=fix,
        )
    return value


def read_npy(path: Path) -> NDArray[np.generic]:
    """An array from a .npy file whose header has been compared with the file's size first.

    Raises:
        UserError: `E-NPY-PICKLE`, `E-NPY-SIZE`, `E-NPY-FORMAT`.
    """
    if not is_regular(path):
        raise UserError(
            "E-NPY-FORMAT",
            "not a regular file",
            where=path,
            expected="a .npy file",
            fix="replace it by the file that the pose estimation wrote",
        )
    with open(path, "rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(file)
        except Exception as error:  # a damaged header raises whatever numpy's literal parser meets
            raise UserError(
                "E-NPY-FORMAT",
                "not a NumPy array file",
                where=path,
                got=f"{path.stat().st_size} bytes",
                expected="a complete .npy file",
                fix="export the array again",
            ) from error
        available = path.stat().st_size - file.tell()
    if dtype.hasobject:
        raise UserError(
            "E-NPY-PICKLE",
            "array holds Python objects, which are never loaded",
            where=path,
            got=str(dtype),
            expected="plain numbers",
            fix="save the array as float64",
        )
    if any(side < 0 for side in shape) or math.prod(shape) * dtype.itemsize > available:
        raise UserError(
            "E-NPY-SIZE",
            "array is larger than its file",
            where=path,
            got=f"shape {shape} in {available} bytes",
            expected="as many bytes as the shape needs",
            fix="copy the file again",
        )
    return np.asarray(np.load(path, allow_pickle=False))
