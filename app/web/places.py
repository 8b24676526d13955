"""Where things lie in the state folder: a folder for each owner, in it one for each job."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .answers import not_found

FIELD_FILE, WORLD = "field.safetensors", "world.json"  # in `out` of a job that makes a field or a scene
_HIDDEN = (".", "state-")  # unfinished writes, locks, and states that only a resumed job reads


@dataclass(frozen=True)
class Places:
    """Paths below one state folder."""

    root: Path

    def folder(self, owner: str, job: str) -> Path:
        """A job's own folder: its log and curve; made when it is not there."""
        path = self.root / "jobs" / owner / job
        path.mkdir(parents=True, exist_ok=True)
        return path

    def out(self, owner: str, job: str) -> Path:
        """The folder of a job's files, which its owner may read."""
        return self.root / "jobs" / owner / job / "out"

    def content(self, owner: str, job: str) -> Path:
        """The folder of what an uploaded archive held."""
        return self.root / "jobs" / owner / job / "content"

    def used(self, owner: str) -> int:
        """Bytes of all files of an owner."""
        return sum(_size(Path(top) / name) for top, _, names in os.walk(self.root / "jobs" / owner) for name in names)

    def all_folders(self) -> list[tuple[str, str]]:
        """Owner and job of every folder that is there, whether the store knows the job or not."""
        found = self.root.glob("jobs/*/*")
        return [(path.parent.name, path.name) for path in found if path.is_dir() and not path.is_symlink()]

    def free(self) -> int:
        """Bytes that can still be written to the disk."""
        return shutil.disk_usage(self.root).free

    def remove(self, owner: str, job: str) -> None:
        """Delete a job's folder."""
        shutil.rmtree(self.root / "jobs" / owner / job, ignore_errors=True)

    def listed(self, owner: str, job: str) -> list[dict[str, Any]]:
        """Files at the top of a job's `out`: name, bytes, and a number that changes with the content."""
        out = self.out(owner, job)
        if not out.is_dir():
            return []
        found = []
        for name in sorted(os.listdir(out)):
            path = out / name
            if _shown(name) and _is_plain_file(path):
                with contextlib.suppress(FileNotFoundError):  # replaced or removed in between
                    state = path.lstat()
                    found.append({"name": name, "bytes": state.st_size, "changed": state.st_mtime_ns // 10**6})
        return found

    def all_files(self, owner: str, job: str) -> list[tuple[str, Path]]:
        """Every file below a job's `out` with its name in an archive."""
        out = self.out(owner, job)
        found = [Path(top) / name for top, _, names in os.walk(out) for name in names if _shown(name)]
        return [(path.relative_to(out).as_posix(), path) for path in sorted(found) if _is_plain_file(path)]

    def file(self, owner: str, job: str, name: str) -> Path:
        """A file below a job's `out`.

        Raises:
            UserError: `E-WEB-NOTFOUND` for what is not there, hidden, a link (also a hard one), or outside.
        """
        out = self.out(owner, job)
        parts = name.split("/")
        if any(part in ("", ".", "..") or "\0" in part or "\\" in part or not _shown(part) for part in parts):
            raise not_found()
        path = out.joinpath(*parts)
        try:
            inside = os.path.realpath(path) == os.path.join(os.path.realpath(out), *parts)
        except (OSError, ValueError):
            inside = False
        if not inside or not _is_plain_file(path):
            raise not_found()
        return path


def _shown(name: str) -> bool:
    return not name.startswith(_HIDDEN)


def _is_plain_file(path: Path) -> bool:
    try:
        found = path.lstat()
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
