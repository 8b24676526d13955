"""Samples to tri-planes: one decoder trained on some blocks, then frozen, then every block's planes.

A step looks at P points of each block. With D multiplications in the decoder (4,736 at `tiny`) values and their
gradient to the planes take 4 P D floating point operations, and gradients in space at a quarter of the points,
whose own gradient is taken too, about 2 P D more: 58 MFLOP for a block and step at `tiny`, nearly all of it the
decoder's. A frozen decoder saves the third of a usual step that its weights' gradient would take.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cuda_ext import Adam, Muon, ParameterGroup
from cuda_ext.muon import rows
from fields.errors import UserError
from fields.folder_lock import FolderLock
from fields.progress import Clock, Progress, finished

from .augment import SYMMETRIES
from .decoder import TriplaneDecoder
from .executors import results
from .fit_loss import LossWeights, block_quality, draw, fit_loss, mean_quality
from .model_files import load_model, save_model
from .presets import FitPreset
from .store import Block, BlockStore, StoreHead, begin_store

DECODER = "decoder"
_PLANE_RATE, _BIAS_RATE = 0.15, 0.01
_WEIGHT_RATE = 5e-3  # of the decoder; four times this, and distances lose their sign
_BETAS, _EPSILON = (0.9, 0.999), 1e-8
_LAST_RATE = 0.01  # of the first, at the end of the cosine
_GROWN = 0.2  # of a run: then the planes have their full resolution
FIT_NAMES = ("points", "sdf", "normals")


@dataclass(frozen=True)
class FitSettings:
    """Sizes, seed and device of a fit."""

    preset: FitPreset
    seed: int = 0
    device: str = "cpu"
    weights: LossWeights = field(default_factory=LossWeights)


@dataclass(frozen=True)
class Fitted:
    """The finished store, its decoder, mean figures of each split, and what it took."""

    store: BlockStore
    decoder: TriplaneDecoder
    quality: dict[str, dict[str, float]]
    cpu_seconds_per_block: float


def fit_blocks(
    samples: BlockStore,
    settings: FitSettings,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    force: bool = False,
    processes: int = 1,
) -> Generator[Progress, None, Fitted]:
    """Fit planes to every block of `samples` into the store `out`, whose decoder lies in `out`/decoder.

    A block's planes follow from its samples, the decoder and the settings; they do not depend on its neighbours
    in a batch. Resuming goes on with the shards that are missing. Several `processes` fit a shard each, on the CPU
    alone: operations are too small for two threads to share.

    Raises:
        UserError: `E-BLOCKS-EMPTY`, `E-BLOCKS-INCOMPLETE`, `E-NAN-FIT`; see `begin_store`.
    """
    blocks = samples.blocks()
    training = [block for block in blocks if block.split == "train"]
    if not training:
        raise UserError("E-BLOCKS-EMPTY", "store has no blocks to train on", where=samples.folder,
                        expected="one at least", fix="prepare more scenes")  # fmt: skip
    store = begin_store(out, _head(samples, settings), resume=resume, force=force)
    with FolderLock(store.folder):
        decoder = _kept_decoder(store, settings) if resume else None
        decoder = decoder or (yield from _shared_decoder(samples, training, settings, store))
        missing = set(store.missing())
        tasks = [_Task(shard, [block for block in blocks if block.shard == shard]) for shard in sorted(missing)]
        if processes > 1 and settings.device == "cpu":
            seconds = yield from _fit_side_by_side(samples, store, tasks, settings, processes)
        else:
            seconds = yield from _fit_in_turn(samples, store, tasks, settings)
    return Fitted(store, decoder, store_quality(store), seconds)


def open_decoder(store: BlockStore, device: str = "cpu") -> TriplaneDecoder:
    """The frozen decoder of a fitted store.

    Raises:
        UserError: `E-CKPT-…`.
    """
    return load_model(TriplaneDecoder, store.folder / DECODER, device).requires_grad_(False)


def store_quality(store: BlockStore) -> dict[str, dict[str, float]]:
    """Mean figures of the blocks of each split, as `scenegen.fit_loss.mean_quality` has them."""
    return {split: mean_quality([b.quality for b in store.blocks(split)]) for split in ("train", "held-out")}


def _kept_decoder(store: BlockStore, settings: FitSettings) -> TriplaneDecoder | None:
    with contextlib.suppress(UserError):
        return open_decoder(store, settings.device)
    return None


def _shared_decoder(
    samples: BlockStore, training: list[Block], settings: FitSettings, store: BlockStore
) -> Generator[Progress, None, TriplaneDecoder]:
    """A new decoder, which makes planes of an earlier one worthless."""
    for shard in range(store.head.shards):
        store.path(shard).unlink(missing_ok=True)
    preset, clock = settings.preset, Clock()
    chosen = torch.randperm(len(training), generator=_generator(settings))[: preset.joint_blocks]
    batch = _on(samples.gather([training[i] for i in chosen], FIT_NAMES), settings.device)
    decoder = new_decoder(settings)
    for now in train_decoder(decoder, batch, settings):
        yield replace(clock.report(now.step, preset.joint_steps, "decoder"), loss=now.loss)
    save_model(decoder, store.folder / DECODER, _card(settings, len(chosen)))
    return decoder.requires_grad_(False)


@dataclass(frozen=True)
class Step:
    """A fit after `step` steps: mean loss of the last one, and the planes [B, 3, C, R, R]."""

    step: int
    loss: float
    planes: Tensor


def new_decoder(settings: FitSettings) -> TriplaneDecoder:
    """An untrained decoder of the preset's sizes."""
    preset = settings.preset
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        decoder = TriplaneDecoder(preset.channels, preset.resolution, preset.width, preset.layers)
    return decoder.to(settings.device)


def train_decoder(decoder: TriplaneDecoder, batch: Mapping[str, Tensor], settings: FitSettings) -> Iterator[Step]:
    """Train a new decoder together with the planes of some blocks.

    At the end its `start` is the mean of these planes over blocks and the eight symmetries, so that a turned
    block starts as the turned start.
    """
    for now in optimise(decoder, batch, settings, settings.preset.joint_steps, learn_decoder=True):
        yield now
    mean = now.planes.mean(0)
    decoder.start.copy_(torch.stack([symmetry.planes(mean) for symmetry in SYMMETRIES]).mean(0))


def optimise(
    decoder: TriplaneDecoder,
    batch: Mapping[str, Tensor],
    settings: FitSettings,
    steps: int,
    learn_decoder: bool = False,
) -> Iterator[Step]:
    """Fit planes to the samples of B blocks, coarse to fine.

    The planes of one block do not depend on the others, unless the decoder learns too.

    Raises:
        UserError: `E-NAN-FIT`.
    """
    generator, begins = _generator(settings), _begins(settings.preset, steps)
    planes = decoder.start.expand(len(batch["points"]), -1, -1, -1, -1)
    for step in range(steps):
        if step in begins:
            leaf, optimiser = _leaf(planes, begins[step], decoder, learn_decoder)
        planes = leaf.permute(0, 1, 4, 2, 3)
        losses = fit_loss(decoder, planes, draw(batch, settings.preset.points, generator), settings.weights)
        losses.sum().backward()  # a sum, so that a block's steps are the same in any company
        optimiser.collect()
        optimiser.step(_rate(step / steps))
        planes = planes.detach()
        yield Step(step + 1, _finite(float(losses.detach().mean()), step), planes)


def _rate(done: float) -> float:
    """Share of the first learning rate: a cosine."""
    return _LAST_RATE + (1 - _LAST_RATE) * (1 + math.cos(math.pi * done)) / 2


def _finite(loss: float, step: int) -> float:
    if not math.isfinite(loss):
        raise UserError("E-NAN-FIT", "loss is not finite", where=f"step {step}", got=loss,
                        fix="fit again with another seed or a smaller preset")  # fmt: skip
    return loss


def _begins(preset: FitPreset, steps: int) -> dict[int, int]:
    """The step at which each resolution begins; a later level replaces one that begins at the same step."""
    count = max(1, len(preset.levels) - 1)
    return {round(_GROWN * steps * i / count): level for i, level in enumerate(preset.levels)}


def _leaf(planes: Tensor, resolution: int, decoder: TriplaneDecoder, learn_decoder: bool) -> tuple[Tensor, Adam]:
    """Planes at a resolution as parameters [B, 3, R, R, C], channels last as lookups want them, and their optimiser."""
    flat = _resized(planes.flatten(0, 1), resolution).unflatten(0, planes.shape[:2])
    leaf = flat.permute(0, 1, 3, 4, 2).contiguous().requires_grad_()
    groups = [ParameterGroup([leaf], _PLANE_RATE)]
    if not learn_decoder:
        return leaf, Adam(groups, _BETAS, _EPSILON)
    weights: list[Tensor] = [p for p in decoder.parameters() if p.dim() > 1]
    groups.append(ParameterGroup([p for p in decoder.parameters() if p.dim() == 1], _BIAS_RATE))
    return leaf, Muon([*groups, ParameterGroup(weights, _WEIGHT_RATE, matrices=rows)], _BETAS, _EPSILON)


def _resized(planes: Tensor, resolution: int) -> Tensor:
    return interpolate(planes.detach(), (resolution, resolution), mode="bilinear", align_corners=True)


@dataclass(frozen=True)
class _Task:
    shard: int
    blocks: list[Block]


@dataclass(frozen=True)
class _Made:
    task: _Task
    tensors: dict[str, Tensor]
    quality: list[dict[str, float]]
    seconds: float  # of CPUs

    def keep(self, store: BlockStore) -> None:
        blocks = [replace(b, quality=q) for b, q in zip(self.task.blocks, self.quality, strict=True)]
        store.write(self.task.shard, self.tensors, blocks)


def _fit_in_turn(
    samples: BlockStore, store: BlockStore, tasks: list[_Task], settings: FitSettings
) -> Generator[Progress, None, float]:
    """Reports come after every step. Returns CPU seconds a block."""
    clock, total, done, seconds = Clock(), sum(len(task.blocks) for task in tasks), 0, 0.0
    for task in tasks:
        steps = _fit_shard(samples, store, settings, task)
        made = None
        while made is None:
            try:
                share, loss = next(steps)
                at = done + round(share * len(task.blocks))
                yield replace(clock.report(max(1, at), total, "fit"), loss=loss)
            except StopIteration as end:
                made = end.value
        made.keep(store)
        done, seconds = done + len(task.blocks), seconds + made.seconds
    return seconds / max(1, total)


def _fit_side_by_side(
    samples: BlockStore, store: BlockStore, tasks: list[_Task], settings: FitSettings, processes: int
) -> Generator[Progress, None, float]:
    """Reports come after every shard. Returns CPU seconds a block."""
    clock, total, done, seconds = Clock(), sum(len(task.blocks) for task in tasks), 0, 0.0
    for made in results(partial(_fit_whole_shard, samples, store, settings), tasks, processes=processes):
        made.keep(store)
        done, seconds = done + len(made.task.blocks), seconds + made.seconds
        yield clock.report(max(1, done), total, "fit")
    return seconds / max(1, total)


def _fit_whole_shard(samples: BlockStore, store: BlockStore, settings: FitSettings, task: _Task) -> _Made:
    return finished(_fit_shard(samples, store, settings, task))


def _fit_shard(
    samples: BlockStore, store: BlockStore, settings: FitSettings, task: _Task
) -> Generator[tuple[float, float], None, _Made]:
    """One shard's planes; yields the share done and the loss after every step."""
    preset, device, begun = settings.preset, settings.device, time.process_time()
    decoder, whole = open_decoder(store, device), samples.read(task.shard)
    count = len(task.blocks)
    parts, quality = [], []
    for low in range(0, count, preset.batch):
        batch = _on({name: tensor[low : low + preset.batch] for name, tensor in whole.items()}, device)
        for now in optimise(decoder, batch, settings, preset.steps):
            yield (low + now.step / preset.steps * len(batch["points"])) / count, now.loss
        stored = now.planes.half()
        parts.append(stored.cpu())
        quality += block_quality(decoder, stored.float(), batch, store.head.frame)
    empty = torch.zeros(0, *store.head.tensors["planes"], dtype=torch.float16)
    tensors = {"planes": torch.cat([empty, *parts]), "layout": whole["layout"]}
    return _Made(task, tensors, quality, time.process_time() - begun)


def _head(samples: BlockStore, settings: FitSettings) -> StoreHead:
    preset = settings.preset
    shape = (3, preset.channels, preset.resolution, preset.resolution)
    contents = json.dumps(asdict(samples.head), sort_keys=True).encode()
    told = {
        "samples": hashlib.sha256(contents).hexdigest(),
        "preset": {**asdict(preset), "levels": list(preset.levels)},
        "weights": asdict(settings.weights),
        "seed": settings.seed,
    }
    tensors = {"planes": shape, "layout": samples.head.tensors["layout"]}
    return replace(samples.head, kind="fitted", tensors=tensors, settings=told)


def _generator(settings: FitSettings) -> torch.Generator:
    return torch.Generator().manual_seed(settings.seed)


def _on(tensors: Mapping[str, Tensor], device: str) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def _card(settings: FitSettings, blocks: int) -> str:
    preset = settings.preset
    return (
        "# Tri-plane decoder\n\nTurns summed features of three planes into signed distance, in block units, as part "
        f"of Fieldscape.\n\n- planes: 3 x {preset.channels} x {preset.resolution} x {preset.resolution}\n"
        f"- trained together with the planes of {blocks} blocks for {preset.joint_steps} steps, seed {settings.seed}\n"
    )
