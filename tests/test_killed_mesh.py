"""`mesh` as a process that is stopped or killed: whole files or none, and the next run succeeds."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trimesh
from command_line import run, tiny_run
from kills import half_written, hold_while_writing

ROOT = Path(__file__).resolve().parents[1]
KILLS = int(os.environ.get("FIELDSCAPE_KILLS", "100"))
_AIMED = 3  # one kill of so many waits for the file to be half written, the others come in the second half of a run


def _start(out: Path, *words: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "app", "mesh", str(tiny_run()), "--out", str(out), "--level", "1", "--force"]
    return subprocess.Popen([*command, *words], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def test_interrupted_mesh_ends_soon_and_leaves_nothing(tmp_path: Path) -> None:
    with _start(tmp_path / "a.glb", "--resolution", "400") as process:
        assert process.stderr is not None
        process.stderr.readline()  # the first report
        process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        error = process.stderr.read().decode()
        process.wait()
        waited = time.monotonic() - sent
    assert process.returncode == 130 and "Traceback" not in error
    assert not list(tmp_path.iterdir())
    assert waited < 10, "a step takes well below a second; the rest is for machines with other work"


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_killed_meshes_leave_whole_files_and_the_next_run_succeeds(tmp_path: Path) -> None:
    out, generator = tmp_path / "a.glb", random.Random(0)
    began = time.monotonic()
    with _start(out, "--resolution", "24") as process:
        assert process.wait() == 0
    whole, faces = time.monotonic() - began, len(trimesh.load(out, force="mesh").faces)
    for kill in range(KILLS):
        before = half_written(tmp_path)
        with _start(out, "--resolution", "24") as process:
            if kill % _AIMED:
                time.sleep(generator.uniform(0.5, 1.0) * whole)
            else:
                assert hold_while_writing(process.pid, lambda p=process: p.poll() is None, tmp_path, before)
            process.kill()
        assert kill % _AIMED or half_written(tmp_path) - before
        assert len(trimesh.load(out, force="mesh").faces) == faces
    assert run("mesh", tiny_run(), "--out", out, "--level", 1, "--resolution", 24, "--force").code == 0
    assert len(trimesh.load(out, force="mesh").faces) == faces
