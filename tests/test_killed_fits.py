"""Whole `fit` commands killed at any moment: nothing unreadable, nothing lost, and the same field in the end."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
import trimesh
from command_line import tiny_capture
from kills import half_written, hold_while_writing

from fields.backends import BACKENDS
from fields.checkpoint import load_tensors
from fields.run_folder import FIELD_NAME, read_record

_PRELOADED = ["app.cli", "app.commands.fit", "app.fitting", "app.source", "data.procedural", "data.mesh_metrics"]
_STEPS = 80
_AIMED = 3  # one kill of so many waits for a file that is half written, the others come at any moment
_POOL = 4096  # points whose distances are known: as few as keep the start short
_KNOWN = {".lock", "run.json", FIELD_NAME}


@dataclass
class Tally:
    """What a series of kills met."""

    kills: int = 0
    finished: int = 0
    during_start: int = 0  # before the first step
    during_save: int = 0  # with a half-written file left


def _fit(words: list[str], report: Connection) -> None:
    """`fieldscape fit WORDS` in this process, a state at every report, whose step is sent once it is saved."""
    from functools import partial

    import app.fitting
    import data.mesh_sdf
    from app.cli import main

    torch.set_num_threads(1)
    app.fitting._STATE_SECONDS, app.fitting._STATE_SHARE = 0.0, 1e9
    data.mesh_sdf.MeshSDF = partial(data.mesh_sdf.MeshSDF, pool=_POOL)  # type: ignore[assignment, misc]
    steps = app.fitting.fit_steps

    def reported(*arguments: Any) -> Iterator[Any]:
        for progress in steps(*arguments):
            yield progress
            report.send(progress.step)

    app.fitting.fit_steps = reported  # type: ignore[assignment]
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    main(["fit", *words])


def _processes() -> Any:
    """Children forked from a process that has everything imported and no threads: a start costs milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def _run_for(
    words: list[str], seconds: float | None, saving: tuple[Path, set[Path]] | None = None
) -> tuple[int | None, list[int]]:
    """Start a fit and kill it after `seconds`; its exit code (None: killed) and the steps it reported as saved.

    With `saving`, the run's folder and what is half written there already, the kill waits for the next file that is.
    """
    context = _processes()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_fit, args=(words, sender), daemon=True)
    process.start()
    sender.close()
    process.join(seconds)
    if saving is not None:
        hold_while_writing(process.pid, process.is_alive, *saving)
    killed = process.is_alive()
    if killed:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    steps = []
    with contextlib.suppress(EOFError):
        while receiver.poll():
            steps.append(receiver.recv())
    return None if killed else process.exitcode, steps


def _newest_state(run: Path) -> int:
    """Step of the newest state, after every file in the folder was read; -1 without one."""
    step = -1
    for path in run.iterdir() if run.exists() else ():
        if path.name.startswith(".tmp-"):
            continue
        if path.name.startswith("state-"):
            step = max(step, load_tensors(path)[1]["step"])
            continue
        assert path.name in _KNOWN, path.name
        if path.name == FIELD_NAME:
            load_tensors(path)
    read_record(run)
    return step


def _kill_fits(words: list[str], folder: Path, kills: int, chance: random.Random) -> Tally:
    """Kill the fit at random moments of its life; each one that ends must equal one that was not disturbed."""
    _run_for(["--help"], None)  # the process that the others are forked from starts with the first
    start = time.monotonic()
    code, _ = _run_for([*words, "--out", str(folder / "whole")], None)
    assert code == 0
    lifetime = time.monotonic() - start
    expected = (folder / "whole" / FIELD_NAME).read_bytes()
    tally = Tally()
    while tally.kills < kills or tally.finished == 0:
        run = folder / "killed"
        last, before = _newest_state(run), half_written(run)
        delay = chance.uniform(0.0, 1.1 * lifetime) if tally.kills < kills else None
        saving = (run, before) if delay is not None and tally.kills % _AIMED == 0 else None
        code, steps = _run_for([*words, "--out", str(run), "--resume"], delay, saving)
        newest = _newest_state(run)
        assert newest >= max([last, *steps]), "a state that was saved is gone"
        if code is None:
            tally.kills += 1
            tally.during_start += not steps
            tally.during_save += bool(half_written(run) - before)
            continue
        assert code == 0
        assert (run / FIELD_NAME).read_bytes() == expected, "a resumed fit differs from an unbroken one"
        record = read_record(run)
        assert record is not None and record["skipped_states"] == []
        assert sorted(p.name for p in run.iterdir()) == sorted([*_KNOWN, f"state-{_STEPS:09d}.safetensors"])
        tally.finished += 1
        shutil.rmtree(run)
    return tally


def _mesh(folder: Path) -> Path:
    trimesh.creation.icosphere(subdivisions=2).export(folder / "ball.ply")
    return folder / "ball.ply"


def _words(source: Path, backend: str) -> list[str]:
    return [str(source), "--backend", backend, "--preset", "tiny", "--steps", str(_STEPS), "--device", "cpu"]


def _stress(source: Path, backends: list[str], folder: Path, kills: int) -> list[Tally]:
    chance = random.Random(0)
    shares = [kills // len(backends) + (k < kills % len(backends)) for k in range(len(backends))]
    found = []
    for backend, share in zip(backends, shares, strict=True):
        (folder / backend).mkdir()
        found.append(_kill_fits(_words(source, backend), folder / backend, share, chance))
        print(backend, found[-1])
    return found


@pytest.mark.parametrize("kind", ["density", "sdf"])
def test_fit_that_is_killed_again_and_again_ends_as_if_it_was_not(kind: str, tmp_path: Path) -> None:
    source = tiny_capture() if kind == "density" else _mesh(tmp_path)
    (tally,) = _stress(source, ["hash"], tmp_path, 4)
    assert tally.kills == 4 and tally.finished and tally.during_save >= 2


@pytest.mark.slow
@pytest.mark.timeout(5400)
@pytest.mark.parametrize("kind", ["density", "sdf"])
def test_two_hundred_killed_fits_lose_nothing(kind: str, tmp_path: Path) -> None:
    source = tiny_capture() if kind == "density" else _mesh(tmp_path)
    tallies = _stress(source, list(BACKENDS), tmp_path, 200)
    assert sum(tally.kills for tally in tallies) == 200
    assert all(tally.finished for tally in tallies)
    assert sum(tally.during_save for tally in tallies) >= 200 // _AIMED
