"""fieldscape eval"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .. import parsing
from ..arguments import Device, Engine, JsonTo
from ..console import Console


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("eval")(evaluate)


def evaluate(
    field: Annotated[str, typer.Argument(help="Run folder or field file.")],
    source: Annotated[str, typer.Argument(help="Capture folder, mesh file, or the word sample.")],
    split: Annotated[str, typer.Option(help="train, test or val.")] = "test",
    resolution: Annotated[int, typer.Option(help="Cells along the longest side, for meshes.", min=8, max=1024)] = 256,
    downscale: Annotated[int, typer.Option(help="Reduce photos by this factor.", min=1, max=64)] = 1,
    bounds: Annotated[str | None, typer.Option(help="Scene box x0,y0,z0,x1,y1,z1 in place of the one found.")] = None,
    device: Device = "auto",
    engine: Engine = None,
    json_to: JsonTo = None,
) -> None:
    """Compare a field with held-out photos (PSNR, SSIM), or with a mesh (chamfer, F-score, sign IoU)."""
    console = Console(json_to)
    box = parsing.box(bounds) if bounds else None
    from pathlib import Path

    from cuda_ext.accelerators import using
    from fields.engines import AUTO, engines_for

    from ..devices import pick_device
    from ..library import open_field
    from ..outputs import check_apart
    from ..source import SourceOptions, open_source

    if json_to not in (None, "-"):
        check_apart(Path(str(json_to)), source, field)
    opened = open_field(field, pick_device(device))
    names = engines_for(engine or AUTO, opened.field)
    found = open_source(source, SourceOptions(box, downscale=downscale))
    from ..evaluation import evaluate as steps

    with using(*names):
        document = console.run(steps(opened.field, found, split, resolution))
    for line in _lines(document):
        console.say(line)
    console.finish(document)


def _lines(document: dict[str, Any]) -> list[str]:
    mean = document["mean"]
    if "views" not in document:
        return [
            f"{name:<11} {value}" if isinstance(value, bool) else f"{name:<11} {value:.5f}"
            for name, value in mean.items()
        ]
    width = max(len("mean"), *(len(view["name"]) for view in document["views"]))
    rows = [*document["views"], {"name": "mean", **mean}]
    return [f"{row['name']:<{width}}  PSNR {row['psnr']:6.2f} dB  SSIM {row['ssim']:.4f}" for row in rows]
