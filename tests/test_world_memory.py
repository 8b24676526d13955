"""A shipped generator's scenes of sixteen and of 144 blocks take the same memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scenegen.shipped import shipped_models

ROOT = Path(__file__).resolve().parents[1]
MODEL = "rooms-tiny"
MORE = 1.15  # the larger scene's peak, in those of the smaller one


def _run(*words: str) -> dict[str, int]:
    """The document of a command in a process of its own, whose peak is not that of another."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "app", "scene", *words, "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(MODEL not in shipped_models(), reason=f"{MODEL} is not there")
def test_nine_times_the_blocks_take_the_same_memory(tmp_path: Path) -> None:
    made, meshed = [], []
    for side in (4, 12):
        scene = tmp_path / f"scene-{side}"
        record = _run("generate", "--size", f"{side}x{side}", "--model", MODEL, "--seed", "3", "--out", str(scene))
        assert record["blocks"] == side * side
        made.append(record["peak_memory_bytes"])
        meshed.append(_run("mesh", str(scene), "--out", str(tmp_path / f"{side}.glb"))["peak_bytes"])
    assert made[1] <= MORE * made[0] and meshed[1] <= MORE * meshed[0] and max(made + meshed) < 2 * 2**30
