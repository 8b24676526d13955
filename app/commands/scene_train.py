"""fieldscape scene train-vae and train-diffusion"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import parsing
from ..arguments import Device, Force, HalfPrecision, JsonTo, PresetName, Resume, Seed
from ..console import Console

if TYPE_CHECKING:
    from ..scene_training import Place

Blocks = Annotated[str, typer.Argument(help="Folder made by scene prepare.")]
Planes = Annotated[str, typer.Argument(help="Folder made by scene fit.")]
Out = Annotated[str, typer.Option(help="Run folder to make.")]
Time = Annotated[str | None, typer.Option(help="How long to train, such as 10m; the preset's steps by default.")]
Steps = Annotated[int | None, typer.Option(help="How many steps to train.", min=1, max=100_000_000)]
Batch = Annotated[int | None, typer.Option(help="Blocks in a step, of all processes together.", min=1, max=65_536)]
Rate = Annotated[float | None, typer.Option(help="Learning rate.", min=1e-7, max=1.0)]


def register(group: typer.Typer) -> None:
    """Add the commands to the group `scene`."""
    group.command("train-vae")(train_vae)
    group.command("train-diffusion")(train_diffusion)


def train_vae(
    blocks: Blocks,
    planes: Planes,
    out: Out,
    improve: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Only train the way back from this model's latents, which stay; train-all does so after train-vae.",
        ),
    ] = None,
    preset: PresetName = "tiny",
    time: Time = None,
    steps: Steps = None,
    batch: Batch = None,
    rate: Rate = None,
    bf16: HalfPrecision = None,
    seed: Seed = 0,
    device: Device = "auto",
    resume: Resume = False,
    force: Force = False,
    json_to: JsonTo = None,
) -> None:
    """Train the auto-encoder of planes; OUT/model holds it, OUT/samples.png shows blocks and what comes back."""
    console = Console(json_to)
    settings = _settings(preset, time, steps, batch, rate, seed)
    place = _place(out, resume, force)
    from dataclasses import replace

    from scenegen.store import open_store

    from ..devices import pick_bfloat16, pick_device
    from ..scene_training import model_folder, vae_run

    where = pick_device(device)
    chosen = replace(settings, device=where, bfloat16=pick_bfloat16(bf16, where))
    stores = open_store(blocks, "samples"), open_store(planes, "fitted")
    begun = model_folder(improve) if improve else None
    _finish(console, console.run(vae_run(*stores, chosen, place, begun)), out)


def train_diffusion(
    vae: Annotated[str, typer.Argument(help="Run folder of scene train-vae, or its model folder.")],
    planes: Planes,
    out: Out,
    preset: PresetName = "tiny",
    prediction: Annotated[str, typer.Option(help="What is learned: sample or v_prediction.")] = "sample",
    backbone: Annotated[str, typer.Option(help="Denoiser: conv.")] = "conv",
    time: Time = None,
    steps: Steps = None,
    batch: Batch = None,
    rate: Rate = None,
    bf16: HalfPrecision = None,
    seed: Seed = 0,
    device: Device = "auto",
    resume: Resume = False,
    force: Force = False,
    json_to: JsonTo = None,
) -> None:
    """Train the generator of latents under floor plans; OUT/model holds it, OUT/samples.png shows what it makes."""
    console = Console(json_to)
    settings = _settings(preset, time, steps, batch, rate, seed)
    place = _place(out, resume, force)
    from dataclasses import replace

    from scenegen.models import DENOISERS
    from scenegen.schedulers import PREDICTIONS
    from scenegen.store import open_store

    from ..devices import pick_bfloat16, pick_device
    from ..scene_training import diffusion_run, model_folder

    (learned,) = parsing.choices(prediction, PREDICTIONS, "--prediction")[:1]
    (network,) = parsing.choices(backbone, tuple(DENOISERS), "--backbone")[:1]
    where = pick_device(device)
    chosen = replace(settings, device=where, bfloat16=pick_bfloat16(bf16, where))
    run = diffusion_run(model_folder(vae), open_store(planes, "fitted"), chosen, place, learned, network)
    _finish(console, console.run(run), out)


def _settings(
    preset: str, time: str | None, steps: int | None, batch: int | None, rate: float | None, seed: int
) -> Any:
    from ..scene_training import TrainSettings

    seconds = parsing.duration(time) if time else None
    return TrainSettings(preset, seconds, steps, batch, rate, seed)


def _place(out: str, resume: bool, force: bool) -> Place:
    from ..outputs import check_folder, may_hold
    from ..scene_training import Place

    return Place(check_folder(out, may_hold(resume, force)), resume, force)


def _finish(console: Console, record: dict[str, Any], out: str) -> None:
    if record:
        console.say(f"{record['steps']} steps, loss {record['loss']:.4g}; wrote {out}")
        console.finish({"out": out, **record})
