"""Steps of the GPU benchmark that are commands a user would give."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from fields.safeio import read_json

from .commands import ROOT, run
from .gpu_plan import Plan

_DRY_SECONDS = 20.0  # of a command that would take hours
_FIGURES = (("generation", "nna"), ("generation", "cov"), ("layout", "iou"))


def chain(plan: Plan) -> dict[str, Any]:
    """Fit, eval, convert, mesh and render, one after the other, until one fails."""
    folder, photos = plan.work / "chain", plan.data / "nerf" / "chair_400"
    source = str(photos) if photos.is_dir() and not plan.dry else "sample"
    field, student = str(folder / "hash"), str(folder / "mlp.safetensors")
    few = ("--steps", "16") if plan.dry else ("--time", f"{plan.seconds:.0f}s")
    preset = ("--preset", plan.choose("paper", "tiny"))
    commands = {
        "fit": ("fit", source, "--out", field, "--force", *preset, *few),
        "eval": ("eval", field, source),
        "convert": ("convert", field, "--to", "mlp", "--out", student, "--force", *preset, *few),
        "mesh": ("mesh", field, "--out", str(folder / "mesh.glb"), "--force", "--resolution", plan.choose("256", "24")),
        "render": ("render", field, "--out", str(folder / "frames"), "--force", "--frames", plan.choose("24", "1"),
                   "--size", plan.choose("800x800", "24x24")),
    }  # fmt: skip
    found: dict[str, Any] = {}
    for name, words in commands.items():
        if not any(part["rc"] for part in found.values()):
            found[name] = _fieldscape(plan, 580, *words)
    return found


def pairs(plan: Plan) -> dict[str, Any]:
    """What conversions keep of their teacher, and what a fit from scratch reaches in the same program."""
    photos = plan.data / "nerf" / "chair_400"
    out, file = plan.work / "pairs", plan.work / "pairs.json"
    times = plan.choose(("60s", "60s", "300s"), ("4steps",) * 3)
    sizes = ("--size", "24") if plan.dry else ("--scene", str(photos) if photos.is_dir() else "builtin")
    settings = ("--preset", plan.choose("paper", "tiny"), *sizes, "--json", str(file))
    limits = [word for pair in zip(("--time", "--teacher", "--scratch"), times, strict=True) for word in pair]
    first, others = ("--pairs", "hash:mlp"), plan.choose((), ("--pairs", "hash:vm"))
    found: dict[str, Any] = {}
    for name, chosen in (("hash:mlp", first), ("all", others)):
        found[name] = _resumable(plan, "bench", "convert", "--out", str(out), *chosen, *settings, *limits)
        if file.is_file() and not found[name]["unfinished"]:
            found[name]["document"] = read_json(file)
    return found


def rooms(plan: Plan) -> dict[str, Any]:
    """Train the generator of rooms, and set its figures beside the shipped one's."""
    preset, scenes = plan.choose(("small", "rooms:1500"), ("tiny", "rooms:2"))
    out = plan.work / f"rooms-{preset}"
    words = ("scene", "train-all", "--procedural", scenes, "--out", str(out), "--preset", preset, "--bf16")
    found = {"train": _resumable(plan, *words, *(("--resume",) if out.exists() else ()))}
    if found["train"]["rc"] or found["train"]["unfinished"]:
        return found
    figures, model = out / "figures.json", out / "diffusion" / "model"
    packed = ("--out", str(plan.work / f"rooms-{preset}-model"), "--figures", str(figures), "--force")
    found["pack"] = run([*_PROGRAM, "scene", "pack", str(model), *packed], 580)
    found["figures"] = {"ours": _figures(figures), "rooms-tiny": _figures(_latest("rooms-tiny"))}
    for name, values in found["figures"].items():
        print(f"{name:12} 1-NNA {values['nna']:.3f}   COV {values['cov']:.3f}   layout IoU {values['iou']:.3f}")
    return found


_PROGRAM = (sys.executable, "-m", "app")


def _fieldscape(plan: Plan, seconds: float, *words: str) -> dict[str, Any]:
    return run([*_PROGRAM, *words, "--device", plan.device.type], seconds)


def _resumable(plan: Plan, *words: str) -> dict[str, Any]:
    """A command that goes on where it was stopped: that its time is over is no failure."""
    done = _fieldscape(plan, _DRY_SECONDS if plan.dry else plan.limit, *words)
    over = done["rc"] == 124
    return done | {"rc": 0 if over else done["rc"], "unfinished": over}


def _figures(file: Path) -> dict[str, float]:
    document = read_json(file)
    return {name: float(document[section][name]) for section, name in _FIGURES}


def _latest(name: str) -> Path:
    return max((ROOT / "benchmarks" / "results").glob(f"{name}-*.json"))
