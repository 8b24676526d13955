"""Generating and meshing scenes: blocks in waves of many, against one block at a time."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from fields.progress import finished
from scenegen.shipped import find_model
from scenegen.world.history import SceneHead
from scenegen.world.plan import Plan
from scenegen.world.store import open_scene

from ..world import Means, generate_job, mesh_job
from ..world_request import MODEL, SceneRequest
from .timing import Contest, Work

ONE_BY_ONE = "one block at a time"
CELLS = 64
_SIZES = ("1x1", "3x3", "6x6")


def scene_contests(model: str | None = None) -> list[Contest]:
    """Scenes sampled, decoded and meshed to a GLB, without previews; seconds are for one block.

    Raises:
        UserError: `E-CKPT-…`.
    """
    found = []
    for size in _SIZES:
        request = SceneRequest(model or MODEL, size=size, seed=1)
        head = request.head()
        plan = request.plan(head)
        blocks = len(plan.covering(head.frame))
        folder = find_model(model or MODEL)
        ours = _made(head, plan, Means(folder, previews=False))
        theirs = _made(head, plan, Means(folder, batch=1, previews=False))
        options = head.options
        config = f"{size}, {blocks} blocks, {options.steps} steps, R={options.resamples}, {CELLS} cells"
        found.append(Contest("scene block, sampled and meshed", config, ours, ONE_BY_ONE, theirs, blocks, blocks))
    return found


def _made(head: SceneHead, plan: Plan, means: Means) -> Work:
    def work() -> None:
        folder = Path(tempfile.mkdtemp(prefix="fieldscape-bench-"))
        try:
            record = finished(generate_job(folder / "scene", head, plan, means))
            assert record["pending"] == 0
            finished(mesh_job(open_scene(folder / "scene"), folder / "scene.glb", means.model, CELLS))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    return work
