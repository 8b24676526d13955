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
from scenegen.world.seams import MAX_RING, layout_by_ring, ring_report, seam_report
from scenegen.world.store import SceneStore, create_scene

RESAMPLES = (1, 2, 3, 5)
SCENE = "resamples 1, settled"  # as scenes are made by default
CELLS = 64  # of a block's side, where surfaces are compared

Latents = Mapping[Index, Tensor]
Planes = Mapping[Index, Tensor]


@dataclass(frozen=True)
class SeamOptions:
    """Ground of `size` = (columns, rows) blocks made up from a seed, and how its blocks are drawn.

    rings: how many are grown around one block, on ground of their own, to tell drift.
    """

    size: tuple[int, int] = (6, 6)
    seed: int = 0
    grow: GrowOptions = field(default_factory=GrowOptions)
    cells: int = CELLS
    rings: int = MAX_RING


@dataclass(frozen=True, eq=False)
class Ways:
    """Everything that all ways of making the blocks have in common."""

    head: SceneHead
    plan: Plan
    blocks: list[Index]
    labour: Labour
    networks: Networks

    def yardstick(self, name: str) -> Latents:
        """Blocks made without waves: `independent`, some at a time, or `synchronised`, which takes all at once."""
        make = {"independent": independent, "synchronised": synchronised}[name]
        size = self.labour.batch if name == "independent" else len(self.blocks)
        denoiser = self.networks.denoiser
        assert denoiser is not None
        found: dict[Index, Tensor] = {}
        for start in range(0, len(self.blocks), size):
            part = self.blocks[start : start + size]
            plans = torch.stack([self.plan.masks(self.head.frame, index) for index in part])
            found.update(zip(part, make(denoiser, plans, part, self.head.seed, self.head.options), strict=True))
        return found

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

    def outward(self, folder: str) -> Generator[Progress, None, SceneStore]:
        """A scene made ring by ring around the middle block, each ring knowing those before: drift would show."""
        scene = create_scene(folder, self.head, encode_ground(self.plan.grounds[0]))
        rings = rings_of(self.blocks)
        with scene.writing():
            scene.begin("generate", rings[0], self.head.seed)
        yield from generate(scene, self.plan, self.labour)
        for ring in rings[1:]:
            yield from extend(scene, self.plan, self.labour, blocks=ring)
        return scene


def seam_run(
    model: Path, networks: Networks, options: SeamOptions, sheet: Path | None = None, device: str = "cpu"
) -> Generator[Progress, None, dict[str, Any]]:
    """Figures of the seams of one plan, row by row, and of the rings of a scene that grew outward.

    layout_gain: layout IoU of a scene's blocks less that of blocks made on their own, under the same windows.
    sheet: a picture for each row, red where neighbours disagree (see `gap_picture`).

    Raises:
        UserError: as `scenegen.world.grow.generate`; `E-USAGE-SIZE`.
    """
    head = scene_head(model, options.seed, options.grow)
    labour = Labour(str(model), device)
    ways = _ways(head, options.size, labour, networks)
    rows, pictures = [], []
    made: dict[str, Planes] = {}
    for name in ("independent", "synchronised"):
        made[name] = ways.decoded(ways.yardstick(name))
    for resamples in RESAMPLES:
        name = f"resamples {resamples}"
        made[name], made[f"{name}, settled"] = yield from ways.extrapolated(resamples)
    for name, planes in made.items():
        surface = surface_of(_Blocks(head.frame, planes), networks.decoder, options.cells)
        found = yield from seam_report(surface, ways.plan)
        parts = {part: found[part] for part in ("blended", "layout", "mesh")}
        rows.append({"name": name, **found["seams"], **parts})
        pictures.append(_square(gap_picture(surface)))
    if sheet is not None:
        save_sheet([pictures], sheet)
    rings = yield from _drift(_ways(head, (2 * options.rings + 1,) * 2, labour, networks), options.cells)
    ious = {row["name"]: row["layout"]["iou"] for row in rows}
    gain = _less(ious[SCENE], ious["independent"])
    return {"size": list(options.size), "rows": rows, "layout_gain": gain, "rings": rings}


def _ways(head: SceneHead, size: tuple[int, int], labour: Labour, networks: Networks) -> Ways:
    plan = composed(head.world, head.frame, size, head.seed, head.classes)
    return Ways(head, plan, plan.covering(head.frame), labour, networks)


def _drift(ways: Ways, cells: int) -> Generator[Progress, None, list[dict[str, Any]]]:
    """Ring by ring: seams and layout of a scene that grew outward, and the layout of the same blocks on their own."""
    frame, decoder, start = ways.head.frame, ways.networks.decoder, rings_of(ways.blocks)[0]
    with tempfile.TemporaryDirectory(prefix="fieldscape-") as folder:
        scene = yield from ways.outward(folder)
        rows = yield from ring_report(surface_of(scene, decoder, cells), ways.plan, start)
    alone = _Blocks(frame, ways.decoded(ways.yardstick("independent")))
    layouts = yield from layout_by_ring(surface_of(alone, decoder, cells), ways.plan, start)
    for row in rows:
        row["single_layout_iou"] = layouts[row["ring"]]["layout_iou"]
        row["layout_gain"] = _less(row["layout_iou"], row["single_layout_iou"])
    return rows


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


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
