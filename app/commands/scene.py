"""fieldscape scene: from scenes to blocks to a trained generator."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fields.errors import UserError

from .. import parsing
from ..arguments import Device, Force, JsonTo, Seed
from ..console import Console

if TYPE_CHECKING:
    from scenegen.crops import CropSettings
    from scenegen.presets import Preset
    from scenegen.scenes import SceneSource

PARTS: tuple[str, ...] = ("scene_train",)  # modules of this package that add more commands to the group

Resume = Annotated[bool, typer.Option("--resume", help="Go on with what --out holds.")]
PresetName = Annotated[str, typer.Option("--preset", help="tiny, small or paper.")]


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
    source: Annotated[
        str | None,
        typer.Argument(help="Folder of scene meshes in metres, y up, floor at y = 0; x.json beside x.glb is its plan."),
    ] = None,
    procedural: Annotated[
        str | None,
        typer.Option(metavar="KIND[:SCENES]", help="Built-in scenes in place of SOURCE: rooms:400, village:20, city."),
    ] = None,
    world: Annotated[str, typer.Option(help="Classes of SOURCE's plans: room, village or city.")] = "room",
    preset: PresetName = "tiny",
    crops: Annotated[int | None, typer.Option(help="Blocks out of each scene.", min=1, max=10_000)] = None,
    size: Annotated[
        float | None, typer.Option(help="Side of a block in metres; 3.2 for rooms, 15 in villages, 12 in cities.")
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Points stored for a block.", min=64, max=4_000_000)] = None,
    held_out: Annotated[float | None, typer.Option(help="Share of the scenes that no training sees.")] = None,
    processes: Annotated[int | None, typer.Option(help="Processes; one for each core by default.", min=1)] = None,
    executor: Annotated[str, typer.Option(help="local, or ray for a cluster.")] = "local",
    seed: Seed = 0,
    resume: Resume = False,
    force: Force = False,
    json_to: JsonTo = None,
) -> None:
    """Cut scenes into blocks: points with signed distances and normals, and the floor plan below each block."""
    console = Console(json_to)
    _one_source(source, procedural)
    import os

    from scenegen.executors import check_executor
    from scenegen.prepare import PrepareSettings, prepare_blocks
    from scenegen.presets import preset_named

    chosen = preset_named(preset)
    sources = _sources(source, procedural, world, chosen, seed)
    share = chosen.data.held_out if held_out is None else _share(held_out)
    crop = _crop(sources[0], size, samples or chosen.data.samples)
    settings = PrepareSettings(crop, crops or chosen.data.crops, share, seed)
    found = console.run(
        prepare_blocks(
            sources, settings, _store_folder(out, resume, force, source), resume=resume, force=force,
            executor=check_executor(executor), processes=processes or len(os.sched_getaffinity(0)),
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
    seed: Seed = 0,
    device: Device = "auto",
    resume: Resume = False,
    force: Force = False,
    json_to: JsonTo = None,
) -> None:
    """Fit three feature planes to each block, under one decoder that is trained on some blocks first."""
    console = Console(json_to)
    _refuse_both(resume, force)
    from dataclasses import replace

    from scenegen.fit import FitSettings, fit_blocks
    from scenegen.presets import preset_named
    from scenegen.store import open_store

    from ..devices import pick_device

    sizes = preset_named(preset).fit
    sizes = replace(sizes, steps=steps or sizes.steps, joint_steps=joint_steps or sizes.joint_steps)
    store = open_store(blocks, "samples")
    target = _store_folder(out, resume, force, blocks)
    settings = FitSettings(sizes, seed, pick_device(device))
    found = console.run(fit_blocks(store, settings, target, resume=resume, force=force))
    for split, figures in found.quality.items():
        if figures:
            console.say(_quality_line(split, figures))
    console.say(f"{found.cpu_seconds_per_block:.2f} CPU seconds a block; wrote {out}")
    console.finish({"out": out, "quality": found.quality, "cpu_seconds_per_block": found.cpu_seconds_per_block})


def _one_source(source: str | None, procedural: str | None) -> None:
    if (source is None) == (procedural is None):
        raise UserError("E-USAGE-SOURCE", "scenes come from one place", got="two" if source else "none",
                        expected="SOURCE or --procedural", fix="use --procedural rooms")  # fmt: skip


def _refuse_both(resume: bool, force: bool) -> None:
    if resume and force:
        raise UserError("E-USAGE-CONFLICT", "--resume and --force contradict each other", expected="one of them",
                        fix="keep --resume to go on, --force to start anew")  # fmt: skip


def _sources(source: str | None, procedural: str | None, world: str, preset: Preset, seed: int) -> list[SceneSource]:
    from data.palette import WORLDS
    from scenegen.scenes import folder_sources, procedural_sources

    if procedural is not None:
        return procedural_sources(procedural, seed, preset.data.scenes)
    (chosen,) = parsing.choices(world, WORLDS, "--world")[:1]
    return folder_sources(str(source), chosen)  # type: ignore[arg-type]


def _crop(source: SceneSource, size: float | None, samples: int) -> CropSettings:
    """Blocks of the usual size of the world, or of `size` metres."""
    from scenegen.blocks import SIZES, block_frame
    from scenegen.crops import CropSettings

    side = SIZES[source.world] if size is None else size
    if not 0.1 <= side <= 1000:
        raise UserError("E-USAGE-SIZE", "--size is out of range", got=size, expected="0.1 to 1000 metres",
                        fix="use --size 3.2")  # fmt: skip
    return CropSettings(block_frame(side), source.world, samples)


def _share(held_out: float) -> float:
    if not 0 <= held_out < 1:
        raise UserError("E-USAGE-SHARE", "--held-out is no share", got=held_out, expected="0 or more, below 1",
                        fix="use --held-out 0.25")  # fmt: skip
    return held_out


def _store_folder(out: str, resume: bool, force: bool, source: str | None) -> Any:
    from ..outputs import check_apart, check_folder

    _refuse_both(resume, force)
    folder = check_folder(out, resume or force)
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
