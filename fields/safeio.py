"""Every file Fieldscape writes goes through here: whole or not at all, and on the disk when it says so."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .errors import UserError

JSON_LIMIT_BYTES = 64 * 2**20
JSON_LIMIT_DEPTH = 64


@contextlib.contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that replaces `path` only when the block ends without an error.

    Temporary file in the same folder, fsync, rename, fsync of the folder: after a crash
    `path` holds the old bytes or the new ones.

    Raises:
        UserError: `E-ENV-WRITE` when the disk is full, read-only or fails.
    """
    path = Path(path)
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".tmp-{os.getpid()}-", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = ""
        sync_folder(path.parent)
    except OSError as error:
        raise _write_error(path, error) from error
    finally:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic_writer(path) as file:
        file.write(content)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON; NaN and infinity are refused (`ValueError`)."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def write_with(path: str | os.PathLike[str], save: Callable[[str], None]) -> None:
    """Let a library write a file by name (it keeps the suffix), then move it into place.

    Files that `save` writes beside it are moved first, so that what names them is never there without them.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".tmp-{os.getpid()}-", dir=path.parent) as folder:
            save(os.path.join(folder, path.name))
            names = sorted(os.listdir(folder), key=lambda name: name == path.name)
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    os.fsync(file.fileno())
            for name in names:
                os.replace(os.path.join(folder, name), path.with_name(name))
        sync_folder(path.parent)
    except OSError as error:
        raise _write_error(path, error) from error


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_stale(folder: Path) -> None:
    """Remove temporary files that killed processes left in `folder`."""
    for entry in folder.glob(".tmp-*"):
        pid = entry.name.split("-")[1] if entry.name.count("-") >= 2 else ""
        if pid.isdigit() and not _alive(int(pid)):
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _write_error(path: Path, error: OSError) -> UserError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return UserError(
        "E-ENV-DISK" if full else "E-ENV-WRITE",
        "no space left on the disk" if full else "cannot write",
        where=path,
        got=error.strerror or str(error),
        expected="a writable folder with free space",
        fix="free some space or choose another --out" if full else "choose another --out",
    )


def read_json(path: str | os.PathLike[str]) -> Any:
    """Strict JSON: UTF-8 (a BOM is fine), no NaN or infinity, no duplicate keys, depth at most 64.

    Raises:
        UserError: `E-JSON-SYNTAX`, `-NONFINITE`, `-DUP`, `-DEPTH`, `-NUMBER`, `E-LIMIT-JSON`.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > JSON_LIMIT_BYTES:
        raise UserError(
            "E-LIMIT-JSON",
            "JSON file is too large",
            where=path,
            got=f"{size} bytes",
            expected=f"at most {JSON_LIMIT_BYTES}",
            fix="split the file",
        )
    return parse_json(path.read_bytes(), path)


def parse_json(content: bytes, where: object) -> Any:
    """`read_json` for bytes at hand; `where` names their origin in errors."""

    def fail(code: str, what: str, got: object, fix: str) -> UserError:
        return UserError(code, what, where=where, got=got, expected="strict JSON", fix=fix)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in items:
            if key in found:
                raise fail("E-JSON-DUP", "duplicate key", repr(key), "keep one of the two")
            found[key] = value
        return found

    def constant(name: str) -> float:
        raise fail("E-JSON-NONFINITE", "number is not finite", name, "replace it by a finite number")

    def real(text: str) -> float:
        value = float(text)
        if value in (float("inf"), float("-inf")):
            constant(text)
        return value

    def integer(text: str) -> int:
        if len(text) > 400:
            raise fail("E-JSON-NUMBER", "number is too long", f"{len(text)} digits", "write a plain number")
        return int(text)

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise fail("E-JSON-SYNTAX", "not UTF-8 text", f"byte {error.start}", "save the file as UTF-8") from None
    if _depth(text) > JSON_LIMIT_DEPTH:
        raise fail(
            "E-JSON-DEPTH",
            "JSON is nested too deeply",
            f"more than {JSON_LIMIT_DEPTH} levels",
            "check that the file is complete",
        )
    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=constant, parse_float=real, parse_int=integer)
    except json.JSONDecodeError as error:
        raise UserError(
            "E-JSON-SYNTAX",
            "not valid JSON",
            where=f"{where}:{error.lineno}:{error.colno}",
            got=error.msg,
            expected="strict JSON",
            fix="check that the file is complete",
        ) from None


def _depth(text: str) -> int:
    """Deepest bracket nesting outside strings, without recursion."""
    depth = deepest = 0
    inside = escaped = False
    for c in text:
        if inside:
            if escaped:
                escaped = False
            elif c == "\\":
                escaped = True
            elif c == '"':
                inside = False
        elif c == '"':
            inside = True
        elif c in "[{":
            depth += 1
            deepest = max(deepest, depth)
            if deepest > JSON_LIMIT_DEPTH:
                return deepest
        elif c in "]}":
            depth -= 1
    return deepest
