"""Frequency encoding and a deep network (NeRF, Mildenhall et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cuda_ext import ParameterGroup

from .base import Backend


@dataclass(frozen=True)
class MLPConfig:
    """`frequencies` octaves of sine and cosine, `layers` of `hidden` units, the input again after `skip`."""

    frequencies: int = 10
    hidden: int = 64
    layers: int = 4
    skip: int = 2
    appearance: int = 15


class MLPBackend(Backend):
    """Layers with bias and ReLU; the encoded position is concatenated again after layer `skip` (0: never)."""

    Config = MLPConfig
    octaves: Tensor
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "tiny": MLPConfig(frequencies=6, hidden=32, layers=3, skip=0),
        "small": MLPConfig(),
        "paper": MLPConfig(hidden=256, layers=8, skip=4),
    }

    def __init__(self, config: MLPConfig) -> None:
        super().__init__()
        if config.skip >= config.layers:
            raise ValueError(f"skip {config.skip} must lie before the last of {config.layers} layers")
        self.config = config
        self.width = 1 + config.appearance
        encoded = 3 + 6 * config.frequencies
        sizes = [encoded] + [
            config.hidden + (encoded if config.skip and k == config.skip else 0) for k in range(1, config.layers + 1)
        ]
        self.hidden = nn.ModuleList(nn.Linear(size, config.hidden) for size in sizes[: config.layers])
        self.output = nn.Linear(config.hidden, self.width)
        octaves = torch.pi * 2.0 ** torch.arange(config.frequencies)
        self.register_buffer("octaves", octaves, persistent=False)

    def encode(self, u: Tensor) -> Tensor:
        """Position in [-1, 1] with sines and cosines of its octaves, [N, 3 + 6 * frequencies] (equation 4)."""
        y = 2 * u - 1
        angles = (y[:, :, None] * self.octaves).flatten(1)
        return torch.cat([y, torch.sin(angles), torch.cos(angles)], dim=1)

    def features(self, u: Tensor) -> Tensor:
        """Features [N, 1 + A] at u [N, 3]."""
        encoded = self.encode(u)
        h = encoded
        for k, layer in enumerate(self.hidden):
            if k and k == self.config.skip:
                h = torch.cat([h, encoded], dim=1)
            h = torch.relu(layer(h))
        return self.output(h)

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup(list(self.parameters()), 1e-3 * math.sqrt(64 / self.config.hidden))]
