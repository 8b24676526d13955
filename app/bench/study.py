"""What each part of the distillation brings, and how much sooner a student is as good as one from scratch."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cuda_ext.accelerators import using
from fields.budget import Budget
from fields.cameras import Cameras
from fields.distill import DistillOptions, distill
from fields.engines import AUTO, engines_for
from fields.field import Field
from fields.fit import fit_images
from fields.metrics import psnr
from fields.progress import Progress
from fields.render import render_rays
from fields.safeio import read_json, write_json
from fields.samplers import Sampler
from fields.views import Capture

from .matrix import MatrixSettings, check_settings, fitted_scene
from .nerf_recipe import nerf_sampler, nerf_steps

_PIXELS = 1 << 15  # of all held-out photos: a look must not cost more than what it looks at
_MARKS = [2.0 ** (-k / 2) for k in range(16, 0, -1)]  # shares of the time after which a field is looked at
FULL, SCRATCH, RECIPE = "full method", "from scratch on photos", "from scratch as NeRF does"
_RECIPE_TIME = 30  # of that of a fit from scratch


def variants(cameras: Cameras | None, near: float, seed: int) -> dict[str, DistillOptions]:
    """The full method, and each with one part left out."""
    full = DistillOptions(seed=seed, cameras=cameras, near=near)
    without = {
        f"without active {part}": replace(full, active=tuple(other for other in full.active if other != part))
        for part in full.active
    }
    return {
        FULL: full,
        **without,
        "without volume points": replace(full, volume=False),
        "without closed-form start": replace(full, start=False),
        "without the level of features": replace(full, levels=("values", "pixels")),
        "last level from the first step": replace(full, levels=("pixels",)),
        "pixels only": replace(full, active=(), volume=False, levels=("pixels",), start=False),
    }


def study_steps(
    settings: MatrixSettings, out: Path, only_full: bool = False
) -> Generator[Progress, None, list[dict[str, Any]]]:
    """A row for each variant and pair, with its curve on held-out photos; those done before are not done again.

    Curves are lists of (seconds of learning, steps, PSNR over a sample of pixels); the time of looking does not
    count. With `only_full`, nothing is left out: just how much sooner the full method is as good as a fit from
    scratch; an `mlp` is also fitted in NeRF's own way, for 30 times as long.
    """
    check_settings(settings, out)
    rows = []
    for teacher, student in settings.pairs:
        source, taught_by = yield from fitted_scene(settings, out, teacher)
        capture = source.require_capture()
        chosen = variants(capture.train.cameras, capture.near, settings.seed)
        recipe = (RECIPE,) if student == "mlp" else ()
        for name in (FULL, SCRATCH, *recipe) if only_full else (*chosen, SCRATCH):
            file = out / "study" / f"{teacher}-{student}-{name.replace(' ', '-')}.json"
            if not file.is_file():
                made = Field.create(student, taught_by.field.space, preset=settings.preset, seed=settings.seed)
                made = made.to(settings.device)
                sampler = None
                budget = Budget(*(settings.time if name in chosen else settings.scratch))
                if name in chosen:
                    work = distill(taught_by.field, made, budget, options=chosen[name])
                elif name == SCRATCH:
                    work = fit_images(made, capture, budget, seed=settings.seed)
                else:
                    budget, sampler = budget.times(_RECIPE_TIME), nerf_sampler(made)
                    work = nerf_steps(made, capture, budget, settings.seed)
                look = partial(HeldOut(capture).psnr, made, sampler)
                with using(*engines_for(AUTO, made, taught_by.field)):  # as the commands do
                    curve = yield from _curve(look, work, budget, f"{name}, {teacher} to {student}")
                write_json(file, {"from": teacher, "to": student, "name": name, "curve": curve})
            rows.append(read_json(file))
    return _with_ratios(rows)


def _curve(
    look: Callable[[], float], work: Iterator[Progress], budget: Budget, label: str
) -> Generator[Progress, None, list[Any]]:
    marks = list(_MARKS)
    curve: list[list[float]] = []
    last = None
    for progress in work:
        last = progress
        spent = budget.fraction(progress.step, progress.seconds)  # the start's own share of itself does not count
        if marks and spent >= marks[0]:
            marks = [mark for mark in marks if mark > spent]
            curve.append([progress.seconds, progress.step, look()])
        yield replace(progress, phase=label)
    if last is not None and (not curve or curve[-1][1] != last.step):
        curve.append([last.seconds, last.step, look()])
    return curve


class HeldOut:
    """Some pixels of the test photos, the same for every look."""

    def __init__(self, capture: Capture) -> None:
        views = capture.test if len(capture.test) else capture.train
        generator = torch.Generator().manual_seed(0)
        pixel = torch.randint(len(views.pixels), (_PIXELS,), generator=generator).sort().values
        camera = torch.searchsorted(views.starts, pixel, right=True) - 1
        within = pixel - views.starts[camera]
        width = views.cameras.size[camera, 0]
        self._rays = views.cameras.rays(camera, within % width, within // width)
        rgba = views.pixels[pixel].float() / 255
        self._background, self._near = capture.background_value, capture.near
        self._wanted = rgba[:, :3] * rgba[:, 3:] + self._background * (1 - rgba[:, 3:])

    @torch.no_grad()
    def psnr(self, field: Field, sampler: Sampler | None = None) -> float:
        """PSNR in dB over all of them; the field is looked at in its occupied cells, or where `sampler` says."""
        seen = render_rays(field, self._rays.to(field.device), self._background, self._near, sampler=sampler).color
        return psnr(seen.clamp(0, 1).cpu(), self._wanted)


def _with_ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every row in the shape of a bench: its time until it equals the end of the one from scratch, beside that."""
    found = []
    for row in rows:
        scratch = next(r for r in rows if r["name"] == SCRATCH and (r["from"], r["to"]) == (row["from"], row["to"]))
        end = scratch["curve"][-1]
        seconds = time_to(row["curve"], end[2])
        found.append(
            {
                **row,
                "config": f"{row['from']} to {row['to']}",
                "ours_s": seconds,
                "baseline": SCRATCH,
                "baseline_s": end[0],
                "ratio": None if seconds is None else end[0] / max(seconds, 1e-9),
                "spread": 0.0,
                "psnr": row["curve"][-1][2],
                "scratch_psnr": end[2],
            }
        )
    return found


def time_to(curve: Iterable[Iterable[float]], wanted: float) -> float | None:
    """Seconds at which a curve of (seconds, steps, PSNR) first reaches `wanted`, between points on a straight line."""
    before: tuple[float, float] | None = None
    for seconds, _, value in curve:
        if value >= wanted:
            if before is None or value == before[1]:
                return seconds
            share = (wanted - before[1]) / (value - before[1])
            return before[0] + share * (seconds - before[0])
        before = seconds, value
    return None


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table with one line for each variant."""
    lines = ["| variant | pair | PSNR at the end | as good as from scratch after | ratio |", "|---|---|---:|---:|---:|"]
    for row in rows:
        seconds = "never" if row["ours_s"] is None else f"{row['ours_s']:.1f} s"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.1f}x"
        lines.append(f"| {row['name']} | {row['config']} | {row['psnr']:.2f} dB | {seconds} | {ratio} |")
    return "\n".join(lines) + "\n"
