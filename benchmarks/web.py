"""The web app's figures on an idle machine: `python -m benchmarks.web [STEP …]`, all steps by default.

A server is started as users start it, with a state folder of its own; visitors are separate cookies. `--dry-run` goes
through all of it with little of everything. The figures go to benchmarks/results/web-<date>.json.

  pages     20 people read pages and the lists that pages poll, while a job runs
  memory    the server's resident memory over 1,000 requests
  cancel    from asking for a running job's end to its being over
  look      the first picture of a drag, and the whole one when it stops, on an idle server and beside a running job
  isolation 8 people act in 1,000 random interleavings, each also on the others' things
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.hardware import calibration, hardware, versions
from fields.safeio import read_json, write_json

from .commands import ROOT
from .visitors import Served, served
from .web_isolation import interleaved
from .web_steps import cancelling, looks, memory, pages


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    dry: bool

    def choose(self, real: int, dry: int) -> int:
        return dry if self.dry else real


Step = Callable[[Plan, Served], dict[str, Any]]
STEPS: dict[str, Step] = {
    "pages": lambda plan, server: pages(server, plan.choose(20, 3), plan.choose(15, 1)),
    "memory": lambda plan, server: memory(server, plan.choose(1000, 40)),
    "cancel": lambda plan, server: cancelling(server, plan.choose(10, 1)),
    "look": lambda plan, server: looks(server, float(plan.choose(60, 2)), plan.choose(60, 3)),
    "isolation": lambda plan, server: interleaved(server, plan.choose(8, 3), plan.choose(1000, 60)),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the steps, each on a new server; the exit status is 1 where a figure misses its goal."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.web", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("steps", nargs="*", metavar="STEP", help=" ".join(STEPS))
    parser.add_argument("--dry-run", action="store_true", help="little of everything; no goal is missed")
    parser.add_argument("--out", type=Path, help="folder of the JSON file")
    options = parser.parse_args(arguments)
    unknown = set(options.steps) - set(STEPS)
    if unknown:
        parser.error(f"unknown step {' '.join(sorted(unknown))}; choose from {' '.join(STEPS)}")
    plan = Plan(options.dry_run)
    folder = options.out or (Path(tempfile.gettempdir()) if plan.dry else ROOT / "benchmarks" / "results")
    missed = []
    for step in options.steps or STEPS:
        before = calibration()
        with served() as server:
            found = STEPS[step](plan, server)
        record(folder, plan, step, {**found, "calibration_gflops": [before, calibration()]})
        missed += [f"{step}: {name}" for name, met in found["goals"].items() if not met]
    print("goals missed: " + (", ".join(missed) or "none"), file=sys.stderr)
    return int(bool(missed) and not plan.dry)


def record(folder: Path, plan: Plan, step: str, result: dict[str, Any]) -> None:
    """Add a step to today's file."""
    name = "web-dry-run" if plan.dry else "web"
    path = folder / f"{name}-{datetime.date.today().isoformat()}.json"
    content = read_json(path) if path.exists() else {"steps": {}}
    content |= {"hardware": hardware(), "versions": versions()}
    content["steps"][step] = result
    write_json(path, content)
    print(f"{step}: {path}")


if __name__ == "__main__":
    raise SystemExit(main())
