"""`generate` killed at any moment: no finished block is lost, and the scene comes out as if nothing had happened."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from kills import half_written, hold_while_writing
from torch import Tensor
from world_scenes import difference, ground, latents, new_scene, plan_of, tiny_model

from fields.progress import finished
from scenegen.world.grow import generate
from scenegen.world.labour import Labour
from scenegen.world.neighbours import Index
from scenegen.world.store import open_scene

KILLS = int(os.environ.get("FIELDSCAPE_KILLS", "100"))
_AIMED = 3  # one kill of so many waits for a block to be half written
_PRELOADED = ["scenegen.world.grow", "scenegen.world.plan_files", "diffusers"]


def _generate(folder: str, model: str, report: Connection) -> None:
    torch.set_num_threads(1)
    scene = open_scene(folder)
    for progress in generate(scene, plan_of(scene), Labour(model, batch=2)):
        report.send((int(progress.metrics["i"]), int(progress.metrics["k"])))


@dataclass
class Tally:
    """What a series of kills met; `exact` counts completed scenes with the bits of one that nobody killed."""

    kills: int = 0
    during_write: int = 0
    completed: int = 0
    exact: int = 0
    largest: float = 0.0


@dataclass(frozen=True)
class Kill:
    """When to kill: after so many seconds, or at the first write of a block after that."""

    seconds: float
    aimed: bool = False


def _run(folder: Path, model: str, kill: Kill | None = None) -> tuple[bool, set[Index]]:
    """Start it and kill it; whether that was in time, and the blocks that it said were finished."""
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    receiver, sender = context.Pipe(duplex=False)
    known = half_written(folder / "blocks")
    process = context.Process(target=_generate, args=(str(folder), model, sender), daemon=True)
    process.start()
    sender.close()
    process.join(None if kill is None else kill.seconds)
    if kill is not None and kill.aimed:
        hold_while_writing(process.pid, process.is_alive, folder / "blocks", known)
    killed = process.is_alive()
    if killed:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    said = set()
    with contextlib.suppress(EOFError):
        while receiver.poll():
            said.add(receiver.recv())
    return killed, said


def _lifetime(tmp_path: Path, model: str, piece: Any) -> float:
    """Seconds of a run that nobody kills; the process that all others are forked from starts with the first."""
    for name in ("first", "second"):
        start = time.monotonic()
        assert not _run(new_scene(tmp_path / name, model, piece)[0].folder, model)[0]
    return time.monotonic() - start


def _kill(kills: int, tmp_path: Path) -> Tally:
    """Kill `kills` times in all, over as many scenes as that takes, the last of which is completed."""
    model, piece = tiny_model(tmp_path / "model"), ground((-1, 0), (3, 2))
    scene, plan = new_scene(tmp_path / "whole", model, piece)
    expected = latents(finished(generate(scene, plan, Labour(model))))
    lifetime, chance, tally = _lifetime(tmp_path, model, piece), random.Random(0), Tally()
    scene, _ = new_scene(tmp_path / "scene-0", model, piece)
    while tally.kills < kills or scene.unfinished is not None or not scene.actions:
        before, known = scene.finished(), half_written(scene.folder / "blocks")
        kill = Kill(chance.uniform(0, lifetime), tally.kills % _AIMED == 0) if tally.kills < kills else None
        killed, said = _run(scene.folder, model, kill)
        tally.kills += killed
        tally.during_write += killed and bool(half_written(scene.folder / "blocks") - known)
        scene = open_scene(scene.folder)
        assert scene.finished() >= before | said, "a block that was finished is gone"
        assert all(torch.allclose(scene.latent(b), expected[b], atol=1e-5, rtol=0) for b in scene.finished())
        if not killed:
            _count_completed(tally, scene.folder, expected)
            if tally.kills < kills:
                scene, _ = new_scene(tmp_path / f"scene-{tally.completed}", model, piece)
    return tally


def _count_completed(tally: Tally, folder: Path, expected: dict[Index, Tensor]) -> None:
    scene = open_scene(folder)
    apart = difference(latents(scene), expected)
    assert apart <= 1e-5 and scene.unfinished is None
    assert not list(folder.rglob(".tmp-*"))
    tally.completed += 1
    tally.exact += apart == 0
    tally.largest = max(tally.largest, apart)


def test_a_few_kills_lose_nothing(tmp_path: Path) -> None:
    tally = _kill(4, tmp_path)
    assert tally.kills == 4 and tally.completed >= 1 and tally.during_write >= 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_kills_lose_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally = _kill(KILLS, tmp_path)
    with capsys.disabled():
        print(tally)
    assert tally.kills == KILLS and tally.completed >= 1 and tally.during_write >= KILLS // (2 * _AIMED)
