"""`generate` killed at any moment: no finished block is lost, and the scene comes out as if nothing had happened."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from world_scenes import difference, ground, latents, new_scene, plan_of, tiny_model

from scenegen.sampling import finished
from scenegen.world.grow import generate
from scenegen.world.labour import Labour
from scenegen.world.neighbours import Index
from scenegen.world.store import open_scene

_PRELOADED = ["scenegen.world.grow", "scenegen.world.plan_files", "diffusers"]


def _generate(folder: str, model: str, report: Connection) -> None:
    torch.set_num_threads(1)
    scene = open_scene(folder)
    for progress in generate(scene, plan_of(scene), Labour(model, batch=2)):
        report.send((int(progress.metrics["i"]), int(progress.metrics["k"])))


def _killed_after(seconds: float | None, folder: Path, model: str) -> tuple[bool, set[Index]]:
    """Start it and kill it; whether that was in time, and the blocks that it said were finished."""
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_generate, args=(str(folder), model, sender), daemon=True)
    process.start()
    sender.close()
    process.join(seconds)
    killed = process.is_alive()
    if killed:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    said = set()
    with contextlib.suppress(EOFError):
        while receiver.poll():
            said.add(receiver.recv())
    return killed, said


def _kill(kills: int, tmp_path: Path) -> int:
    """Kill `kills` times in all, over as many scenes as that takes; how many were completed."""
    model, piece = tiny_model(tmp_path / "model"), ground((-1, 0), (3, 2))
    scene, plan = new_scene(tmp_path / "whole", model, piece)
    expected = latents(finished(generate(scene, plan, Labour(model))))
    for name in ("first", "second"):  # the process that the others are forked from starts with the first
        start = time.monotonic()
        assert not _killed_after(None, new_scene(tmp_path / name, model, piece)[0].folder, model)[0]
    lifetime, chance, done, count = time.monotonic() - start, random.Random(0), 0, 0
    scene, _ = new_scene(tmp_path / "scene-0", model, piece)
    while count < kills or scene.unfinished is not None or not scene.actions:
        before = scene.finished()
        killed, said = _killed_after(chance.uniform(0, lifetime) if count < kills else None, scene.folder, model)
        count += killed
        scene = open_scene(scene.folder)
        assert scene.finished() >= before | said, "a block that was finished is gone"
        assert all(torch.allclose(scene.latent(b), expected[b], atol=1e-5, rtol=0) for b in scene.finished())
        if not killed:
            assert difference(latents(scene), expected) <= 1e-5 and scene.unfinished is None
            assert not list(scene.folder.rglob(".tmp-*"))
            done += 1
            if count < kills:
                scene, _ = new_scene(tmp_path / f"scene-{done}", model, piece)
    return done


def test_a_few_kills_lose_nothing(tmp_path: Path) -> None:
    assert _kill(4, tmp_path) >= 1


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    assert _kill(100, tmp_path) >= 1
