"""What can be rendered, meshed and taught from: density and colour at points, of any origin."""

from __future__ import annotations

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from cuda_ext.render_loss import ClampedExp

from .occupancy import OccupancyGrid
from .space import Space

Kind = Literal["density", "sdf"]

# Stored densities are per box extent. Beyond e^10 a marching step is opaque, and below e^-20 empty.
MAX_LOG_DENSITY = 10.0
SURFACE_STEPS = 0.5  # width of the rendered surface of a good distance, in marching steps: wider ones have a halo
_CHUNK = 1 << 16


@dataclass(frozen=True)
class FieldOutput:
    """Everything a volume says about N points: the whole interface of rendering and distillation."""

    features: Tensor  # [N, 1 + A] as the backend made them
    geometry: Tensor  # [N] log-density (per scene unit) or signed distance (scene units, negative inside)
    density: Tensor  # [N] per scene unit
    rgb: Tensor  # [N, 3] in [0, 1]


class Volume(nn.Module, ABC):
    """Density or signed distance, and colour, over a `Space`: a trained field, a function, or several put together.

    Subclasses say what `features` of a point are, and how geometry and colour follow from them. `kind="sdf"` gives
    density through the Laplace distribution of VolSDF (Yariv et al. 2021, equation 2), so that one renderer, sampler
    and distiller serve both kinds.
    """

    wide: bool = False  # most time goes into torch's own operators, which then get every thread

    def __init__(self, space: Space, kind: Kind) -> None:
        super().__init__()
        self.space: Space = space
        self.kind: Kind = kind
        self.occupancy = OccupancyGrid(space)
        self.log_beta = nn.Parameter(torch.tensor([math.log(0.01)]), requires_grad=kind == "sdf")

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Features [N, F] at scene positions [N, 3]."""

    @abstractmethod
    def geometry(self, features: Tensor, x: Tensor) -> Tensor:
        """Log-density per scene unit, or signed distance in scene units, [N]."""

    @abstractmethod
    def color_of(self, features: Tensor, directions: Tensor, index: Tensor | None = None) -> Tensor:
        """rgb [N, 3] of features [N, F] seen along unit directions [N, 3], or [R, 3] with `index` [N] into them."""

    @property
    def device(self) -> torch.device:
        return self.log_beta.device

    @property
    def feature_space(self) -> str:
        """Volumes that share one (and their appearance module) can be compared feature by feature; "" never can."""
        return ""

    @property
    def beta(self) -> Tensor:
        """Width of the surface for rendering a signed distance, scene units."""
        return self.log_beta.exp() * self.space.extent

    def density_of(self, features: Tensor, x: Tensor) -> Tensor:
        """Density [N] per scene unit of features at x inside the domain."""
        geometry = self.geometry(features, x)
        if self.kind == "density":
            extent = self.space.extent
            return ClampedExp.apply(geometry + math.log(extent), MAX_LOG_DENSITY) / extent
        return laplace_density(geometry, self.beta)

    def density(self, x: Tensor) -> Tensor:
        """Density [N] per scene unit at x [N, 3]; exactly zero outside a bounded space."""
        return self._inside(self.density_of(self.features(x), x), x)

    def _inside(self, density: Tensor, x: Tensor) -> Tensor:
        if self.space.unbounded:
            return density
        return torch.where(self.space.contains(x), density, torch.zeros_like(density))

    def sdf(self, x: Tensor) -> Tensor:
        """Signed distance [N], scene units, negative inside; for volumes of kind `sdf`."""
        if self.kind != "sdf":
            raise TypeError("sdf: this is a density field; convert it with kind='sdf' first")
        return self.geometry(self.features(x), x)

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
        with _constant(self), torch.enable_grad():
            x = x.detach().requires_grad_()
            geometry = self.geometry(self.features(x), x)
            (gradient,) = torch.autograd.grad(geometry.sum(), x)
        sign = 1.0 if self.kind == "sdf" else -1.0
        return sign * torch.nn.functional.normalize(gradient, dim=-1)


@contextlib.contextmanager
def _constant(module: nn.Module) -> Iterator[None]:
    """No parameter asks for a gradient inside the block.

    An operator cannot see which of its inputs a backward pass is for: tables would get gradients as well, which
    cost more than the positions' and, in the middle of a fit, would go into the optimiser's sums.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    for p in trained:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trained:
            p.requires_grad_(True)


def laplace_density(sdf: Tensor, beta: Tensor) -> Tensor:
    """Density [N] of a signed distance: Laplace distribution function of -sdf, over beta (VolSDF, eq. 2)."""
    half = 0.5 * torch.exp(-sdf.abs() / beta)
    return torch.where(sdf >= 0, half, 1 - half) / beta
