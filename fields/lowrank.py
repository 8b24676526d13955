"""Least squares for sums of products: planes times lines, and triples of lines, from values at grid vertices.

Alternating least squares (Kolda & Bader 2009, "Tensor Decompositions and Applications", section 3.4), with
weights, so that only vertices that matter count, and blocks of components in turn, so that systems stay small.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from cuda_ext.planes import LINE_AXES, PLANE_AXES

from .voxels import vertices_in, voxels_over

if TYPE_CHECKING:
    from .backends.base import Target

_SWEEPS = 4
_BLOCK = 16  # components solved for together
_FAINT = 1e-3  # weight of a vertex that was not observed: there, components are penalised for being there at all
_RIDGE = 1e-4  # of the mean diagonal of the normal matrices
_CHUNK = 1 << 13  # rows of planes looked at together: bounds memory
_MOST_VERTICES = 1 << 19


def vertices_for(cells: Tensor, finest: int) -> tuple[Tensor, int]:
    """Vertices [M, 3] round `cells` [G, G, G] bool, and how many the grid has along an axis: `finest` at most."""
    size = finest
    while True:
        vertices = vertices_in(voxels_over(cells, size - 1), size - 1)
        if len(vertices) <= _MOST_VERTICES:
            return vertices, size
        size = size * 4 // 5


@dataclass(frozen=True)
class Observed:
    """Values [M, K] at M distinct vertices [M, 3] (x, y, z) of a grid of R^3."""

    vertices: Tensor
    values: Tensor
    size: int

    def pixels(self, plane: int) -> Tensor:
        """Each vertex's row [M] of a flattened plane [R * R, ...]."""
        column, row = PLANE_AXES[plane]
        return self.vertices[:, row] * self.size + self.vertices[:, column]

    def places(self, line: int) -> Tensor:
        """Each vertex's row [M] of a line [R, ...]."""
        return self.vertices[:, LINE_AXES[line]]

    @cached_property
    def weights(self) -> tuple[Tensor, ...]:
        """For every plane, each vertex's weight [R * R, R], by the plane's pixel and the place on its line."""
        found = []
        for plane in range(3):
            weight = torch.full((self.size**2, self.size), _FAINT, device=self.values.device)
            weight[self.pixels(plane), self.places(plane)] = 1.0
            found.append(weight)
        return tuple(found)


class Products(ABC):
    """values = products [M, C] of factors, times `basis` [C, K]."""

    lines: Tensor  # [3, R, ...]

    def __init__(self, observed: Observed, basis: Tensor, generator: torch.Generator) -> None:
        self.observed, self.basis = observed, basis.clone()

    @abstractmethod
    def blocks(self) -> Iterator[slice]:
        """Components that are solved for together."""

    @abstractmethod
    def products(self, block: slice) -> Tensor:
        """Components [M, B] at the observed vertices."""

    @abstractmethod
    def solve_for(self, block: slice, wanted: Tensor, gram: Tensor) -> None:
        """Best factors of a block for `wanted` = values @ basis^T [M, B] and basis @ basis^T [B, B]."""

    def fit(self, learn_basis: bool) -> None:
        """Rounds over all blocks, the rest held; after each also the basis if it is to be learnt."""
        for _ in range(_SWEEPS):
            self._sweep()
            if learn_basis:
                self._solve_basis()

    def _sweep(self) -> None:
        missing = self.observed.values.clone()
        for block in self.blocks():
            missing -= self.products(block) @ self.basis[block]
        for block in self.blocks():
            basis = self.basis[block]
            missing += self.products(block) @ basis
            self.solve_for(block, missing @ basis.T, basis @ basis.T)
            missing -= self.products(block) @ basis

    def _solve_basis(self) -> None:
        products = torch.cat([self.products(block) for block in self.blocks()], dim=1)
        ones = products.new_ones(1, 1).expand(products.shape[1], products.shape[1])
        self.basis = solve((products.T @ products).view(1, -1), ones, (products.T @ self.observed.values)[None])[0]


ProductsT = TypeVar("ProductsT", bound=Products)


class PlanesAndLines(Products):
    """Three groups of D components, each a plane [R * R] times a line [R]; `basis` [3 * D, K]."""

    def __init__(self, observed: Observed, basis: Tensor, generator: torch.Generator) -> None:
        super().__init__(observed, basis, generator)
        size, self.components = observed.size, len(basis) // 3
        self.planes = basis.new_zeros(3, size * size, self.components)
        self.lines = torch.randn(3, size, self.components, generator=generator).to(basis.device)

    def blocks(self) -> Iterator[slice]:
        for group in range(0, 3 * self.components, self.components):
            for first in range(0, self.components, _BLOCK):
                yield slice(group + first, group + min(first + _BLOCK, self.components))

    def _factors(self, block: slice) -> tuple[int, Tensor, Tensor]:
        group, first = divmod(block.start, self.components)
        own = slice(first, first + block.stop - block.start)
        return group, self.planes[group, :, own], self.lines[group, :, own]

    def products(self, block: slice) -> Tensor:
        group, planes, lines = self._factors(block)
        return planes[self.observed.pixels(group)] * lines[self.observed.places(group)]

    def solve_for(self, block: slice, wanted: Tensor, gram: Tensor) -> None:
        group, planes, lines = self._factors(block)
        pixel, place, weights = self.observed.pixels(group), self.observed.places(group), self.observed.weights[group]
        right = torch.zeros_like(planes).index_add_(0, pixel, wanted * lines[place])
        planes.copy_(solve(weights @ outer(lines), gram, right))
        right = torch.zeros_like(lines).index_add_(0, place, wanted * planes[pixel])
        normal = lines.new_zeros(len(lines), gram.numel())
        for w, p in zip(weights.split(_CHUNK), planes.split(_CHUNK), strict=True):
            normal += w.T @ outer(p)
        lines.copy_(solve(normal, gram, right))
        balance([planes, lines])


class Lines(Products):
    """C components, each the product of three lines [R] along `LINE_AXES`; `basis` [C, K]."""

    def __init__(self, observed: Observed, basis: Tensor, generator: torch.Generator) -> None:
        super().__init__(observed, basis, generator)
        self.lines = torch.randn(3, observed.size, len(basis), generator=generator).to(basis.device)
        self.lines[0] = 0

    def blocks(self) -> Iterator[slice]:
        for first in range(0, len(self.basis), _BLOCK):
            yield slice(first, min(first + _BLOCK, len(self.basis)))

    def _at_vertices(self, block: slice) -> list[Tensor]:
        return [self.lines[line, :, block][self.observed.places(line)] for line in range(3)]

    def products(self, block: slice) -> Tensor:
        z, y, x = self._at_vertices(block)
        return z * y * x

    def solve_for(self, block: slice, wanted: Tensor, gram: Tensor) -> None:
        size = self.observed.size
        for line in range(3):
            # The lines across: along the rows and along the columns of the plane that leaves this line's axis out.
            column, row = [LINE_AXES.index(axis) for axis in PLANE_AXES[line]]
            factors = self._at_vertices(block)
            right = torch.zeros_like(self.lines[line, :, block])
            right.index_add_(0, self.observed.places(line), wanted * factors[row] * factors[column])
            weights = self.observed.weights[line].view(size, size, size)  # row, column, place
            columns, rows = outer(self.lines[column, :, block]), outer(self.lines[row, :, block])
            normal = torch.zeros_like(columns)
            for k in range(size):
                normal += rows[k] * (weights[k].T @ columns)
            self.lines[line, :, block] = solve(normal, gram, right)
            balance([self.lines[k, :, block] for k in range(3)])


def outer(factors: Tensor) -> Tensor:
    """Products of every two components of [N, B], flat: [N, B * B]."""
    return (factors[:, :, None] * factors[:, None, :]).flatten(1)


def solve(normal: Tensor, gram: Tensor, right: Tensor) -> Tensor:
    """Solutions of N systems, [N, B] or [N, B, K]: `normal` [N, B * B] times `gram` [B, B] entry by entry, `right`."""
    matrices = normal.view(-1, *gram.shape) * gram
    ridge = _RIDGE * matrices.diagonal(dim1=1, dim2=2).mean() + 1e-12
    return torch.linalg.solve(matrices + ridge * torch.eye(len(gram), device=gram.device), right)


def balance(factors: list[Tensor]) -> None:
    """Make each component's root mean square the same in all factors [N, B], its product kept; in place."""
    sizes = torch.stack([f.square().mean(dim=0).sqrt().clamp_min(1e-12) for f in factors])
    common = sizes.log().mean(dim=0).exp()
    for factor, size in zip(factors, sizes, strict=True):
        factor.mul_(common / size)


def factors_of(
    kind: type[ProductsT], target: Target, cells: Tensor, finest: int, bases: tuple[Tensor, Tensor]
) -> tuple[ProductsT, ProductsT, Tensor]:
    """Factors of a target's geometry and of its appearance, and the offset [1 + A] that both are without.

    `bases`: one for the geometry, which stays, and one [C, A] for the appearance, which is learnt.
    """
    vertices, size = vertices_for(cells, finest)
    wanted = target(vertices.float() / (size - 1))
    offset = wanted.mean(dim=0)
    offset[0] = target.empty
    wanted -= offset
    generator = torch.Generator().manual_seed(0)
    density = kind(Observed(vertices, wanted[:, :1], size), bases[0], generator)
    density.fit(learn_basis=False)
    color = kind(Observed(vertices, wanted[:, 1:], size), bases[1], generator)
    if target.appearance:
        color.fit(learn_basis=True)
    return density, color, offset
