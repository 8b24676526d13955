"""Edits: volumes cropped, emptied in places, moved and put together, as a volume themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from .boxes import box_around, box_distance, corners_of, in_box, shared_box
from .errors import UserError
from .function_volume import EMPTY_LOG_DENSITY
from .sdf_gradient import normals_by_differences
from .similarity import IDENTITY, Similarity
from .space import Space
from .views import Contraction
from .volume import SURFACE_STEPS, Kind, Volume, laplace_density


@dataclass(frozen=True, eq=False)
class Placed:
    """What is kept of a volume, and where it goes; boxes [2, 3] are in the volume's own coordinates."""

    volume: Volume
    place: Similarity = IDENTITY
    within: Tensor | None = None  # kept box; None: all of it
    without: tuple[Tensor, ...] = ()  # boxes that are emptied

    @property
    def domain(self) -> Tensor | None:
        """Box [2, 3] in the volume's coordinates outside which nothing is; None when it has no end.

        Raises:
            UserError: `E-EDIT-EMPTY` when the kept box misses the volume.
        """
        own = None if self.volume.space.unbounded else self.volume.space.bounds.cpu()
        return self._cropped(own)

    @property
    def box(self) -> Tensor:
        """Box [2, 3] in the scene round everything that is kept; without an end, round the middle of its space."""
        own = self._cropped(self.volume.occupancy.occupied_box().cpu())
        assert own is not None
        return box_around(self.place.apply(corners_of(own)))

    def _cropped(self, own: Tensor | None) -> Tensor | None:
        if self.within is None:
            return own
        if own is None:
            return self.within.cpu()
        both = shared_box([own, self.within.cpu()])
        if both is None:
            raise UserError(
                "E-EDIT-EMPTY",
                "the box that is kept holds nothing",
                got=self.within.tolist(),
                expected=f"a box that meets {own.tolist()}",
                fix="correct the box",
            )
        return both


@final
class CompositeVolume(Volume):
    """Placed parts as one volume, for rendering, meshing and teaching; nothing of the parts is copied.

    Densities add up, and colours are weighted by them; of distances the least counts, and its part's colour.
    Where kinds differ, distances become densities (`laplace_density`). A part scaled by s has 1/s of its
    density, s times its distances, and sees directions turned back. Outside its kept box, in its emptied
    boxes and in its unoccupied cells a part is exactly empty. Cut distances are bounds of the true ones: the
    greater of the part's own and the box's (Quilez, "Distance functions").

    Features are, part after part, density or distance in the scene's units and the part's own features.
    """

    def __init__(self, parts: Sequence[Placed], space: Space | None = None) -> None:
        """
        Args:
            parts: at least one; a volume may appear several times.
            space: by default the smallest box round the parts' occupied cells, without an end if a part has none.

        Raises:
            UserError: `E-EDIT-EMPTY` for a part that keeps nothing; `E-EDIT-NDC` for parts in normalised device
                coordinates that are moved or joined with others.
        """
        if not parts:
            raise ValueError("composite: no parts")
        kind: Kind = "sdf" if all(part.volume.kind == "sdf" for part in parts) else "density"
        super().__init__(space or _space_of(parts), kind)
        self.volumes = nn.ModuleList([part.volume for part in parts])
        self._parts = [_Part(part, kind) for part in parts]
        self.log_beta.requires_grad_(False)
        self.log_beta.fill_(math.log(self._beta(parts) / self.space.extent))

    def features(self, x: Tensor) -> Tensor:
        """What every part says at x [N, 3]: [N, sum of 1 + F]."""
        return torch.cat([part.features(x) for part in self._parts], dim=1)

    def geometry(self, features: Tensor, x: Tensor) -> Tensor:
        """Log-density per scene unit, or signed distance in scene units, [N]."""
        values = self._values(features)
        if self.kind == "sdf":
            return values.amin(dim=1)
        return values.sum(dim=1).clamp_min(math.exp(EMPTY_LOG_DENSITY) / self.space.extent).log()

    def density_of(self, features: Tensor, x: Tensor) -> Tensor:
        """Density [N] per scene unit; exactly zero where every part is empty."""
        return self._values(features).sum(dim=1) if self.kind == "density" else super().density_of(features, x)

    def color_of(self, features: Tensor, directions: Tensor, index: Tensor | None = None) -> Tensor:
        """rgb [N, 3] (see `Volume.color_of`); black where nothing is."""
        shares, rgb, column = self._shares(features), features.new_zeros(len(features), 3), 0
        for part, share in zip(self._parts, shares.unbind(1), strict=True):
            rows = share.nonzero()[:, 0]
            own = features[rows, column + 1 : column + part.width]
            turned = part.place.invert_directions(directions)
            seen = part.volume.color_of(own, turned, rows if index is None else index[rows])
            rgb = rgb.index_add(0, rows, share[rows, None] * seen)
            column += part.width
        return rgb

    def normals(self, x: Tensor) -> Tensor:
        """Unit outward normals [N, 3] from differences, which also see the faces that cutting makes."""
        return normals_by_differences(self, x)

    def _values(self, features: Tensor) -> Tensor:
        """Density or distance of each part, [N, P]."""
        widths = [part.width for part in self._parts]
        starts = [sum(widths[:k]) for k in range(len(widths))]
        return features[:, starts]

    def _shares(self, features: Tensor) -> Tensor:
        """Which part's colour counts how much, [N, P]: one where anything is."""
        values = self._values(features)
        if self.kind == "sdf":
            return nn.functional.one_hot(values.argmin(dim=1), values.shape[1]).to(values)
        return values / values.sum(dim=1, keepdim=True).clamp_min(1e-30)

    def _beta(self, parts: Sequence[Placed]) -> float:
        """The narrowest part's, but no narrower than a marching step shows."""
        return max(min(p.place.scale * float(p.volume.beta.detach()) for p in parts), SURFACE_STEPS * self.space.step)


class _Part:
    """One placed volume as the composite asks it."""

    def __init__(self, placed: Placed, kind: Kind) -> None:
        self.volume, self.place, self._kind = placed.volume, placed.place, kind
        self._domain, self._without = placed.domain, placed.without
        self.width = 1 + self.volume.features(torch.zeros(0, 3, device=self.volume.device)).shape[1]

    def features(self, x: Tensor) -> Tensor:
        """Density or distance in the scene's units, and the volume's own features, at x [N, 3]: [N, 1 + F]."""
        y = self.place.invert(x)
        if self._kind == "sdf":
            own, distance = self._distance(y)
            return torch.cat([self.place.scale * distance[:, None], own], dim=1)
        rows = self._present(y).nonzero()[:, 0]
        own, density = self._density(y[rows])
        found = torch.cat([density[:, None] / self.place.scale, own], dim=1)
        return found.new_zeros(len(x), self.width).index_copy(0, rows, found)

    def _present(self, y: Tensor) -> Tensor:
        """Where the part may hold anything, bool [N]."""
        inside = self.volume.space.contains(y) if self._domain is None else in_box(y, self._domain.to(y))
        if self.volume.kind == "density":
            inside &= self.volume.occupancy.occupied(y)
        for box in self._without:
            inside &= ~in_box(y, box.to(y))
        return inside

    def _density(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The volume's features [M, F] and density [M], its own units."""
        if self.volume.kind == "sdf":
            own, distance = self._distance(y)
            return own, laplace_density(distance, self.volume.beta)
        own = self.volume.features(y)
        return own, self.volume.density_of(own, y)

    def _distance(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The volume's features [M, F] and its cut distance [M], its own units.

        Outside its box a volume is not asked. Let the nearest point p of the box be a from y, and the
        surface d from p: seen from p, y and the surface lie at an angle of at least 90 degrees, so that the
        distance is at least sqrt(a^2 + d^2).
        """
        if self._domain is None:
            own = self.volume.features(y)
            distance = self.volume.geometry(own, y)
        else:
            box = self._domain.to(y)
            nearest = torch.minimum(torch.maximum(y, box[0]), box[1])
            own = self.volume.features(nearest)
            distance, to_box = self.volume.geometry(own, nearest), box_distance(y, box)
            beyond = torch.hypot(to_box, distance.clamp_min(0))
            distance = torch.where(to_box > 0, beyond, torch.maximum(distance, to_box))
        for hole in self._without:
            distance = torch.maximum(distance, -box_distance(y, hole.to(y)))
        return own, distance


def _space_of(parts: Sequence[Placed]) -> Space:
    """Round all parts."""
    contraction: Contraction = "none"
    spaces = [part.volume.space for part in parts]
    if any(space.contraction == "ndc" for space in spaces):
        if any(s.contraction != "ndc" or not p.place.is_identity for s, p in zip(spaces, parts, strict=True)):
            raise UserError(
                "E-EDIT-NDC",
                "a forward-facing field can only be cropped and emptied",
                got="a move, or another field beside it",
                expected="crop or delete",
                fix="convert it into a bounded field first",
            )
        contraction = "ndc"
    elif any(part.domain is None for part in parts):
        contraction = "unbounded"
    return Space(box_around(torch.stack([part.box for part in parts])), contraction)
