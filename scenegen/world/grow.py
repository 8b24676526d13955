"""Scenes that grow: what is asked for is recorded first, then made wave by wave, each block kept once it is there.

A block is a pure function of its seed, its window of the plan, and its neighbours of earlier actions and waves. So
neither batches, processes, the order in which they finish nor interruptions make a difference, but for rounding.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np
import torch

from fields.progress import Clock, Progress

from ..executors import Workers
from .history import SEEDS, Action
from .labour import Batch, Labour, check_model, make_batch
from .neighbours import OFFSETS, Index, Known, known_from
from .plan import Plan
from .store import PlanFile, SceneStore
from .waves import goes_by, in_waves, moved, wave_of

Growth = Generator[Progress, None, SceneStore]


def generate(scene: SceneStore, plan: Plan, labour: Labour) -> Growth:
    """Make all blocks of a new scene, or go on with whatever it was interrupted in.

    A report for each block, once it is on the disk: `phase` is the kind of the action, `metrics` name the block
    (i, k), its wave (1 to 4), and how many of the wave are `left`.

    Raises:
        UserError: `E-SCENE-MODEL`, `E-SCENE-EMPTY`, `E-LIMIT-BLOCKS`, `E-CKPT-…`, `E-ENV-…`, `E-NAN-SAVE`.
    """
    check_model(scene.head, labour.model)
    with scene.writing():
        if not scene.actions:
            scene.begin("generate", plan.covering(scene.frame), scene.head.seed)
        yield from _work(scene, plan, labour)
    return scene


def extend(
    scene: SceneStore,
    plan: Plan,
    labour: Labour,
    added: PlanFile | None = None,
    blocks: Iterable[Index] | None = None,
) -> Growth:
    """Make the blocks of a plan that the scene lacks, to go with those it has.

    Args:
        plan: the scene's with what is added; `added` is the latter's file.
        blocks: which ones, where not all that the plan covers; finished ones among them stay as they are.

    Raises:
        UserError: as `generate`; `E-SCENE-UNFINISHED`.
    """
    check_model(scene.head, labour.model)
    with scene.writing():
        wanted = plan.covering(scene.frame) if blocks is None else blocks
        new = set(wanted) - scene.finished()
        _check_beside(scene, new)
        scene.begin("extend", new, scene.head.seed, added)
        yield from _work(scene, plan, labour)
    return scene


def redo(scene: SceneStore, plan: Plan, labour: Labour, index: Index, seed: int | None = None) -> Growth:
    """Make one block anew from another seed, with all its neighbours as they are.

    seed: by default one that the scene has not used for this.

    Raises:
        UserError: as `generate`; `E-SCENE-UNFINISHED`, `E-SCENE-BLOCK`, `E-USAGE-SEED`.
    """
    check_model(scene.head, labour.model)
    with scene.writing():
        scene.expect(index)
        _check_beside(scene, [index])
        other = (scene.head.seed + scene.revisions) % SEEDS
        scene.begin("redo", [index], other if seed is None else seed)
        yield from _work(scene, plan, labour)
    return scene


def _check_beside(scene: SceneStore, blocks: Iterable[Index]) -> None:
    """Read every finished neighbour once, so that a damaged one is met before anything is begun."""
    beside = {moved(index, offset) for index in blocks for offset in OFFSETS}
    for index in sorted(beside & scene.finished()):
        scene.latent(index)


def _work(scene: SceneStore, plan: Plan, labour: Labour) -> Generator[Progress, None, None]:
    """Make what is pending, and seal the action."""
    action = scene.unfinished
    if action is None:
        return
    pending = scene.pending()
    work = partial(make_batch, labour.model, scene.head.model_digest, labour.device, scene.head.options)
    clock, count = Clock(), 0
    with Workers(labour.executor, labour.processes) as workers:
        for wave in in_waves(pending):
            left = len(wave)
            for blocks in workers.results(work, _batches(scene, plan, action, _split(wave, labour))):
                for index, latent, planes in zip(*blocks, strict=True):
                    scene.write(index, torch.from_numpy(latent), torch.from_numpy(planes))
                    count, left = count + 1, left - 1
                    told: dict[str, float] = {"i": index[0], "k": index[1], "wave": wave_of(index) + 1, "left": left}
                    yield replace(clock.report(count, len(pending), action.kind), metrics=told)
    scene.seal()


def _split(wave: Sequence[Index], labour: Labour) -> Iterator[tuple[Index, ...]]:
    """Batches small enough for every process to get one."""
    size = max(1, min(labour.batch, -(-len(wave) // max(1, labour.processes))))
    remaining = iter(wave)
    return iter(lambda: tuple(islice(remaining, size)), ())


def _batches(scene: SceneStore, plan: Plan, action: Action, parts: Iterable[tuple[Index, ...]]) -> Iterator[Batch]:
    """Tasks, put together when they are asked for, so that few are in memory."""
    new = frozenset(action.blocks)
    old = {index for index in scene.finished() if index not in new}
    for indices in parts:
        plans = [plan.masks(scene.frame, index).numpy() for index in indices]
        beside = [{d: moved(index, d) for d in goes_by(index, old, new)} for index in indices]
        known = [_known(scene, neighbours) for neighbours in beside]
        planes = [{d: scene.planes(other).half().numpy() for d, other in some.items()} for some in beside]
        latents, masks = np.stack([k.latent.numpy() for k in known]), np.stack([k.mask.numpy() for k in known])
        yield Batch(indices, action.seed, np.stack(plans), tuple(planes), latents, masks)


def _known(scene: SceneStore, neighbours: Mapping[Index, Index]) -> Known:
    """What finished neighbours, by offset, fix of a block."""
    return known_from({offset: scene.latent(other) for offset, other in neighbours.items()}, scene.head.latent)
