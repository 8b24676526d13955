"""Any two functions of position as a volume: a teacher from elsewhere, an analytic shape, a mesh's distance."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from .errors import UserError
from .sdf_gradient import normals_by_differences
from .space import Space
from .volume import SURFACE_STEPS, Kind, Volume

EMPTY_LOG_DENSITY = -20.0  # stands for the logarithm of zero, relative to the box's extent
_PROBES = 256
_SLACK = 1e-3  # by how much a colour may miss [0, 1]

Geometry = Callable[[Tensor], Tensor]
Rgb = Callable[[Tensor, Tensor], Tensor]


@final
class FunctionVolume(Volume):
    """What two functions say, as a `Volume`: it is rendered, meshed, edited and taught from like a field.

    `geometry` maps positions x [N, 3] to density per scene unit (>= 0) or signed distance (scene units, negative
    inside), [N]; `rgb` maps positions and unit view directions [N, 3] to sRGB [N, 3] in [0, 1]. Both are
    called with at least one point, on the device of the points, and need not be differentiable. Its features
    are the geometry and x itself, so that colours are asked for only where something is seen.

    Until `occupancy.rebuild(volume, generator)` all cells count as occupied: right, but slow.
    """

    def __init__(self, space: Space, kind: Kind, geometry: Geometry, rgb: Rgb, *, beta: float | None = None) -> None:
        """
        Args:
            space: where the functions are asked; outside a bounded one the volume is empty.
            beta: width of the rendered surface of a distance, scene units; by default
                half a marching step, which suits distances that are exact.

        Raises:
            UserError: `E-FUNCTION` when a function gives another shape, or values that are not finite or out of range.
        """
        super().__init__(space, kind)
        self._geometry, self._rgb = geometry, rgb
        self.log_beta.requires_grad_(False)
        self.log_beta.fill_(math.log((beta or SURFACE_STEPS * space.step) / space.extent))
        self._probe()

    def features(self, x: Tensor) -> Tensor:
        """Geometry and position, [N, 4]."""
        value = self._geometry(x) if len(x) else x.new_zeros(0)
        return torch.cat([value.to(x)[:, None], x], dim=1)

    def geometry(self, features: Tensor, x: Tensor) -> Tensor:
        """Log-density per scene unit, floored where nothing is to be seen, or signed distance, [N]."""
        value = features[:, 0]
        if self.kind == "sdf":
            return value
        return value.clamp_min(math.exp(EMPTY_LOG_DENSITY) / self.space.extent).log()

    def density_of(self, features: Tensor, x: Tensor) -> Tensor:
        """Density [N] per scene unit: exactly what the function says, zero included."""
        return features[:, 0] if self.kind == "density" else super().density_of(features, x)

    def color_of(self, features: Tensor, directions: Tensor, index: Tensor | None = None) -> Tensor:
        """rgb [N, 3] (see `Volume.color_of`)."""
        if not len(features):
            return features.new_zeros(0, 3)
        seen = directions if index is None else directions.index_select(0, index)
        return self._rgb(features[:, 1:], seen).to(features)

    def normals(self, x: Tensor) -> Tensor:
        """Unit outward normals [N, 3] from differences, since the functions may have no gradient."""
        return normals_by_differences(self, x)

    @torch.no_grad()
    def _probe(self) -> None:
        """Look at both functions once, at random points of the domain."""
        generator = torch.Generator().manual_seed(0)
        u = torch.rand(_PROBES, 3, generator=generator).to(self.space.bounds.device)
        x = self.space.to_scene(u)
        directions = torch.nn.functional.normalize(u - 0.5, dim=1)
        low = 0.0 if self.kind == "density" else -math.inf
        _check("geometry", self._geometry(x), (_PROBES,), low, math.inf)
        _check("rgb", self._rgb(x, directions), (_PROBES, 3), -_SLACK, 1 + _SLACK)


def _check(name: str, values: object, shape: tuple[int, ...], low: float, high: float) -> None:
    got = ""
    if not isinstance(values, Tensor):
        got = type(values).__name__
    elif tuple(values.shape) != shape:
        got = f"shape {list(values.shape)}"
    elif not bool(torch.isfinite(values).all()):
        got = f"{int((~torch.isfinite(values)).sum())} values that are not finite"
    elif bool((values < low).any() or (values > high).any()):
        got = f"values from {float(values.min()):.4g} to {float(values.max()):.4g}"
    if got:
        raise UserError(
            "E-FUNCTION",
            "a function cannot serve as a volume",
            where=name,
            got=got,
            expected=f"a finite tensor {list(shape)}" + _range_text(low, high),
            fix=f"correct what {name} returns",
        )


def _range_text(low: float, high: float) -> str:
    if math.isinf(low):
        return ""
    return " of values >= 0" if math.isinf(high) else " of values in [0, 1]"
