"""What a teacher says, in a student's own terms: what closed-form starts sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cuda_ext import spherical_harmonics
from cuda_ext.march import pack_bits, unpack_bits

from ..appearance import SHColor
from ..field import Field
from ..fog import empty_log_density
from ..occupancy import OccupancyGrid
from ..volume import Volume
from ..voxels import grown
from .losses import visible_range

_FAINT = 0.01  # opacity of one marching step below which a teacher's cells count as empty
_DIRECTIONS = 32
_LEAST_COLOR = 5e-3  # harmonics of the logit need not reach black and white
_CHUNK, _COLOR_CHUNK = 1 << 16, 1 << 13


class Target:
    """Features [N, 1 + A] that `student`'s backend should have at u [N, 3], for it to be `teacher`.

    Channel 0 of a density student is log-density per extent, within `visible_range` where the teacher is occupied
    and `empty` where it is not; of a distance student, the distance less that of the sphere it starts from. The others
    are the teacher's own appearance features when `shared` says that the student decodes them with the
    teacher's appearance module, or harmonics of the logit colour when the student's features are such;
    otherwise there is no telling (`appearance` is False), and they are zero. They are zero far from anything
    occupied, too.
    """

    def __init__(self, teacher: Volume, student: Field, shared: bool) -> None:
        self.teacher, self.student, self.shared = teacher, student, shared
        self.width = student.backend.width
        self._unit = math.log(student.space.extent)  # of log-densities per extent, as backends have them
        self._range = visible_range(student.space)
        self.empty = empty_log_density(student.space) + self._unit if student.kind == "density" else 0.0
        self.appearance = shared or isinstance(student.appearance, SHColor)
        self._directions = sphere_directions(_DIRECTIONS).to(student.device)
        if isinstance(student.appearance, SHColor):
            basis = spherical_harmonics(self._directions, student.appearance.degree)
            self._projection = torch.linalg.pinv(basis)  # [degree^2, K]
        # A cell further than the teacher's own: interpolation inside reads vertices outside.
        g = teacher.occupancy.resolution
        self._near = OccupancyGrid(teacher.space, g).to(teacher.device)
        self._near.bits.copy_(pack_bits(grown(unpack_bits(teacher.occupancy.bits).bool().view(g, g, g)).view(-1)))

    @torch.no_grad()
    def __call__(self, u: Tensor) -> Tensor:
        """Wanted features [N, 1 + A] at u [N, 3]; any number of points."""
        size = _CHUNK if self.shared or not self.appearance else _COLOR_CHUNK
        parts = [self._features(part) for part in u.split(size)]
        return torch.cat(parts) if parts else u.new_zeros(0, self.width)

    def _features(self, u: Tensor) -> Tensor:
        x = self.student.space.to_scene(u)
        wanted = u.new_zeros(len(u), self.width)
        near = (self._near.occupied(x) & self.teacher.space.contains(x)).nonzero()[:, 0]
        features = self.teacher.features(x[near])
        if self.student.kind == "sdf":
            wanted[:, 0] = self._residual(x)
        else:
            wanted[:, 0] = self.empty
            wanted[near, 0] = self._log_density(features, x[near])
        if self.appearance:
            wanted[near, 1:] = features[:, 1:] if self.shared else self._harmonics(features)
        return wanted

    def _residual(self, x: Tensor) -> Tensor:
        """Distances [N] less the student's sphere, per extent; beyond the teacher's box at least the way there."""
        closest = x
        if not self.teacher.space.unbounded:
            low, high = self.teacher.space.bounds.to(x.device)
            closest = torch.minimum(torch.maximum(x, low), high)
        sphere = self.student.geometry(x.new_zeros(len(x), 1), x)
        return (self.teacher.sdf(closest) + (x - closest).norm(dim=-1) - sphere) / self.student.space.extent

    def _log_density(self, features: Tensor, x: Tensor) -> Tensor:
        """Log-density [N] per extent of the student; faint outside the teacher's own occupied cells."""
        if self.teacher.kind == "density":
            found = self.teacher.geometry(features, x)
        else:
            found = self.teacher.density_of(features, x).log()
        faint = math.log(_FAINT / self.student.space.step)
        found = torch.where(self.teacher.occupancy.occupied(x), found, found.clamp(max=faint))
        return found.clamp(*self._range) + self._unit

    def _harmonics(self, features: Tensor) -> Tensor:
        """Harmonics [N, 3 * degree^2] closest, over all directions, to the logit of the teacher's colours."""
        count, directions = len(self._directions), len(features) * len(self._directions)
        index = torch.arange(directions, device=features.device) % count
        rgb = self.teacher.color_of(features.repeat_interleave(count, dim=0), self._directions, index)
        logit = torch.logit(rgb.view(-1, count, 3), eps=_LEAST_COLOR)
        return torch.einsum("hk,nkc->nch", self._projection, logit).flatten(1)


def sphere_directions(count: int) -> Tensor:
    """Unit directions [count, 3] spread evenly over the sphere: a Fibonacci lattice (Gonzalez 2010)."""
    k = torch.arange(count) + 0.5
    z = 1 - 2 * k / count
    angle = math.pi * (1 + 5**0.5) * k
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], dim=1)
