"""fieldscape scene generate, extend, redo, undo and mesh"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fields.errors import UserError

from ..arguments import Device, Force, JsonTo, Resume
from ..console import Console, quantity

if TYPE_CHECKING:
    from scenegen.world.neighbours import Index
    from scenegen.world.store import SceneStore

    from ..world import Job, Means

_BLOCK = re.compile(r"\s*([+-]?[0-9]{1,12})\s*,\s*([+-]?[0-9]{1,12})\s*")
_GO_ON = "go on with it by fieldscape scene generate --resume --out"

Scene = Annotated[str, typer.Argument(help="Folder made by scene generate.")]
Layout = Annotated[
    str | None, typer.Option(metavar="FILE", help="Plan: a PNG in the legend's colours, or a layout's JSON.")
]
Scale = Annotated[
    float | None, typer.Option(help="Metres of a pixel of --layout; 0.1, unless the picture says so itself.")
]
Model = Annotated[
    str | None, typer.Option(help="Name of a shipped model, or folder of a trained one; by default the scene's own.")
]
Batch = Annotated[int, typer.Option(help="Blocks in a step.", min=1, max=4096)]
Processes = Annotated[int, typer.Option(help="Processes to spread the blocks over.", min=1, max=1024)]
ExecutorName = Annotated[str, typer.Option("--executor", help="local, or ray for a cluster.")]
Previews = Annotated[bool, typer.Option("--preview/--no-preview", help="Draw SCENE/preview.png after every wave.")]


def register(group: typer.Typer) -> None:
    """Add the commands to the group `scene`."""
    for command in (generate, extend, redo, undo, mesh):
        group.command(command.__name__)(command)


def generate(
    out: Annotated[str, typer.Option(help="Folder for the scene.")],
    layout: Layout = None,
    size: Annotated[
        str | None, typer.Option(metavar="COLUMNSxROWS", help="Blocks of a plan that is made up, such as 6x6.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Name of a shipped model (rooms-tiny), or folder of a trained one.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Equal seeds give equal scenes.", min=0, max=2**64 - 1)] = None,
    scale: Scale = None,
    steps: Annotated[int | None, typer.Option(help="Steps of sampling; 20.")] = None,
    resamples: Annotated[
        int | None, typer.Option(help="How often a step is done, for new parts to go with known ones; 1.")
    ] = None,
    jump: Annotated[int | None, typer.Option(help="Steps gone back at a time when resampling; 5.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How strongly the plan is followed; 1 as learned.")] = None,
    batch: Batch = 16,
    processes: Processes = 1,
    executor: ExecutorName = "local",
    previews: Previews = True,
    device: Device = "auto",
    resume: Resume = False,
    force: Force = False,
    json_to: JsonTo = None,
) -> None:
    """Make a scene under a plan, block after block: OUT holds the blocks, the plan and a preview."""
    console = Console(json_to)
    from ..outputs import check_apart, check_folder, may_hold
    from ..world import generate_job, resume_job
    from ..world_request import SceneRequest

    request = SceneRequest(model, layout, size, seed, steps, resamples, jump, guidance, scale)
    target = check_folder(out, may_hold(resume, force))
    if layout is not None:
        check_apart(target, layout)
    scene = _resumed(target) if resume else None
    if scene is not None:
        request.check_resumed(scene)
        means = _means(scene, model, batch, processes, executor, device, previews)
        job = resume_job(scene, means)
    else:
        head = request.head()
        plan = request.plan(head)
        means = _means(head.model, model, batch, processes, executor, device, previews)
        job = generate_job(target, head, plan, means, force)
    _finish(console, job, out)


def extend(
    scene: Scene,
    layout: Layout = None,
    toward: Annotated[
        str | None, typer.Option(metavar="SIDES", help="Make up a plan beside the scene: +x2,-z1 in blocks.")
    ] = None,
    scale: Scale = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the plan that --toward makes up; the scene's own.", min=0, max=2**64 - 1)
    ] = None,
    model: Model = None,
    batch: Batch = 16,
    processes: Processes = 1,
    executor: ExecutorName = "local",
    previews: Previews = True,
    device: Device = "auto",
    json_to: JsonTo = None,
) -> None:
    """Add blocks beside finished ones, which stay as they are; so does the plan below them."""
    console = Console(json_to)
    if (layout is None) == (toward is None):
        raise UserError("E-USAGE-PLAN", "new ground comes from one place", got="none" if layout is None else "both",
                        expected="--layout or --toward", fix="use --toward +x2")  # fmt: skip
    from scenegen.world.composed import parse_toward
    from scenegen.world.store import open_scene

    from ..world import extend_job, new_ground
    from ..world_request import check_scale

    sides = parse_toward(toward) if toward is not None else None
    check_scale(scale)
    opened = open_scene(scene)
    means = _means(opened, model, batch, processes, executor, device, previews)
    ground = new_ground(opened, layout, sides, seed, scale)
    _finish(console, extend_job(opened, ground, means), scene)


def redo(
    scene: Scene,
    block: Annotated[str, typer.Option(metavar="I,K", help="Which block: its numbers along x and z.")],
    seed: Annotated[
        int | None, typer.Option(help="Seed of the block; another one than before by default.", min=0, max=2**64 - 1)
    ] = None,
    model: Model = None,
    previews: Previews = True,
    device: Device = "auto",
    json_to: JsonTo = None,
) -> None:
    """Make one block anew; all around it stays as it is."""
    console = Console(json_to)
    index = _block(block)
    from scenegen.world.store import open_scene

    from ..world import redo_job

    opened = open_scene(scene)
    opened.expect(index)
    means = _means(opened, model, 1, 1, "local", device, previews)
    _finish(console, redo_job(opened, index, seed, means), scene)


def undo(scene: Scene, model: Model = None, previews: Previews = True, json_to: JsonTo = None) -> None:
    """Take back the last extend or redo."""
    console = Console(json_to)
    from scenegen.world.store import open_scene

    from ..world import undo_job
    from ..world_request import model_of

    opened = open_scene(scene)
    found = console.run(undo_job(opened, model_of(opened, model) if previews else None))
    console.say(f"undid {found['undone']} of {_count(len(found['blocks']))}; {_count(found['left'])} in {scene}")
    console.finish(found)


def mesh(
    scene: Scene,
    out: Annotated[str, typer.Option(help="File to write: .glb (streamed, a node for each chunk), .obj, .ply, .stl.")],
    cells: Annotated[int, typer.Option(help="Cells along a block's side.", min=8, max=256)] = 64,
    model: Model = None,
    device: Device = "auto",
    force: Force = False,
    json_to: JsonTo = None,
) -> None:
    """Write the scene's surface as one mesh in metres, y up, coloured by the classes of the plan."""
    console = Console(json_to)
    from fields.mesh_files import FORMATS
    from scenegen.world.store import open_scene

    from ..outputs import check_file
    from ..world import mesh_job
    from ..world_request import model_of

    target = check_file(out, tuple(FORMATS), force)
    opened = open_scene(scene)
    found = console.run(mesh_job(opened, target, model_of(opened, model), cells))
    if found["pending"]:
        console.warn(f"note: {_count(found['pending'])} still to be made; {_GO_ON} {scene}")
    console.say(
        f"{quantity(found['vertices'])} vertices, {quantity(found['faces'])} faces of {_count(found['blocks'])}; "
        f"wrote {out}"
    )
    console.finish(found)


def _means(
    scene: SceneStore | str, model: str | None, batch: int, processes: int, executor: str, device: str, previews: bool
) -> Means:
    """What blocks are made with; `scene` is an opened one, or what its head says of its model."""
    from scenegen.executors import check_executor
    from scenegen.shipped import find_model

    from ..devices import pick_device
    from ..world import Means
    from ..world_request import model_of

    folder = find_model(scene) if isinstance(scene, str) else model_of(scene, model)
    return Means(folder, pick_device(device), check_executor(executor), processes, batch, previews)


def _resumed(folder: Path) -> SceneStore | None:
    """The scene in a folder; None when it was not begun yet."""
    from scenegen.world.history import MANIFEST
    from scenegen.world.store import open_scene

    return open_scene(folder) if (folder / MANIFEST).exists() else None


def _block(text: str) -> Index:
    match = _BLOCK.fullmatch(text)
    if match is None:
        raise UserError("E-USAGE-BLOCK", "--block is not understood", got=repr(text), expected="two numbers i,k",
                        fix="write --block 2,-1")  # fmt: skip
    from scenegen.world.plan import check_index

    index = int(match[1]), int(match[2])
    check_index(index, "--block")
    return index


def _finish(console: Console, job: Job, out: str) -> None:
    """Run a job that makes blocks, and tell what it made."""
    document = console.run(_told(job))
    made, each = document["made"], document["seconds_per_block"]
    console.say(
        f"made {_count(made)}, {each:.2f} s each; {_count(document['blocks'])} in {out}"
        if made
        else f"nothing to be made; {_count(document['blocks'])} in {out}"
    )
    console.finish({"out": out, **document})


def _told(job: Job) -> Job:
    """The same job, with the figures of a block put as people read them."""
    while True:
        try:
            progress = next(job)
        except StopIteration as end:
            return end.value
        if "wave" in progress.metrics:
            wave, left = (progress.metrics[name] for name in ("wave", "left"))
            progress = replace(progress, metrics={f"blocks left in wave {wave:.0f}": left})
        yield progress


def _count(blocks: int) -> str:
    return f"{blocks} block{'' if blocks == 1 else 's'}"
