"""A neural field: a backend in a space, with the density or distance contract and an appearance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from cuda_ext import ParameterGroup
from cuda_ext.render_loss import ClampedExp

from .appearance import SHColor, ViewMLP
from .backends import build_backend
from .backends.base import Backend
from .occupancy import OccupancyGrid
from .space import Space

Kind = Literal["density", "sdf"]

# Stored densities are per box extent. Beyond e^10 a marching step is opaque, and below e^-20 empty.
MAX_LOG_DENSITY = 10.0
_SPHERE_RADIUS = 0.25  # of the box's extent: where a new signed distance field has its surface
_CHUNK = 1 << 16


@dataclass(frozen=True)
class FieldOutput:
    """Everything a field says about N points: the whole interface of rendering and distillation."""

    features: Tensor  # [N, 1 + A] as the backend made them
    geometry: Tensor  # [N] log-density (per scene unit) or signed distance (scene units, negative inside)
    density: Tensor  # [N] per scene unit
    rgb: Tensor  # [N, 3] in [0, 1]


@final
class Field(nn.Module):
    """Density (radiance) or signed-distance field over a `Space`.

    `kind="sdf"` gives density through the Laplace distribution of VolSDF (Yariv et al. 2021, equation 2),
    so that one renderer, sampler and distiller serve both kinds.
    """

    def __init__(self, name: str, backend: Backend, space: Space, kind: Kind = "density") -> None:
        super().__init__()
        self.name, self.backend, self.space, self.kind = name, backend, space, kind
        self.appearance: ViewMLP | SHColor = (
            SHColor(backend.width - 1) if backend.appearance == "sh" else ViewMLP(backend.width - 1)
        )
        self.occupancy = OccupancyGrid(space)
        self.log_beta = nn.Parameter(torch.tensor([math.log(0.01)]), requires_grad=kind == "sdf")

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
    def device(self) -> torch.device:
        return self.log_beta.device

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

    def density_of(self, features: Tensor, x: Tensor) -> Tensor:
        """Density [N] per scene unit of features at x inside the domain."""
        if self.kind == "density":
            return ClampedExp.apply(features[:, 0], MAX_LOG_DENSITY) / self.space.extent
        return laplace_density(self.geometry(features, x), self.beta)

    @property
    def beta(self) -> Tensor:
        """Width of the surface for rendering a signed distance field, scene units."""
        return self.log_beta.exp() * self.space.extent

    def density(self, x: Tensor) -> Tensor:
        """Density [N] per scene unit at x [N, 3]; exactly zero outside a bounded space."""
        return self._inside(self.density_of(self.features(x), x), x)

    def _inside(self, density: Tensor, x: Tensor) -> Tensor:
        if self.space.unbounded:
            return density
        return torch.where(self.space.contains(x), density, torch.zeros_like(density))

    def sdf(self, x: Tensor) -> Tensor:
        """Signed distance [N], scene units, negative inside; for fields of kind `sdf`."""
        if self.kind != "sdf":
            raise TypeError("sdf: this is a density field; convert it with kind='sdf' first")
        return self.geometry(self.features(x), x)

    def color_of(self, features: Tensor, directions: Tensor, index: Tensor | None = None) -> Tensor:
        """rgb [N, 3] of features [N, 1 + A] seen along unit directions (see `ViewMLP.forward`)."""
        return self.appearance(features[:, 1:], directions, index)

    def forward(self, x: Tensor, directions: Tensor) -> FieldOutput:
        """Everything at positions [N, 3] seen along unit directions [N, 3]; N may be 0."""
        features = self.features(x)
        density = self._inside(self.density_of(features, x), x)
        return FieldOutput(features, self.geometry(features, x), density, self.color_of(features, directions))

    @torch.no_grad()
    def evaluate(self, x: Tensor, directions: Tensor) -> FieldOutput:
        """`forward` in chunks, without gradients: for any number of points."""
        parts = [self(a, d) for a, d in zip(x.split(_CHUNK), directions.split(_CHUNK), strict=True)]
        if not parts:
            return self(x, directions)
        return FieldOutput(
            *[torch.cat([getattr(p, name) for p in parts]) for name in ("features", "geometry", "density", "rgb")]
        )

    @torch.no_grad()
    def evaluate_geometry(self, x: Tensor) -> Tensor:
        """Density, or signed distance, at any number of points: what mesh extraction samples."""
        query = self.sdf if self.kind == "sdf" else self.density
        parts = [query(part) for part in x.split(_CHUNK)]
        return torch.cat(parts) if parts else x.new_zeros(0)

    def normals(self, x: Tensor) -> Tensor:
        """Unit outward normals [N, 3]: along the gradient of distance, or against that of log-density."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            geometry = self.geometry(self.features(x), x)
            (gradient,) = torch.autograd.grad(geometry.sum(), x)
        sign = 1.0 if self.kind == "sdf" else -1.0
        return sign * torch.nn.functional.normalize(gradient, dim=-1)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Every trained parameter with its learning rate."""
        groups = [*self.backend.parameter_groups(), *self.appearance.parameter_groups()]
        if self.kind == "sdf":
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


def laplace_density(sdf: Tensor, beta: Tensor) -> Tensor:
    """Density [N] of a signed distance: Laplace distribution function of -sdf, over beta (VolSDF, eq. 2)."""
    half = 0.5 * torch.exp(-sdf.abs() / beta)
    return torch.where(sdf >= 0, half, 1 - half) / beta
