"""What to run whenever a GPU is at hand: `python -m benchmarks.gpu build check kernels fit engines`.

Every step adds its part to benchmarks/results/gpu-<name>-<date>.json and prints a short table. `--dry-run`
goes through all of it on the CPU at tiny sizes, so that no minute of a GPU is lost to a slip of the pen.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from app.bench.timing import measure
from cuda_ext import HashGrid
from cuda_ext.accelerators import ACCELERATORS, using
from data import make_capture
from fields.budget import Budget
from fields.engines import NATIVE, check_engine, engine_names
from fields.errors import ExitCode, UserError
from fields.field import Field
from fields.safeio import read_json, write_json
from fields.space import Space
from fields.views import Capture

from .commands import ROOT, failed, run
from .contests import copy_bandwidth, entries
from .fitting import follow
from .machine import device_name, hardware, slug, versions


@dataclass(frozen=True)
class Plan:
    """How large the steps are."""

    device: torch.device
    dry: bool
    seconds: float = 60.0  # of each fit

    def choose(self, real: Any, dry: Any) -> Any:
        return dry if self.dry else real


def build(plan: Plan) -> dict[str, Any]:
    """Compile both modules for this machine's GPU, warnings as errors, and put them beside their sources."""
    with tempfile.TemporaryDirectory() as folder:
        settings = ["-DPython_EXECUTABLE=" + sys.executable, "-Dnanobind_DIR=" + _nanobind(),
                    "-DFIELDSCAPE_STRICT=ON", *_architecture(plan)]
        configured = run(["cmake", "-S", str(ROOT), "-B", folder, *settings], 300)
        if configured["rc"] or plan.dry:
            return {"configure": configured}
        built = run(["cmake", "--build", folder, "--parallel", str(os.cpu_count())], 580)
        for module in Path(folder).glob("_*.so"):
            shutil.copy(module, ROOT / "cuda_ext" / f".{module.name}")
            os.replace(ROOT / "cuda_ext" / f".{module.name}", ROOT / "cuda_ext" / module.name)
        return {"configure": configured, "build": built}


def check(plan: Plan) -> dict[str, Any]:
    """The tests marked `cuda`, then, where it runs, compute-sanitizer over the kernels' parity tests."""
    pytest = [sys.executable, "-m", "pytest", "-m", "not slow", "-rs", "tests/test_cuda.py"]
    found = {"pytest": run([*pytest, "tests/test_cuda_build.py"], 580)}
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer and not plan.dry:
        for tool in ("memcheck", "racecheck"):
            watched = [sanitizer, "--tool", tool, "--error-exitcode", "9", *pytest]
            found[tool] = run([*watched, "-k", "agree and not large and not chunks"], 580)
    return found


def kernels(plan: Plan) -> dict[str, Any]:
    """Every kernel against its rivals, and against the rate at which the device copies memory."""
    grid = plan.choose(HashGrid(), HashGrid(4, 2, 10, 4.0, 32.0))
    sizes = plan.choose([1 << 18, 1 << 19, 1 << 20, 1 << 21], [1 << 8])
    bandwidth = copy_bandwidth(plan.device, plan.choose(1 << 28, 1 << 16))
    rows = []
    for entry in entries(plan.device, sizes, grid, plan.choose(10, 1)):
        row: dict[str, Any] = asdict(measure(entry.contest, plan.choose(9, 1)))
        row |= {"bytes_per_s": entry.bytes / row["ours_s"], "flops_per_s": entry.flops / row["ours_s"],
                "of_copy": entry.bytes / row["ours_s"] / bandwidth}
        rows.append(row)
        print(f"{row['name']:28} {row['config']:28} {row['ours_s'] * 1e6:10.1f} us   {row['ratio']:6.2f} x "
              f"{row['baseline']:20} {row['of_copy']:6.2f} of copy")
    return {"copy_bytes_per_s": bandwidth, "rows": rows}


def fit(plan: Plan) -> dict[str, Any]:
    """Fit the procedural scene and follow the PSNR of unseen views over time."""
    capture = make_capture(*plan.choose((100, 8, 400), (4, 1, 24)))
    found = {}
    for preset in plan.choose(("small", "paper"), ("tiny",)):
        budget = plan.choose(Budget(seconds=plan.seconds), Budget(steps=32))
        space = Space(capture.bounds, capture.contraction)
        field = Field.create("hash", space, preset=preset).to(plan.device)
        found[preset] = curve = follow(field, capture, budget)
        print(f"fit hash {preset:8} {curve['psnr'][-1]:.2f} dB after {curve['seconds'][-1]:.1f} s, "
              f"{curve['steps']} steps")
    return found


def engines(plan: Plan) -> dict[str, Any]:
    """The same fit with our own kernels and with every engine that this machine can use, side by side."""
    capture = make_capture(*plan.choose((100, 8, 400), (4, 1, 24)))
    budget = plan.choose(Budget(seconds=plan.seconds), Budget(steps=16))
    found: dict[str, Any] = {}
    for engine in (NATIVE, *ACCELERATORS, "+".join(ACCELERATORS)):
        try:
            found[engine] = curve = _fit_with(engine, capture, budget, plan)
            text = f"{curve['psnr'][-1]:.2f} dB after {curve['seconds'][-1]:.1f} s, {curve['steps']} steps"
        except UserError as error:
            found[engine] = {"refused": error.line()}
            text = error.line()
        print(f"fit with {engine:20} {text}")
    return found


def _fit_with(engine: str, capture: Capture, budget: Budget, plan: Plan) -> dict[str, Any]:
    names = engine_names(engine, plan.device.type)
    space = Space(capture.bounds, capture.contraction)
    field = Field.create("hash", space, preset=plan.choose("paper", "tiny")).to(plan.device)
    check_engine(field, names)
    with using(*names):
        return follow(field, capture, budget)


Step = Callable[[Plan], dict[str, Any]]
STEPS: dict[str, Step] = {"build": build, "check": check, "kernels": kernels, "fit": fit, "engines": engines}


def main(arguments: list[str] | None = None) -> int:
    """Run the steps in the order given; the exit status is 1 when a command of a step failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("steps", nargs="+", choices=list(STEPS))
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on the CPU")
    parser.add_argument("--seconds", type=float, default=60.0, help="budget of each fit")
    parser.add_argument("--out", type=Path, help="folder of the JSON file")
    options = parser.parse_args(arguments)
    if not options.dry_run and not torch.cuda.is_available():
        print(UserError("E-ENV-GPU", "no CUDA device", expected="an NVIDIA GPU", fix="add --dry-run").line())
        return ExitCode.ENVIRONMENT
    plan = Plan(torch.device("cpu" if options.dry_run else "cuda"), options.dry_run, options.seconds)
    folder = options.out or (Path(tempfile.gettempdir()) if plan.dry else ROOT / "benchmarks" / "results")
    results = [record(folder, plan, step, STEPS[step](plan)) for step in options.steps]
    return int(any(failed(result) for result in results))


def record(folder: Path, plan: Plan, step: str, result: dict[str, Any]) -> dict[str, Any]:
    """Add a step to today's file of this device."""
    name = "dry-run" if plan.dry else slug(device_name(plan.device))
    path = folder / f"gpu-{name}-{datetime.date.today().isoformat()}.json"
    content = read_json(path) if path.exists() else {"steps": {}}
    content |= {"hardware": hardware(plan.device), "versions": versions()}
    content["steps"][step] = result
    write_json(path, content)
    print(f"{step}: {path}")
    return result


def _architecture(plan: Plan) -> list[str]:
    if plan.device.type != "cuda":
        return []
    major, minor = torch.cuda.get_device_capability(plan.device)
    return [f"-DCMAKE_CUDA_ARCHITECTURES={major}{minor}-real", "-DFIELDSCAPE_CUDA=ON"]


def _nanobind() -> str:
    command = [sys.executable, "-m", "nanobind", "--cmake_dir"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


if __name__ == "__main__":
    raise SystemExit(main())
