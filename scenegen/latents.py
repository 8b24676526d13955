"""The blocks as diffusion sees them: posteriors of all eight copies of each, made once."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from fields.progress import Clock, Progress

from .augment import SYMMETRIES
from .models import TriplaneVAE


@dataclass(frozen=True, eq=False)
class LatentSet:
    """Posteriors of N blocks in eight symmetric copies, and the plans of the first copies."""

    mean: Tensor  # [N, 8, 3, c, r, r]
    deviation: Tensor  # [N, 8, 3, c, r, r]
    layout: Tensor  # [N, K, S, S], 0 or 1

    def __len__(self) -> int:
        return len(self.mean)

    def channel_figures(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation [c] of sampled latents."""
        flat = self.mean.movedim(-3, 0).flatten(1)
        spread = self.deviation.movedim(-3, 0).flatten(1).square().mean(1)
        return flat.mean(1), (flat.var(1, correction=0) + spread).sqrt()


@torch.no_grad()
def encode_blocks(
    vae: TriplaneVAE, planes: Tensor, layout: Tensor, batch: int = 32
) -> Generator[Progress, None, LatentSet]:
    """Encode every copy of blocks with planes [N, 3, C, R, R] and plans [N, K, S, S].

    The latents are the generator's return value, on the CPU.
    """
    clock, means, deviations = Clock(), [], []
    device = next(vae.parameters()).device
    for start in range(0, len(planes), batch):
        some = planes[start : start + batch].float()
        copies = [vae.encode(symmetry.planes(some).to(device)) for symmetry in SYMMETRIES]
        means.append(torch.stack([copy.mean for copy in copies], dim=1).cpu())
        deviations.append(torch.stack([copy.deviation for copy in copies], dim=1).cpu())
        yield clock.report(min(start + batch, len(planes)), len(planes), "encode")
    return LatentSet(torch.cat(means), torch.cat(deviations), layout)
