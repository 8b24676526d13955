"""The durable queue: one SQLite table, first in first out, few per owner."""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fields.errors import UserError

from ..answers import not_found
from ..limits import Limits
from .model import RESUMABLE, UPLOAD, Job

_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, kind TEXT NOT NULL, title TEXT NOT NULL, parameters TEXT NOT NULL,
  state TEXT NOT NULL, created REAL NOT NULL, started REAL, finished REAL, progress TEXT, result TEXT, error TEXT,
  key TEXT, resume INTEGER NOT NULL DEFAULT 0, place INTEGER NOT NULL,
  UNIQUE (owner, key)
);
CREATE INDEX IF NOT EXISTS by_owner ON jobs (owner, number);
CREATE INDEX IF NOT EXISTS by_state ON jobs (state, place);
"""
_COLUMNS = tuple(f.name for f in fields(Job))
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM jobs"
_JSON = ("parameters", "progress", "result", "error")
_TITLE_LENGTH = 120
_WAITS = "(state IN ('queued', 'running'))"


@dataclass(frozen=True)
class Request:
    """What somebody wants done; requests of one owner with the same `key` are one job."""

    kind: str
    parameters: dict[str, Any]
    title: str
    key: str | None = None


class Store:
    """All jobs of a state folder. Every method is safe to call from any thread."""

    def __init__(self, path: Path, limits: Limits) -> None:
        """Open or make the file; a job that ran when the last server ended is interrupted."""
        self._limits, self._lock = limits, threading.RLock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.executescript(_TABLE)
        self._database.execute("UPDATE jobs SET state='interrupted', finished=? WHERE state='running'", (time.time(),))

    def close(self) -> None:
        """End the use of the file."""
        with self._lock:
            self._database.close()

    def add(self, owner: str, request: Request) -> tuple[Job, bool]:
        """Queue a job; the flag says whether it is a new one.

        Raises:
            UserError: `E-WEB-RATE` beyond the jobs of one owner, `E-WEB-FULL` beyond the queue.
        """
        with self._change():
            known = self._of_key(owner, request.key)
            if known is not None:
                return known, False
            self._refuse_more(owner)
            return self._insert(owner, request, "queued"), True

    def add_upload(self, owner: str, title: str, identity: str, result: dict[str, Any]) -> Job:
        """Record what somebody sent, under the id that its folder has already."""
        with self._change():
            made = self._insert(owner, Request(UPLOAD, {}, title), "done", identity)
            self._set(made.id, result=result, finished=time.time())
            return self.get(made.id)

    def get(self, identity: str) -> Job:
        """Any owner's job.

        Raises:
            UserError: `E-WEB-NOTFOUND`.
        """
        with self._lock:
            found = self._jobs("WHERE id=?", identity)
        if not found:
            raise not_found()
        return found[0]

    def owned(self, owner: str, identity: str) -> Job:
        """A job of this owner; another's looks like none at all."""
        with self._lock:
            found = self._jobs("WHERE id=? AND owner=?", identity, owner)
        if not found:
            raise not_found()
        return found[0]

    def of_owner(self, owner: str) -> list[Job]:
        """All jobs of an owner, the newest first."""
        with self._lock:
            return self._jobs("WHERE owner=? ORDER BY number DESC", owner)

    def queue(self) -> list[Job]:
        """Running and waiting jobs of all owners in the order in which they are served."""
        with self._lock:
            return self._jobs(f"WHERE {_WAITS} ORDER BY state='queued', place")

    def over_since(self, moment: float) -> list[Job]:
        """Jobs and uploads of all owners that were over at a time, and still are."""
        with self._lock:
            return self._jobs(f"WHERE finished <= ? AND NOT {_WAITS} ORDER BY number", moment)

    def knows(self, identity: str) -> bool:
        """Whether there is a job of this id."""
        with self._lock:
            return bool(self._jobs("WHERE id=?", identity))

    def take(self) -> Job | None:
        """The next job, which is running from now on; None when nothing waits."""
        with self._change():
            found = self._jobs("WHERE state='queued' ORDER BY place LIMIT 1")
            if not found:
                return None
            self._set(found[0].id, state="running", started=time.time(), finished=None, progress=None)
            return self.get(found[0].id)

    def report(self, identity: str, progress: dict[str, Any]) -> None:
        """Keep the newest progress of a running job."""
        with self._lock:
            self._set(identity, progress=progress)

    def end(self, identity: str, state: str, **more: Any) -> None:
        """A job is over; `more` are its result or error."""
        with self._lock:
            self._set(identity, state=state, finished=time.time(), **more)

    def cancel_waiting(self, owner: str, identity: str) -> bool:
        """Cancel a job that was not begun; False when there is nothing to do or it runs."""
        with self._change():
            if self.owned(owner, identity).state != "queued":
                return False
            self.end(identity, "cancelled")
            return True

    def requeue(self, owner: str, identity: str) -> Job:
        """Queue a job that stopped once more, behind all others.

        Raises:
            UserError: `E-WEB-NOTFOUND`, `E-WEB-BUSY` for one that did not stop, `E-WEB-RATE`, `E-WEB-FULL`.
        """
        with self._change():
            job = self.owned(owner, identity)
            if not job.resumable:
                raise UserError("E-WEB-BUSY", "this job cannot go on", got=job.state, expected=" ".join(RESUMABLE))
            self._refuse_more(owner)
            self._set(identity, state="queued", resume=1, error=None, place=self._place())
            return self.get(identity)

    def rename(self, owner: str, identity: str, title: str) -> Job:
        """Give a job another title."""
        with self._change():
            self.owned(owner, identity)
            self._set(identity, title=title[:_TITLE_LENGTH])
            return self.get(identity)

    def remove(self, owner: str, identity: str) -> None:
        """Forget a job.

        Raises:
            UserError: `E-WEB-NOTFOUND`, `E-WEB-BUSY` while it, or one that reads it, is waiting or running.
        """
        with self._change():
            job = self.owned(owner, identity)
            waiting = self._jobs(f"WHERE owner=? AND {_WAITS}", owner)
            if any(other.id == job.id or job.id in other.parameters.values() for other in waiting):
                raise UserError("E-WEB-BUSY", "a job that is not over uses this", fix="cancel that job first")
            self._database.execute("DELETE FROM jobs WHERE id=?", (identity,))

    def forget_unnamed(self, identity: str) -> bool:
        """Forget a job that no other job of its owner names in its parameters; False for one that is named."""
        with self._change():
            others = self._jobs("WHERE owner=(SELECT owner FROM jobs WHERE id=?)", identity)
            if any(identity in other.parameters.values() for other in others):
                return False
            self._database.execute("DELETE FROM jobs WHERE id=?", (identity,))
            return True

    def durations(self, kind: str) -> list[float]:
        """Seconds that the last finished jobs of a kind took."""
        text = "SELECT finished - started FROM jobs WHERE kind=? AND state='done' ORDER BY number DESC LIMIT 10"
        with self._lock:
            return [row[0] for row in self._database.execute(text, (kind,)) if row[0] is not None]

    def _refuse_more(self, owner: str) -> None:
        waiting = self.queue()
        if sum(job.owner == owner for job in waiting) >= self._limits.per_owner:
            raise UserError("E-WEB-RATE", "you have as many jobs as one person may", got=self._limits.per_owner,
                            expected="fewer waiting or running", fix="wait for one, or cancel one")  # fmt: skip
        if sum(job.state == "queued" for job in waiting) >= self._limits.waiting:
            raise UserError("E-WEB-FULL", "the queue is full", got=f"{self._limits.waiting} jobs", fix="try later")

    def _insert(self, owner: str, request: Request, state: str, identity: str | None = None) -> Job:
        identity = identity or new_id()
        self._database.execute(
            "INSERT INTO jobs (id, owner, kind, title, parameters, state, created, key, place)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (identity, owner, request.kind, request.title[:_TITLE_LENGTH], _text(request.parameters), state,
             time.time(), request.key, self._place()),
        )  # fmt: skip
        return self.get(identity)

    def _of_key(self, owner: str, key: str | None) -> Job | None:
        found = self._jobs("WHERE owner=? AND key=?", owner, key) if key is not None else []
        return found[0] if found else None

    def _place(self) -> int:
        return int(self._database.execute("SELECT COALESCE(MAX(place), 0) + 1 FROM jobs").fetchone()[0])

    def _jobs(self, where: str, *values: Any) -> list[Job]:
        return [_job(row) for row in self._database.execute(f"{_SELECT} {where}", values)]

    def _set(self, identity: str, **values: Any) -> None:
        names = ", ".join(f"{name}=?" for name in values)
        given = [_text(v) if name in _JSON and v is not None else v for name, v in values.items()]
        self._database.execute(f"UPDATE jobs SET {names} WHERE id=?", (*given, identity))

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Several statements that happen together or not at all."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")


def new_id() -> str:
    """A name that nobody guesses."""
    return secrets.token_urlsafe(16)


def _text(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def _job(row: tuple[Any, ...]) -> Job:
    values = dict(zip(_COLUMNS, row, strict=True))
    for name in _JSON:
        values[name] = json.loads(values[name]) if values[name] is not None else None
    values["resume"] = bool(values["resume"])
    return Job(**values)
