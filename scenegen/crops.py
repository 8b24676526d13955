"""One block's training samples out of a scene: points with distances, surface normals, and the plan below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.layout import Layout
from data.palette import World, legend

from .blocks import CLAMP, PIXELS, BlockFrame, Centre
from .solids import SolidUnion

SIGMAS = (0.02, 0.1)  # block units: how far the points near the surface lie from it
_THIN_WEIGHT = 4.0
_GROUPS = 4
_INSET = 0.25  # of a block's side: how far a crop may reach past the scene
_TRIES = 16

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class CropSettings:
    """What a block's samples are like.

    samples: N; a quarter each lies on the surface, near it at both `SIGMAS`, and anywhere. checks: Q points
    each on the surface, near it and anywhere, to judge a fit by; even by area, where the samples favour thin parts.
    """

    frame: BlockFrame
    world: World
    samples: int
    checks: int = 2048

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the channels of the plan."""
        return tuple(entry.name for entry in legend(self.world))


def crop_block(
    solids: SolidUnion, layout: Layout | None, settings: CropSettings, rng: np.random.Generator
) -> tuple[Centre, Arrays] | None:
    """A block at a random place of the scene: its centre and samples; None where nothing but air was found.

    points f16 [N, 3] and sdf f16 [N] in block units, first the M = N / 4 on the surface, whose normals f16 [M, 3],
    labels u8 [M] and thin u8 [M] follow; check_points f16 [3Q, 3], check_sdf f16 [3Q], check_thin u8 [Q];
    layout u8 [K, 32, 32]. Distances are those of the points as rounded, clamped to `CLAMP`.
    """
    for _ in range(_TRIES):
        centre = _random_centre(layout.bounds if layout else solids.window, settings.frame, rng)
        found = _samples(solids, centre, settings, rng)
        if found is not None:
            return centre, {**found, "layout": _plan(layout, settings, centre)}
    return None


def _random_centre(window: tuple[float, float, float, float], frame: BlockFrame, rng: np.random.Generator) -> Centre:
    """Anywhere such that the block reaches past the scene by a quarter of its side at most."""
    inset = (0.5 - _INSET) * frame.size
    x0, z0, x1, z1 = window
    x, z = (
        low + inset + (high - low - 2 * inset) * rng.random() if high - low > 2 * inset else (low + high) / 2
        for low, high in ((x0, x1), (z0, z1))
    )
    return frame.at(x, z)


def _samples(solids: SolidUnion, centre: Centre, settings: CropSettings, rng: np.random.Generator) -> Arrays | None:
    frame, origin = settings.frame, np.array(centre)
    reach = CLAMP * frame.half
    box = np.stack([origin - frame.half, origin + frame.half])
    near = solids.within(box[0] - reach, box[1] + reach)
    count, checks = settings.samples // _GROUPS, settings.checks
    surface = near.surface_points(count, box, rng, _THIN_WEIGHT) if near.solids else None
    check = near.surface_points(checks, box, rng) if surface else None
    if surface is None or check is None:
        return None
    on, judged = (_rounded(frame.to_block(part.x, origin)) for part in (surface, check))
    points = np.concatenate([on, *(_near(on, sigma, rng) for sigma in SIGMAS), _anywhere(count, rng)])
    check_points = np.concatenate([judged, _near(judged, SIGMAS[0], rng), _anywhere(checks, rng)])

    def sdf(u: np.ndarray) -> np.ndarray:
        world = frame.to_world(u.astype(np.float64), origin)
        return (near.sdf(world, reach) / frame.half).clip(-CLAMP, CLAMP).astype(np.float16)

    return {
        "points": points,
        "sdf": sdf(points),
        "normals": surface.normals.astype(np.float16),
        "labels": surface.labels,
        "thin": surface.thin.astype(np.uint8),
        "check_points": check_points,
        "check_sdf": sdf(check_points),
        "check_thin": check.thin.astype(np.uint8),
    }


def _near(on: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Each point moved by a normal deviate, mirrored back into the block where it left it."""
    moved = on + sigma * rng.standard_normal(on.shape)
    return _rounded(np.where(np.abs(moved) > 1, np.sign(moved) * 2 - moved, moved))


def _anywhere(count: int, rng: np.random.Generator) -> np.ndarray:
    return _rounded(rng.uniform(-1, 1, (count, 3)))


def _rounded(u: np.ndarray) -> np.ndarray:
    """As stored. Distances are measured after rounding, so that it costs no accuracy."""
    return u.clip(-1, 1).astype(np.float16)


def _plan(layout: Layout | None, settings: CropSettings, centre: Centre) -> np.ndarray:
    """Class maps uint8 [K, 32, 32] below the block; all zero without a layout."""
    if layout is None:
        return np.zeros((len(settings.classes), PIXELS, PIXELS), np.uint8)
    frame = settings.frame
    maps = layout.masks(frame.metres_per_pixel, settings.classes, frame.window(centre))
    return maps[:, :PIXELS, :PIXELS].astype(np.uint8)
