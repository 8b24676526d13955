"""Zip archives of strangers: unpacked into a folder, or refused whole."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterable
from pathlib import Path

from fields.errors import UserError
from fields.safeio import atomic_writer

from .limits import MIB, Limits
from .names import safe_parts

_CHUNK = 1 << 18
_SMALL = 10 * MIB  # expanded: below it, a high ratio is a blank picture and no bomb
_ENCRYPTED = 0x1
_LITTER = ("__MACOSX", ".DS_Store", "Thumbs.db")


def unpack(archive: Path, folder: Path, limits: Limits) -> None:
    """Write every file of `archive` below `folder`.

    Raises:
        UserError: `E-ZIP-BROKEN`, `E-ZIP-LINK`, `E-PATH-ESCAPE`, `E-LIMIT-ARCHIVE`; nothing is written for what the
            archive's own list tells.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [m for m in opened.infolist() if not m.is_dir() and not _is_litter(m.filename)]
            _check(members, limits)
            _extract(opened, members, folder, limits)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, RuntimeError, OSError) as error:
        raise UserError("E-ZIP-BROKEN", "the archive cannot be read", where=archive.name, got=error,
                        expected="a plain zip file", fix="pack it anew") from None  # fmt: skip


def _check(members: list[zipfile.ZipInfo], limits: Limits) -> None:
    total, packed = sum(m.file_size for m in members), sum(m.compress_size for m in members)
    if not members:
        raise UserError("E-ZIP-BROKEN", "the archive holds no files", expected="photos or a mesh", fix="pack it anew")
    if len(members) > limits.members:
        raise _too_much("files", len(members), limits.members)
    if total > limits.expanded:
        raise _too_much("MiB expanded", total // MIB, limits.expanded // MIB)
    if total > _SMALL and total > limits.ratio * packed:
        raise _too_much("times its size expanded", total // max(1, packed), limits.ratio)
    for member in members:
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
            raise UserError("E-ZIP-LINK", "the archive holds a link", where=member.filename, expected="plain files",
                            fix="pack the files themselves")  # fmt: skip
        if member.flag_bits & _ENCRYPTED:
            raise UserError("E-ZIP-BROKEN", "the archive is encrypted", where=member.filename, fix="pack it anew")
        safe_parts(member.filename)


def _extract(opened: zipfile.ZipFile, members: Iterable[zipfile.ZipInfo], folder: Path, limits: Limits) -> None:
    """Write members; sizes are counted as they come, for what the archive's list says may be a lie."""
    left = limits.expanded
    for member in members:
        with opened.open(member) as source, atomic_writer(folder.joinpath(*safe_parts(member.filename))) as target:
            while chunk := source.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise _too_much("MiB expanded", limits.expanded // MIB + 1, limits.expanded // MIB)
                target.write(chunk)


def _is_litter(name: str) -> bool:
    return any(part in _LITTER for part in name.split("/"))


def _too_much(what: str, got: int, most: int) -> UserError:
    return UserError("E-LIMIT-ARCHIVE", "the archive is too large", got=f"{got} {what}", expected=f"at most {most}",
                     fix="send less at once")  # fmt: skip
