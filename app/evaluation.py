"""How good a field is: against held-out photos, or against the mesh it was made from."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from typing import Any

from fields.field import Field
from fields.metrics import psnr, ssim
from fields.progress import Progress
from fields.render import render_view
from fields.views import Capture

from .meshing import MeshOptions, mesh_steps
from .source import Source, views_of


def evaluate(
    field: Field, source: Source, split: str = "test", resolution: int = 256
) -> Generator[Progress, None, dict[str, Any]]:
    """The document of `fieldscape eval`, as a generator's return value.

    Raises:
        UserError: `E-USAGE-SPLIT`; for meshes what extraction refuses.
    """
    if source.mesh is not None:
        return (yield from _against_mesh(field, source, resolution))
    capture = views_of(source.require_capture(), split, source.name)
    return (yield from against_photos(field, capture, split, name=source.name))


def against_photos(
    field: Field, capture: Capture, split: str = "test", index: Sequence[int] | None = None, name: str = ""
) -> Generator[Progress, None, dict[str, Any]]:
    """PSNR and SSIM of every view of a split (or of those in `index`) and their means."""
    views, started = capture.split(split), time.perf_counter()
    chosen = range(len(views)) if index is None else index
    rows: list[dict[str, Any]] = []
    for number, view in enumerate(chosen, 1):
        background = capture.background_value
        picture = render_view(field, views.cameras, view, background=background, near=capture.near)["rgb"].cpu()
        photo = views.image(view, background)
        rows.append({"name": views.names[view], "psnr": psnr(picture, photo), "ssim": ssim(picture, photo)})
        elapsed = time.perf_counter() - started
        yield Progress(
            number,
            len(chosen),
            "evaluate",
            elapsed,
            elapsed / number * (len(chosen) - number),
            metrics={"psnr": mean_of(rows, "psnr")},
        )
    means = {key: mean_of(rows, key) for key in ("psnr", "ssim")}
    return {"source": name, "split": split, "views": rows, "mean": means}


def spread_index(count: int, most: int) -> list[int]:
    """At most `most` of `count` views, spread evenly."""
    chosen = min(count, most)
    return [round((k + 0.5) * count / chosen - 0.5) for k in range(chosen)]


def mean_of(rows: Sequence[dict[str, Any]], key: str) -> float:
    """Mean of one figure over rows; NaN without any."""
    return sum(row[key] for row in rows) / len(rows) if rows else float("nan")


def _against_mesh(field: Field, source: Source, resolution: int) -> Generator[Progress, None, dict[str, Any]]:
    import trimesh

    from data.mesh_metrics import compare_meshes

    assert source.mesh is not None
    mesh = yield from mesh_steps(field, MeshOptions(resolution=resolution, color="none"))
    candidate = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    return {"source": source.name, "mean": compare_meshes(candidate, source.mesh)}
