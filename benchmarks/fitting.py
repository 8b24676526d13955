"""How fast a fit becomes good: PSNR of unseen views over time."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from data.procedural import orbit_cameras
from fields.budget import Budget
from fields.field import Field
from fields.fit import fit_images
from fields.metrics import psnr
from fields.render import render_view
from fields.views import Capture

_TARGETS = (30.0, 33.0)  # dB


def follow(field: Field, capture: Capture, budget: Budget) -> dict[str, Any]:
    """Fit, and measure whenever half as much time again has passed; measuring takes none of the budget."""
    curve: list[tuple[float, float]] = []
    seconds, steps = 0.0, 0
    for progress in fit_images(field, capture, budget):
        seconds, steps = progress.seconds, progress.step
        if not curve or seconds >= 1.5 * curve[-1][0]:
            curve.append((seconds, unseen_psnr(field, capture)))
    curve.append((seconds, unseen_psnr(field, capture)))
    reached = {f"{target:.0f} dB": next((at for at, value in curve if value >= target), None)
               for target in _TARGETS}
    return {"seconds": [at for at, _ in curve], "psnr": [value for _, value in curve], "steps": steps,
            "seconds_to": reached}


def unseen_psnr(field: Field, capture: Capture) -> float:
    """Mean over the test views."""
    values = []
    for index in range(len(capture.test)):
        picture = render_view(field, capture.test.cameras, index)["rgb"]
        values.append(psnr(picture.cpu(), capture.test.image(index)))
    return sum(values) / len(values)


def frames_per_second(field: Field, side: int, count: int) -> float:
    """Pictures of `side` x `side` pixels round the scene, one after the other, the first one not counted."""
    cameras = orbit_cameras(count + 1, side)
    for index in range(count + 1):
        if index == 1:
            start = perf_counter()
        render_view(field, cameras, index)["rgb"].cpu()
    return count / (perf_counter() - start)
