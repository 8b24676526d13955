"""Muon: matrices of networks are moved by as much in every direction, whatever the size of its gradient."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

from .adam import Adam, ParameterGroup

_MOMENTUM = 0.95
_ROUNDS, _QUINTIC = 5, (3.4445, -4.7750, 2.0315)
_SIZE = 0.2  # root mean square of a step's entries at rate 1, about what Adam's have
_LEAST_NORM = 1e-12


class Muon(Adam):
    """Muon (Jordan et al. 2024) for the weights of layers, Adam for everything else.

    A weight [out, ...] is a matrix with a row for each output. It moves along the semi-orthogonal matrix that is
    nearest to its Nesterov momentum. Steps have the size of Adam's (Liu et al. 2025, equation 4), so that
    both take the same rates.
    """

    def __init__(
        self,
        groups: Iterable[ParameterGroup],
        weights: ParameterGroup,
        betas: tuple[float, float] = (0.9, 0.99),
        epsilon: float = 1e-15,
    ) -> None:
        """
        Args:
            groups: for Adam.
            weights: for Muon; two dimensions or more each, no decay.
        """
        self.weights = weights
        super().__init__([*groups, weights], betas, epsilon)

    def moment_count(self, group: ParameterGroup) -> int:
        return 1 if group is self.weights else super().moment_count(group)

    def _update_group(self, group: ParameterGroup, rate: float) -> None:
        if group is not self.weights:
            super()._update_group(group, rate)
            return
        alike: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
        for p in group.parameters:
            alike[len(p), p.numel() // len(p)].append(p)
        for (rows, columns), parameters in alike.items():
            momenta = torch.stack([self._momentum(p) for p in parameters])
            steps = orthogonalised(momenta) * (rate * group.rate * _SIZE * math.sqrt(max(rows, columns)))
            for p, step in zip(parameters, steps, strict=True):
                p.sub_(step.view(p.shape))

    def _momentum(self, p: Tensor) -> Tensor:
        """Nesterov momentum as a matrix [out, in]; the gradient is zero after it."""
        gradient, momentum = self.buffers(p)
        momentum.lerp_(gradient, 1 - _MOMENTUM)
        ahead = torch.lerp(gradient, momentum, _MOMENTUM)
        gradient.zero_()
        return ahead.reshape(len(p), -1)


def orthogonalised(matrices: Tensor) -> Tensor:
    """About U V^T for each matrix U S V^T of [B, M, N]: singular values become 0.7 to 1.2.

    Newton-Schulz iteration with the quintic polynomial of Jordan et al. 2024, which is steepest at zero. All rounds
    work on the smaller Gram matrix: a round takes X to Q X, with a polynomial Q of X X^T, and that to Q X X^T Q.
    What a matrix of lower rank lacks stays zero.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(_LEAST_NORM)
    a, b, c = _QUINTIC
    gram, one = x @ x.mT, torch.eye(x.shape[1], device=x.device)
    total = one.expand_as(gram)
    for _ in range(_ROUNDS):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c) + a * one
        total = factor @ total
        gram = factor @ gram @ factor
    x = total @ x
    return x.mT if tall else x
