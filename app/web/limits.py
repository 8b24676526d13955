"""Every limit of the web app in one place; tests and the command line raise or lower them."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20
GIB = 2**30


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    # requests
    json_body: int = MIB
    file: int = 64 * MIB
    upload: int = 128 * MIB
    parts: int = 1000
    body_seconds: float = 30.0  # a body (or head) must be there by then; uploads get more, by their size
    upload_rate: int = 64 * 1024  # bytes a second below which an upload is cut
    requests_per_second: float = 60.0  # of one owner
    request_burst: int = 300
    submits_per_minute: int = 10
    connections: int = 400
    # jobs
    waiting: int = 16
    per_owner: int = 2  # waiting and running
    job_seconds: float = 600.0
    job_memory: int = 8 * GIB
    cancel_seconds: float = 1.5  # between asking a worker to stop and killing it
    threads: int = 2
    quota: int = 10**9  # of one owner's files
    disk_reserve: int = GIB  # that is left free on the disk
    kept_seconds: float = 7 * 86_400.0  # what `retention` deletes stays this long
    # reading uploads
    reader_memory: int = 2 * GIB
    reader_seconds: int = 20
    expanded: int = GIB
    ratio: int = 100
    members: int = 10_000
    # looking
    look_side: int = 1024
    look_memory: int = 6 * GIB
    look_seconds: float = 20.0
    coarse_seconds: float = 0.06  # that making a coarse picture aims at
    fine_seconds: float = 4.0  # and a fine one
