"""One writer per folder: a lock that a killed process cannot leave behind."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from .errors import UserError

LOCK_NAME = ".lock"


class FolderLock:
    """Exclusive advisory lock on a folder, released on `release`, on `with` exit, or with the process.

    The file stays when the lock is released: removing it would let two processes lock two files
    of the same name. It holds the owner's pid, for the message only.
    """

    def __init__(self, folder: Path) -> None:
        """Raises `UserError`: `E-ENV-LOCK` when another process holds it, `E-ENV-WRITE` if impossible."""
        path = folder / LOCK_NAME
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _cannot(folder, error) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            owner = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip()
            self.release()
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise _cannot(folder, error) from error
            raise UserError(
                "E-ENV-LOCK",
                "another process is writing this folder",
                where=folder,
                got=f"pid {owner or '?'}",
                expected="one writer at a time",
                fix="wait until it ends, or choose another --out",
            ) from None

    def release(self) -> None:
        """Let others in; does nothing the second time."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _cannot(folder: Path, error: OSError) -> UserError:
    return UserError(
        "E-ENV-WRITE",
        "cannot lock the folder",
        where=folder,
        got=error.strerror,
        expected="a writable folder",
        fix="choose another --out",
    )
