"""What the web app's benchmark measures, apart from isolation. Times are seconds as a visitor sees them."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from .visitors import Served, begun, finished, submit, working

PAGE_SECONDS, CANCEL_SECONDS, LOOK_SECONDS = 0.3, 2.0, 0.15
MEMORY, GROWTH = 600 * 10**6, 30 * 10**6
_PATHS = ("/", "/config", "/api/jobs", "/api/uploads", "/api/choices")
_PAUSE = 1.0  # mean seconds between two things that a person does
_COARSE, _FINE = (283, 212), (800, 600)  # as the page's viewer asks: at most 60,000 and 480,000 pixels
_DRAG_DEGREES = 3.0


def pages(server: Served, people: int, rounds: int) -> dict[str, Any]:
    """Everybody opens the page and reads what pages poll, at moments of their own, while one of them has a job."""
    with server.visitors(people) as clients, working(clients[0]), ThreadPoolExecutor(people) as pool:
        seeds = range(people)
        found = [r for rows in pool.map(lambda c, s: _reads(c, random.Random(s), rounds), clients, seeds) for r in rows]
    statuses = Counter(str(status) for _, status, _ in found)
    seconds = {path: quantiles([s for p, _, s in found if p == path]) for path in _PATHS}
    p95 = max(row["p95"] for row in seconds.values())
    print(f"pages: {people} people, p95 {1000 * p95:.0f} ms, statuses {dict(statuses)}")
    goals = {"p95": p95 <= PAGE_SECONDS, "no errors": set(statuses) == {"200"}}
    return {"people": people, "requests": len(found), "seconds": seconds, "statuses": statuses, "goals": goals}


def memory(server: Served, requests: int) -> dict[str, Any]:
    """Resident memory of the server while twenty people read."""
    curve = []
    with server.visitors(20) as clients:
        for number in range(requests + 1):
            if number % max(1, requests // 20) == 0:
                curve.append([number, server.resident()])
            clients[number % 20].get(_PATHS[number // 20 % len(_PATHS)]).raise_for_status()
    sizes = [size for _, size in curve]
    growth = sizes[-1] - sizes[len(sizes) // 5]
    print(f"memory: {sizes[-1] / 1e6:.0f} MB, {growth / 1e6:+.1f} MB over the last four fifths")
    goals = {"size": max(sizes) <= MEMORY, "flat": growth <= GROWTH}
    return {"requests": requests, "bytes": curve, "growth": growth, "goals": goals}


def cancelling(server: Served, rounds: int) -> dict[str, Any]:
    """Cancel fits at various moments of their lives, also while torch is still being loaded."""
    chance, found = random.Random(0), []
    with server.visitors(rounds) as clients:  # each of them: one person may not submit that often
        for client in clients:
            job = submit(client, "fit", source="sample", seconds=600.0)
            begun(client, job)
            time.sleep(chance.uniform(0.0, 8.0))
            start = time.perf_counter()
            client.post(f"/api/jobs/{job}/cancel", json={}).raise_for_status()
            state = finished(client, job)["state"]
            found.append(time.perf_counter() - start)
            assert state == "cancelled", state
    print(f"cancel: {max(found):.2f} s at most of {rounds}")
    return {"seconds": quantiles(found), "goals": {"most": max(found) <= CANCEL_SECONDS}}


def looks(server: Served, seconds: float, frames: int) -> dict[str, Any]:
    """Drags around a hash field of the sample, fitted for `seconds`; every picture is asked for when the last came."""
    with server.visitor() as client, server.visitor() as other:
        fitted = finished(client, submit(client, "fit", source="sample", seconds=seconds))
        field = _Looking(client, fitted["id"])
        found: dict[str, Any] = {"opening": field.picture("coarse", 0)[0], "idle": field.drag(frames)}
        with working(other):
            found["beside a job"] = field.drag(frames)
    for name in ("idle", "beside a job"):
        coarse, fine = found[name]["coarse"]["seconds"], found[name]["fine"]["seconds"]
        print(f"look, {name}: first {1000 * found[name]['first']:.0f} ms, drag p95 {1000 * coarse['p95']:.0f} ms at "
              f"{found[name]['coarse']['scale']:.2f} of the size; whole {fine['median']:.2f} s")  # fmt: skip
    goals = {"first": found["idle"]["first"] <= LOOK_SECONDS, "drag": _p95(found, "idle") <= LOOK_SECONDS}
    return {"metrics": fitted["result"]["metrics"], "coarse": _COARSE, "fine": _FINE, **found, "goals": goals}


class _Looking:
    """One viewer of a field."""

    def __init__(self, client: httpx.Client, field: str) -> None:
        self._client, self._field, self._sequence = client, field, 0
        self._view = client.get(f"/api/fields/{field}").raise_for_status().json()["viewpoint"]

    def picture(self, quality: str, degrees: float) -> tuple[float, float]:
        """Seconds until a picture is there, and which part of the size asked for it has."""
        width, height = _COARSE if quality == "coarse" else _FINE
        self._sequence += 1
        order = {
            "field": self._field, "camera_to_world": self._pose(math.radians(degrees)), "width": width,
            "height": height, "fov": math.degrees(self._view["fov"]), "mode": "rgb", "quality": quality,
            "view": "bench", "sequence": self._sequence,
        }  # fmt: skip
        start = time.perf_counter()
        answer = self._client.post("/api/look", json=order).raise_for_status()
        return time.perf_counter() - start, float(answer.headers["x-scale"])

    def drag(self, frames: int) -> dict[str, Any]:
        """The first picture after a pause, pictures on the way, and the whole one at the end, a few times."""
        coarse, fine = [], []
        for start in (0.0, 120.0, 240.0):
            coarse += [self.picture("coarse", start + _DRAG_DEGREES * n) for n in range(frames)]
            fine.append(self.picture("fine", start + _DRAG_DEGREES * frames))
        firsts = [seconds for seconds, _ in coarse[::frames]]
        return {"first": max(firsts), "coarse": _summary(coarse), "fine": _summary(fine)}

    def _pose(self, turn: float) -> list[list[float]]:
        """Rows of camera_to_world of a camera round the middle, at the height where the viewer begins."""
        import torch

        from fields.cameras import look_at

        view = self._view
        up = torch.tensor(view["up"], dtype=torch.float32)
        side = torch.linalg.cross(up, torch.eye(3)[int(up.abs().argmin())])
        side = side / side.norm()
        ahead = math.cos(turn) * side + math.sin(turn) * torch.linalg.cross(up, side)
        centre = torch.tensor(view["centre"], dtype=torch.float32)
        away = math.cos(view["elevation"]) * ahead + math.sin(view["elevation"]) * up
        return look_at((centre + view["distance"] * away)[None], centre, up)[0].tolist()


def quantiles(values: list[float]) -> dict[str, Any]:
    """Median, 95 % and largest of some seconds."""
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, math.ceil(0.95 * len(ordered)) - 1)]
    return {"count": len(ordered), "median": statistics.median(ordered), "p95": p95, "most": ordered[-1]}


def _summary(pictures: list[tuple[float, float]]) -> dict[str, Any]:
    return {"seconds": quantiles([s for s, _ in pictures]), "scale": statistics.median(scale for _, scale in pictures)}


def _p95(found: dict[str, Any], name: str) -> float:
    return float(found[name]["coarse"]["seconds"]["p95"])


def _reads(client: httpx.Client, chance: random.Random, rounds: int) -> list[tuple[str, int, float]]:
    """Path, status and seconds of what one person reads."""
    found = []
    for _ in range(rounds):
        for path in _PATHS:
            time.sleep(chance.uniform(0.0, 2 * _PAUSE))
            start = time.perf_counter()
            status = client.get(path).status_code
            found.append((path, status, time.perf_counter() - start))
    return found
