"""The figures of a trained generator: fit, VAE, generation beside its reference line, layout with its control."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.palette import class_named
from fields.errors import UserError
from fields.progress import Clock, Progress

from .adherence import FLOOR_MARGIN, layout_scores
from .block_set import Decoder
from .block_surface import grid_sdf, lattice_axes, occupied_columns, surface_points
from .blocks import BlockFrame
from .decoder import TriplaneDecoder
from .fit_loss import block_quality, mean_quality
from .metrics import POINTS, chamfer_matrix, copying, self_matrix, set_scores
from .models import ConvDenoiser, TriplaneVAE
from .sampling import SamplingOptions, decode_latents, sample_latents
from .store import Block, BlockStore

CELLS = 64  # of a block's side, where its surface is extracted
BARRIERS = ("wall", "door", "window")
_LOWEST_FURNITURE = 0.1  # metres: rugs and floors are none
_HEAD_ROOM = 2.0  # metres above the floor of a room up to which furniture is looked for
_TRAIN_SHARE = 3  # training blocks looked at for copies, times `count`


@dataclass(frozen=True)
class Networks:
    """Those of a model folder; the denoiser may be missing yet. The decoder is on the CPU."""

    decoder: TriplaneDecoder
    vae: TriplaneVAE
    denoiser: ConvDenoiser | None


@dataclass(frozen=True)
class EvaluateOptions:
    """How many blocks are generated and compared, with what, and from which seed on."""

    count: int = 200
    seed: int = 0
    sampling: SamplingOptions = field(default_factory=SamplingOptions)


@dataclass(frozen=True, eq=False)
class Gallery:
    """What pictures are made of: generated planes, their plans, and planes of the nearest training blocks."""

    planes: Tensor  # [N, 3, C, R, R]
    layout: Tensor  # [N, K, S, S]
    nearest: Tensor  # [N, 3, C, R, R]


def evaluate(
    model: Networks, samples: BlockStore, fitted: BlockStore, options: EvaluateOptions
) -> Generator[Progress, None, tuple[dict[str, Any], Gallery | None]]:
    """All figures as JSON values, by section, and a gallery where there is a denoiser.

    Held-out blocks are judged; generation and its references look at the surfaces of fitted planes, so that what
    the fit loses counts for neither side.

    Raises:
        UserError: `E-BLOCKS-EMPTY`, `E-CKPT-…`.
    """
    held_out = fitted.blocks("held-out")
    if len(held_out) < 4:
        raise UserError("E-BLOCKS-EMPTY", "too few held-out blocks", where=fitted.folder, got=len(held_out),
                        expected="four at least", fix="prepare with a larger --held-out")  # fmt: skip
    document: dict[str, Any] = {"fit": mean_quality([block.quality for block in held_out])}
    document["vae"] = yield from vae_figures(model, samples, fitted, held_out)
    if model.denoiser is None:
        return {**document, "generation": {}, "layout": {}, "seams": {}, "seconds_per_block": None}, None
    return (yield from _generation(model, fitted, held_out, options, document))


@torch.no_grad()
def vae_figures(
    model: Networks, samples: BlockStore, fitted: BlockStore, blocks: Sequence[Block], batch: int = 16
) -> Generator[Progress, None, dict[str, float]]:
    """What the way through the latents costs: `block_quality` of decoded planes, and the latents' figures."""
    clock, rows, planes_l1, kl, means = Clock(), [], [], [], []
    device, deviation = model.vae.device, model.vae.plane_deviation.cpu()
    for start in range(0, len(blocks), batch):
        some = blocks[start : start + batch]
        planes = fitted.gather(some, ("planes",))["planes"].float()
        posterior = model.vae.encode(planes.to(device))
        decoded = model.vae.decode(posterior.mean).cpu()
        checks = samples.gather(some, ("check_points", "check_sdf", "check_thin"))
        rows += block_quality(model.decoder, decoded, checks, fitted.head.frame)
        planes_l1.append(((decoded - planes) / deviation).abs().mean((1, 2, 3, 4)))
        kl.append(posterior.kl().cpu().expand(len(some)))
        means.append(posterior.mean.cpu())
        yield clock.report(min(start + batch, len(blocks)), len(blocks), "vae")
    spread = {
        "planes_l1": torch.cat(planes_l1).mean(),
        "kl": torch.cat(kl).mean(),
        "latent_std": torch.cat(means).std(),
    }
    return {**mean_quality(rows), **{name: float(value) for name, value in spread.items()}}


def _generation(
    model: Networks, fitted: BlockStore, held_out: list[Block], options: EvaluateOptions, document: dict[str, Any]
) -> Generator[Progress, None, tuple[dict[str, Any], Gallery]]:
    assert model.denoiser is not None
    chooser = np.random.default_rng(options.seed)
    real, planned = _halves(_some(held_out, 2 * options.count, chooser))
    train = _some(fitted.blocks("train"), _TRAIN_SHARE * len(real), chooser)
    layout = fitted.gather(planned, ("layout",))["layout"]
    begun = time.perf_counter()
    seeds = [options.seed * 1_000_003 + k for k in range(len(layout))]
    latents = yield from sample_latents(model.denoiser, layout, seeds, options.sampling)
    planes = decode_latents(model.vae, latents)
    seconds = (time.perf_counter() - begun) / len(real)
    real_planes, train_planes = (fitted.gather(blocks, ("planes",))["planes"].float() for blocks in (real, train))
    clouds = []
    for name, some in (("surfaces", planes), ("held-out", real_planes), ("training", train_planes)):
        clouds.append((yield from _clouds(model.decoder, some, name, options.seed)))
    ours, theirs, training = ([cloud for cloud in found if cloud is not None] for found in clouds)
    yield Progress(0, 0, "distances")
    figures, to_train = _set_figures(ours, theirs, training)
    document |= {
        "generation": {**figures, "blocks": len(real), "without_surface": len(planes) - len(ours)},
        "layout": layout_figures(model.decoder, planes, layout, fitted.head.frame, fitted.head.classes),
        "seams": {},
        "seconds_per_block": seconds,
    }
    return document, Gallery(planes, layout, _nearest(planes, clouds[0], clouds[2], to_train, train_planes))


def _set_figures(ours: list[np.ndarray], theirs: list[np.ndarray], training: list[np.ndarray]) -> tuple[Any, Any]:
    """Figures of sets of equal size, and distances from ours to the training blocks."""
    size = min(len(ours), len(theirs), len(training))
    if size < 2:
        nothing = {"nna": None, "cov": None, "mmd": None}
        return {**nothing, "reference": dict(nothing), "copying": {}}, np.zeros((len(ours), 0))
    held_out, some = theirs[:size], training[:size]
    within = self_matrix(held_out)
    to_train, real_to_train = chamfer_matrix(ours, training), chamfer_matrix(held_out, training)
    found = set_scores(self_matrix(ours[:size]), chamfer_matrix(ours[:size], held_out), within)
    reference = set_scores(self_matrix(some), real_to_train[:, :size].T, within)
    figures = {**asdict(found), "reference": asdict(reference), "copying": copying(to_train, real_to_train)}
    return figures, to_train


def layout_figures(
    decoder: Decoder, planes: Tensor, layout: Tensor, frame: BlockFrame, classes: Sequence[str]
) -> dict[str, float]:
    floor = -(frame.floor + frame.half) / frame.half  # height 0 in block units
    low = floor + FLOOR_MARGIN / frame.half
    rooms = "wall" in classes
    high = min(1.0, floor + _HEAD_ROOM / frame.half) if rooms else 1.0
    occupied = torch.stack([occupied_columns(decoder, block, low, high, layout.shape[-1]) for block in planes])
    barriers = [k for k, name in enumerate(classes) if name in BARRIERS]
    standing = [k for k, name in enumerate(classes) if class_named(name).height >= _LOWEST_FURNITURE]
    return layout_scores(occupied, layout, [k for k in standing if k not in barriers], barriers)


def _clouds(
    decoder: Decoder, planes: Tensor, phase: str, seed: int
) -> Generator[Progress, None, list[np.ndarray | None]]:
    clock, axes, found = Clock(), lattice_axes(CELLS), []
    for number, block in enumerate(planes):
        sdf = grid_sdf(decoder, block, axes).numpy()
        found.append(surface_points(sdf, POINTS, np.random.default_rng((seed, number))))
        yield clock.report(number + 1, len(planes), phase)
    return found


def _nearest(
    planes: Tensor,
    ours: list[np.ndarray | None],
    training: list[np.ndarray | None],
    to_train: np.ndarray,
    train_planes: Tensor,
) -> Tensor:
    """Planes of the training block nearest to each of ours; empty ones where ours has no surface."""
    there = [k for k, cloud in enumerate(training) if cloud is not None]
    rows: Iterator[np.ndarray] = iter(to_train)
    found = torch.zeros_like(planes)
    for k, cloud in enumerate(ours):
        if cloud is not None and len(row := next(rows)):
            found[k] = train_planes[there[int(row.argmin())]]
    return found


def _halves(blocks: list[Block]) -> tuple[list[Block], list[Block]]:
    """Blocks to compare with, and as many others whose plans are generated under.

    Under its own plan a generated block would find the real one nearest, which says nothing of either set.
    """
    count = len(blocks) // 2
    return blocks[: 2 * count : 2], blocks[1 : 2 * count : 2]


def _some(blocks: list[Block], count: int, chooser: np.random.Generator) -> list[Block]:
    """`count` blocks at most, at random, in the order of the store."""
    return [blocks[k] for k in sorted(chooser.permutation(len(blocks))[:count])]
