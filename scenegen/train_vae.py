"""Training the tri-plane VAE: planes at first, then the distances that they stand for."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fields.budget import Budget
from fields.progress import Progress

from .augment import SYMMETRIES
from .block_set import BlockSet, Decoder, move
from .fit_loss import distance_error, nearness, side_error
from .models import Posterior, TriplaneVAE
from .training import Losses, Share, TrainOptions, TrainState, precision, share_of, train


@dataclass(frozen=True)
class VaeOptions(TrainOptions):
    """Weights of the losses; distances are in block units, planes in deviations of their channels."""

    warm_up: float = 0.1  # share of the run on planes alone, as BlockFusion's code begins
    points: int = 2048  # of each block in a step
    sdf_weight: float = 60.0
    near: float = 0.03  # how far from a surface its error counts half; without it surfaces are off by 1.7 times as much
    side_weight: float = 1.0  # of the inside and outside that distances mean: thin parts are lost without it
    plane_weight: float = 0.05  # after the warm-up
    kl_weight: float = 5e-3
    slack: float = 0.5  # in the prior's deviations: how far fixed latents are off, at most, as generated ones are


def train_vae(
    state: TrainState[TriplaneVAE], blocks: BlockSet, decoder: Decoder, options: VaeOptions, budget: Budget
) -> Generator[Progress, None, None]:
    """Train `state.model` in place.

    A new state takes the normalisation of planes from `blocks`, unless the latents of its model are fixed already:
    then only the way back is trained, from latents that are off as generated ones are.
    `decoder` is frozen: it only passes gradients.

    Raises:
        UserError: `E-NAN-FIT`, `E-USAGE-BATCH`, `E-USAGE-BUDGET`.
    """
    fixed = not next(state.model.encoder.parameters()).requires_grad
    if state.step == 0 and not fixed:
        state.model.normalise_to(blocks.planes)
    if isinstance(decoder, nn.Module):
        decoder.requires_grad_(False)
    share, warm_up = share_of(state, options, budget), 0.0 if fixed else options.warm_up

    def losses_of(fraction: float) -> Losses:
        batch = _draw(blocks, state, share, options, options.slack if fixed else 0.0)
        return _losses(state.model, share.network, batch, decoder, options, on_planes=fraction < warm_up)

    yield from train(state, losses_of, budget, "improve" if fixed else "vae")


@dataclass(frozen=True)
class _Batch:
    planes: Tensor  # [B, 3, C, R, R]
    points: Tensor  # [B, P, 3]
    sdf: Tensor  # [B, P]
    noise: Tensor  # [B, 3, c, r, r]
    slack: Tensor | None  # [B, 3, c, r, r]


def _draw(blocks: BlockSet, state: TrainState[TriplaneVAE], share: Share, options: VaeOptions, slack: float) -> _Batch:
    """Blocks, each moved by a symmetry of its own, and the same of their points for all of them.

    Latents are off by a share of `slack`, another one for each block.
    """
    generator = state.generator
    index = torch.randint(len(blocks), (options.batch,), generator=generator)
    turns = torch.randint(len(SYMMETRIES), (options.batch,), generator=generator)
    column = torch.randint(blocks.sdf.shape[1], (options.points,), generator=generator)
    noise = torch.randn(options.batch, *state.model.latent_shape, generator=generator)
    off = None
    if slack:
        off = torch.randn(options.batch, *state.model.latent_shape, generator=generator)
        off *= slack * state.model.prior_deviation * torch.rand(options.batch, 1, 1, 1, 1, generator=generator)
        off = off[share.part].to(state.device)
    index, symmetries = index[share.part], turns[share.part].tolist()
    return _Batch(
        move(blocks.planes[index], "planes", symmetries).float().to(state.device),
        move(blocks.points[index][:, column], "points", symmetries).float().to(state.device),
        blocks.sdf[index][:, column].float().to(state.device),
        noise[share.part].to(state.device),
        off,
    )


def _losses(
    model: TriplaneVAE, network: nn.Module, batch: _Batch, decoder: Decoder, options: VaeOptions, on_planes: bool
) -> Losses:
    with precision(batch.planes.device, options.bfloat16):
        decoded, mean, log_variance = network(batch.planes, batch.noise, batch.slack)
    kl = Posterior(mean, log_variance, model.prior_deviation).kl()
    planes = ((decoded - batch.planes) / model.plane_deviation).abs().mean()
    total = options.kl_weight * kl
    if on_planes:
        return {"loss": total + planes, "planes": planes, "kl": kl}
    found = decoder(decoded, batch.points)
    sdf = (distance_error(found, batch.sdf) * nearness(batch.sdf, options.near)).mean()
    side = side_error(found, batch.sdf).mean()
    total = total + options.plane_weight * planes + options.sdf_weight * sdf + options.side_weight * side
    return {"loss": total, "planes": planes, "kl": kl, "sdf": sdf, "side": side}
