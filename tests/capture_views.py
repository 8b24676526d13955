"""What captures show, for tests of their loading."""

from __future__ import annotations

import torch

from data.silhouettes import silhouette
from fields.views import Capture, Views


def everything(capture: Capture) -> Views:
    """All views of a capture."""
    parts = [capture.train, capture.test] + ([capture.val] if capture.val else [])
    names = tuple(name for part in parts for name in part.names)
    joined = parts[0].cameras
    fields = {
        key: torch.cat([getattr(part.cameras, key) for part in parts])
        for key in ("camera_to_world", "focal", "centre", "size", "distortion")
    }
    return Views(type(joined)(**fields, ndc_near=joined.ndc_near), torch.cat([part.pixels for part in parts]), names)


def misses(capture: Capture, step: int = 1) -> float:
    """Worst share over the photos of foreground rays that miss the scene box."""
    worst = 0.0
    views = everything(capture)
    for index in range(0, len(views), step):
        rays = views.cameras.view(index)
        first, second = ((corner - rays.origins) / rays.directions for corner in capture.bounds)
        hit = torch.minimum(first, second).amax(dim=1) < torch.maximum(first, second).amin(dim=1)
        foreground = torch.from_numpy(silhouette(views, index, capture.background).reshape(-1))
        worst = max(worst, float((foreground & ~hit).sum()) / max(1, int(foreground.sum())))
    return worst
