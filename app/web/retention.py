"""What is deleted without being asked for: only what nobody can miss."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .jobs.kinds import KINDS
from .jobs.model import UPLOAD, Job
from .jobs.store import Store
from .limits import Limits
from .places import FIELD_FILE, WORLD, Places

_ORIGINALS = ("capture", "mesh")  # kinds of uploads whose sender has them still
_WITHOUT_RESULT = ("failed", "cancelled")
_UNRECORDED_SECONDS = 3600.0  # an upload is recorded when it was read, which takes less


def sweep(store: Store, places: Places, limits: Limits, now: float) -> None:
    """Delete folders that no job has: of uploads and deletions that were cut off. `now` in unix seconds.

    Of what is over for `limits.kept_seconds`, delete also

    * photos and meshes that were sent, but that no job ever named and nobody gave a title;
    * files of failed and cancelled jobs that left nothing to use, to look at or to go on with. Such a job is still
      listed, and can be started anew.

    Fields, worlds, results and whatever another job was made from stay until their owner deletes them.
    """
    for job in store.over_since(now - limits.kept_seconds):
        if job.kind == UPLOAD:
            if _is_original(job) and store.forget_unnamed(job.id):
                places.remove(job.owner, job.id)
        elif job.state in _WITHOUT_RESULT and not _left_something(job, places):
            places.remove(job.owner, job.id)
    _remove_unrecorded(store, places, now - _UNRECORDED_SECONDS)


def _is_original(job: Job) -> bool:
    result = job.result or {}
    return result.get("kind") in _ORIGINALS and job.title == result.get("name")


def _left_something(job: Job, places: Places) -> bool:
    out, kind = places.out(job.owner, job.id), KINDS.get(job.kind)
    names = [FIELD_FILE, WORLD] + ([kind.trace] if kind is not None and kind.trace else [])
    return any((out / name).is_file() for name in names)


def _remove_unrecorded(store: Store, places: Places, before: float) -> None:
    for owner, job in places.all_folders():
        folder: Path = places.folder(owner, job)
        if not store.knows(job) and os.stat(folder).st_mtime < before:
            shutil.rmtree(folder, ignore_errors=True)
