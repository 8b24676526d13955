"""fieldscape mesh"""

from __future__ import annotations

import math
from typing import Annotated

import typer

from fields.errors import UserError

from .. import parsing
from ..arguments import Device, Force, JsonTo
from ..console import Console, quantity


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("mesh")(mesh)


def mesh(
    field: Annotated[str, typer.Argument(help="Run folder or field file.")],
    out: Annotated[str, typer.Option(help="Mesh to write: .glb, .obj, .ply or .stl.")],
    resolution: Annotated[int, typer.Option(help="Cells along the longest side.", min=8, max=1024)] = 256,
    level: Annotated[
        str,
        typer.Option(help="auto: the surface that cameras see; a density (distance for sdf): its plain level set."),
    ] = "auto",
    color: Annotated[str, typer.Option(help="vertex, texture (.glb and .obj; needs xatlas) or none.")] = "vertex",
    simplify: Annotated[
        int | None, typer.Option(help="Reduce to this many faces; closed surfaces stay closed.", min=4, max=10**8)
    ] = None,
    crop: Annotated[str | None, typer.Option(help="Only this box: x0,y0,z0,x1,y1,z1.")] = None,
    frame: Annotated[
        str,
        typer.Option(
            help="source: coordinates and units of the photos or mesh, which fields are fitted in; "
            "model: the field's box brought to 0..1 along its longest side."
        ),
    ] = "source",
    keep_largest: Annotated[
        bool,
        typer.Option("--keep-largest", help="Drop parts with less than a hundredth of the largest one's area."),
    ] = False,
    device: Device = "auto",
    force: Force = False,
    json_to: JsonTo = None,
) -> None:
    """Extract a mesh, in the coordinates and units of what the field was made from."""
    console = Console(json_to)
    box = parsing.box(crop, "--crop") if crop else None
    value = _level(level)
    from fields.mesh import require_atlas
    from fields.mesh_files import FORMATS, TEXTURED, files_beside, save_mesh

    from ..devices import pick_device
    from ..library import open_field
    from ..meshing import COLORS, FRAMES, MeshOptions, mesh_steps
    from ..outputs import check_apart, check_file

    (chosen,) = parsing.choices(color, COLORS, "--color")[:1]
    (coordinates,) = parsing.choices(frame, FRAMES, "--frame")[:1]
    target = check_file(out, TEXTURED if chosen == "texture" else tuple(FORMATS), force)
    if chosen == "texture":
        require_atlas()
        for beside in files_beside(target):
            check_file(str(beside), (beside.suffix,), force)
    check_apart(target, field)
    opened = open_field(field, pick_device(device))
    options = MeshOptions(resolution, value, chosen, simplify, box, 0.01 if keep_largest else 0.0, coordinates)
    made = console.run(mesh_steps(opened.field, options, opened.notes))
    save_mesh(made, target)
    closed = made.welded().is_watertight()
    if simplify is not None and len(made.faces) > simplify:
        console.warn(f"note: fewer than {len(made.faces)} faces would lose parts or tunnels of the surface")
    console.say(
        f"{quantity(len(made.vertices))} vertices, {quantity(len(made.faces))} faces, "
        f"{'watertight' if closed else 'not closed'}; wrote {target}"
    )
    console.finish(
        {
            "out": str(target),
            "vertices": len(made.vertices),
            "faces": len(made.faces),
            "watertight": closed,
            "volume": made.volume(),
            "bytes": target.stat().st_size,
        }
    )


def _level(text: str) -> float | None:
    """None for `auto`."""
    if text == "auto":
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(
            "E-USAGE-LEVEL",
            "--level is not a number",
            got=repr(text),
            expected="auto or a finite number",
            fix="use --level auto",
        )
    return value
