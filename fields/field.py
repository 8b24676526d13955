"""A neural field: a backend in a space, with the density or distance contract and an appearance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from cuda_ext import ParameterGroup

from .appearance import SHColor, ViewMLP
from .backends import build_backend
from .backends.base import Backend
from .space import Space
from .volume import Kind, Volume

_SMOOTHER = 3.0  # of a network's decay, where what it says is a surface
_SPHERE_RADIUS = 0.25  # of the box's extent: where a new signed distance field has its surface


@final
class Field(Volume):
    """Density (radiance) or signed-distance field that can be trained: what a backend makes of a `Space`."""

    def __init__(self, name: str, backend: Backend, space: Space, kind: Kind = "density") -> None:
        super().__init__(space, kind)
        self.name, self.backend, self.wide = name, backend, backend.wide
        self.appearance: ViewMLP | SHColor = (
            SHColor(backend.width - 1) if backend.appearance == "sh" else ViewMLP(backend.width - 1)
        )

    @classmethod
    def create(
        cls,
        name: str,
        space: Space,
        kind: Kind = "density",
        *,
        preset: str = "small",
        settings: dict[str, Any] | None = None,
        seed: int = 0,
    ) -> Field:
        """A new field: `name` is a key of `BACKENDS` or keys joined by `+`; `settings` override the preset."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backend = build_backend(name, preset, settings or {})
            if kind == "sdf":
                backend.begin_as_distance()
            return cls(name, backend, space, kind)

    @property
    def feature_space(self) -> str:
        return f"{self.backend.feature_space}:{self.backend.width}"

    def features(self, x: Tensor) -> Tensor:
        """Backend features [N, 1 + A] at scene positions [N, 3]."""
        return self.backend.features(self.space.to_unit(x))

    def geometry(self, features: Tensor, x: Tensor) -> Tensor:
        """Log-density per scene unit, or signed distance in scene units, [N]."""
        extent = self.space.extent
        if self.kind == "density":
            return features[:, 0] - math.log(extent)
        centre = self.space.bounds.to(x.device).mean(dim=0)
        sphere = (x - centre).norm(dim=-1) - _SPHERE_RADIUS * extent
        return sphere + extent * features[:, 0]

    def color_of(self, features: Tensor, directions: Tensor, index: Tensor | None = None) -> Tensor:
        """rgb [N, 3] of features [N, 1 + A] seen along unit directions (see `ViewMLP.forward`)."""
        return self.appearance(features[:, 1:], directions, index)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Every trained parameter with its learning rate."""
        groups = [*self.backend.parameter_groups(), *self.appearance.parameter_groups()]
        if self.kind == "sdf":
            for group in groups:
                group.matrix_decay *= _SMOOTHER
            groups.append(ParameterGroup([self.log_beta], 1e-3))
        return groups

    def resize_like(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Make room for a state whose shapes came from training; called before it is loaded."""
        prefix = "backend."
        self.backend.resize_like(
            {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
        )

    @property
    def parameter_count(self) -> int:
        return sum(p.numel() for p in self.parameters())
