"""fieldscape scene train-all and pack"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..arguments import Device, Force, HalfPrecision, JsonTo, PresetName, Processes, Resume, Seed
from ..console import Console
from ..hardware import usable_cores
from ..scene_sources import BlockSize, Procedural, Source, WorldName, check_one_source, crop_settings, open_sources


def register(group: typer.Typer) -> None:
    """Add the commands to the group `scene`."""
    group.command("train-all")(train_all)
    group.command("pack")(pack)


def train_all(
    out: Annotated[str, typer.Option(help="Folder for everything that is made on the way.")],
    source: Source = None,
    procedural: Procedural = None,
    world: WorldName = "room",
    preset: PresetName = "tiny",
    size: BlockSize = None,
    count: Annotated[int, typer.Option(help="Blocks to generate and compare in the end.", min=2, max=10_000)] = 200,
    processes: Processes = None,
    bf16: HalfPrecision = None,
    seed: Seed = 0,
    device: Device = "auto",
    resume: Resume = False,
    force: Force = False,
    json_to: JsonTo = None,
) -> None:
    """From scenes to a judged generator: prepare, fit, train-vae, train-vae --improve, train-diffusion and evaluate.

    OUT/diffusion/model is the generator, OUT/figures.json what it is worth, OUT/gallery.png what it makes.
    """
    console = Console(json_to)
    check_one_source(source, procedural)
    from scenegen.presets import preset_named

    from ..devices import pick_bfloat16, pick_device
    from ..outputs import check_apart, check_folder, may_hold
    from ..scene_chain import ChainSettings, clear_chain, train_chain

    folder = check_folder(out, may_hold(resume, force))
    if source is not None:
        check_apart(folder, source)
    chosen = preset_named(preset)
    sources = open_sources(source, procedural, world, chosen, seed)
    crop = crop_settings(sources[0], size, chosen.data.samples)
    workers, where = processes or usable_cores(), pick_device(device)
    settings = ChainSettings(crop, preset, seed, where, workers, count, pick_bfloat16(bf16, where))
    if force:
        clear_chain(folder)
    record = console.run(train_chain(sources, settings, folder))
    for line in _lines(record):
        console.say(line)
    console.finish(record)


def pack(
    model: Annotated[str, typer.Argument(help="Run folder of scene train-diffusion, or a model folder.")],
    out: Annotated[str, typer.Option(help="Folder to make; its name is the model's.")],
    figures: Annotated[
        str | None, typer.Option(metavar="FILE.json", help="What scene evaluate --json or train-all said of it.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="What it was trained on, for the card.")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the weights, for the card.")] = "",
    force: Force = False,
    json_to: JsonTo = None,
) -> None:
    """Write a model as a folder to be shared: half precision, with a card of its data, figures and limits."""
    console = Console(json_to)
    from scenegen.shipped import find_model

    from ..outputs import check_apart, check_folder
    from ..scene_pack import UNKNOWN, pack_model, read_figures

    folder, source = check_folder(out, force), find_model(model)
    check_apart(folder, source)
    found = read_figures(figures) if figures else {}
    document = pack_model(source, folder, found, data or UNKNOWN, licence)
    console.say(f"{document['parameters'] / 1e6:.1f} million parameters, {document['bytes'] / 1e6:.1f} MB; wrote {out}")
    console.finish(document)


def _lines(record: dict[str, Any]) -> list[str]:
    from ..scene_pack import figure

    figures, seconds = record["metrics"], record["seconds"]
    generated, layout = figures["generation"], figures["layout"]
    stages = ", ".join(f"{name} {value / 60:.1f}" for name, value in seconds.items())
    return [
        f"fit {figure(figures['fit']['surface_mm'], 2)} mm, {figure(figures['fit']['sign_iou'])}; after the VAE "
        f"{figure(figures['vae']['surface_mm'], 2)} mm, {figure(figures['vae']['sign_iou'])} (surface error, sign IoU)",
        f"1-NNA {figure(generated['nna'])} (training blocks {figure(generated['reference']['nna'])}), "
        f"COV {figure(generated['cov'])} ({figure(generated['reference']['cov'])})",
        f"furniture IoU {figure(layout['iou'])}, against other plans {figure(layout['shuffled'])}",
        f"minutes: {stages}; together {sum(seconds.values()) / 60:.1f}",
    ]
