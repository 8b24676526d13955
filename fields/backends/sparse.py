"""Sparse voxels with harmonics of colour, no network (Plenoxels, Fridovich-Keil et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from cuda_ext import Adam, ParameterGroup, SparseIndex, sparse_lookup

from ..voxels import cells_around, full_grid, points_in, vertices_in, voxels_over
from .base import Backend, Target

_EMPTY = -10.0  # log-density where no vertex is
_PRUNE_BELOW = 0.05  # opacity of a voxel; kept ones keep their neighbours, so thin structures lose nothing
_MOMENTS = (0.15, 0.3, 0.45, 0.7)  # fractions of a run at which vertices are pruned and voxels halved
_DENSITY_SCALE, _DISTANCE_SCALE = 5.0, 0.2  # channel 0 per unit of a value: one rate then suits all channels
_RATE = 2.5e-2
_CORRECTIONS, _POINTS_EACH, _MOST_POINTS = 2, 6, 1 << 18  # of a start in closed form; points for each vertex
_LEAST_WEIGHT = 0.1  # of a vertex that hardly any point is near
_ABSOLUTE = 1e-9  # keeps the square root of a total variation differentiable at zero


@dataclass(frozen=True)
class SparseConfig:
    """Voxels along an axis at the start and at the end, vertices at most, weights of the total variation."""

    start: int = 32
    resolution: int = 256
    limit: int = 1_000_000
    degree: int = 3
    variation_density: float = 1e-5
    variation_color: float = 1e-4
    variation_samples: int = 1024

    def __post_init__(self) -> None:
        if self.start % 8 or self.resolution % 8 or not 8 <= self.start <= self.resolution <= 4088:
            raise ValueError("sparse: multiples of 8, 8 <= start <= resolution <= 4088")
        if self.limit < (self.start + 1) ** 3:
            raise ValueError(f"sparse: limit {self.limit}, expected at least (start + 1)^3")
        if not 1 <= self.degree <= 4 or self.variation_samples < 1:
            raise ValueError("sparse: degree 1 to 4, variation_samples at least 1")


class SparseBackend(Backend):
    """Trilinear interpolation among the vertices that matter; others are pruned as the grid is refined."""

    Config = SparseConfig
    PRESETS: ClassVar[Mapping[str, SparseConfig]] = {
        "tiny": SparseConfig(start=24, resolution=48, limit=120_000),
        "small": SparseConfig(),
        "paper": SparseConfig(start=256, resolution=512, limit=20_000_000),
    }
    appearance = "sh"
    feature_space = "log_density+sh27"
    taught_rate = 0.5
    values_outright = True

    stage: Tensor  # [1] moments that have passed
    draws: Tensor  # [1] seeds the samples of `penalty`
    whole: Tensor  # [1] set: no vertex is ever pruned
    scale: Tensor  # [1 + A] features per unit of the stored values
    blocks: Tensor
    slots: Tensor
    vertices: Tensor  # [V, 3] x, y, z
    _empty: Tensor

    def __init__(self, config: SparseConfig) -> None:
        super().__init__()
        self.config, self.width = config, 1 + 3 * config.degree**2
        self.feature_space = f"log_density+sh{self.width - 1}"  # type: ignore[misc]
        self._sink: Tensor | None = None
        self.register_buffer("stage", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("draws", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("whole", torch.zeros(1, dtype=torch.uint8))
        scale, empty = torch.ones(self.width), torch.zeros(self.width)
        scale[0], empty[0] = _DENSITY_SCALE, _EMPTY
        self.register_buffer("scale", scale)
        self.register_buffer("_empty", empty, persistent=False)
        for name in ("blocks", "slots"):
            self.register_buffer(name, torch.zeros(0, dtype=torch.int32))
        vertices = full_grid(config.start + 1)
        self._replace(vertices, torch.zeros(len(vertices), self.width), config.start)
        self.register_load_state_dict_post_hook(_locate)

    @property
    def index(self) -> SparseIndex:
        """Where the vertices are."""
        return SparseIndex(self.cells + 1, self.blocks, self.slots)

    @property
    def cells(self) -> int:
        """Voxels along an axis; always a multiple of 8, so that the blocks tell."""
        return 8 * (self.blocks.shape[0] - 1)

    def features(self, u: Tensor) -> Tensor:
        """Features [N, 1 + 3 * degree^2] at u [N, 3]."""
        return sparse_lookup(self.index, self.values, u, self._empty / self.scale, self._sink) * self.scale

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup([self.values], _RATE, skip_untouched=True)]

    def begin_as_distance(self) -> None:
        """Distances matter everywhere: the grid stays whole, and only `limit` bounds it."""
        self.whole.fill_(1)
        self.scale[0] = _DISTANCE_SCALE

    @torch.no_grad()
    def begin_from(self, target: Target, cells: Tensor) -> str:
        """The target's values at all vertices, corrected for what they miss in between."""
        vertices, size = self._fitting(cells)
        self.stage.fill_(len(_MOMENTS))
        self._replace(vertices, target(vertices.float() / size) / self.scale, size)
        count = min(_MOST_POINTS, _POINTS_EACH * len(vertices))
        u = points_in(cells, count, torch.Generator().manual_seed(0))
        wanted = target(u)
        for _ in range(_CORRECTIONS):
            self._correct(u, wanted)
        return "least squares"

    def _correct(self, u: Tensor, wanted: Tensor) -> None:
        """Spread the error at u [N, 3] over the vertices around (simultaneous iterative reconstruction, Gilbert 1972).

        Each vertex changes by the mean of its neighbours' errors, weighted as in the interpolation.
        """
        weight = self._spread(u, torch.ones_like(wanted[:, :1]))
        change = self._spread(u, (wanted - self.features(u)) / self.scale)
        self.values.add_(change / (weight + _LEAST_WEIGHT))

    def _spread(self, u: Tensor, y: Tensor) -> Tensor:
        """The transposed interpolation: what y [N, C] at u [N, 3] sums up to at the vertices, [V, C]."""
        values = y.new_zeros(len(self.values), y.shape[1], requires_grad=True)
        with torch.enable_grad():
            found = sparse_lookup(self.index, values, u, y.new_zeros(y.shape[1]))
        return torch.autograd.grad(found, values, y)[0]

    def _fitting(self, cells: Tensor) -> tuple[Tensor, int]:
        """The finest grid that `limit` allows: its vertices in or on `cells`, and its voxels along an axis."""
        for size in range(self.config.resolution, self.config.start - 1, -8):
            wanted = torch.ones_like(cells) if self.whole else cells
            if self.whole and (size + 1) ** 3 > self.config.limit:
                continue
            vertices = vertices_in(voxels_over(wanted, size), size)
            if len(vertices) <= self.config.limit:
                break
        return vertices, size

    @torch.no_grad()
    def begin_at_zero(self) -> None:
        """Nothing is pruned: what is small in one part of a sum may matter."""
        self.whole.fill_(1)
        self.values.zero_()

    def attach(self, optimiser: Adam | None) -> None:
        self._sink = optimiser.gradient(self.values) if optimiser else None

    def grow(self, fraction: float) -> bool:
        stage = sum(fraction >= moment for moment in _MOMENTS)
        if stage <= int(self.stage):
            return False
        self.stage.fill_(stage)
        self._refine(min(self.config.resolution, 2 * self.cells))
        return True

    @torch.no_grad()
    def _refine(self, cells: int) -> None:
        """Keep the voxels that touch a vertex worth keeping, as `cells` along an axis if the limit allows.

        Otherwise their number stays, to be doubled when more have been pruned: the vertices of a grid twice as
        fine contain the old ones, so that nothing changes, where any other grid would blur.
        """
        log_thickness = self.values[:, 0] * self.scale[0] - math.log(self.cells)  # of one voxel
        kept = self.vertices[(log_thickness > math.log(_PRUNE_BELOW)) | self.whole.bool()]
        occupied = cells_around(kept, self.cells)
        if self.whole:
            fitting = (int(self.config.limit ** (1 / 3)) - 1) // 8 * 8
            cells = max(self.cells, min(cells, fitting))
        vertices = vertices_in(occupied, cells)
        if len(vertices) > self.config.limit:
            cells = self.cells
            vertices = vertices_in(occupied, cells)
        values = sparse_lookup(self.index, self.values, vertices.float() / cells, self._empty / self.scale)
        self._replace(vertices, values, cells)

    def _replace(self, vertices: Tensor, values: Tensor, cells: int) -> None:
        index = SparseIndex.of_vertices(vertices, cells + 1)
        self.blocks, self.slots = index.blocks, index.slots
        self.values = nn.Parameter(values)
        self.register_buffer("vertices", vertices, persistent=False)
        self._sink = None

    def penalty(self) -> Tensor | None:
        """Total variation of log-density and of harmonics at some vertices (equation 3)."""
        if not len(self.vertices) or self.config.variation_density == self.config.variation_color == 0:
            return None
        self.draws += 1
        generator = torch.Generator().manual_seed(int(self.draws))
        count = self.config.variation_samples
        row = torch.randint(len(self.vertices), (count,), generator=generator).to(self.vertices.device)
        stencil = self._stencil(self.vertices[row])
        y = self.features((stencil.float() / self.cells).view(-1, 3)).view(4, count, -1)
        variation = ((y[1:] - y[0]).square().sum(dim=0) + _ABSOLUTE).sqrt().mean(dim=0)
        return self.config.variation_density * variation[0] + self.config.variation_color * variation[1:].sum()

    def _stencil(self, vertex: Tensor) -> Tensor:
        """Vertices [N, 3] and their next along x, y, z, [4, N, 3]; itself where there is no next."""
        step = torch.eye(3, dtype=torch.int64, device=vertex.device)
        following = (vertex + step[:, None]).clamp(max=self.cells)  # [3, N, 3]
        known = self.index.rows(following, len(self.values)) >= 0
        return torch.cat([vertex[None], torch.where(known[..., None], following, vertex)])

    def resize_like(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        blocks, slots, values = [shapes.get(name, ()) for name in ("blocks", "slots", "values")]
        side = blocks[0] if blocks else 0
        if not 2 <= side <= 512 or len(slots) != 4 or len(values) != 2 or blocks != (side,) * 3:
            return
        self.blocks = self.blocks.new_full(blocks, -1)
        self.slots = self.slots.new_full((slots[0], 8, 8, 8), -1)
        self.values = nn.Parameter(self.values.new_zeros(values[0], self.width))
        self._sink = None


def _locate(backend: SparseBackend, _: object) -> None:
    """After a state was loaded: where its vertices are."""
    backend.vertices = backend.index.vertices(len(backend.values))
