"""What an owner can do, for the JSON routes, gradio's endpoints and the pages alike."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from fields.errors import UserError
from fields.safeio import read_json

from .answers import not_found
from .jobs.kinds import KINDS, kind_of
from .jobs.model import UPLOAD, Job
from .jobs.parameters import BACKEND_NAMES, MODEL, SAMPLE, Preset, checked
from .jobs.store import Request, Store
from .jobs.supervisor import Supervisor, seconds_of
from .limits import Limits
from .places import FIELD_FILE, WORLD, Places
from .rates import Rates

_KEY_LENGTH = 100
_WEIGHTS = Path(__file__).resolve().parents[2] / "scenegen" / "weights"


class Service:
    """The server's store, its places and its supervisor behind checks of who asks."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self.limits = limits
        self.places = Places(root)
        self.store = Store(root / "jobs.sqlite", limits)
        self.supervisor = Supervisor(self.store, self.places, limits, self.inputs)
        self._submits = Rates(limits.submits_per_minute / 60, limits.submits_per_minute)

    def close(self) -> None:
        """Stop the running job and close the store."""
        self.supervisor.close()
        self.store.close()

    def submit(
        self, owner: str, kind: str, parameters: dict[str, Any], key: str | None = None, title: str | None = None
    ) -> dict[str, Any]:
        """Queue a job; the same `key` again gives the same job.

        Raises:
            UserError: `E-WEB-FIELD`, `E-WEB-NOTFOUND` for what it names, `E-WEB-RATE`, `E-WEB-FULL`, `E-WEB-QUOTA`.
        """
        return self.submitted(owner, kind, parameters, key, title)[0]

    def submitted(
        self, owner: str, kind: str, parameters: dict[str, Any], key: str | None = None, title: str | None = None
    ) -> tuple[dict[str, Any], bool]:
        """As `submit`, with whether the job is a new one."""
        known = kind_of(kind)
        values = checked(known.parameters, parameters).model_dump()
        if key is not None and not (isinstance(key, str) and 0 < len(key) <= _KEY_LENGTH):
            raise UserError("E-WEB-FIELD", "a parameter does not fit", where="key", expected="1 to 100 letters")
        request = Request(kind, values, _title(title or self._default_title(owner, kind, values)), key)
        self._inputs_of(owner, kind, values)
        if not self._submits.admits(owner):
            raise UserError("E-WEB-RATE", "too many jobs in a minute", got=f"over {self.limits.submits_per_minute}",
                            fix="wait a minute")  # fmt: skip
        self.require_room(owner)
        job, new = self.store.add(owner, request)
        self.supervisor.wake()
        return self._told(job), new

    def jobs(self, owner: str) -> list[dict[str, Any]]:
        """All of an owner's jobs, the newest first."""
        queue = self.store.queue()
        return [self._told(job, queue) for job in self.store.of_owner(owner)]

    def job(self, owner: str, identity: str) -> dict[str, Any]:
        """One job, as it is now."""
        return self._told(self.store.owned(owner, identity))

    def curve(self, owner: str, identity: str) -> list[list[float | None]]:
        """Points (seconds, loss, psnr) of a job."""
        job = self.store.owned(owner, identity)
        path = self.places.folder(job.owner, job.id) / "curve.json"
        return read_json(path) if path.is_file() else []

    def cancel(self, owner: str, identity: str) -> dict[str, Any]:
        """Stop a job; one that is over already stays as it is."""
        if not self.store.cancel_waiting(owner, identity):
            self.store.owned(owner, identity)
            self.supervisor.cancel(identity)
        return self.job(owner, identity)

    def resume(self, owner: str, identity: str) -> dict[str, Any]:
        """Queue a job that stopped once more; kinds that can go on do, others begin anew."""
        self.require_room(owner)
        job = self.store.owned(owner, identity)
        self._inputs_of(owner, job.kind, job.parameters)
        told = self._told(self.store.requeue(owner, identity))
        self.supervisor.wake()
        return told

    def rename(self, owner: str, identity: str, title: str) -> dict[str, Any]:
        """Give a job another title."""
        return self._told(self.store.rename(owner, identity, _title(title)))

    def delete(self, owner: str, identity: str) -> None:
        """Remove a job with all its files."""
        self.store.remove(owner, identity)
        self.places.remove(owner, identity)

    def file(self, owner: str, identity: str, name: str) -> Path:
        """One of a job's files."""
        job = self.store.owned(owner, identity)
        return self.places.file(job.owner, job.id, name)

    def require_room(self, owner: str, more: int = 0) -> None:
        """Refuse when an owner's files with `more` bytes are too many, or the disk is nearly full.

        Raises:
            UserError: `E-WEB-QUOTA`.
        """
        used = self.places.used(owner) + more
        if used > self.limits.quota:
            raise UserError("E-WEB-QUOTA", "your files take too much space", got=f"{used / 1e6:.0f} MB",
                            expected=f"at most {self.limits.quota / 1e6:.0f} MB",
                            fix="delete something in the library")  # fmt: skip
        if self.places.free() - more < self.limits.disk_reserve:
            raise UserError("E-WEB-QUOTA", "the server's disk is nearly full", fix="delete something in the library")

    def scene(self, owner: str, identity: str) -> dict[str, Any]:
        """What is to be shown of a world: blocks that are there, are made, and will be."""
        job = self.store.owned(owner, identity)
        path = self.places.out(job.owner, job.id) / WORLD
        if job.kind != "generate":
            raise not_found()
        return read_json(path) if path.is_file() else {"blocks": [], "busy": [], "planned": [], "frame": None}

    def inputs(self, job: Job) -> dict[str, Path]:
        """Where the things lie that a job's parameters name."""
        return self._inputs_of(job.owner, job.kind, job.parameters)

    def field_path(self, owner: str, identity: str) -> Path:
        """The field file that a job made or somebody sent."""
        return self._place(owner, identity, ("field",), "field")

    def choices(self) -> dict[str, Any]:
        """What menus offer: kinds with the schemas of their parameters, and the limits."""
        shown = ("file", "upload", "quota", "per_owner", "waiting", "job_seconds", "look_side", "kept_seconds")
        return {
            "backends": list(BACKEND_NAMES),
            "presets": list(get_args(Preset)),
            "models": _models(),
            "kinds": _schemas(),
            "limits": {name: getattr(self.limits, name) for name in shown},
        }

    def _inputs_of(self, owner: str, kind: str, parameters: dict[str, Any]) -> dict[str, Path]:
        named = {n: (parameters[n], roles) for n, roles in kind_of(kind).parameters.inputs.items()}
        return {
            name: self._place(owner, value, roles, name)
            for name, (value, roles) in named.items()
            if value is not None and value != SAMPLE
        }

    def _place(self, owner: str, identity: str, roles: tuple[str, ...], name: str) -> Path:
        """The file or folder of one of the owner's things, if it has one of these roles."""
        try:
            job = self.store.owned(owner, identity)
        except UserError:
            raise UserError("E-WEB-NOTFOUND", "there is no such thing of yours", where=name,
                            fix="choose another") from None  # fmt: skip
        role, path = self._role(job)
        if role not in roles or not path.exists():
            raise UserError("E-WEB-FIELD", "this cannot be used here", where=name, got=f"a {role}",
                            expected=f"a finished {' or '.join(roles)}", fix="choose another")  # fmt: skip
        return path

    def _role(self, job: Job) -> tuple[str, Path]:
        """What a job can serve as, and where that lies."""
        if job.kind == UPLOAD:
            result = job.result or {}
            inside = "content" if result["unpacked"] else "out"
            return result["kind"], self.places.folder(job.owner, job.id) / inside / result["entry"]
        out, makes = self.places.out(job.owner, job.id), KINDS[job.kind].makes
        return makes, out / FIELD_FILE if makes == "field" else out

    def _default_title(self, owner: str, kind: str, values: dict[str, Any]) -> str:
        """Such as `Field of garden.zip`, and `Mesh of garden.zip` for a mesh of that field."""
        for name in KINDS[kind].parameters.inputs:
            value = values.get(name)
            if value == SAMPLE:
                return f"{KINDS[kind].title} of the sample"
            if value is not None:
                source = [job.title for job in self.store.of_owner(owner) if job.id == value]
                return f"{KINDS[kind].title} of {_subject(source[0])}" if source else KINDS[kind].title
        return KINDS[kind].title

    def _told(self, job: Job, queue: list[Job] | None = None) -> dict[str, Any]:
        """A job as JSON values, without whose it is."""
        waiting = self.store.queue() if queue is None else queue
        position = next((i for i, other in enumerate(waiting) if other.id == job.id), None)
        if position is not None and waiting[0].state != "running":
            position += 1
        files = self.places.listed(job.owner, job.id)
        return {
            "id": job.id, "kind": job.kind, "title": job.title, "state": job.state, "position": position,
            "eta": None if position is None else self._eta(job, waiting), "progress": job.progress, "files": files,
            "error": job.error, "result": job.result, "parameters": job.parameters, "created": job.created,
            "started": job.started, "finished": job.finished, "resumable": job.resumable,
            "bytes": sum(file["bytes"] for file in files),
        }  # fmt: skip

    def _eta(self, job: Job, queue: list[Job]) -> float | None:
        """Seconds until a job is done: what is left of the running one and the usual time of those before it."""
        total = 0.0
        for other in queue:
            seconds = _remaining(other) if other.state == "running" else seconds_of(other, self.store)
            if seconds is None:
                return None
            total += seconds
            if other.id == job.id:
                break
        return round(total, 1)


@functools.cache
def _schemas() -> dict[str, Any]:
    """JSON schemas of every kind's parameters."""
    return {name: kind.parameters.model_json_schema() for name, kind in KINDS.items()}


def _models() -> list[str]:
    """Names of the models that came with the program (`scenegen.shipped` would load torch)."""
    found = sorted(path.parent.name for path in _WEIGHTS.glob("*/model.json"))
    return found or [MODEL]


def _remaining(job: Job) -> float | None:
    return float((job.progress or {}).get("remaining") or 0.0) or None


def _title(text: object) -> str:
    """A title on one line.

    Raises:
        UserError: `E-WEB-FIELD` without a letter in it.
    """
    found = "".join(c if c.isprintable() else " " for c in text).strip() if isinstance(text, str) else ""
    if not found:
        raise UserError("E-WEB-FIELD", "a parameter does not fit", where="title", expected="some letters")
    return found


def _subject(title: str) -> str:
    """What a field or conversion with a title that nobody changed was made of."""
    for kind in ("fit", "convert"):
        title = title.removeprefix(f"{KINDS[kind].title} of ")
    return title


_running: list[Service] = []


def serve_with(service: Service) -> Callable[[], None]:
    """Make `service` the one that pages find; the value takes it back."""
    _running.append(service)
    return lambda: _running.remove(service)


def service() -> Service:
    """The service of the server that runs in this process."""
    if not _running:
        raise not_found()
    return _running[-1]
