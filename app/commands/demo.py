"""fieldscape demo"""

from __future__ import annotations

from typing import Annotated

import typer

from .. import parsing
from ..arguments import Device, Force, JsonTo, PresetName, Seed
from ..console import Console, quantity


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    out: Annotated[str, typer.Option(help="Folder to make.")] = "demo",
    time: Annotated[str, typer.Option(help="How long to fit and convert, together.")] = "75s",
    size: Annotated[int, typer.Option(help="Side of the photos, pixels.", min=24, max=800)] = 160,
    preset: PresetName = "small",
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    json_to: JsonTo = None,
) -> None:
    """Do the main jobs on built-in data: photos, fit, conversion, evaluation, pictures, mesh, a world, report."""
    console = Console(json_to)
    seconds = parsing.duration(time)
    from ..demo import DemoSettings
    from ..demo import demo as steps
    from ..demo_report import write_demo_report
    from ..devices import pick_device
    from ..outputs import check_folder

    path = check_folder(out, force)
    settings = DemoSettings(seconds, size, preset=preset, seed=seed, device=pick_device(device))
    result = console.run(steps(path, settings))
    report = write_demo_report(path, result)
    found = result.document
    for role in ("fit", "converted"):
        console.say(
            f"{role:<9} {found[role]['backend']:<9} PSNR {found[role]['psnr']:.2f} dB, "
            f"SSIM {found[role]['ssim']:.3f} on held-out photos"
        )
    console.say(f"mesh      {quantity(found['mesh']['faces'])} faces, {path / found['mesh']['file']}")
    world = found["world"]
    console.say(f"world     {world['blocks']} blocks, {quantity(world['faces'])} faces, {path / world['file']}")
    console.say(f"took {sum(found['seconds'].values()):.0f} s; open {report} in a browser")
    console.finish({"out": str(path), "report": str(report), **found})
