"""tiny-cuda-nn's hash grid and fused network as its documentation and kernels define them, in plain PyTorch.

Written from its own conventions, with no code of ours: what the layout conversion is measured against. Single
precision throughout, so that the conversion itself shows no rounding.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class Encoding(nn.Module):
    """`tinycudann.Encoding` of a HashGrid: parameters level by level, entry by entry, feature by feature."""

    def __init__(self, n_input_dims: int, encoding_config: dict[str, Any]) -> None:
        super().__init__()
        assert n_input_dims == 3 and encoding_config["otype"] == "HashGrid"
        self.features = encoding_config["n_features_per_level"]
        self.limit = 2 ** encoding_config["log2_hashmap_size"]
        base, log2_growth = encoding_config["base_resolution"], math.log2(encoding_config["per_level_scale"])
        assert isinstance(base, int)
        self.scales = [2 ** (level * log2_growth) * base - 1 for level in range(encoding_config["n_levels"])]
        self.resolutions = [math.ceil(round(scale, 6)) + 1 for scale in self.scales]
        self.sizes = [min(-(-(r**3) // 8) * 8, self.limit) for r in self.resolutions]
        self.params = nn.Parameter(torch.rand(sum(self.sizes) * self.features) * 2e-4 - 1e-4)

    def forward(self, x: Tensor) -> Tensor:
        tables = self.params.view(-1, self.features).split(self.sizes)
        return torch.cat(
            [self._level(x, *level) for level in zip(self.scales, self.resolutions, tables, strict=True)], dim=1
        )

    @staticmethod
    def _level(x: Tensor, scale: float, resolution: int, table: Tensor) -> Tensor:
        position = x * scale + 0.5
        low = position.detach().floor()
        weight_high, low = position - low, low.long()
        y = torch.zeros(len(x), table.shape[1])
        for corner in range(8):
            weight, place = torch.ones(len(x)), []
            for axis in range(3):
                high = corner >> axis & 1
                weight = weight * (weight_high[:, axis] if high else 1 - weight_high[:, axis])
                place.append(low[:, axis] + high)
            if resolution**3 > len(table):
                index = place[0] ^ (place[1] * 2654435761 % 2**32) ^ (place[2] * 805459861 % 2**32)
            else:
                index = place[0] + place[1] * resolution + place[2] * resolution**2
            y = y + weight[:, None] * table[index % len(table)]
        return y


class Network(nn.Module):
    """`tinycudann.Network` of a FullyFusedMLP: [out, in] matrices by rows, padded to sixteens, inputs with ones."""

    def __init__(self, n_input_dims: int, n_output_dims: int, network_config: dict[str, Any]) -> None:
        super().__init__()
        assert network_config["otype"] == "FullyFusedMLP" and network_config["n_neurons"] in (16, 32, 64, 128)
        hidden = [network_config["n_neurons"]] * network_config["n_hidden_layers"]
        widths = [n_input_dims + -n_input_dims % 16, *hidden, n_output_dims + -n_output_dims % 16]
        self.shapes = list(zip(widths[1:], widths[:-1], strict=True))
        self.outputs, self.inputs = n_output_dims, widths[0]
        self.params = nn.Parameter(torch.rand(sum(a * b for a, b in self.shapes)))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.nn.functional.pad(x, (0, self.inputs - x.shape[1]), value=1.0)
        matrices = self.params.split([a * b for a, b in self.shapes])
        for k, (matrix, shape) in enumerate(zip(matrices, self.shapes, strict=True)):
            x = (torch.relu(x) if k else x) @ matrix.view(shape).T
        return x[:, : self.outputs]
