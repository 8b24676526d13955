"""Commands that a measurement starts, and what is kept of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_LINES = 12  # of its output


def run(command: list[str], seconds: float) -> dict[str, Any]:
    """Exit status (124: out of time) and the last lines of a command, run in the project's root."""
    path = os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", "")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path}
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True,
                              timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"rc": 124, "tail": [f"took longer than {seconds:.0f} s"]}
    tail = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr).splitlines()[-_LINES:]
    print("\n".join(tail))
    return {"rc": done.returncode, "tail": tail}


def failed(result: dict[str, Any]) -> bool:
    """Whether a command among the parts of a result ended with an error."""
    return any(isinstance(part, dict) and bool(part.get("rc")) for part in result.values())
