"""What to run whenever a GPU is at hand: `python -m benchmarks.gpu STEP…`, of

    build, check      compile for this GPU; tests on it, compute-sanitizer
    kernels           every kernel against its rivals, the rate of copies and that of matrix products
    fit, engines      PSNR of unseen views over time, by preset and by engine, on every scene that is there
    frames            frames a second
    chain             fit, eval, convert, mesh and render by the command line
    pairs             what conversions keep, `hash` to `mlp` first
    rooms             train the scene generator at preset `small`

Every step adds its part to benchmarks/results/gpu-<name>-<date>.json and prints a short table. `--dry-run`
goes through all of it on the CPU at tiny sizes, so that no minute of a GPU is lost to a slip of the pen. What `pairs`
and `rooms` have done stays in the folder --work, and the same command goes on with the rest.
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
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from app.bench.timing import measure
from app.source import open_source
from cuda_ext import HashGrid
from cuda_ext.accelerators import ACCELERATORS, HALF, using
from data import make_capture
from fields.budget import Budget
from fields.engines import NATIVE, check_engine, engine_names
from fields.errors import ExitCode, UserError
from fields.field import Field
from fields.safeio import read_json, write_json
from fields.space import Space
from fields.views import Capture

from .commands import ROOT, failed, run
from .contests import copy_bandwidth, entries, matrix_rate
from .fitting import follow, frames_per_second
from .gpu_jobs import chain, pairs, rooms
from .gpu_plan import DATA, Plan
from .machine import device_name, hardware, slug, versions


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
    others = ["tests/test_cuda_build.py", "tests/test_tinycudann.py", "tests/test_nerfacc.py"]
    found = {"pytest": run(pytest if plan.dry else [*pytest, *others], 580)}
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer and not plan.dry:
        for tool in ("memcheck", "racecheck", "synccheck"):
            watched = [sanitizer, "--tool", tool, "--error-exitcode", "9", *pytest]
            found[tool] = run([*watched, "-k", "agree and not large and not chunks"], 580)
    return found


def kernels(plan: Plan) -> dict[str, Any]:
    """Every kernel against its rivals, and against the rates at which the device copies memory and multiplies."""
    grid = plan.choose(HashGrid(), HashGrid(4, 2, 10, 4.0, 32.0))
    sizes = plan.choose([1 << 18, 1 << 19, 1 << 20, 1 << 21], [1 << 8])
    bandwidth, side = copy_bandwidth(plan.device, plan.choose(1 << 28, 1 << 16)), plan.choose(8192, 64)
    rates = {dtype: matrix_rate(plan.device, side, dtype) for dtype in (torch.float32, torch.float16)}
    rows = []
    for entry in entries(plan.device, sizes, grid, plan.choose(10, 1)):
        row: dict[str, Any] = asdict(measure(entry.contest, plan.choose(9, 1)))
        rate = rates[torch.float16 if entry.half else torch.float32]
        row |= {"bytes": entry.bytes, "flops": entry.flops, "bytes_per_s": entry.bytes / row["ours_s"],
                "flops_per_s": entry.flops / row["ours_s"], "of_copy": entry.bytes / row["ours_s"] / bandwidth,
                "of_matrix": entry.flops / row["ours_s"] / rate}
        rows.append(row)
        print(f"{row['name']:32} {row['config']:44} {row['ours_s'] * 1e6:10.1f} us   {row['ratio']:6.2f} x "
              f"{row['baseline']:20} {row['of_copy']:6.3f} of copy {row['of_matrix']:6.3f} of matrix")
    return {"copy_bytes_per_s": bandwidth, "matmul_float_flops_per_s": rates[torch.float32],
            "matmul_half_flops_per_s": rates[torch.float16], "rows": rows}


def scenes(plan: Plan) -> dict[str, Capture]:
    """The procedural scene, and the photos that the goals are set for, where they are."""
    found = {"procedural": make_capture(*plan.choose((100, 8, 400), (4, 1, 24)))}
    for name in () if plan.dry else ("chair_400", "lego_400"):
        folder = plan.data / "nerf" / name
        capture = open_source(str(folder)).capture if folder.is_dir() else None
        if capture is None:
            print(f"{name}: not in {plan.data}")
        else:
            found[name] = capture
    return found


def fit(plan: Plan) -> dict[str, Any]:
    """Fit every scene with every preset and follow the PSNR of unseen views over time."""
    found: dict[str, Any] = {}
    for scene, capture in scenes(plan).items():
        for preset in plan.choose(("small", "paper"), ("tiny",)):
            found[f"{scene} {preset}"] = curve = _fit_with(NATIVE, preset, capture, plan)
            print(f"fit {scene} {preset:8} {_told(curve)}")
    return found


def engines(plan: Plan) -> dict[str, Any]:
    """The same fits with our usual kernels, our own in half precision, and other packages, side by side."""
    found: dict[str, Any] = {}
    names = (NATIVE, *ACCELERATORS, f"{HALF}+nerfacc", "tinycudann+nerfacc")
    for scene, capture in scenes(plan).items():
        for engine in names:
            try:
                found[f"{scene} {engine}"] = curve = _fit_with(engine, plan.choose("paper", "tiny"), capture, plan)
                text = _told(curve)
            except UserError as error:
                found[f"{scene} {engine}"] = {"refused": error.line()}
                text = error.line()
            print(f"fit {scene} with {engine:20} {text}")
    return found


def frames(plan: Plan) -> dict[str, Any]:
    """Frames a second of a hash field after a short fit, with our usual kernels and in half precision."""
    capture, found = scenes(plan)["procedural"], {}
    field = _new_field(plan.choose("small", "tiny"), capture, plan)
    follow(field, capture, Budget(steps=plan.choose(3000, 16)))
    for engine in (NATIVE, HALF):
        try:
            with using(*engine_names(engine, plan.device.type)):
                rate = frames_per_second(field, plan.choose(800, 24), plan.choose(20, 2))
            found[engine] = {"frames_per_s": rate}
            print(f"frames with {engine:8} {rate:.1f} a second")
        except UserError as error:
            found[engine] = {"refused": error.line()}
            print(f"frames with {engine:8} {error.line()}")
    return found


def _new_field(preset: str, capture: Capture, plan: Plan) -> Field:
    return Field.create("hash", Space(capture.bounds, capture.contraction), preset=preset).to(plan.device)


def _told(curve: dict[str, Any]) -> str:
    goals = [f", {goal} after {at:.1f} s" for goal, at in curve["seconds_to"].items() if at is not None]
    return f"{curve['psnr'][-1]:.2f} dB after {curve['seconds'][-1]:.1f} s, {curve['steps']} steps{''.join(goals)}"


def _fit_with(engine: str, preset: str, capture: Capture, plan: Plan) -> dict[str, Any]:
    names = engine_names(engine, plan.device.type)
    field = _new_field(preset, capture, plan)
    check_engine(field, names)
    with using(*names):
        return follow(field, capture, plan.choose(Budget(seconds=plan.seconds), Budget(steps=16)))


Step = Callable[[Plan], dict[str, Any]]
STEPS: dict[str, Step] = {
    step.__name__: step for step in (build, check, kernels, fit, engines, frames, chain, pairs, rooms)
}


def main(arguments: list[str] | None = None) -> int:
    """Run the steps in the order given; the exit status is 1 when a command of a step failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="+", choices=list(STEPS))
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on the CPU")
    parser.add_argument("--seconds", type=float, default=60.0, help="budget of each fit")
    parser.add_argument("--limit", type=float, default=540.0, help="seconds of each command of pairs and rooms")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with nerf/chair_400 and nerf/lego_400")
    parser.add_argument("--work", type=Path, help="folder that keeps what pairs and rooms have done")
    parser.add_argument("--out", type=Path, help="folder of the JSON file")
    options = parser.parse_args(arguments)
    if not options.dry_run and not torch.cuda.is_available():
        print(UserError("E-ENV-GPU", "no CUDA device", expected="an NVIDIA GPU", fix="add --dry-run").line())
        return ExitCode.ENVIRONMENT
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(torch.device("cpu" if options.dry_run else "cuda"), options.dry_run, options.seconds, options.limit,
                    options.data, (options.work or Path(folder)).absolute())
        out = options.out or (Path(tempfile.gettempdir()) if plan.dry else ROOT / "benchmarks" / "results")
        results = [record(out, plan, step, STEPS[step](plan)) for step in options.steps]
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
