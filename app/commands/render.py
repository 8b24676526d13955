"""fieldscape render"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fields.errors import UserError

from .. import parsing
from ..arguments import Device, Engine, Force, JsonTo
from ..console import Console

if TYPE_CHECKING:
    from pathlib import Path

    from ..rendering import Shots, Sink


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("render")(render)


def render(
    field: Annotated[str, typer.Argument(help="Run folder or field file.")],
    out: Annotated[str, typer.Option(help="Folder for PNG files, or one .mp4 film.")],
    cameras: Annotated[
        str | None, typer.Option(metavar="SOURCE[:split]", help="Render a capture's own cameras.")
    ] = None,
    path: Annotated[str | None, typer.Option(help="orbit (default), spiral, or a .json camera path.")] = None,
    size: Annotated[str | None, typer.Option(help="Picture size, WIDTHxHEIGHT.")] = None,
    what: Annotated[str, typer.Option(help="Of rgb, depth, normal, opacity; several with commas.")] = "rgb",
    frames: Annotated[int, typer.Option(help="Pictures along orbit or spiral.", min=1, max=5000)] = 60,
    fps: Annotated[int, typer.Option(help="Pictures a second in a film.", min=1, max=120)] = 30,
    background: Annotated[
        float | None, typer.Option(help="Grey level behind the scene: 0 black, 1 white.", min=0, max=1)
    ] = None,
    device: Device = "auto",
    engine: Engine = None,
    force: Force = False,
    json_to: JsonTo = None,
) -> None:
    """Render pictures or a film, along a path or from a capture's cameras."""
    console = Console(json_to)
    pixels = parsing.size(size) if size else None
    if cameras is not None and path is not None:
        raise UserError(
            "E-USAGE-CONFLICT",
            "--cameras and --path contradict each other",
            expected="one of them",
            fix="keep the one you want",
        )
    from dataclasses import replace

    from cuda_ext.accelerators import using
    from fields.engines import AUTO, engines_for

    from ..devices import pick_device
    from ..library import open_field
    from ..outputs import check_apart
    from ..pictures import PICTURES
    from ..rendering import render_to, renderer_for, shots_along, shots_of

    wanted = parsing.choices(what, PICTURES, "--what")
    target = _target(out, force)
    check_apart(target, field)
    opened = open_field(field, pick_device(device))
    names = engines_for(engine or AUTO, opened.field)
    shots = shots_of(cameras, pixels) if cameras else shots_along(path or "orbit", opened.view, frames, pixels)
    if background is not None:
        shots = replace(shots, background=background)
    sink = _sink(target, fps, shots, str(opened.notes.get("source", "")))
    renderer = renderer_for(opened.field, opened.notes)
    with using(*names):
        document = console.run(render_to(opened.field, shots, wanted, sink, renderer))
    console.say(f"{document['frames']} pictures, {document['ms_per_frame']:.0f} ms each; wrote {target}")
    console.finish({"out": str(target), "files": sink.files, **document})


def _target(out: str, force: bool) -> Path:
    from ..outputs import check_file, check_folder, check_name
    from ..rendering import VIDEO_SUFFIXES

    if check_name(out).suffix:
        return check_file(out, VIDEO_SUFFIXES, force)
    return check_folder(out, force)


def _sink(target: Path, fps: int, shots: Shots, source: str) -> Sink:
    if not target.suffix:
        from ..rendering import PngFolder

        return PngFolder(target, {"Source": source})
    if not bool((shots.cameras.size == shots.cameras.size[0]).all()):
        raise UserError(
            "E-USAGE-SIZE",
            "a film needs pictures of one size",
            where=target,
            got="several sizes",
            expected="one size",
            fix="give --size, such as --size 640x480",
        )
    from ..video import Film

    return Film(target, fps)
