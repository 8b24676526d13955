"""Quality in a given time: fits real captures through the command line and scores held-out views.

    python -m benchmarks.quality DATA [ROW …]

DATA holds `nerf/…` and `meshes/…`. Each row is fitted, scored and added to
benchmarks/results/quality-<instruction set>-<date>.json as soon as it is done; rows that are there already are kept.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from app.hardware import calibration, hardware, versions
from fields.backends import BACKENDS
from fields.safeio import read_json, write_json

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One fit: a source below DATA, a backend, a time, and the goal for the mean PSNR (or None)."""

    name: str
    source: str
    seconds: int
    goal: float | None = None
    backend: str = "hash"
    options: list[str] = field(default_factory=list)


HALF, NATIVE = ["--engine", "half"], ["--engine", "native"]
LARGE = ["--set", "log2_entries=18"]  # twice the table: worth its time in minutes only
ROWS = [
    Row("lego-60", "nerf/lego_400", 60, 30.0, options=HALF),
    Row("lego-60-native", "nerf/lego_400", 60, 30.0, options=NATIVE),
    Row("lego-300", "nerf/lego_400", 300, 33.0, options=HALF),
    Row("lego-300-large", "nerf/lego_400", 300, 33.0, options=[*HALF, *LARGE]),
    Row("chair-60", "nerf/chair_400", 60, 32.0, options=HALF),
    Row("chair-300", "nerf/chair_400", 300, 34.0, options=HALF),
    Row("fox-120", "nerf/fox_quarter", 120, 27.5, options=HALF),
    Row("maryrose-llff-120", "nerf/maryrose_llff", 120, 28.0, options=HALF),
    Row("maryrose-tnt-120", "nerf/maryrose_tnt", 120, 28.0, options=HALF),
    Row("maryrose-colmap-120", "nerf/maryrose_colmap", 120, 28.0, options=HALF),
    Row("armadillo-60", "meshes/armadillo.obj", 60),
    *[Row(f"chair-{name}-300", "nerf/chair_400", 300, 24.0, name) for name in BACKENDS if name != "hash"],
]


def command(*words: str) -> dict[str, Any]:
    """Run a fieldscape command in its own process and return its JSON document."""
    line = [sys.executable, "-m", "app", *words, "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def measure(row: Row, data: Path, seed: int) -> dict[str, Any]:
    """Fit and score one row; the calibration figures before and after tell how fast the machine was."""
    source = str(data / row.source)
    before = calibration()
    with tempfile.TemporaryDirectory() as folder:
        run = str(Path(folder) / "run")
        fitted = command(
            "fit",
            source,
            "--out",
            run,
            "--time",
            f"{row.seconds}s",
            "--seed",
            str(seed),
            "--backend",
            row.backend,
            *row.options,
        )
        scored = command("eval", run, source)
    return {
        **asdict(row),
        "seed": seed,
        "calibration_gflops": [before, calibration()],
        "steps": fitted["steps"],
        "fit_seconds": fitted["seconds"]["fit"],
        "peak_memory_bytes": fitted["peak_memory_bytes"],
        "parameters": fitted["parameters"],
        "bytes": fitted["bytes"],
        "mean": scored["mean"],
        "worst_psnr": min((view["psnr"] for view in scored.get("views", [])), default=None),
        "views": len(scored.get("views", [])),
    }


def main() -> None:
    """Measure the rows named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("rows", nargs="*", help=", ".join(row.name for row in ROWS))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    machine = hardware()
    path = RESULTS / f"quality-{machine['native']}-{datetime.date.today()}.json"
    document = read_json(path) if path.exists() else {"hardware": machine, "versions": versions(), "rows": []}
    done = {(row["name"], row["seed"]) for row in document["rows"]}
    for row in ROWS:
        if (given.rows and row.name not in given.rows) or (row.name, given.seed) in done:
            continue
        found = measure(row, given.data, given.seed)
        document["rows"].append(found)
        write_json(path, document)
        print(row.name, found["mean"], f"{found['steps']} steps", flush=True)


if __name__ == "__main__":
    main()
