"""Records of jobs that came to no end of their own: a process that is killed leaves `running` in its run.json."""

from __future__ import annotations

import contextlib
from pathlib import Path

from fields.errors import UserError
from fields.safeio import read_json, write_json

from ..places import Places
from .model import Job, State

_RECORD = "run.json"
_SCENE = "scene"


def settle_records(places: Places, job: Job, state: State) -> None:
    """Let the records that a job wrote say what became of it, where they still say that it runs."""
    scene = job.parameters.get("scene") or job.id  # jobs on a scene write to the folder of the one that made it
    for path in (places.out(job.owner, job.id) / _RECORD, places.out(job.owner, scene) / _SCENE / _RECORD):
        with contextlib.suppress(UserError):  # one that cannot be read or written is not worth failing for
            _settle(path, state)


def _settle(path: Path, state: State) -> None:
    if not path.is_file():
        return
    document = read_json(path)
    if isinstance(document, dict) and document.get("status") == "running":
        write_json(path, {**document, "status": state})
