"""A stand-in for the worker of jobs: it starts at once, and what it does goes by the job's `seed`.

0: writes a file and is done; 1: works until it is asked to stop; 2: never stops by itself; 3: is refused; 4: crashes.
1 and 2 write a large file and a record first.
Otherwise it is done after that many milliseconds.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    order = json.loads(sys.stdin.readline())
    seed = order["parameters"]["seed"]
    out = Path(order["out"])
    out.mkdir(exist_ok=True)
    asked: list[int] = []
    if seed in (1, 2):
        signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
        (out / "run.json").write_text('{"status": "running"}')
        (out / "large.bin").write_bytes(bytes(10_000))
    tell("progress", progress(1))
    if seed == 3:
        tell("failed", {"code": "E-TF-FOV", "what": "angle is odd", "line": "error[E-TF-FOV] angle is odd."})
        return
    if seed == 4:
        os.kill(os.getpid(), signal.SIGSEGV)
    while seed == 2 or (seed == 1 and not asked):
        time.sleep(0.01)
    if asked:
        tell("stopped", None)
        return
    time.sleep(seed / 1000)
    (out / "made.txt").write_text("resumed" if order["resume"] else "made")
    tell("done", {"seed": seed, "order": order["inputs"]})


def progress(step: int) -> dict[str, Any]:
    return {"phase": "fit", "step": step, "total": 2, "fraction": step / 2, "seconds": 1.0, "remaining": 1.0,
            "loss": 0.5, "metrics": {"psnr": 20.0}}  # fmt: skip


def tell(name: str, value: Any) -> None:
    print(json.dumps({name: value}), flush=True)


if __name__ == "__main__":
    main()
