"""Which cells of the unit cube hold anything: a bit grid that lets rays skip empty space."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from cuda_ext.march import BLOCK, MarchSpace, coarsen, march, pack_bits, unpack_bits

from .cameras import Rays
from .samples import Samples
from .space import Space

if TYPE_CHECKING:
    from .volume import Volume

RESOLUTION = 128
_DECAY = 0.8  # of a cell's remembered density at every update
_MIN_ALPHA = 0.01  # a cell is occupied when one marching step through it could be this opaque
_WARM_UPDATES = 16
FIT_STRIDE = 4 / 3  # length of a step while fitting, in steps of pictures
_WALL = 2.3  # optical depth of a step from which on cells count alike
_DARK = 9.2  # remembered optical depth behind which a fit looks for nothing: a ten-thousandth of the light
_LEARN = 0.25  # of the remembered optical depth at every look
_CHUNK = 1 << 16


class OccupancyGrid(nn.Module):
    """Cells of a 128^3 grid over the unit cube (Instant-NGP, appendix E).

    While a field is fitted, `update` keeps a decaying maximum of the density in every cell. Only the bits
    are stored with a field. The cell (x, y, z) is bit (z * G + y) * G + x.
    """

    bits: Tensor  # [G^3 / 8] uint8

    def __init__(self, space: Space, resolution: int = RESOLUTION) -> None:
        super().__init__()
        self.space, self.resolution = space, resolution
        self._march_space = space.march_space(resolution)
        self._fit_space = replace(self._march_space, step=FIT_STRIDE * space.step)
        self.register_buffer("bits", torch.full((resolution**3 // 8,), 255, dtype=torch.uint8))
        self._density: Tensor | None = None
        self._shares: Tensor | None = None  # of the optical depth that ends a ray, one step's in each cell [G^3]
        self._updates = 0
        self._coarse: tuple[int, Tensor] | None = None

    @property
    def coarse(self) -> Tensor:
        """Blocks of 8^3 cells with anything in them, [(G / 8)^3] uint8, for long strides."""
        version = self.bits._version + (self.bits.data_ptr() << 20)
        if self._coarse is None or self._coarse[0] != version:
            self._coarse = version, coarsen(self.bits, self.resolution)
        return self._coarse[1]

    @property
    def occupied_fraction(self) -> float:
        """Share of occupied cells."""
        return float(unpack_bits(self.bits).float().mean())

    def occupied(self, x: Tensor) -> Tensor:
        """Whether scene positions [N, 3] lie in occupied cells, [N] bool."""
        u = self.space.to_unit(x)
        inside = ((u >= 0) & (u <= 1)).all(dim=-1)
        c = (u.nan_to_num(0).clamp(0, 1) * self.resolution).long().clamp_max(self.resolution - 1)
        index = (c[:, 2] * self.resolution + c[:, 1]) * self.resolution + c[:, 0]
        return inside & ((self.bits[index >> 3] >> (index & 7).to(torch.uint8)) & 1).bool()

    def cell_positions(self, index: Tensor, jitter: Tensor) -> Tensor:
        """Scene positions [N, 3] inside cells [N] at `jitter` [N, 3] in [0, 1] of the cell."""
        g = self.resolution
        cell = torch.stack([index % g, index // g % g, index // (g * g)], dim=-1)
        return self.space.to_scene((cell + jitter) / g)

    def random_positions(self, count: int, generator: torch.Generator) -> Tensor:
        """Scene positions [N, 3] spread evenly over the occupied cells (N = 0 when there are none)."""
        cells = unpack_bits(self.bits).nonzero()[:, 0]
        if not len(cells):
            return torch.zeros(0, 3, device=self.bits.device)
        chosen = cells[torch.randint(len(cells), (count,), generator=generator).to(cells.device)]
        jitter = torch.rand(count, 3, generator=generator).to(cells.device)
        return self.cell_positions(chosen, jitter)

    def empty_positions(self, tries: int, generator: torch.Generator) -> Tensor:
        """Scene positions [N, 3] spread evenly over the empty cells, as many as `tries` random cells are empty."""
        cell = torch.randint(self.resolution**3, (tries,), generator=generator).to(self.bits.device)
        cell = cell[(self.bits[cell >> 3] >> (cell & 7).to(torch.uint8)) & 1 == 0]
        return self.cell_positions(cell, torch.rand(len(cell), 3, generator=generator).to(cell.device))

    def occupied_box(self) -> Tensor:
        """Smallest box [2, 3] round the occupied cells, scene units; the field's own bounds if none are."""
        g = self.resolution
        packed = self.bits.cpu().numpy().reshape(g, g, g // 8)  # z, y, x
        if self.space.unbounded or not packed.any():
            return self.space.bounds
        columns = np.unpackbits(np.bitwise_or.reduce(packed, axis=(0, 1)), bitorder="little")
        filled = columns, packed.any(axis=(0, 2)), packed.any(axis=(1, 2))
        ends = [(line[0], line[-1] + 1) for line in map(np.flatnonzero, filled)]
        return self.space.to_scene(torch.tensor(np.array(ends), dtype=torch.float32, device=self.bits.device).T / g)

    @torch.no_grad()
    def update(self, field: Volume, generator: torch.Generator) -> None:
        """One round of upkeep: look at some random and some occupied cells, forget a little, set the bits."""
        cells = self.resolution**3
        if self._density is None:
            self._density = torch.zeros(cells, device=self.bits.device)
        if self._shares is None:
            self._shares = torch.zeros(cells, device=self.bits.device)
        warm = self._updates < _WARM_UPDATES
        index = torch.randint(cells, (cells // (8 if warm else 64),), generator=generator)
        if not warm:
            occupied = unpack_bits(self.bits).nonzero()[:, 0]
            if len(occupied):
                chosen = torch.randint(len(occupied), (cells // 64,), generator=generator)
                index = torch.cat([index, occupied[chosen.to(occupied.device)].to(index.device)])
        self._look(field, index, generator)
        self._set_bits()
        self._updates += 1

    def _look(self, field: Volume, index: Tensor, generator: torch.Generator) -> None:
        assert self._density is not None
        for part in index.split(_CHUNK):
            jitter = torch.rand(len(part), 3, generator=generator)
            part = part.to(self._density.device)
            density = field.density(self.cell_positions(part, jitter.to(part.device)))
            self._density[part] = torch.maximum(self._density[part] * _DECAY, density)
            if self._shares is not None:
                self._shares[part] = torch.lerp(self._shares[part], self._share_of(density), _LEARN)

    def _set_bits(self) -> None:
        assert self._density is not None
        threshold = min(float(self._density.mean()), _MIN_ALPHA / self.space.step)
        self.bits.copy_(pack_bits(self._density > threshold))

    @torch.no_grad()
    def remember(self, field: Volume) -> None:
        """Begin `update` from what a field that is trained already has in its occupied cells."""
        occupied = unpack_bits(self.bits).nonzero()[:, 0]
        self._density = torch.zeros(self.resolution**3, device=self.bits.device)
        middle = torch.full((1, 3), 0.5, device=self.bits.device)
        for part in occupied.split(_CHUNK):
            self._density[part] = field.density(self.cell_positions(part, middle))
        self._updates = _WARM_UPDATES

    @torch.no_grad()
    def find_walls(self, field: Volume, generator: torch.Generator, looks: int = 4) -> None:
        """Learn what `sample_visible` needs of a field that stays as it is."""
        self._shares = torch.zeros(self.resolution**3, device=self.bits.device)
        occupied = unpack_bits(self.bits).nonzero()[:, 0]
        for part in occupied.split(_CHUNK):
            for _ in range(looks):
                jitter = torch.rand(len(part), 3, generator=generator).to(part.device)
                self._shares[part] += self._share_of(field.density(self.cell_positions(part, jitter))) / looks

    def _share_of(self, density: Tensor) -> Tensor:
        """Share [N] that one long step through this density has in a ray's way into the dark."""
        return (density * (FIT_STRIDE * self.space.step)).clamp_max(_WALL) / _DARK

    @torch.no_grad()
    def rebuild(self, field: Volume, generator: torch.Generator, looks: int = 2) -> None:
        """Set every bit anew from the field alone: after loading, converting or editing."""
        cells = torch.arange(self.resolution**3)
        if field.kind == "sdf":
            occupied = self._near_surface(field, cells)
        else:
            self._density = torch.zeros(len(cells), device=self.bits.device)
            for _ in range(looks):
                self._look(field, cells, generator)
            occupied = self._density > _MIN_ALPHA / self.space.step
        g = self.resolution
        grown = nn.functional.max_pool3d(occupied.view(1, 1, g, g, g).float(), 3, stride=1, padding=1)
        self.bits.copy_(pack_bits(grown.reshape(-1) > 0))

    def _near_surface(self, field: Volume, cells: Tensor) -> Tensor:
        """Cells [N] that a signed distance field's surface may cross: one look at each centre tells."""
        middle = torch.full((1, 3), 0.5)
        found = []
        for part in cells.split(_CHUNK):
            x = self.cell_positions(part, middle).to(self.bits.device)
            reach = (self.space.bounds[1] - self.space.bounds[0]).norm() / (2 * self.resolution)
            found.append(field.sdf(x).abs() < reach.to(x.device) + 6 * field.beta)
        return torch.cat(found)

    def state(self) -> dict[str, Tensor]:
        """What `update` remembers, for a resumable checkpoint."""
        density, shares = (
            torch.zeros(self.resolution**3) if kept is None else kept for kept in (self._density, self._shares)
        )
        return {"density": density, "shares": shares, "updates": torch.tensor([self._updates])}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from `state()`."""
        self._density = state["density"].to(self.bits.device).clone()
        self._shares = state["shares"].to(self.bits.device).clone()
        self._updates = int(state["updates"][0])

    def sample(self, rays: Rays, start: Tensor, end: Tensor, limit: int) -> tuple[Samples, Tensor, Tensor]:
        """At most `limit` intervals of each ray in occupied cells between start [R] and end [R].

        Returns the samples, their midpoints x [S, 3], and where each ray goes on [R].
        """
        return self._march(rays, start, end, limit, self._march_space)

    def sample_visible(self, rays: Rays, start: Tensor, end: Tensor, limit: int) -> tuple[Samples, Tensor, Tensor]:
        """As `sample` with longer steps, and no further than light should reach by what `update` remembers.

        What it remembers of a cell may differ from what lies on a ray, and may have changed since: good for
        fitting, where a few samples too few do no harm, not for pictures.
        """
        return self._march(rays, start, end, limit, self._fit_space, self._shares)

    def _march(
        self, rays: Rays, start: Tensor, end: Tensor, limit: int, space: MarchSpace, shares: Tensor | None = None
    ) -> tuple[Samples, Tensor, Tensor]:
        ray, first, last, offsets, x, t = march(
            rays.origins, rays.directions, start, end, self.bits, self.coarse, space, limit, shares
        )
        return Samples(ray, first, last, offsets), x, t


assert RESOLUTION % BLOCK == 0
