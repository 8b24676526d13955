"""Jobs that make scenes and let them grow. A scene lies in the folder of the job that generated it."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from fields.progress import Progress
from fields.safeio import write_bytes
from scenegen.world.composed import at_block
from scenegen.world.neighbours import Index
from scenegen.world.plan import Plan
from scenegen.world.store import SceneStore, open_scene

from ...world import (
    PREVIEW,
    Job,
    Means,
    draw_preview,
    extend_job,
    mesh_job,
    new_scene,
    open_decoder,
    plan_of,
    redo_job,
    resume_job,
    undo_job,
)
from ...world_request import SceneRequest, model_of
from .kinds import Task
from .parameters import ExtendParameters, GenerateParameters, RedoParameters, UndoParameters, WorldMeshParameters
from .world_view import WorldView

SCENE = "scene"
_QUALITIES = {"quick": (10, 1), "good": (20, 1), "best": (50, 3)}  # steps, resamples


def generate(parameters: GenerateParameters, task: Task) -> Job:
    """Make a scene under a painted plan, or one that is made up."""
    yield Progress(0, 0, "reading")
    folder = task.out / SCENE
    scene = open_scene(folder) if task.resume else _new_scene(parameters, task, folder)
    plan = plan_of(scene)
    missing = set(plan.covering(scene.frame)) - scene.finished()
    return (yield from _shown(scene, task.out, plan, resume_job(scene, _means(scene)), missing))


def _new_scene(parameters: GenerateParameters, task: Task, folder: Path) -> SceneStore:
    steps, resamples = _QUALITIES[parameters.quality]
    size = "x".join(map(str, parameters.size)) if parameters.size else None
    request = SceneRequest(
        parameters.model, task.inputs.get("plan"), size, parameters.seed, parameters.steps or steps,
        parameters.resamples or resamples,
    )  # fmt: skip
    head = request.head()
    return new_scene(folder, head, request.plan(head))


def extend(parameters: ExtendParameters, task: Task) -> Job:
    """Add one block beside a scene, on ground that is made up."""
    scene, out = _opened(task)
    index = (parameters.block[0], parameters.block[1])
    means = _means(scene)
    yield from _finished(scene, out, means)
    if index in scene.finished():
        return {"blocks": len(scene.finished())}
    new = at_block(plan_of(scene), scene.head.world, scene.frame, index, scene.head.seed)
    return (yield from _shown(scene, out, plan_of(scene).joined(new), extend_job(scene, new, means, [index]), [index]))


def redo(parameters: RedoParameters, task: Task) -> Job:
    """Make one block anew."""
    scene, out = _opened(task)
    means = _means(scene)
    yield from _finished(scene, out, means)
    index = (parameters.block[0], parameters.block[1])
    return (yield from _shown(scene, out, plan_of(scene), redo_job(scene, index, parameters.seed, means), [index]))


def undo(parameters: UndoParameters, task: Task) -> Job:
    """Take the last growth or new block back."""
    scene, out = _opened(task)
    before = scene.actions[-1].blocks
    found = yield from undo_job(scene, None)
    WorldView(scene, plan_of(scene), open_decoder(model_of(scene, None)), out).renew(before)
    yield from _pictured(scene, out)
    return found


def mesh(parameters: WorldMeshParameters, task: Task) -> Job:
    """Write the scene's surface as one mesh."""
    scene, _ = _opened(task)
    target = task.out / f"world.{parameters.format}"
    found = yield from mesh_job(scene, target, model_of(scene, None), parameters.cells)
    return {**found, "out": target.name}


def _opened(task: Task) -> tuple[SceneStore, Path]:
    """The scene that a job names, and the folder of the files that show it."""
    out = Path(task.inputs["scene"])
    return open_scene(out / SCENE), out


def _finished(scene: SceneStore, out: Path, means: Means) -> Job:
    """Whatever the scene was interrupted in, brought to its end first."""
    if scene.unfinished is None:
        return {}
    return (yield from _shown(scene, out, plan_of(scene), resume_job(scene, means), scene.pending()))


def _shown(scene: SceneStore, out: Path, plan: Plan, job: Job, expected: Collection[Index]) -> Job:
    """A job that makes blocks, which are shown as they come."""
    view = WorldView(scene, plan, open_decoder(model_of(scene, None)), out)
    view.expect(expected)
    yield Progress(0, len(expected), "generate")
    try:
        document = yield from _watched(view, job)
    finally:
        view.renew()
    yield from _pictured(scene, out)
    return document


def _watched(view: WorldView, job: Job) -> Job:
    """The job, with the view told of every block."""
    with closing(job):
        while True:
            try:
                progress = next(job)
            except StopIteration as end:
                return dict(end.value)
            if "left" in progress.metrics:
                metrics = progress.metrics
                view.made((int(metrics["i"]), int(metrics["k"])), metrics["left"] == 0)
            yield progress


def _pictured(scene: SceneStore, out: Path) -> Job:
    """A picture of the scene for the library."""
    yield from draw_preview(scene, plan_of(scene), open_decoder(model_of(scene, None)))
    picture = scene.folder / PREVIEW
    if picture.is_file():
        write_bytes(out / PREVIEW, picture.read_bytes())
    return {}


def _means(scene: SceneStore) -> Means:
    return Means(model_of(scene, None), previews=False)
