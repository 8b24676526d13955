"""Ways to make the blocks of a scene that do without waves: yardsticks for what extrapolation gains at the seams."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..models import ConvDenoiser
from ..sampling import predict
from .extrapolate import GrowOptions, NoiseLevels, extrapolate, resampling_plan
from .neighbours import Index, known_from
from .noise import CellNoise, world_cells


def independent(
    denoiser: ConvDenoiser, plans: Tensor, indices: Sequence[Index], seed: int, options: GrowOptions
) -> Tensor:
    """Latents [B, 3, c, r, r] of blocks with plans [B, K, S, S] that know nothing of one another.

    They share no noise either: each draws that of a place far from all others.
    """
    shape = tuple(denoiser.latent_shape)
    apart = [(3 * i, 3 * k) for i, k in indices]
    nothing = known_from({}, shape)
    return extrapolate(denoiser, plans, [nothing] * len(indices), CellNoise(apart, shape, seed), options)


@torch.no_grad()
def synchronised(
    denoiser: ConvDenoiser, plans: Tensor, indices: Sequence[Index], seed: int, options: GrowOptions
) -> Tensor:
    """Latents [B, 3, c, r, r] of blocks made jointly; what they share is averaged after every step.

    As MultiDiffusion (Bar-Tal et al. 2023, equation 5) does with windows of a picture; all blocks are in memory.
    """
    device = next(denoiser.parameters()).device
    mean, level = _CellMean(indices, denoiser.latent_shape[-1]), NoiseLevels(options.prediction)
    noisy = CellNoise(indices, tuple(denoiser.latent_shape), seed)(0)
    for step in resampling_plan(options.steps):
        now = torch.tensor(step.time, device=device)
        found = predict(denoiser, noisy.to(device), now, plans.to(device).float(), options.guidance).cpu()
        noisy = mean(level.denoised(level.clean(found, noisy, step.time), noisy, step))
    return mean(denoiser.restored(noisy.to(device)).cpu())


class _CellMean:
    """The mean over all blocks that have a cell, in each of them."""

    def __init__(self, indices: Sequence[Index], resolution: int) -> None:
        cells = np.stack([world_cells(index, resolution) for index in indices])  # [B, 3, r, r, 3]
        planes = np.broadcast_to(np.arange(3)[None, :, None, None, None], (*cells.shape[:-1], 1))
        named = np.concatenate((planes, cells), axis=-1).reshape(-1, 4)
        _, numbers, counts = np.unique(named, axis=0, return_inverse=True, return_counts=True)
        self._number, self._count = torch.from_numpy(numbers.reshape(-1)), torch.from_numpy(counts)

    def __call__(self, latents: Tensor) -> Tensor:
        """Latents [B, 3, c, r, r], equal wherever blocks share a cell."""
        last = latents.movedim(2, -1)  # [B, 3, r, r, c]
        sums = last.new_zeros(len(self._count), last.shape[-1])
        sums.index_add_(0, self._number, last.reshape(-1, last.shape[-1]))
        return (sums / self._count[:, None])[self._number].view(last.shape).movedim(-1, 2).contiguous()
