"""Scenes as jobs: generated, extended, made anew in part and meshed, with a record and a picture of each wave."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fields.errors import UserError
from fields.progress import Progress
from fields.safeio import write_json
from scenegen.decoder import TriplaneDecoder
from scenegen.executors import Executor
from scenegen.model_folder import load_model
from scenegen.world.composed import beside
from scenegen.world.export import mesh_scene, surface_of
from scenegen.world.grow import Growth, extend, generate, redo
from scenegen.world.history import SceneHead
from scenegen.world.labour import Labour
from scenegen.world.neighbours import OFFSETS, Index
from scenegen.world.pictures import CELLS as PREVIEW_CELLS
from scenegen.world.pictures import save_preview
from scenegen.world.plan import Plan
from scenegen.world.plan_files import encode_ground, load_plan, read_plan
from scenegen.world.store import SceneStore, create_scene
from scenegen.world.waves import moved

from .hardware import peak_memory
from .record import Record
from .world_request import METRES_PER_PIXEL

PREVIEW, RECORD = "preview.png", "run.json"

Job = Generator[Progress, None, dict[str, Any]]


@dataclass(frozen=True)
class Means:
    """What blocks are made with, which changes nothing of them."""

    model: Path
    device: str = "cpu"
    executor: Executor = "local"
    processes: int = 1
    batch: int = 16
    previews: bool = True

    def labour(self) -> Labour:
        """The same for `scenegen.world.grow`."""
        return Labour(str(self.model), self.device, self.executor, self.processes, self.batch)


def generate_job(out: Path, head: SceneHead, plan: Plan, means: Means, force: bool = False) -> Job:
    """Make a new scene in the folder `out`. Returns the run's record, which OUT/run.json has too.

    Raises:
        UserError: `E-USAGE-EXISTS`, `E-LAYOUT-EMPTY`, and those of `scenegen.world.grow`.
    """
    scene = new_scene(out, head, plan, force)
    return (yield from _Run(scene, plan, means).go(generate(scene, plan, means.labour()), "scene generate"))


def new_scene(out: Path, head: SceneHead, plan: Plan, force: bool = False) -> SceneStore:
    """A scene without any block yet, for `resume_job` to begin with.

    Raises:
        UserError: `E-USAGE-EXISTS`, `E-LAYOUT-EMPTY`.
    """
    _check_any(plan.covering(head.frame), out)
    return create_scene(out, head, encode_ground(plan.grounds[0]), force=force)


def resume_job(scene: SceneStore, means: Means) -> Job:
    """Finish whatever a scene was interrupted in. Returns the run's record, an empty one if nothing was left to do.

    Raises:
        UserError: those of `scenegen.world.grow`.
    """
    plan, action = plan_of(scene), scene.unfinished
    if scene.actions and action is None:
        return {"status": "done", "blocks": len(scene.finished()), "made": 0, "pending": 0, "seconds_per_block": None}
    command = f"scene {action.kind if action else 'generate'}"
    return (yield from _Run(scene, plan, means).go(generate(scene, plan, means.labour()), command))


def extend_job(scene: SceneStore, new: Plan, means: Means, blocks: Sequence[Index] | None = None) -> Job:
    """Add the blocks of more ground to a scene, or only some of them. Returns the run's record.

    Raises:
        UserError: `E-SCENE-COVERED` when there are none, `E-SCENE-APART` when they touch no finished one, and
            those of `scenegen.world.grow`.
    """
    plan = plan_of(scene).joined(new)
    wanted = plan.covering(scene.frame) if blocks is None else blocks
    check_touching(scene, set(wanted) - scene.finished())
    growth = extend(scene, plan, means.labour(), encode_ground(new.grounds[0]), wanted)
    return (yield from _Run(scene, plan, means).go(growth, "scene extend"))


def redo_job(scene: SceneStore, index: Index, seed: int | None, means: Means) -> Job:
    """Make one block anew from another seed, its neighbours as they are. Returns the run's record.

    Raises:
        UserError: `E-SCENE-BLOCK`, and those of `scenegen.world.grow`.
    """
    plan = plan_of(scene)
    growth = redo(scene, plan, means.labour(), index, seed)
    return (yield from _Run(scene, plan, means).go(growth, "scene redo"))


def undo_job(scene: SceneStore, model: Path | None) -> Job:
    """Take the last action back; with a model the preview is drawn again. Returns what was undone.

    Raises:
        UserError: `E-SCENE-HISTORY`, `E-ENV-LOCK`.
    """
    action = scene.undo()
    (scene.folder / PREVIEW).unlink(missing_ok=True)
    if model is not None:
        yield from draw_preview(scene, plan_of(scene), open_decoder(model))
    return {"out": str(scene.folder), "undone": action.kind, "blocks": [list(index) for index in action.blocks],
            "left": len(scene.finished())}  # fmt: skip


def mesh_job(scene: SceneStore, out: Path, model: Path, cells: int) -> Job:
    """Write a scene's surface as a mesh file of `cells` cells along a block's side. Returns its figures.

    Raises:
        UserError: those of `scenegen.world.export.mesh_scene`.
    """
    plan = plan_of(scene)
    made = yield from mesh_scene(surface_of(scene, open_decoder(model), cells), plan, out)
    return {"out": str(out), "blocks": len(scene.finished()), "pending": len(scene.pending()), "chunks": made.chunks,
            "vertices": made.vertices, "faces": made.faces, "bytes": out.stat().st_size,
            "peak_bytes": peak_memory()}  # fmt: skip


def new_ground(
    scene: SceneStore,
    layout: str | None,
    sides: list[tuple[str, int, int]] | None,
    seed: int | None = None,
    metres_per_pixel: float | None = None,
) -> Plan:
    """Ground to extend a scene by: a painted or drawn `layout`, or made up along the `sides` of what is there.

    Raises:
        UserError: as `read_plan` and `beside`; `E-LIMIT-BLOCKS`.
    """
    head = scene.head
    if layout is not None:
        return read_plan(layout, head.classes, metres_per_pixel or METRES_PER_PIXEL)
    return beside(plan_of(scene), head.world, head.frame, sides or [], head.seed if seed is None else seed)


def plan_of(scene: SceneStore) -> Plan:
    """All of a scene's plan.

    Raises:
        UserError: `E-LAYOUT-…`, `E-IMG-…`, `E-JSON-…` for files that are missing or damaged.
    """
    return load_plan(scene.folder, scene.plans, scene.head.classes)


def check_touching(scene: SceneStore, new: set[Index]) -> None:
    """Refuse new blocks that there are none of, or that lie apart from all finished ones.

    Raises:
        UserError: `E-SCENE-COVERED`, `E-SCENE-APART`.
    """
    if not new:
        raise UserError("E-SCENE-COVERED", "plan asks for no block that the scene lacks", where=scene.folder,
                        got=f"{len(scene.finished())} finished blocks", expected="painted ground beside them",
                        fix="paint beyond the scene, or use --toward +x2")  # fmt: skip
    finished = scene.finished()
    if not any(moved(index, offset) in finished for index in new for offset in OFFSETS):
        first = min(new, key=lambda index: (abs(index[0]) + abs(index[1]), index))
        raise UserError("E-SCENE-APART", "new blocks touch none of the scene's", where=scene.folder,
                        got=f"{len(new)} blocks from {first[0]},{first[1]} on", expected="some beside finished ones",
                        fix="check the plan's scale and origin, or generate another scene")  # fmt: skip


def open_decoder(folder: Path) -> TriplaneDecoder:
    """What surfaces are made with.

    Raises:
        UserError: `E-CKPT-…`.
    """
    return load_model(TriplaneDecoder, folder, "decoder")


def draw_preview(scene: SceneStore, plan: Plan, decoder: TriplaneDecoder) -> Generator[Progress, None, None]:
    """Draw the finished blocks from above and in perspective to SCENE/preview.png."""
    if scene.finished():
        yield from save_preview(surface_of(scene, decoder, PREVIEW_CELLS), plan, scene.folder / PREVIEW)


class _Run:
    """One action on a scene, with its record, and a picture whenever a wave is finished."""

    def __init__(self, scene: SceneStore, plan: Plan, means: Means) -> None:
        self.scene, self.plan, self.means = scene, plan, means
        self.decoder = open_decoder(means.model) if means.previews else None
        self.made, self.drawn = 0, (scene.folder / PREVIEW).exists()

    def go(self, growth: Growth, command: str) -> Job:
        """The growth to its end; the record is written at its start, at its end, and when it is closed early."""
        means, head = self.means, self.scene.head
        told = {"model": head.model, "seed": head.seed, **asdict(head.options), "batch": means.batch,
                "processes": means.processes, "executor": means.executor}  # fmt: skip
        record = Record(command, told, means.device)
        with closing(growth):
            try:
                yield from self._watched(growth, record)
            except GeneratorExit:
                self._write(record, "interrupted")
                raise
        if not self.drawn:
            yield from self._pictured(record)
        return self._write(record, "done")

    def _watched(self, growth: Growth, record: Record) -> Generator[Progress, None, None]:
        for progress in _timed(growth, record, "blocks"):
            if self.made == 0:
                self._write(record, "running")
                (self.scene.folder / PREVIEW).unlink(missing_ok=True)  # it shows the scene as it was
            self.made += 1
            self.drawn = False
            yield progress
            if progress.metrics["left"] == 0:
                yield from self._pictured(record)

    def _pictured(self, record: Record) -> Generator[Progress, None, None]:
        if self.decoder is not None:
            yield from _timed(draw_preview(self.scene, self.plan, self.decoder), record, "preview")
        self.drawn = True

    def _write(self, record: Record, status: str) -> dict[str, Any]:
        seconds = record.values["seconds"].get("blocks", 0.0)
        document = record.document(
            status=status,
            blocks=len(self.scene.finished()),
            made=self.made,
            pending=len(self.scene.pending()),
            seconds_per_block=round(seconds / self.made, 3) if self.made else None,
        )
        write_json(self.scene.folder / RECORD, document)
        return document


def _timed(steps: Iterator[Progress], record: Record, phase: str) -> Iterator[Progress]:
    """The reports of a job; the seconds between them go to a phase of the record."""
    while True:
        with record.phase(phase):
            progress = next(steps, None)
        if progress is None:
            return
        yield progress


def _check_any(blocks: list[Index], out: Path) -> None:
    if not blocks:
        raise UserError("E-LAYOUT-EMPTY", "plan is empty, so no block would be made", where=out,
                        expected="painted ground", fix="paint the floor and what stands on it")  # fmt: skip
