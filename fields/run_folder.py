"""The folder of one fit or conversion: its record, its newest finished field, its resumable states."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from .checkpoint import Header, expect, load_tensors, save_tensors
from .errors import UserError
from .folder_lock import LOCK_NAME, FolderLock
from .safeio import read_json, remove_stale, write_json

RECORD_NAME = "run.json"
FIELD_NAME = "field.safetensors"
_STATE_PREFIX = "state-"
_STATES_KEPT = 2


@dataclass(frozen=True)
class State:
    """A resumable training state; `skipped` tells why newer ones were passed over."""

    step: int
    tensors: dict[str, Tensor]
    header: Header
    skipped: tuple[str, ...] = ()


class RunFolder:
    """Write access to a run folder, held by one process until `close` or the end of the `with` block.

    Everything in it is replaced atomically, so a killed run leaves a readable folder, and its next
    start removes what was half-written.
    """

    def __init__(self, path: str | os.PathLike[str], *, resume: bool = False, force: bool = False) -> None:
        """Create or take over the folder `path`.

        A folder with content needs `resume` (go on with the run in it) or `force` (discard the run
        in it; files that are not the run's stay).

        Raises:
            UserError: `E-USAGE-EXISTS`, `E-ENV-LOCK`, `E-ENV-WRITE`.
        """
        self.path = Path(path)
        if not force and not (resume and is_run(self.path)):
            _refuse_content(self.path)
        _make(self.path)
        self._lock = FolderLock(self.path)
        remove_stale(self.path)
        if force and not resume:
            self._discard()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the folder free for other processes."""
        self._lock.release()

    @property
    def field_path(self) -> Path:
        return self.path / FIELD_NAME

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write the structured record of the run (settings, versions, seconds, metrics) to run.json."""
        write_json(self.path / RECORD_NAME, dict(record))

    def read_record(self) -> dict[str, Any] | None:
        """The record of the run, None before the first `write_record`."""
        return read_record(self.path)

    def save_field(self, tensors: Mapping[str, Tensor], header: Header) -> Path:
        """Replace the run's finished field; `header` as in `save_tensors`, its type is "field".

        Of the states only the newest stays, for a run that goes on with a longer budget: a damaged one
        would cost that, but not the result.
        """
        save_tensors(self.field_path, tensors, {**header, "type": "field"})
        for state in _states(self.path)[1:]:
            state.unlink(missing_ok=True)
        return self.field_path

    def save_state(self, step: int, tensors: Mapping[str, Tensor], header: Header) -> Path:
        """Store a resumable state and keep the one before it.

        States of later steps go too: the run came back to an earlier one because they did not verify.
        """
        path = self.path / f"{_STATE_PREFIX}{step:09d}.safetensors"
        save_tensors(path, tensors, {**header, "type": "state", "step": step})
        states = _states(self.path)
        newest = states.index(path)
        for other in states[:newest] + states[newest + _STATES_KEPT :]:
            other.unlink(missing_ok=True)
        return path

    def load_state(self) -> State | None:
        """The newest state that verifies, None without any.

        Raises:
            UserError: the newest state's problem, when there are states but none verifies.
        """
        problems: list[UserError] = []
        for path in _states(self.path):
            try:
                tensors, header = load_tensors(path)
                expect(header, path, type="state")
            except UserError as error:
                problems.append(error)
                continue
            return State(int(header["step"]), tensors, header, tuple(p.line() for p in problems))
        if problems:
            raise problems[0]
        return None

    def _discard(self) -> None:
        for path in (self.path / RECORD_NAME, self.field_path, *_states(self.path)):
            path.unlink(missing_ok=True)


def is_run(path: Path) -> bool:
    """Whether `path` is a folder that a run has written its record, field or a state to."""
    return (path / RECORD_NAME).is_file() or (path / FIELD_NAME).is_file() or bool(_states(path))


def read_record(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The record in a run folder, None if there is none; raises `UserError` for broken JSON."""
    file = Path(path) / RECORD_NAME
    if not file.is_file():
        return None
    record = read_json(file)
    if not isinstance(record, dict):
        raise UserError("E-JSON-SYNTAX", "run record is not an object", where=file, got=type(record).__name__,
                        expected="a JSON object", fix="start the run anew with --force")  # fmt: skip
    return record


def resolve_field(path: str | os.PathLike[str]) -> Path:
    """The field file that FIELD (a run folder or a field file) stands for.

    Raises:
        UserError: `E-CKPT-MISSING`.
    """
    path = Path(path)
    if path.is_dir():
        if (path / FIELD_NAME).is_file():
            return path / FIELD_NAME
        what, fix = "not a run folder", "name a run folder or a field file"
        if is_run(path):
            what, fix = "run has not finished a field yet", "finish it: fieldscape fit … --resume"
        raise UserError("E-CKPT-MISSING", what, where=path, expected=FIELD_NAME, fix=fix)
    if not path.exists():
        raise UserError("E-CKPT-MISSING", "no such run folder or field file", where=path,
                        fix="check the path, or make it: fieldscape fit SOURCE --out RUN")  # fmt: skip
    return path


def _states(folder: Path) -> list[Path]:
    """State files, newest step first."""
    found = {}
    for path in folder.glob(f"{_STATE_PREFIX}*.safetensors"):
        digits = path.stem[len(_STATE_PREFIX) :]
        if digits.isdecimal():
            found[path] = int(digits)
    return sorted(found, key=lambda path: found[path], reverse=True)


def _refuse_content(path: Path) -> None:
    if path.is_dir() and all(e.name == LOCK_NAME or e.name.startswith(".tmp-") for e in path.iterdir()):
        return
    if path.exists() or path.is_symlink():
        raise UserError(
            "E-USAGE-EXISTS",
            "output exists already",
            where=path,
            expected="a new or empty folder",
            fix="go on with it by --resume, replace it by --force, or choose another --out",
        )


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise UserError("E-ENV-WRITE", "cannot make the folder", where=path, got=error,
                        expected="a writable place", fix="choose another --out") from error  # fmt: skip
