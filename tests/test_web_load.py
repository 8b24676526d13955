"""Many people at once: nobody waits long, nobody sees what is another's, and the server does not grow."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from web_server import Live, serving, until

STOPS = 1  # a job of the stand-in worker that runs until it is asked to stop


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serving(tmp_path_factory.mktemp("state")) as found:
        yield found


@pytest.fixture
def people(live: Live) -> Iterator[list[httpx.Client]]:
    """Twenty new visitors, whose jobs are over when they leave."""
    with ExitStack() as stack:
        yield [stack.enter_context(live.visitor()) for _ in range(20)]
    for job in reversed(live.service.store.queue()):
        live.service.cancel(job.owner, job.id)
    until(lambda: not live.service.store.queue())


def submit(client: httpx.Client, seed: int, **more: Any) -> httpx.Response:
    return client.post("/api/jobs", json={"kind": "fit", "parameters": {"source": "sample", "seed": seed}, **more})


def test_of_twenty_people_seventeen_are_queued_in_order_and_three_are_told(
    live: Live, people: list[httpx.Client]
) -> None:
    first = submit(people[0], STOPS).json()["id"]
    until(lambda: live.service.store.get(first).state == "running")
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda client: submit(client, STOPS), people[1:]))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201] * 16 + [503] * 3
    assert all("full" in a.json()["error"]["what"] for a in answers if a.status_code == 503)
    queue = live.service.store.queue()
    assert [job.state for job in queue] == ["running"] + ["queued"] * 16
    assert [job.created for job in queue] == sorted(job.created for job in queue)
    places = [client.get("/api/jobs").json()["jobs"] for client in people]
    assert sorted(jobs[0]["position"] for jobs in places if jobs) == list(range(17))


def test_people_read_without_errors_while_a_job_runs(live: Live, people: list[httpx.Client]) -> None:
    submit(people[0], STOPS)
    with ThreadPoolExecutor(20) as pool:
        found = [r for _ in range(3) for r in pool.map(lambda client: client.get("/api/jobs").status_code, people)]
    assert set(found) == {200}


@pytest.mark.parametrize("rounds", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_interleaved_people_never_see_each_others_things(people: list[httpx.Client], rounds: int) -> None:
    chance, clients = random.Random(rounds), people[:8]
    own: list[set[str]] = [set() for _ in clients]
    actions = ("submit", "list", "read", "file", "cancel", "rename", "delete", "archive", "input")
    for number in range(rounds):
        who = chance.randrange(8)
        _act(clients, own, who, chance.choice(actions), chance, number)
    for who, client in enumerate(clients):
        jobs = client.get("/api/jobs").json()["jobs"]
        assert {job["id"] for job in jobs} == own[who]
        assert all(job["title"].startswith(f"of {who} ") for job in jobs)


def _act(
    clients: list[httpx.Client], own: list[set[str]], who: int, action: str, chance: random.Random, number: int
) -> None:
    """One thing that `who` does with their own things, and the same tried on another's."""
    client, other = clients[who], chance.choice([n for n in range(8) if n != who])
    if action == "submit":
        answer = submit(client, 0, title=f"of {who} {number}")
        assert answer.status_code in (201, 429, 503)
        own[who] |= {answer.json()["id"]} if answer.status_code == 201 else set()
    if action == "list":
        assert {job["id"] for job in client.get("/api/jobs").json()["jobs"]} == own[who]
    for owner in (who, other):
        job = chance.choice(sorted(own[owner]) or ["x" * 22])
        mine = job in own[who]
        status = _on(client, action, job, who)
        assert status is None or mine or status == 404
        if action == "delete" and status == 200:
            own[who].discard(job)


def _on(client: httpx.Client, action: str, job: str, who: int) -> int | None:
    if action in ("read", "archive"):
        return client.get(f"/api/jobs/{job}" + ("/archive" if action == "archive" else "")).status_code
    if action == "file":
        return client.get(f"/files/{job}/made.txt").status_code
    if action == "rename":
        return client.post(f"/api/jobs/{job}/rename", json={"title": f"of {who} again"}).status_code
    if action in ("cancel", "delete"):
        return client.post(f"/api/jobs/{job}/{action}", json={}).status_code
    if action == "input":
        status = client.post("/api/jobs", json={"kind": "mesh", "parameters": {"field": job}}).status_code
        return None if status == 422 else status
    return None


@pytest.mark.parametrize("requests", [150, pytest.param(1000, marks=pytest.mark.slow)])
def test_server_does_not_grow(live: Live, people: list[httpx.Client], requests: int) -> None:
    client = people[0]
    for number in range(100):
        people[number % 20].get("/api/jobs")
    before, files = _memory(), len(os.listdir("/proc/self/fd"))
    for number in range(requests):
        people[number % 20].get("/api/jobs")
        client.get("/config" if number % 10 == 0 else "/api/choices")
    assert _memory() - before < 30 * 2**20
    assert len(os.listdir("/proc/self/fd")) <= files + 2


def _memory() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
