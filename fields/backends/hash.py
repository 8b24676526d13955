"""Multiresolution hash grid and a small network (Instant-NGP, Mueller et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cuda_ext import Adam, HashGrid, ParameterGroup, hash_network
from cuda_ext.mlp import split_weights

from ..appearance import init_weights
from .base import Backend


@dataclass(frozen=True)
class HashConfig:
    """L levels of F features, 2^log2_entries entries at most in each, and the network behind them."""

    levels: int = 16
    features: int = 2
    log2_entries: int = 17
    coarsest: float = 16.0
    finest: float = 1024.0
    hidden: int = 32
    layers: int = 1
    appearance: int = 15

    @property
    def grid(self) -> HashGrid:
        return HashGrid(self.levels, self.features, self.log2_entries, self.coarsest, self.finest)


class HashBackend(Backend):
    """Features of the hash grid through a network of `layers` hidden layers, without bias."""

    Config = HashConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "tiny": HashConfig(levels=8, log2_entries=14, finest=256.0),
        "small": HashConfig(),
        "paper": HashConfig(log2_entries=19, finest=2048.0, hidden=64),
    }

    def __init__(self, config: HashConfig) -> None:
        super().__init__()
        self.config, self.grid = config, config.grid
        self.width = 1 + config.appearance
        self.table = nn.Parameter((torch.rand(self.grid.entries, config.features) * 2 - 1) * 1e-4)
        self.widths = (self.grid.width, *[config.hidden] * config.layers, self.width)
        self.weights = nn.Parameter(init_weights(self.widths))
        self._sink: Tensor | None = None

    def features(self, u: Tensor) -> Tensor:
        """Features [N, 1 + A] at u [N, 3]."""
        return hash_network(u, self.table, self.grid, self.weights, self.widths, self._sink)

    def parameter_groups(self) -> list[ParameterGroup]:
        return [
            ParameterGroup([self.table], 1.5e-2, skip_untouched=True),
            ParameterGroup([self.weights], 5e-3, decay=1e-6),
        ]

    @torch.no_grad()
    def begin_as_distance(self) -> None:
        """One feature starts at 1 everywhere, as the network has no bias.

        Without a constant, outputs near zero come from features near zero, where every unit has its kink: the
        surface is rough wherever it meets the sphere that a distance field starts from.
        """
        self.table[: int(self.grid.table["size"][0]), 0] = 1.0
        *hidden, last = split_weights(self.weights, self.widths)
        h = torch.nn.functional.one_hot(torch.tensor(0), self.grid.width).float()
        for matrix in hidden:
            h = torch.relu(h @ matrix)
        last[:, 0] -= h * (h @ last[:, 0]) / (h @ h).clamp_min(1e-12)  # the constant moves no distance yet

    @torch.no_grad()
    def begin_at_zero(self) -> None:
        split_weights(self.weights, self.widths)[-1].zero_()

    def attach(self, optimiser: Adam | None) -> None:
        self._sink = optimiser.gradient(self.table) if optimiser else None
