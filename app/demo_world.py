"""The second half of the demonstration: a painted floor plan becomes a furnished flat."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from data.class_map import save_png
from fields.progress import Progress
from scenegen.shipped import find_model
from scenegen.world.composed import composed
from scenegen.world.store import open_scene

from .world import PREVIEW, Means, generate_job, mesh_job
from .world_request import METRES_PER_PIXEL, MODEL, SceneRequest

PLAN, SCENE, MESH = "plan.png", "world", "world.glb"
_CELLS = 64  # of a block's side, in the mesh


def grow_world(out: Path, size: tuple[int, int], seed: int, device: str) -> Generator[Progress, None, dict[str, Any]]:
    """Paint a plan of `size` (columns, rows) blocks, generate the scene under it with the shipped model, and mesh it.

    Raises:
        UserError: those of `app.world`.
    """
    request = SceneRequest(layout=str(out / PLAN), seed=seed)
    head, model = request.head(), find_model(MODEL)
    made_up = composed(head.world, head.frame, size, seed, head.classes)
    save_png(made_up.seen(made_up.window, METRES_PER_PIXEL), out / PLAN)
    plan = request.plan(head)
    record = yield from generate_job(out / SCENE, head, plan, Means(model, device), force=True)
    mesh = yield from mesh_job(open_scene(out / SCENE), out / MESH, model, _CELLS)
    files = {"plan": PLAN, "preview": f"{SCENE}/{PREVIEW}", "file": MESH, "bytes": mesh["bytes"]}
    figures = {"blocks": record["blocks"], "seconds_per_block": record["seconds_per_block"], "faces": mesh["faces"]}
    return {**files, **figures}
