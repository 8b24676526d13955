"""The queue of the web app and the process that works it off."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from web_server import PATIENCE, QUICK, service_in, until

from app.web.jobs.kinds import KINDS
from app.web.jobs.model import Curve, told
from app.web.jobs.parameters import checked
from app.web.jobs.store import Request, Store
from app.web.service import Service
from fields.errors import UserError
from fields.progress import Progress

ANNA, BERT = "a" * 32, "b" * 32
DONE, STOPS, STUBBORN, REFUSED, CRASHES = range(5)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = service_in(tmp_path)
    made.supervisor.start()
    yield made
    made.close()


def submitted(service: Service, seed: int, owner: str = ANNA, **more: Any) -> str:
    return service.submit(owner, "fit", {"source": "sample", "seed": seed}, **more)["id"]


def state(service: Service, job: str) -> str:
    return service.store.get(job).state


def ends(service: Service, job: str, expected: str) -> dict[str, Any]:
    until(lambda: state(service, job) not in ("queued", "running"))
    found = service.job(service.store.get(job).owner, job)
    assert found["state"] == expected, found
    return found


def runs(service: Service, job: str) -> None:
    until(lambda: service.store.get(job).progress is not None)


def stopped(service: Service, job: str) -> dict[str, Any]:
    """The job after it was cancelled, which may take longer than it should on a machine that does much else."""
    service.cancel(ANNA, job)
    return ends(service, job, "cancelled")


def refused(code: str) -> Any:
    return pytest.raises(UserError, match=rf"error\[{code}\]")


def test_job_is_done_with_its_files_result_and_curve(service: Service) -> None:
    found = ends(service, submitted(service, DONE), "done")
    assert found["result"]["seed"] == DONE and [file["name"] for file in found["files"]] == ["made.txt"]
    assert service.curve(ANNA, found["id"]) == [[1.0, 0.5, 20.0]]
    assert found["title"] == "Field of the sample" and found["position"] is None and not found["resumable"]


def test_job_that_stops_when_asked_is_cancelled_in_time_and_can_go_on(service: Service) -> None:
    job = submitted(service, STOPS)
    runs(service, job)
    assert stopped(service, job)["resumable"]
    service.resume(ANNA, job)
    runs(service, job)
    assert service.store.get(job).resume


def test_job_that_does_not_stop_is_killed_in_time(service: Service) -> None:
    job = submitted(service, STUBBORN)
    runs(service, job)
    stopped(service, job)


def test_waiting_job_is_cancelled_at_once(service: Service) -> None:
    first, second = submitted(service, STOPS), submitted(service, DONE)
    assert service.cancel(ANNA, second)["state"] == "cancelled"
    assert state(service, first) in ("queued", "running")
    stopped(service, first)


def test_refusal_of_the_work_is_the_jobs_error(service: Service) -> None:
    assert ends(service, submitted(service, REFUSED), "failed")["error"]["code"] == "E-TF-FOV"


def test_next_job_starts_soon_after_a_crash(service: Service) -> None:
    crashing, next_one = submitted(service, CRASHES), submitted(service, DONE, BERT)
    error = ends(service, crashing, "failed")["error"]
    assert error["code"] == "E-WORKER" and "SIGSEGV" in error["line"]
    ends(service, next_one, "done")
    finished, started = service.store.get(crashing).finished, service.store.get(next_one).started
    assert finished is not None and started is not None and 0 <= started - finished < 5


def test_job_over_its_time_fails_and_can_go_on(tmp_path: Path) -> None:
    service = service_in(tmp_path, job_seconds=0.3)
    service.supervisor.start()
    found = ends(service, submitted(service, STOPS), "failed")
    assert found["error"]["code"] == "E-LIMIT-TIME" and found["resumable"]
    service.close()


def test_only_one_job_runs_and_they_run_in_order(service: Service) -> None:
    jobs = [submitted(service, 30, f"{n:032}") for n in range(6)]
    seen: set[int] = set()

    def over() -> bool:
        seen.add(sum(job.state == "running" for job in service.store.queue()))
        return all(state(service, job) == "done" for job in jobs)

    until(over)
    started = [service.store.get(job).started or 0.0 for job in jobs]
    finished = [service.store.get(job).finished or 0.0 for job in jobs]
    assert max(seen) == 1 and started == sorted(started)
    assert all(a <= b for a, b in zip(finished[:-1], started[1:], strict=True))


def test_waiting_jobs_know_their_place_and_time(tmp_path: Path) -> None:
    service = service_in(tmp_path)
    for owner in (ANNA, BERT):
        service.submit(owner, "fit", {"source": "sample", "seconds": 30.0})
    first, second = service.jobs(ANNA)[0], service.jobs(BERT)[0]
    assert (first["position"], second["position"]) == (1, 2)
    assert (first["eta"], second["eta"]) == (30.0, 60.0)
    service.close()


def test_queue_and_owners_have_limits(tmp_path: Path) -> None:
    service = service_in(tmp_path, waiting=5)
    submitted(service, DONE)
    submitted(service, DONE)
    with refused("E-WEB-RATE"):
        submitted(service, DONE)
    for n in range(3):
        submitted(service, DONE, f"{n:032}")
    with refused("E-WEB-FULL"):
        submitted(service, DONE, BERT)
    service.close()


def test_too_many_submits_a_minute_are_refused(tmp_path: Path) -> None:
    service = service_in(tmp_path, submits_per_minute=3, per_owner=9)
    for _ in range(3):
        submitted(service, DONE)
    with refused("E-WEB-RATE"):
        submitted(service, DONE)
    submitted(service, DONE, BERT)
    service.close()


def test_same_key_is_the_same_job(tmp_path: Path) -> None:
    service = service_in(tmp_path)
    first = submitted(service, DONE, key="k")
    assert submitted(service, DONE, key="k") == first
    assert submitted(service, DONE, BERT, key="k") != first
    assert len(service.jobs(ANNA)) == 1
    service.close()


def test_restart_keeps_the_queue_and_interrupts_what_ran(tmp_path: Path) -> None:
    service = service_in(tmp_path, per_owner=6)
    jobs = [submitted(service, STOPS) for _ in range(6)]
    service.store.take()
    service.store.close()  # as a killed server leaves it
    again = service_in(tmp_path, per_owner=6)
    assert [state(again, job) for job in jobs] == ["interrupted"] + ["queued"] * 5
    assert [job.id for job in again.store.queue()] == jobs[1:]
    assert {job.owner for job in again.store.of_owner(ANNA)} == {ANNA}
    again.close()


def test_closing_the_server_interrupts_the_running_job(tmp_path: Path) -> None:
    service = service_in(tmp_path)
    service.supervisor.start()
    job = submitted(service, STOPS)
    runs(service, job)
    service.close()
    store = Store(tmp_path / "jobs.sqlite", QUICK)
    assert store.get(job).state == "interrupted"
    store.close()


def test_worker_ends_when_the_server_is_gone() -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", "import app.web.jobs.worker as w; w._end_with_server()"], stdin=subprocess.PIPE
    )
    assert worker.stdin is not None
    worker.stdin.close()
    assert worker.wait(PATIENCE) == -15


def test_job_in_use_is_not_deleted(service: Service) -> None:
    job = submitted(service, STOPS)
    with refused("E-WEB-BUSY"):
        service.delete(ANNA, job)
    runs(service, job)
    stopped(service, job)
    folder = service.places.folder(ANNA, job)
    service.delete(ANNA, job)
    assert not folder.exists() and service.jobs(ANNA) == []


def test_full_folder_is_refused_and_others_are_not(tmp_path: Path) -> None:
    service = service_in(tmp_path, quota=100)
    (service.places.folder(ANNA, "x") / "large").write_bytes(b"x" * 200)
    with refused("E-WEB-QUOTA"):
        submitted(service, DONE)
    submitted(service, DONE, BERT)
    service.close()


@pytest.mark.parametrize(
    ("kind", "values", "where"),
    [
        ("fit", {}, "source"),
        ("fit", {"source": "sample", "colour": 1}, "colour"),
        ("fit", {"source": "/etc/passwd"}, "source"),
        ("fit", {"source": "sample", "seed": -1}, "seed"),
        ("fit", {"source": "sample", "seed": "1"}, "seed"),
        ("fit", {"source": "sample", "seconds": float("nan")}, "seconds"),
        ("fit", {"source": "sample", "settings": {"levels": {"a": 1}}}, "settings.levels"),
        ("convert", {"field": "a" * 22, "backend": "vm", "finetune_seconds": 5.0}, "parameters"),
        ("mesh", {"field": "a" * 22, "resolution": 10_000}, "resolution"),
        ("mesh", {"field": "a" * 22, "crop": [[0, 0], [1, 1]]}, "crop.0"),
        ("render", {"field": "a" * 22, "what": ["secrets"]}, "what.0"),
        ("generate", {"size": [2, 2], "plan": "a" * 22}, "parameters"),
        ("generate", {"size": [2, 2], "model": "../../tmp"}, "model"),
        ("redo", {"scene": "a" * 22, "block": [2**31, 0]}, "block.0"),
    ],
)
def test_wrong_parameters_are_refused_by_name(kind: str, values: dict[str, Any], where: str) -> None:
    with pytest.raises(UserError) as caught:
        checked(KINDS[kind].parameters, values)
    assert caught.value.code == "E-WEB-FIELD" and where in caught.value.line()


def test_inputs_must_be_there_and_of_the_right_role(tmp_path: Path) -> None:
    service = service_in(tmp_path)
    fit = submitted(service, DONE)
    with refused("E-WEB-NOTFOUND"):
        service.submit(BERT, "mesh", {"field": fit})
    with refused("E-WEB-FIELD"):
        service.submit(ANNA, "mesh", {"field": fit})  # not fitted yet
    with refused("E-WEB-FIELD"):
        service.submit(ANNA, "extend", {"scene": fit, "block": [0, 0]})
    service.close()


def test_curve_is_thinned() -> None:
    curve = Curve(most=20)
    for step in range(1000):
        curve.add(told(Progress(step, 1000, "fit", float(step), loss=0.1, metrics={"psnr": 20.0})))
    seconds = [point[0] or 0.0 for point in curve.points]
    assert len(seconds) < 20 and seconds == sorted(seconds) and seconds[-1] > 800


def test_store_does_not_mix_owners(tmp_path: Path) -> None:
    store = Store(tmp_path / "jobs.sqlite", replace(QUICK, per_owner=99, waiting=999))
    mine = [store.add(ANNA, Request("fit", {}, str(n)))[0].id for n in range(5)]
    theirs = store.add(BERT, Request("fit", {}, "x"))[0].id
    assert [job.id for job in store.of_owner(ANNA)] == mine[::-1]
    for action in (store.owned, store.cancel_waiting, store.requeue, store.remove):
        with refused("E-WEB-NOTFOUND"):
            action(ANNA, theirs)
    store.close()


@pytest.mark.slow
def test_real_worker_fits_stops_and_goes_on(tmp_path: Path) -> None:
    service = service_in(tmp_path, module="app.web.jobs.worker", cancel_seconds=1.5)
    service.supervisor.start()
    values = {"source": "sample", "preset": "tiny", "steps": 2000}
    job = service.submit(ANNA, "fit", values)["id"]
    until(lambda: (service.store.get(job).progress or {}).get("step", 0) > 20)
    stopped(service, job)
    assert any(name.startswith("state-") for name in os.listdir(service.places.out(ANNA, job)))
    service.resume(ANNA, job)
    until(lambda: (service.store.get(job).progress or {}).get("step", 0) > 20)
    service.close()
