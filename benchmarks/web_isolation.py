"""Many people acting at once, each on their own things and on the others': whatever is another's must not exist."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from .visitors import Served

_READS = ("", "/curve", "/archive")
_WRITES = ("cancel", "resume", "rename", "delete")
_CORNER = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 {}\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
_REFUSED = 404


@dataclass
class _Person:
    """Somebody, what is theirs, and their mark, which is in every title and file that they send."""

    client: httpx.Client
    mark: str
    own: set[str] = field(default_factory=set)
    upload: str = ""


def interleaved(server: Served, people: int, rounds: int) -> dict[str, Any]:
    """Random actions of all people, several at a time; findings are whatever of another's somebody saw or changed."""
    with server.visitors(people) as clients:
        everybody = [_Person(client, f"mark-{n}-") for n, client in enumerate(clients)]
        for person in everybody:
            _begin(person)
        done: Counter[str] = Counter()
        findings: list[str] = []
        with ThreadPoolExecutor(people) as pool:
            for number in range(0, rounds, people):
                chances = [random.Random(f"{number} {n}") for n in range(people)]
                others = [chance.choice([p for p in everybody if p is not me])
                          for me, chance in zip(everybody, chances, strict=True)]  # fmt: skip
                theirs = [other.own | {other.upload} for other in others]
                for name, found in pool.map(_act, everybody, others, theirs, chances):
                    done[name] += 1
                    findings += found
        findings += [f"at the end: {found}" for person in everybody for found in _foreign(person, everybody)]
    print(f"isolation: {sum(done.values())} interleavings of {people} people, {len(findings)} findings")
    return {"people": people, "actions": done, "findings": findings[:20], "goals": {"none": not findings}}


def _begin(person: _Person) -> None:
    """Send a mesh, so that everybody has a file."""
    content = _CORNER.format(1 + int(person.mark.split("-")[1])).encode()
    answer = person.client.post("/api/uploads", files={"files": (f"{person.mark}.obj", content)}).raise_for_status()
    person.upload = answer.json()["id"]


def _act(me: _Person, other: _Person, theirs: set[str], chance: random.Random) -> tuple[str, list[str]]:
    """One thing that somebody does with what is theirs, and the same tried on another's."""
    name = chance.choice(("submit", "list", "file", "read", *_WRITES))
    foreign = chance.choice(sorted(theirs))
    if name == "submit":
        title = f"{me.mark}{chance.random()}"
        values = {"kind": "fit", "parameters": {"source": me.upload, "steps": 1, "preset": "tiny"}, "title": title}
        answer = me.client.post("/api/jobs", json=values)
        me.own |= {answer.json()["id"]} if answer.status_code == 201 else set()
        values["parameters"] = {"source": foreign}
        return name, _wrong(me.client.post("/api/jobs", json=values), f"fit of {foreign}")
    if name == "list":
        return name, _foreign(me, [me, other])
    if name == "file":
        mine = me.client.get(f"/files/{me.upload}/{me.mark}.obj")
        found = [] if mine.status_code == 200 and mine.text.startswith("v 0 0 0") else ["own file is gone"]
        return name, found + _wrong(me.client.get(f"/files/{foreign}/{other.mark}.obj"), f"file of {foreign}")
    own = chance.choice(sorted(me.own) or [""])
    if name == "read":
        path = chance.choice(_READS)
        me.client.get(f"/api/jobs/{own}{path}")
        return name, _wrong(me.client.get(f"/api/jobs/{foreign}{path}"), f"{path} of {foreign}")
    body = {"title": f"{me.mark}again"} if name == "rename" else {}
    if own and me.client.post(f"/api/jobs/{own}/{name}", json=body).status_code == 200 and name == "delete":
        me.own.discard(own)
    return name, _wrong(me.client.post(f"/api/jobs/{foreign}/{name}", json=body), f"{name} of {foreign}")


def _wrong(answer: httpx.Response, what: str) -> list[str]:
    """A finding, unless what is another's looked as if it were not there."""
    return [] if answer.status_code == _REFUSED else [f"{what}: {answer.status_code}"]


def _foreign(me: _Person, everybody: list[_Person]) -> list[str]:
    """What somebody's own list has that is not theirs, and what it lacks."""
    text = me.client.get("/api/jobs").raise_for_status().text
    marks = [f"{me.mark} sees {other.mark}" for other in everybody if other is not me and other.mark in text]
    listed = {job["id"] for job in me.client.get("/api/jobs").json()["jobs"]}
    same = listed == me.own | {me.upload}
    return marks + ([] if same else [f"{me.mark} lists {len(listed)} things, has {len(me.own) + 1}"])
