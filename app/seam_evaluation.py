"""The seam report as a job: the same ground made in several ways, and how well blocks agree in each."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fields.progress import Progress
from scenegen.blocks import BlockFrame
from scenegen.evaluate import Networks
from scenegen.pictures import save_sheet
from scenegen.sampling import decode_latents
from scenegen.world.alternatives import independent, synchronised
from scenegen.world.composed import composed
from scenegen.world.export import surface_of
from scenegen.world.extrapolate import GrowOptions
from scenegen.world.grow import extend, generate
from scenegen.world.history import SceneHead
from scenegen.world.labour import Labour, scene_head
from scenegen.world.neighbours import Index
from scenegen.world.plan import Plan
from scenegen.world.plan_files import encode_ground
from scenegen.world.seam_picture import gap_picture
from scenegen.world.seams import seam_report
from scenegen.world.store import create_scene

RESAMPLES = (1, 2, 3, 5)
CELLS = 64  # of a block's side, where surfaces are compared

Latents = Mapping[Index, Tensor]
Planes = Mapping[Index, Tensor]


@dataclass(frozen=True)
class SeamOptions:
    """Ground of `size` = (columns, rows) blocks made up from a seed, and how its blocks are drawn."""

    size: tuple[int, int] = (6, 6)
    seed: int = 0
    grow: GrowOptions = field(default_factory=GrowOptions)
    cells: int = CELLS


@dataclass(frozen=True, eq=False)
class Ways:
    """Everything that all ways of making the blocks have in common."""

    head: SceneHead
    plan: Plan
    blocks: list[Index]
    labour: Labour
    networks: Networks

    def yardstick(self, name: str) -> Latents:
        """Blocks made without waves: `independent` or `synchronised`."""
        make = {"independent": independent, "synchronised": synchronised}[name]
        plans = torch.stack([self.plan.masks(self.head.frame, index) for index in self.blocks])
        assert self.networks.denoiser is not None
        made = make(self.networks.denoiser, plans, self.blocks, self.head.seed, self.head.options)
        return dict(zip(self.blocks, made, strict=True))

    def decoded(self, latents: Latents) -> Planes:
        """Planes as they come out of the VAE."""
        return {index: decode_latents(self.networks.vae, one[None])[0] for index, one in latents.items()}

    def extrapolated(self, resamples: int) -> Generator[Progress, None, tuple[Planes, Planes]]:
        """Blocks made wave by wave, as scenes are: as decoded, and settled."""
        jump = self.head.options.jump if resamples > 1 else 1
        options = replace(self.head.options, resamples=resamples, jump=jump)
        with tempfile.TemporaryDirectory(prefix="fieldscape-") as folder:
            scene = create_scene(folder, replace(self.head, options=options), encode_ground(self.plan.grounds[0]))
            yield from generate(scene, self.plan, self.labour)
            latents = {index: scene.latent(index) for index in self.blocks}
            return self.decoded(latents), {index: scene.planes(index) for index in self.blocks}

    def outward(self) -> Generator[Progress, None, Planes]:
        """Blocks made ring by ring around the middle one, each ring knowing those before: where drift would show."""
        with tempfile.TemporaryDirectory(prefix="fieldscape-") as folder:
            scene = create_scene(folder, self.head, encode_ground(self.plan.grounds[0]))
            rings = rings_of(self.blocks)
            with scene.writing():
                scene.begin("generate", rings[0], self.head.seed)
            yield from generate(scene, self.plan, self.labour)
            for ring in rings[1:]:
                yield from extend(scene, self.plan, self.labour, blocks=ring)
            return {index: scene.planes(index) for index in self.blocks}


def seam_run(
    model: Path, networks: Networks, options: SeamOptions, sheet: Path | None = None, device: str = "cpu"
) -> Generator[Progress, None, dict[str, Any]]:
    """Figures of the seams of one plan, row by row, and of the rings of a scene that grew outward.

    sheet: a picture for each row, red where neighbours disagree (see `gap_picture`).

    Raises:
        UserError: as `scenegen.world.grow.generate`; `E-USAGE-SIZE`.
    """
    head = scene_head(model, options.seed, options.grow)
    plan = composed(head.world, head.frame, options.size, options.seed, head.classes)
    ways = Ways(head, plan, plan.covering(head.frame), Labour(str(model), device), networks)
    rows, pictures = [], []
    made: dict[str, Planes] = {}
    for name in ("independent", "synchronised"):
        made[name] = ways.decoded(ways.yardstick(name))
    for resamples in RESAMPLES:
        name = f"resamples {resamples}"
        made[name], made[f"{name}, settled"] = yield from ways.extrapolated(resamples)
    for name, planes in made.items():
        surface = surface_of(_Blocks(head.frame, planes), networks.decoder, options.cells)
        found = yield from seam_report(surface, plan)
        rows.append({"name": name, **found["seams"], "blended": found["blended"], "mesh": found["mesh"]})
        pictures.append(_square(gap_picture(surface)))
    grown = yield from ways.outward()
    start = rings_of(ways.blocks)[0]
    drift = yield from seam_report(surface_of(_Blocks(head.frame, grown), networks.decoder, options.cells), plan, start)
    if sheet is not None:
        save_sheet([pictures], sheet)
    return {"size": list(options.size), "rows": rows, "rings": drift["rings"]}


def rings_of(blocks: list[Index]) -> list[list[Index]]:
    """Blocks by their distance from the middle one; rings without a block are left out."""
    centre = np.mean(blocks, axis=0)
    middle = min(blocks, key=lambda block: (float(np.abs(np.array(block) - centre).max()), block))
    rings: dict[int, list[Index]] = {}
    for block in blocks:
        rings.setdefault(max(abs(block[0] - middle[0]), abs(block[1] - middle[1])), []).append(block)
    return [rings[distance] for distance in sorted(rings)]


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Planes in memory, for surfaces."""

    frame: BlockFrame
    made: Planes

    def finished(self) -> set[Index]:
        return set(self.made)

    def planes(self, index: Index) -> Tensor:
        return self.made[index]


def _square(picture: np.ndarray) -> np.ndarray:
    """The picture [H, W, 3] in the middle of a square."""
    height, width = picture.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), 255, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = picture
    return square
