"""What the web app deletes by itself, what it never does, and what is left of jobs that came to a bad end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from web_server import service_in, until

from app.web.jobs.store import new_id
from app.web.places import FIELD_FILE, WORLD
from app.web.retention import sweep
from app.web.service import Service
from fields.errors import UserError

ANNA = "a" * 32
WEEK = 7 * 86_400.0
STOPS, STUBBORN = 1, 2


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that does not work its queue off."""
    made = service_in(tmp_path, per_owner=50)
    yield made
    made.close()


def job(service: Service, state: str, kind: str = "fit", *files: str) -> str:
    """A job in a state, with files."""
    values = {"fit": {"source": "sample"}, "generate": {"size": [1, 1]}}[kind]
    found = service.submit(ANNA, kind, values)["id"]
    write(service, found, "made.bin", *files)
    if state != "queued":
        service.store.end(found, state)
    return found


def upload(service: Service, kind: str, title: str = "a.obj") -> str:
    """Something that was sent."""
    found = new_id()
    write(service, found, "a.obj")
    result = {"name": title, "kind": kind, "entry": "a.obj", "unpacked": False}
    return service.store.add_upload(ANNA, title, found, result).id


def write(service: Service, job: str, *names: str) -> None:
    for name in names:
        path = service.places.out(ANNA, job) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def after(service: Service, seconds: float) -> set[str]:
    """Jobs that have files when the service has been swept so much later."""
    sweep(service.store, service.places, service.limits, time.time() + seconds)
    return {folder for _, folder in service.places.all_folders()}


def test_nothing_goes_within_a_week(service: Service) -> None:
    kept = {job(service, "failed"), job(service, "cancelled"), upload(service, "mesh"), upload(service, "capture")}
    assert after(service, WEEK - 60) == kept


def test_results_and_whatever_can_be_gone_on_with_stay(service: Service) -> None:
    kept = {
        job(service, "done"), job(service, "queued"), job(service, "interrupted"),
        job(service, "cancelled", "fit", FIELD_FILE), job(service, "failed", "fit", "run.json"),
        job(service, "cancelled", "generate", WORLD), job(service, "failed", "generate", "scene/scene.json"),
    }  # fmt: skip
    assert after(service, 100 * WEEK) == kept


def test_leftovers_of_failed_and_cancelled_jobs_go_and_the_jobs_can_begin_anew(service: Service) -> None:
    left = [job(service, "failed"), job(service, "cancelled", "generate")]
    assert after(service, WEEK + 60) == set()
    assert [service.resume(ANNA, found)["state"] for found in left] == ["queued", "queued"]


def test_photos_and_meshes_go_when_no_job_named_them_and_nobody_named_them(service: Service) -> None:
    used, named, forgotten = (upload(service, kind) for kind in ("mesh", "capture", "mesh"))
    service.store.end(service.submit(ANNA, "fit", {"source": used})["id"], "failed")
    service.rename(ANNA, named, "My room")
    kept = {upload(service, "field"), upload(service, "plan"), used, named}
    assert after(service, WEEK + 60) >= kept and forgotten not in after(service, WEEK + 60)
    assert {found["id"] for found in service.jobs(ANNA)} >= kept
    with pytest.raises(UserError, match="E-WEB-NOTFOUND"):
        service.job(ANNA, forgotten)


def test_folders_of_no_job_go_after_an_hour(service: Service) -> None:
    found = new_id()
    write(service, found, "half.zip")
    assert after(service, 0) == {found}
    assert after(service, 3700) == set()


def test_job_that_fills_the_disk_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.web.jobs.supervisor._WEIGH_SECONDS", 0.01)
    service = service_in(tmp_path, quota=5_000)
    service.supervisor.start()
    found = service.submit(ANNA, "fit", {"source": "sample", "seed": STOPS})["id"]
    until(lambda: service.store.get(found).state == "failed")
    assert service.job(ANNA, found)["error"]["code"] == "E-WEB-QUOTA"
    with pytest.raises(UserError, match="E-WEB-QUOTA"):
        service.resume(ANNA, found)
    service.close()


def test_nothing_is_taken_in_when_the_disk_is_nearly_full(tmp_path: Path) -> None:
    service = service_in(tmp_path, disk_reserve=2**60)
    with pytest.raises(UserError, match="nearly full"):
        service.submit(ANNA, "fit", {"source": "sample"})
    service.close()


@pytest.mark.parametrize("state", ["cancelled", "interrupted"])
def test_record_of_a_job_that_is_killed_says_what_became_of_it(tmp_path: Path, state: str) -> None:
    service = service_in(tmp_path)
    service.supervisor.start()
    found = service.submit(ANNA, "fit", {"source": "sample", "seed": STUBBORN})["id"]
    record = service.places.out(ANNA, found) / "run.json"
    until(lambda: service.store.get(found).progress is not None)
    if state == "cancelled":
        service.cancel(ANNA, found)
        until(lambda: service.store.get(found).state == state)
    service.close()
    assert json.loads(record.read_text()) == {"status": state}


def test_record_of_a_job_that_ran_when_the_server_died_says_so(tmp_path: Path) -> None:
    service = service_in(tmp_path)
    found = service.submit(ANNA, "fit", {"source": "sample"})["id"]
    record = service.places.out(ANNA, found) / "run.json"
    record.parent.mkdir(parents=True)
    record.write_text('{"status": "running", "steps": 7}')
    service.store.take()
    service.store.close()
    again = service_in(tmp_path)
    again.supervisor.start()
    assert json.loads(record.read_text()) == {"status": "interrupted", "steps": 7}
    again.close()
