"""Starting processes of ours that can be killed whole."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

_ROOT = str(Path(__file__).resolve().parents[2])  # the folder that `app` is imported from


def start_module(module: str, folder: Path, threads: int, log: int | None = None) -> subprocess.Popen[bytes]:
    """`python -m module` in a process group of its own, working in `folder`, with pipes for stdin and stdout.

    `log` is the descriptor that its stderr goes to, the null device without one.
    """
    return subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if log is None else log,
        cwd=folder,
        env=_environment(threads),
        start_new_session=True,
    )


def kill_group(process: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> None:
    """Signal a process and all that it started, unless it is gone."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def _environment(threads: int) -> dict[str, str]:
    path = os.pathsep.join(part for part in (_ROOT, os.environ.get("PYTHONPATH", "")) if part)
    return {
        **os.environ,
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": str(threads),
        "MALLOC_ARENA_MAX": "2",  # address space is limited, and every arena reserves some
        "HF_HUB_OFFLINE": "1",
    }


def ask_module(module: str, folder: Path, order: object, seconds: float) -> dict[str, Any] | None:
    """The JSON object that a module prints for an order; None when it fails or takes longer than `seconds`."""
    with start_module(module, folder, 1) as process:
        try:
            answer, _ = process.communicate(json.dumps(order).encode() + b"\n", seconds)
            found = json.loads(answer)
        except (subprocess.TimeoutExpired, ValueError):
            return None
        finally:
            kill_group(process)
    return found if isinstance(found, dict) else None
