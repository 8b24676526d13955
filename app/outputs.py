"""Where results go: refused before any work starts, so that nothing is lost at its end."""

from __future__ import annotations

import os
from pathlib import Path

from fields.errors import UserError

_NAME_BYTES = 255


def check_name(text: str, option: str = "--out") -> Path:
    """The path, when its name can be one on this system.

    Raises:
        UserError: `E-USAGE-NAME`.
    """
    long = [part for part in Path(text).parts if len(part.encode(errors="surrogateescape")) > _NAME_BYTES]
    if not text.strip() or "\0" in text or long:
        got = "an empty name" if not text.strip() else "a NUL character" if "\0" in text else f"{len(long[0])} letters"
        raise UserError(
            "E-USAGE-NAME",
            f"{option} cannot be a file name",
            got=got,
            expected=f"names of 1 to {_NAME_BYTES} bytes",
            fix="choose another name",
        )
    return Path(text)


def check_file(text: str, suffixes: tuple[str, ...], force: bool) -> Path:
    """A file that may be written: known suffix, not there yet (or `force`), in a place that can be written.

    Raises:
        UserError: `E-USAGE-NAME`, `E-USAGE-FORMAT`, `E-USAGE-EXISTS`, `E-ENV-WRITE`.
    """
    path = check_name(text)
    if text.endswith(("/", os.sep)) or path.is_dir():
        raise UserError(
            "E-USAGE-NAME",
            "--out is a folder",
            where=path,
            expected=f"a file, {' '.join(suffixes)}",
            fix=f"add a file name, such as result{suffixes[0]}",
        )
    if path.suffix.lower() not in suffixes:
        raise UserError(
            "E-USAGE-FORMAT",
            "--out has a format that is not written",
            where=path,
            got=path.suffix or "no suffix",
            expected=" ".join(suffixes),
            fix="change the suffix",
        )
    if path.exists() and not force:
        raise _exists(path, "a new file")
    check_writable(path)
    return path


def check_folder(text: str, force: bool) -> Path:
    """A folder for results: new or empty (or `force`), in a place that can be written.

    Raises:
        UserError: `E-USAGE-NAME`, `E-USAGE-EXISTS`, `E-ENV-WRITE`.
    """
    path = check_name(text)
    if path.exists() and not path.is_dir():
        raise _exists(path, "a folder")
    if path.is_dir() and not force and any(not entry.name.startswith(".") for entry in path.iterdir()):
        raise _exists(path, "a new or empty folder")
    check_writable(path)
    return path


def may_hold(resume: bool, force: bool) -> bool:
    """Whether an output may hold something already: to go on with it, or to be replaced.

    Raises:
        UserError: `E-USAGE-CONFLICT` for both at once.
    """
    if resume and force:
        raise UserError(
            "E-USAGE-CONFLICT",
            "--resume and --force contradict each other",
            expected="one of them",
            fix="keep --resume to go on, --force to start anew",
        )
    return resume or force


def check_writable(path: Path) -> None:
    """Refuse a place below which nothing can be made; nothing is made here.

    Raises:
        UserError: `E-ENV-WRITE`.
    """
    place = path if path.is_dir() else path.absolute().parent
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise UserError(
            "E-ENV-WRITE",
            "cannot write here",
            where=place,
            expected="a writable folder",
            got="a file" if place.is_file() else "a folder without write permission",
            fix="choose another --out",
        )


def check_apart(out: Path, *inputs: str | os.PathLike[str]) -> None:
    """Refuse an output that is one of the inputs.

    Raises:
        UserError: `E-USAGE-SAME`.
    """
    for source in inputs:
        if out.exists() and Path(source).exists() and os.path.samefile(out, source):
            raise UserError(
                "E-USAGE-SAME",
                "output is the input",
                where=out,
                expected="another place",
                fix="choose another --out",
            )


def _exists(path: Path, expected: str) -> UserError:
    return UserError(
        "E-USAGE-EXISTS",
        "output exists already",
        where=path,
        expected=expected,
        fix="replace it by --force, or choose another --out",
    )
