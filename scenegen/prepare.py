"""Scenes to block samples: random overlapping crops, in parallel, one file a shard."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch

from fields.errors import UserError, raise_all
from fields.folder_lock import FolderLock
from fields.progress import Clock, Progress

from .blocks import PIXELS
from .crops import Arrays, CropSettings, crop_block
from .executors import Executor, results
from .scenes import SceneSource
from .store import Block, BlockStore, Split, StoreHead, begin_store

SCENES_PER_SHARD = 8


@dataclass(frozen=True)
class PrepareSettings:
    """crops: blocks cut out of each scene; held_out: share of the scenes that no training sees."""

    crop: CropSettings
    crops: int
    held_out: float
    seed: int


@dataclass(frozen=True)
class Shard:
    """One task: some scenes, by their numbers among all, and their splits."""

    number: int
    scenes: tuple[tuple[int, SceneSource, Split], ...]


@dataclass(frozen=True)
class Made:
    """A shard's blocks, stacked arrays [B, ...], and the scenes that could not be used with the reason."""

    number: int
    blocks: list[Block]
    arrays: Arrays
    skipped: list[str]


@dataclass(frozen=True)
class Prepared:
    """The finished store and what was left out of it."""

    store: BlockStore
    skipped: tuple[str, ...]


def prepare_blocks(
    sources: Sequence[SceneSource], settings: PrepareSettings, out: str | os.PathLike[str], *,
    resume: bool = False, force: bool = False, executor: Executor = "local", processes: int = 1,
) -> Generator[Progress, None, Prepared]:  # fmt: skip
    """Cut blocks out of all scenes into the store `out`.

    The blocks follow from the sources and the settings alone: neither the number of processes nor how often
    the work was interrupted changes a bit. Shards are written as they get ready. Scenes that cannot be read
    are skipped and named; on a Ray cluster files must have the same path on every machine.

    Raises:
        UserError: `E-BLOCKS-EMPTY` or the scenes' own errors when no scene can be used; see `begin_store`.
    """
    store = begin_store(out, _head(sources, settings), resume=resume, force=force)
    with FolderLock(store.folder):
        tasks = [_shard(number, sources, settings) for number in store.missing()]
        work, clock = partial(make_shard, settings), Clock()
        done = results(work, tasks, executor, processes)
        for count, made in enumerate(done, 1):
            tensors = {name: torch.from_numpy(value) for name, value in made.arrays.items()}
            store.write(made.number, tensors, made.blocks, made.skipped)
            yield clock.report(count, len(tasks), "prepare")
    skipped = tuple(line for shard in range(store.head.shards) for line in store.notes(shard))
    if not store.blocks():
        raise_all(UserError("E-BLOCKS-EMPTY", "scene gave no block", where=line, expected="a readable surface",
                            fix="check the meshes: metres, y up, floor at y = 0") for line in skipped)  # fmt: skip
    return Prepared(store, skipped)


def make_shard(settings: PrepareSettings, shard: Shard) -> Made:
    """Cut one shard's blocks; a pure function."""
    blocks: list[Block] = []
    arrays: list[Arrays] = []
    skipped: list[str] = []
    for number, source, split in shard.scenes:
        try:
            found = _crops(source, number, settings)
        except UserError as error:
            skipped.append(f"{source.name}: {error.what}")
            continue
        if len(found) < settings.crops:
            skipped.append(f"{source.name}: {settings.crops - len(found)} crops without a surface")
        for centre, values in found:
            blocks.append(Block(source.name, split, centre, shard.number, len(blocks)))
            arrays.append(values)
    stacked = {
        name: np.stack([values[name] for values in arrays]) if arrays else np.zeros((0, *shape), _dtype(name))
        for name, shape in tensor_shapes(settings.crop).items()
    }
    return Made(shard.number, blocks, stacked, skipped)


def _crops(
    source: SceneSource, number: int, settings: PrepareSettings
) -> list[tuple[tuple[float, float, float], Arrays]]:
    solids, layout = source.open()
    streams = (np.random.default_rng([settings.seed, number, crop]) for crop in range(settings.crops))
    found = (crop_block(solids, layout, settings.crop, rng) for rng in streams)
    return [entry for entry in found if entry is not None]


def tensor_shapes(crop: CropSettings) -> dict[str, tuple[int, ...]]:
    """Shapes of one block's tensors in the store."""
    n, m, q = crop.samples // 4 * 4, crop.samples // 4, crop.checks
    return {
        "points": (n, 3), "sdf": (n,), "normals": (m, 3), "labels": (m,), "thin": (m,),
        "check_points": (3 * q, 3), "check_sdf": (3 * q,), "check_thin": (q,),
        "layout": (len(crop.classes), PIXELS, PIXELS),
    }  # fmt: skip


def _dtype(name: str) -> type:
    return np.uint8 if name in ("labels", "thin", "check_thin", "layout") else np.float16


def _head(sources: Sequence[SceneSource], settings: PrepareSettings) -> StoreHead:
    crop = settings.crop
    told = {
        "scenes": [source.identity() for source in sources],
        **{key: value for key, value in asdict(settings).items() if key != "crop"},
        "samples": crop.samples,
        "checks": crop.checks,
    }
    shards = -(-len(sources) // SCENES_PER_SHARD)
    return StoreHead("samples", crop.world, crop.frame, crop.classes, shards, tensor_shapes(crop), told)


def _shard(number: int, sources: Sequence[SceneSource], settings: PrepareSettings) -> Shard:
    held = held_out(len(sources), settings.held_out, settings.seed)
    own = range(number * SCENES_PER_SHARD, min((number + 1) * SCENES_PER_SHARD, len(sources)))
    return Shard(number, tuple((i, sources[i], "held-out" if i in held else "train") for i in own))


def held_out(scenes: int, share: float, seed: int) -> set[int]:
    """Numbers of the scenes that are held out, about `share` of them; one at least is left to train on."""
    count = min(round(share * scenes), scenes - 1)
    return set(np.random.default_rng([seed, 5]).permutation(scenes)[:count].tolist())
