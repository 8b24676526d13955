"""fieldscape scene: from scenes to blocks to a trained generator."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer

from fields.errors import UserError

from ..arguments import Device, Force, JsonTo, PresetName, Processes, Resume, Seed
from ..console import Console
from ..hardware import usable_cores
from ..scene_sources import BlockSize, Procedural, Source, WorldName, check_one_source, crop_settings, open_sources

PARTS = ("scene_train", "scene_chain", "scene_evaluate", "scene_world")  # modules that add more commands


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="Learn to generate scenes, block by block, under a floor plan.")
    group.command("prepare")(prepare)
    group.command("fit")(fit)
    for name in PARTS:
        import_module(f"app.commands.{name}").register(group)
    app.add_typer(group, name="scene")


def prepare(
    out: Annotated[str, typer.Option(help="Folder for the block samples.")],
    source: Source = None,
    procedural: Procedural = None,
    world: WorldName = "room",
    preset: PresetName = "tiny",
    crops: Annotated[int | None, typer.Option(help="Blocks out of each scene.", min=1, max=10_000)] = None,
    size: BlockSize = None,
    samples: Annotated[int | None, typer.Option(help="Points stored for a block.", min=64, max=4_000_000)] = None,
    held_out: Annotated[float | None, typer.Option(help="Share of the scenes that no training sees.")] = None,
    processes: Processes = None,
    executor: Annotated[str, typer.Option(help="local, or ray for a cluster.")] = "local",
    seed: Seed = 0,
    resume: Resume = False,
    force: Force = False,
    json_to: JsonTo = None,
) -> None:
    """Cut scenes into blocks: points with signed distances and normals, and the floor plan below each block."""
    console = Console(json_to)
    check_one_source(source, procedural)

    from scenegen.executors import check_executor
    from scenegen.prepare import PrepareSettings, prepare_blocks
    from scenegen.presets import preset_named

    chosen = preset_named(preset)
    sources = open_sources(source, procedural, world, chosen, seed)
    share = chosen.data.held_out if held_out is None else _share(held_out)
    crop = crop_settings(sources[0], size, samples or chosen.data.samples)
    settings = PrepareSettings(crop, crops or chosen.data.crops, share, seed)
    found = console.run(
        prepare_blocks(
            sources, settings, _store_folder(out, resume, force, source), resume=resume, force=force,
            executor=check_executor(executor), processes=processes or usable_cores(),
        )
    )  # fmt: skip
    for line in found.skipped:
        console.warn(f"note: left out {line}")
    counts = {split: len(found.store.blocks(split)) for split in ("train", "held-out")}
    console.say(f"{counts['train']} blocks to train on, {counts['held-out']} held out; wrote {out}")
    console.finish({"out": out, "scenes": len(sources), "blocks": counts, "skipped": list(found.skipped)})


def fit(
    blocks: Annotated[str, typer.Argument(help="Folder made by scene prepare.")],
    out: Annotated[str, typer.Option(help="Folder for the planes and the decoder.")],
    preset: PresetName = "tiny",
    steps: Annotated[int | None, typer.Option(help="Steps for each block.", min=1, max=1_000_000)] = None,
    joint_steps: Annotated[int | None, typer.Option(help="Steps for the decoder.", min=1, max=1_000_000)] = None,
    processes: Processes = None,
    seed: Seed = 0,
    device: Device = "auto",
    resume: Resume = False,
    force: Force = False,
    json_to: JsonTo = None,
) -> None:
    """Fit three feature planes to each block, under one decoder that is trained on some blocks first."""
    console = Console(json_to)
    target = _store_folder(out, resume, force, blocks)
    from dataclasses import replace

    from scenegen.fit import FitSettings, fit_blocks
    from scenegen.presets import preset_named
    from scenegen.store import open_store

    from ..devices import pick_device

    sizes = preset_named(preset).fit
    sizes = replace(sizes, steps=steps or sizes.steps, joint_steps=joint_steps or sizes.joint_steps)
    store = open_store(blocks, "samples")
    settings = FitSettings(sizes, seed, pick_device(device))
    job = fit_blocks(store, settings, target, resume=resume, force=force, processes=processes or usable_cores())
    found = console.run(job)
    for split, figures in found.quality.items():
        if figures:
            console.say(_quality_line(split, figures))
    console.say(f"{found.cpu_seconds_per_block:.2f} CPU seconds a block; wrote {out}")
    console.finish({"out": out, "quality": found.quality, "cpu_seconds_per_block": found.cpu_seconds_per_block})


def _share(held_out: float) -> float:
    if not 0 <= held_out < 1:
        raise UserError("E-USAGE-SHARE", "--held-out is no share", got=held_out, expected="0 or more, below 1",
                        fix="use --held-out 0.25")  # fmt: skip
    return held_out


def _store_folder(out: str, resume: bool, force: bool, source: str | None) -> Any:
    from ..outputs import check_apart, check_folder, may_hold

    folder = check_folder(out, may_hold(resume, force))
    if source is not None:
        check_apart(folder, source)
    return folder


def _quality_line(split: str, figures: dict[str, float]) -> str:
    line = (
        f"{split:<9} surface error {figures['surface_mm']:.2f} mm, sign IoU {figures['sign_iou']:.3f} "
        f"over {figures['blocks']:.0f} blocks"
    )
    if "thin_mm" in figures:
        line += f"; thin parts {figures['thin_mm']:.2f} mm, {figures['thin_iou']:.3f}"
    return line
