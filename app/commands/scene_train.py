"""fieldscape scene train-vae, train-diffusion and evaluate"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fields.errors import UserError

from .. import parsing
from ..arguments import Device, Force, JsonTo, Seed
from ..console import Console

if TYPE_CHECKING:
    from ..scene_training import Place

Resume = Annotated[bool, typer.Option("--resume", help="Go on with the training in --out.")]
PresetName = Annotated[str, typer.Option("--preset", help="tiny, small or paper, as the planes were fitted with.")]
Blocks = Annotated[str, typer.Argument(help="Folder made by scene prepare.")]
Planes = Annotated[str, typer.Argument(help="Folder made by scene fit.")]
Out = Annotated[str, typer.Option(help="Run folder to make.")]
Time = Annotated[str | None, typer.Option(help="How long to train, such as 10m; the preset's steps by default.")]
Steps = Annotated[int | None, typer.Option(help="How many steps to train.", min=1, max=100_000_000)]
Batch = Annotated[int | None, typer.Option(help="Blocks in a step, of all processes together.", min=1, max=65_536)]
Rate = Annotated[float | None, typer.Option(help="Learning rate.", min=1e-7, max=1.0)]
HalfPrecision = Annotated[bool, typer.Option("--bf16", help="Networks in bfloat16, losses in fp32.")]


def register(group: typer.Typer) -> None:
    """Add the commands to the group `scene`."""
    group.command("train-vae")(train_vae)
    group.command("train-diffusion")(train_diffusion)
    group.command("evaluate")(evaluate)


def train_vae(
    blocks: Blocks,
    planes: Planes,
    out: Out,
    preset: PresetName = "tiny",
    time: Time = None,
    steps: Steps = None,
    batch: Batch = None,
    rate: Rate = None,
    bf16: HalfPrecision = False,
    seed: Seed = 0,
    device: Device = "auto",
    resume: Resume = False,
    force: Force = False,
    json_to: JsonTo = None,
) -> None:
    """Train the auto-encoder of planes; OUT/model holds it, OUT/samples.png shows blocks and what comes back."""
    console = Console(json_to)
    settings = _settings(preset, time, steps, batch, rate, seed, bf16)
    place = _place(out, resume, force)
    from dataclasses import replace

    from scenegen.store import open_store

    from ..devices import pick_device
    from ..scene_training import vae_run

    chosen = replace(settings, device=pick_device(device))
    stores = open_store(blocks, "samples"), open_store(planes, "fitted")
    _finish(console, console.run(vae_run(*stores, chosen, place)), out)


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
    bf16: HalfPrecision = False,
    seed: Seed = 0,
    device: Device = "auto",
    resume: Resume = False,
    force: Force = False,
    json_to: JsonTo = None,
) -> None:
    """Train the generator of latents under floor plans; OUT/model holds it, OUT/samples.png shows what it makes."""
    console = Console(json_to)
    settings = _settings(preset, time, steps, batch, rate, seed, bf16)
    place = _place(out, resume, force)
    from dataclasses import replace

    from scenegen.models import DENOISERS
    from scenegen.schedulers import PREDICTIONS
    from scenegen.store import open_store

    from ..devices import pick_device
    from ..scene_training import diffusion_run, model_folder

    (learned,) = parsing.choices(prediction, PREDICTIONS, "--prediction")[:1]
    (network,) = parsing.choices(backbone, tuple(DENOISERS), "--backbone")[:1]
    chosen = replace(settings, device=pick_device(device))
    run = diffusion_run(model_folder(vae), open_store(planes, "fitted"), chosen, place, learned, network)
    _finish(console, console.run(run), out)


def evaluate(
    model: Annotated[str, typer.Argument(help="Run folder of train-vae or train-diffusion, or a model folder.")],
    blocks: Blocks,
    planes: Planes,
    count: Annotated[int, typer.Option(help="Blocks to generate and compare.", min=2, max=10_000)] = 200,
    sampler: Annotated[str, typer.Option(help="ddpm, ddim or dpm.")] = "ddim",
    steps: Annotated[int, typer.Option(help="Steps of sampling.", min=1, max=1000)] = 50,
    guidance: Annotated[float, typer.Option(help="How strongly plans are followed; 1 as learned.")] = 1.0,
    sheet: Annotated[
        str | None, typer.Option(metavar="FILE.png", help="Write pictures: generated, nearest training block, plan.")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    json_to: JsonTo = None,
) -> None:
    """Figures of held-out blocks: fit, auto-encoder, generation beside train-against-held-out, plans kept."""
    console = Console(json_to)
    from scenegen.evaluate import EvaluateOptions
    from scenegen.sampling import SamplingOptions
    from scenegen.schedulers import SAMPLERS
    from scenegen.store import open_store

    from ..devices import pick_device
    from ..outputs import check_file
    from ..scene_evaluation import evaluation_run, open_networks
    from ..scene_training import model_folder

    (name,) = parsing.choices(sampler, SAMPLERS, "--sampler")[:1]
    target = check_file(sheet, (".png",), force) if sheet else None
    stores = open_store(blocks, "samples"), open_store(planes, "fitted")
    networks, notes = open_networks(model_folder(model), pick_device(device))
    sampling = SamplingOptions(name, steps, guidance, str(notes.get("prediction", "sample")))
    options = EvaluateOptions(count, seed, sampling)
    document = console.run(evaluation_run(networks, *stores, options, target))
    for line in _lines(document):
        console.say(line)
    console.finish(document)


def _settings(
    preset: str, time: str | None, steps: int | None, batch: int | None, rate: float | None, seed: int, bf16: bool
) -> Any:
    from ..scene_training import TrainSettings

    seconds = parsing.duration(time) if time else None
    return TrainSettings(preset, seconds, steps, batch, rate, seed, bfloat16=bf16)


def _place(out: str, resume: bool, force: bool) -> Place:
    from ..outputs import check_folder
    from ..scene_training import Place

    if resume and force:
        raise UserError("E-USAGE-CONFLICT", "--resume and --force contradict each other", expected="one of them",
                        fix="keep --resume to go on, --force to start anew")  # fmt: skip
    return Place(check_folder(out, resume or force), resume, force)


def _finish(console: Console, record: dict[str, Any], out: str) -> None:
    if record:
        console.say(f"{record['steps']} steps, loss {record['loss']:.4g}; wrote {out}")
        console.finish({"out": out, **record})


def _lines(document: dict[str, Any]) -> list[str]:
    lines = [
        f"{name:<4} surface error {document[name]['surface_mm']:.2f} mm, sign IoU {document[name]['sign_iou']:.3f}"
        for name in ("fit", "vae")
    ]
    made, plan = document["generation"], document["layout"]
    if made and made["nna"] is not None:
        beside = made["reference"]
        lines.append(
            f"generated against held out: 1-NNA {made['nna']:.1%} (training blocks {beside['nna']:.1%}), "
            f"COV {made['cov']:.1%} ({beside['cov']:.1%}), MMD {made['mmd']:.5f} ({beside['mmd']:.5f})"
        )
        lines.append(f"nearer to a training block than 99 % of held-out ones: {made['copying']['close']:.1%}")
    if plan:
        lines.append(f"furniture IoU with the plan {plan['iou']:.3f}, with another's {plan['shuffled']:.3f}")
        lines.append(f"{document['seconds_per_block']:.2f} s a block")
    return lines
