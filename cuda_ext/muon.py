"""Muon: matrices of networks are moved by as much in every direction, whatever the size of its gradient."""

from __future__ import annotations

import math
from collections import defaultdict

import torch
from torch import Tensor

from .accelerators import bfloat16_is_faster
from .adam import Adam, ParameterGroup

_MOMENTUM = 0.95
_ROUNDS, _QUINTIC = 5, (3.4445, -4.7750, 2.0315)
_SIZE = 0.2  # root mean square of a step's entries at rate 1, about what Adam's have
_LEAST_NORM = 1e-12
_LARGE = 128  # rows from which on bfloat16 pays


class Muon(Adam):
    """Muon (Jordan et al. 2024) for groups that say which `matrices` their parameters hold, Adam for the others.

    A matrix moves along the semi-orthogonal one that is nearest to its Nesterov momentum. Steps have the size of
    Adam's (Liu et al. 2025, equation 4), so that both take the same rates. As steps do not become smaller with the
    gradient, weights would grow for as long as they are trained, but for the `matrix_decay` of their group (section 2.2
    there), which is decoupled (Loshchilov and Hutter 2019).
    """

    def moment_count(self, group: ParameterGroup) -> int:
        return 1 if group.matrices else super().moment_count(group)

    def _update_group(self, group: ParameterGroup, scale: float) -> None:
        if group.matrices is None:
            super()._update_group(group, scale)
            return
        alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for p in group.parameters:
            p.mul_(1 - group.rate * scale * group.matrix_decay)
            for matrix, ahead in zip(group.matrices(p), group.matrices(self._momentum(p)), strict=True):
                alike[matrix.shape].append((matrix, ahead))
        for shape, pairs in alike.items():
            steps = orthogonalised(torch.stack([ahead for _, ahead in pairs]))
            steps *= group.rate * scale * _SIZE * math.sqrt(max(shape))
            for (matrix, _), step in zip(pairs, steps, strict=True):
                matrix.sub_(step)

    def _momentum(self, p: Tensor) -> Tensor:
        """Nesterov momentum; the gradient is zero after it."""
        gradient, momentum = self.buffers(p)
        momentum.lerp_(gradient, 1 - _MOMENTUM)
        ahead = torch.lerp(gradient, momentum, _MOMENTUM)
        gradient.zero_()
        return ahead


def rows(weight: Tensor) -> list[Tensor]:
    """The `matrices` of a layer's weight [out, ...]: one, with a row for each output, columns as they lie in memory."""
    if not weight.is_contiguous():
        weight = weight.movedim(1, -1)  # channels last
    return [weight.view(len(weight), -1)]


def orthogonalised(matrices: Tensor) -> Tensor:
    """About U V^T for each matrix U S V^T of [B, M, N]: singular values become 0.7 to 1.2.

    Newton-Schulz iteration with the quintic polynomial of Jordan et al. 2024, which is steepest at zero. What a matrix
    of lower rank lacks stays zero. Large matrices are multiplied in bfloat16 where that is faster.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(_LEAST_NORM)
    halves = x.shape[1] >= _LARGE and bfloat16_is_faster(x.device.type)
    x = _by_rounds(x.bfloat16()).float() if halves else _by_gram(x)
    return x.mT if tall else x


def _by_rounds(x: Tensor) -> Tensor:
    """Round by round, as stable as bfloat16 needs it."""
    a, b, c = _QUINTIC
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _by_gram(x: Tensor) -> Tensor:
    """All rounds on the smaller Gram matrix: a round takes X to Q X, Q a polynomial of X X^T, and that to Q X X^T Q."""
    a, b, c = _QUINTIC
    gram, one = x @ x.mT, torch.eye(x.shape[1], device=x.device)
    total = factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c) + a * one
    for _ in range(_ROUNDS - 1):
        gram = factor @ gram @ factor
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c) + a * one
        total = factor @ total
    return total @ x
