"""From a field to triangles: samples on one lattice, marching cubes in blocks, a closed result."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .errors import UserError
from .marching import block_count, march_blocks, weld
from .mesh_types import Mesh
from .progress import Clock, Progress

Query = Callable[[Tensor], Tensor]
Inside = Literal["positive", "negative"]

MAX_SAMPLES = 2**28  # 1 GiB of float32
_SAMPLE_BLOCK = 64
_CAP = 1000.0


@dataclass(frozen=True)
class _Lattice:
    """`shape` samples over the box; sample (i, j, k) lies at `low + (i, j, k) * spacing`."""

    low: np.ndarray
    spacing: np.ndarray
    shape: tuple[int, int, int]

    def points(self, block: tuple[slice, slice, slice]) -> np.ndarray:
        """Positions of a block of samples, float32 [N, 3] in C order."""
        axes = [self.low[a] + self.spacing[a] * np.arange(s.start, s.stop) for a, s in enumerate(block)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)

    def blocks(self) -> Iterator[tuple[slice, slice, slice]]:
        for corner in np.ndindex(*(-(-n // _SAMPLE_BLOCK) for n in self.shape)):
            i, j, k = (
                slice(c * _SAMPLE_BLOCK, min((c + 1) * _SAMPLE_BLOCK, n))
                for c, n in zip(corner, self.shape, strict=True)
            )
            yield i, j, k


def extract_mesh(
    query: Query,
    bounds: Tensor,
    resolution: int = 256,
    *,
    level: float = 0.0,
    inside: Inside = "positive",
    closed: bool = True,
    chunk: int = 2**17,
    occupied: Callable[[Tensor], Tensor] | None = None,
) -> Mesh:
    """`extract_mesh_steps` run to its end; same arguments and errors."""
    steps = extract_mesh_steps(
        query, bounds, resolution, level=level, inside=inside, closed=closed, chunk=chunk, occupied=occupied
    )
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def extract_mesh_steps(
    query: Query,
    bounds: Tensor,
    resolution: int = 256,
    *,
    level: float = 0.0,
    inside: Inside = "positive",
    closed: bool = True,
    chunk: int = 2**17,
    occupied: Callable[[Tensor], Tensor] | None = None,
) -> Generator[Progress, None, Mesh]:
    """The surface where the field passes `level`, as a generator whose return value is the mesh.

    Args:
        query: positions float32 [N, 3] in scene units, to values [N]; called without gradients.
        bounds: the box [2, 3]; a smaller box crops the result.
        resolution: cells along the longest side.
        inside: whether larger ("positive", densities) or smaller values ("negative", distances) are inside.
        closed: cap the surface where it meets the box, which keeps the mesh watertight.
        chunk: the most points in one call of `query`.
        occupied: positions [N, 3] to bool [N]; blocks of samples without a True are taken as outside
            and not evaluated.

    Raises:
        UserError: `E-MC-NAN` for values that are not finite, `E-MC-RANGE` when no value or every value is
            inside (with the range and a suggestion), `E-LIMIT-GRID`, `E-USAGE-BOUNDS`.
    """
    lattice = _lattice(bounds, resolution)
    sign = 1.0 if inside == "positive" else -1.0
    values = np.full(lattice.shape, -abs(level) or -float(lattice.spacing.max()), np.float32)
    clock = Clock()
    seen: list[np.ndarray] = []
    blocks = list(lattice.blocks())
    for step, block in enumerate(blocks, 1):
        found = _evaluate(query, lattice.points(block), chunk, occupied, bounds)
        if found is not None:
            values[block] = (sign * (found - level)).reshape(values[block].shape)
            seen.append(_summary(found))
        yield clock.report(step, len(blocks), "sample")
    _check_range(seen, level)
    if closed:
        values, lattice = _capped(values, lattice)
    parts = []
    for step, part in enumerate(march_blocks(values), 1):
        parts += [] if part is None else [part]
        yield clock.report(step, block_count(values.shape), "march")
    vertices, faces = weld(parts)
    return Mesh((lattice.low + vertices * lattice.spacing).astype(np.float32), faces)


def _lattice(bounds: Tensor, resolution: int) -> _Lattice:
    box = bounds.detach().cpu().double().numpy()
    if box.shape != (2, 3) or not np.isfinite(box).all() or not (box[1] > box[0]).all() or resolution < 1:
        raise UserError(
            "E-USAGE-BOUNDS",
            "box or resolution cannot be meshed",
            got=f"{box.tolist()}, {resolution}",
            fix="correct the crop box",
            expected="low < high along every axis, and at least one cell",
        )
    extent = box[1] - box[0]
    cells = np.maximum(np.ceil(extent / extent.max() * resolution - 1e-6).astype(np.int64), 1)
    if np.prod(cells + 3.0) > MAX_SAMPLES:
        raise UserError(
            "E-LIMIT-GRID",
            "grid is too large",
            got="x".join(map(str, cells)),
            expected=f"at most {MAX_SAMPLES} samples",
            fix="lower --resolution or crop the box",
        )
    x, y, z = (int(n) + 1 for n in cells)
    return _Lattice(box[0], extent / cells, (x, y, z))


@torch.no_grad()
def _evaluate(
    query: Query, x: np.ndarray, chunk: int, occupied: Callable[[Tensor], Tensor] | None, bounds: Tensor
) -> np.ndarray | None:
    """Values [N] at `x`, or None where nothing is occupied."""
    points = torch.from_numpy(x).to(bounds.device)
    if occupied is not None and not bool(occupied(points).any()):
        return None
    values = torch.cat([query(part).reshape(-1).float() for part in points.split(chunk)])
    return check_finite(values, points).cpu().numpy()


def check_finite(values: Tensor, x: Tensor) -> Tensor:
    """`values` [N] at positions x [N, 3], when all are finite.

    Raises:
        UserError: `E-MC-NAN`.
    """
    bad = ~torch.isfinite(values)
    if bool(bad.any()):
        first = int(bad.int().argmax())
        raise UserError(
            "E-MC-NAN",
            "field value is not finite",
            where=f"x = ({', '.join(f'{c:.4g}' for c in x[first].tolist())})",
            got=f"{float(values[first])} and {int(bad.sum()) - 1} more in its block",
            expected="finite values",
            fix="fit the field again; this one has diverged",
        )
    return values


def _summary(values: np.ndarray) -> np.ndarray:
    """A few values that stand for a block: its least, its greatest and an even share of the others."""
    return np.concatenate([[values.min(), values.max()], values[:: max(1, len(values) // 64)]])


def _check_range(seen: list[np.ndarray], level: float) -> None:
    if not seen:
        raise UserError(
            "E-MC-RANGE",
            "no part of the box is occupied",
            got="0 occupied blocks",
            expected="a field with something in it",
            fix="check the crop box",
        )
    values = np.concatenate(seen)
    low, high = float(values.min()), float(values.max())
    if low < level < high:
        return
    shares = ", ".join(f"{p} %: {np.percentile(values, p):.4g}" for p in (1, 25, 50, 75, 99))
    fix = f"try --level {np.percentile(values, 90):.4g}" if high > low else "the field is the same everywhere"
    raise UserError(
        "E-MC-RANGE",
        "surface level lies outside the field's values",
        got=f"level {level:.4g}",
        expected=f"between {low:.4g} and {high:.4g} ({shares})",
        fix=fix,
    )


def _capped(values: np.ndarray, lattice: _Lattice) -> tuple[np.ndarray, _Lattice]:
    """One layer of samples more on every side, so far outside that the caps lie on the box."""
    padded = np.pad(values, 1, mode="edge")
    shell = np.ones(padded.shape, bool)
    shell[1:-1, 1:-1, 1:-1] = False
    padded[shell] = -_CAP * np.abs(padded[shell]) - np.finfo(np.float32).tiny
    x, y, z = padded.shape
    return padded, _Lattice(lattice.low - lattice.spacing, lattice.spacing, (x, y, z))
