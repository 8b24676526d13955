"""Frequency encoding and a deep network (NeRF, Mildenhall et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cuda_ext import ParameterGroup, mlp
from cuda_ext.mlp import MAX_WIDTH, split_weights

from .base import Backend

_RATE = 5e-3  # of layers up to 128 wide
_DECAY = 0.1  # without, weights grow with the number of steps, and what they say becomes rough
_FIRST_DISTANCE = 0.01  # of the usual first weights of channel 0, where it is a distance


@dataclass(frozen=True)
class MLPConfig:
    """`frequencies` octaves of sine and cosine, `layers` of `hidden` units, the input again after `skip` (0: never)."""

    frequencies: int = 10
    hidden: int = 128
    layers: int = 4
    skip: int = 0
    appearance: int = 15

    def __post_init__(self) -> None:
        if min(self.frequencies, self.hidden, self.layers) < 1:
            raise ValueError("mlp: frequencies, hidden and layers at least 1")
        if not 0 <= self.skip < self.layers:
            raise ValueError(f"skip {self.skip} must lie before the last of {self.layers} layers")


class MLPBackend(Backend):
    """ReLU layers without bias; a one beside the encoded position stands in for that of the layers it enters.

    The encoded position is concatenated again after layer `skip`.
    """

    Config = MLPConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "tiny": MLPConfig(frequencies=6, hidden=32, layers=3),
        "small": MLPConfig(),
        "paper": MLPConfig(hidden=256, layers=8, skip=4),
    }
    taught_rate = taught_distance_rate = 3.0
    step_samples = 1 << 13  # a step through so many weights is dear, and more of them teach more than larger ones

    octaves: Tensor

    def __init__(self, config: MLPConfig) -> None:
        super().__init__()
        self.config, self.width = config, 1 + config.appearance
        self.wide = config.hidden > MAX_WIDTH
        encoded, hidden = 4 + 6 * config.frequencies, [config.hidden] * config.layers
        self.widths = [(encoded, *hidden, self.width)]
        if skip := config.skip:
            self.widths = [(encoded, *hidden[:skip]), (config.hidden + encoded, *hidden[skip:], self.width)]
        self.parts = nn.ParameterList(
            _initial_weights(widths, k == 0) for k, widths in enumerate(reversed(self.widths))
        )
        self.parts = nn.ParameterList(reversed(list(self.parts)))
        self.register_buffer("octaves", torch.pi * 2.0 ** torch.arange(config.frequencies), persistent=False)

    def encode(self, u: Tensor) -> Tensor:
        """Position in [-1, 1], a one, sines and cosines of its octaves: [N, 4 + 6 * frequencies] (equation 4)."""
        y = 2 * u - 1
        angles = (y[:, :, None] * self.octaves).flatten(1)
        return torch.cat([y, torch.ones_like(y[:, :1]), torch.sin(angles), torch.cos(angles)], dim=1)

    def features(self, u: Tensor) -> Tensor:
        """Features [N, 1 + A] at u [N, 3]."""
        encoded = self.encode(u)
        h = encoded
        for k, (weights, widths) in enumerate(zip(self.parts, self.widths, strict=True)):
            h = mlp(torch.cat([torch.relu(h), encoded], dim=1) if k else h, weights, widths)
        return h

    @torch.no_grad()
    def begin_as_distance(self) -> None:
        """Distances are smooth: fine octaves begin with little weight, and the sphere with little to correct."""
        fading = torch.cat([torch.ones(4), (0.5 ** torch.arange(self.config.frequencies)).repeat(6)])
        split_weights(self.parts[0], self.widths[0])[0].mul_(fading[:, None])
        *_, last = split_weights(self.parts[-1], self.widths[-1])
        last[:, 0] *= _FIRST_DISTANCE

    @torch.no_grad()
    def begin_at_zero(self) -> None:
        *_, last = split_weights(self.parts[-1], self.widths[-1])
        last.zero_()

    def parameter_groups(self) -> list[ParameterGroup]:
        rate = _RATE * math.sqrt(128 / max(128, self.config.hidden))
        return [
            ParameterGroup([weights], rate, matrices=partial(split_weights, widths=widths), matrix_decay=_DECAY)
            for weights, widths in zip(self.parts, self.widths, strict=True)
        ]


def _initial_weights(widths: tuple[int, ...], last: bool) -> nn.Parameter:
    """Flat weights, uniform with the variance of He et al. 2015; of Glorot 2010 where features come out."""
    parts = []
    for k, (inputs, outputs) in enumerate(pairwise(widths)):
        ends = last and k == len(widths) - 2
        limit = math.sqrt(6 / (inputs + outputs if ends else inputs))
        parts.append((torch.rand(inputs * outputs) * 2 - 1) * limit)
    return nn.Parameter(torch.cat(parts))
