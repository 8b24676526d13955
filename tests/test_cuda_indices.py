"""Index arithmetic and launch sizes of the CUDA kernels beyond 2^31 elements, on the CPU.

Batches lie in sparse files; of each launch, the last blocks are run thread by thread. The last rows of a huge batch
must come out as they do alone.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from emulation import emulated_kernels, emulation
from kernel_parity import numbers
from torch import Tensor

from cuda_ext import HashGrid, weight_count

CPU = torch.device("cpu")
TAIL, BLOCKS = 20, 8  # rows compared, and blocks run: no kernel has less than four rows in a block
GRID = HashGrid(16, 2, 6, 4.0, 64.0)
LEVELS = torch.from_numpy(GRID.table.view(np.uint8).copy())
TABLE = numbers(CPU, GRID.entries, 2)
HALVES = TABLE.half()
WIDTHS = np.asarray([64, 32, 64], dtype=np.int32)
WEIGHTS = numbers(CPU, weight_count(WIDTHS.tolist())) * 0.2
PLANES = np.asarray([5, 4, 3, 6, 7, 2], dtype=np.int32)
ROWS = numbers(CPU, 5 * 4 + 3 * 6 + 7 * 2, 8)
BLOCK, SLOTS = torch.zeros(1, dtype=torch.int32), torch.arange(512, dtype=torch.int32)
VOXELS, EMPTY = numbers(CPU, 512, 8), numbers(CPU, 8)

Call = Callable[[SimpleNamespace, list[int], list[int], int], None]


@dataclass(frozen=True)
class Case:
    """A kernel over `rows` rows whose inputs and outputs have so many floats in each row; it gets their addresses."""

    name: str
    rows: int
    inputs: list[int]
    outputs: list[int]
    call: Call


def hash_forward(k: SimpleNamespace, i: list[int], o: list[int], n: int) -> None:
    k.hash_grid_forward(i[0], TABLE.data_ptr(), LEVELS.data_ptr(), 16, 2, n, o[0], None)


def hash_half_forward(k: SimpleNamespace, i: list[int], o: list[int], n: int) -> None:
    k.hash_grid_half_forward(i[0], HALVES.data_ptr(), LEVELS.data_ptr(), 16, 2, n, o[0], None)


def hash_backward(k: SimpleNamespace, i: list[int], o: list[int], n: int) -> None:
    sink = torch.zeros_like(TABLE)
    k.hash_grid_backward(i[0], TABLE.data_ptr(), i[1], LEVELS.data_ptr(), 16, 2, n, sink.data_ptr(), o[0], None)
    assert sink.any()


def hash_second(k: SimpleNamespace, i: list[int], o: list[int], n: int) -> None:
    inputs = i[0], TABLE.data_ptr(), i[1], i[2], LEVELS.data_ptr()
    k.hash_grid_backward_backward(*inputs, 16, 2, n, o[0], None, o[1], None)


def mlp(k: SimpleNamespace, i: list[int], o: list[int], n: int) -> None:
    k.mlp_forward(i[0], WEIGHTS.data_ptr(), WIDTHS.ctypes.data, 2, n, o[0], o[1], None)


def mlp_half(k: SimpleNamespace, i: list[int], o: list[int], n: int) -> None:
    k.mlp_half_forward(i[0], WEIGHTS.data_ptr(), WIDTHS.ctypes.data, 2, n, o[0], None)


def harmonics(k: SimpleNamespace, i: list[int], o: list[int], n: int) -> None:
    k.spherical_harmonics(i[0], 4, n, o[0], None)


def planes(k: SimpleNamespace, i: list[int], o: list[int], n: int) -> None:
    k.plane_lookup_forward(i[0], ROWS.data_ptr(), PLANES.ctypes.data, 2, 8, n, o[0], None)
    k.plane_lookup_backward(i[0], ROWS.data_ptr(), i[1], PLANES.ctypes.data, 2, 8, n, None, o[1], None)


def voxels(k: SimpleNamespace, i: list[int], o: list[int], n: int) -> None:
    tables = VOXELS.data_ptr(), EMPTY.data_ptr(), BLOCK.data_ptr(), SLOTS.data_ptr()
    k.sparse_lookup_forward(i[0], *tables, 8, 1, 512, 8, n, o[0], None)
    k.sparse_lookup_backward(i[0], *tables, i[1], 8, 1, 512, 8, n, None, o[1], None)


def adam(k: SimpleNamespace, i: list[int], o: list[int], n: int) -> None:
    k.adam(o[0], i[0], o[1], o[2], n, 0.01, 0.9, 0.99, 1e-15, 0.0, 0, None)


CASES = [
    Case("hash grid", 2**27, [3], [32], hash_forward),
    Case("hash grid in halves", 2**27, [3], [32], hash_half_forward),
    Case("hash grid backward", 2**27, [3, 32], [3], hash_backward),
    Case("hash grid second order", 2**27, [3, 32, 3], [32, 3], hash_second),
    Case("mlp", 2**27, [64], [64, 32], mlp),
    Case("mlp in halves", 2**27, [64], [64], mlp_half),
    Case("harmonics", 2**28, [3], [16], harmonics),
    Case("planes", 2**28, [3, 24], [24, 3], planes),
    Case("voxels", 2**29, [3, 8], [8, 3], voxels),
    Case("adam", 2**32, [1], [1, 1, 1], adam),
]


def reserved(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Zeros that take memory only where they are touched."""
    count = int(np.prod(shape))
    with tempfile.TemporaryFile() as file:
        file.truncate(count * dtype.itemsize)
        pages = mmap.mmap(file.fileno(), count * dtype.itemsize)
    return torch.frombuffer(pages, dtype=dtype, count=count).view(*shape)


def addresses(tensors: list[Tensor]) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]


@pytest.fixture
def kernels() -> Iterator[SimpleNamespace]:
    """The emulated kernels, of which the last blocks run."""
    found = emulated_kernels()
    emulation().emulated_last_blocks(BLOCKS)
    yield found
    emulation().emulated_last_blocks(0)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_last_rows_of_a_huge_batch_are_as_they_are_alone(case: Case, kernels: SimpleNamespace) -> None:
    rows = case.rows + 77  # ragged
    few = [torch.rand(TAIL, width, generator=torch.Generator().manual_seed(width)) for width in case.inputs]
    many = [reserved(rows, width) for width in case.inputs]
    for whole, part in zip(many, few, strict=True):
        whole[-TAIL:] = part
    wanted = [torch.zeros(TAIL, width) for width in case.outputs]
    found = [reserved(rows, width) for width in case.outputs]
    case.call(kernels, addresses(few), addresses(wanted), TAIL)
    case.call(kernels, addresses(many), addresses(found), rows)
    assert max(case.inputs + case.outputs) * rows > 2**32 and all(values.any() for values in wanted)
    for whole, part in zip(found, wanted, strict=True):
        assert torch.equal(whole[-TAIL:], part)


@dataclass(frozen=True)
class Rays:
    """Samples of `count` rays with 32 each, of which the last ones have values."""

    count: int

    def values(self, width: int, seed: int) -> Tensor:
        whole = reserved(self.count * 32, width)
        whole[-TAIL * 32 :] = torch.rand(TAIL * 32, width, generator=torch.Generator().manual_seed(seed))
        return whole

    def offsets(self) -> Tensor:
        whole = reserved(self.count + 1, dtype=torch.int64)
        known = min(self.count, BLOCKS * 128) + 1
        whole[-known:] = torch.arange(self.count + 1 - known, self.count + 1) * 32
        return whole


def composited(kernels: SimpleNamespace, count: int) -> list[Tensor]:
    """What `composite_forward` and `composite_backward` give for the last rays and their samples."""
    rays = Rays(count)
    density, rgb, start = rays.values(1, 0), rays.values(3, 1), rays.values(1, 2)
    end, offsets = rays.values(1, 3), rays.offsets()
    background, light, depth, weights = reserved(count, 3), reserved(count), reserved(count), reserved(count * 32)
    color, gdensity, grgb = reserved(count, 3), reserved(count * 32), reserved(count * 32, 3)
    a = addresses([density, rgb, start, end, offsets, background, color, light, depth, weights, gdensity, grgb])
    kernels.composite_forward(*a[:6], count, 3, *a[6:10], None)
    slopes = a[6], a[7], a[8]  # any numbers will do as gradients
    kernels.composite_backward(*a[1:6], a[9], a[7], *slopes, count, 3, *a[10:], None)
    samples = [tensor[-TAIL * 32 :] for tensor in (weights, gdensity, grgb)]
    return [color[-TAIL:], light[-TAIL:], depth[-TAIL:], *samples]


def test_the_last_of_many_rays_are_composited_as_they_are_alone(kernels: SimpleNamespace) -> None:
    for found, wanted in zip(composited(kernels, 2**26 + 77), composited(kernels, TAIL), strict=True):
        assert wanted.any() and torch.equal(found, wanted)


def marched(kernels: SimpleNamespace, count: int) -> list[Tensor]:
    """What `march` and `march_pack` give for the last rays, through a grid that is all occupied."""
    limit, box = 1024, np.asarray([-1, -1, -1, 0.5, 0.5, 0.5], dtype=np.float32)
    bits, coarse = torch.full((64,), 255, dtype=torch.uint8), torch.ones(1, dtype=torch.uint8)
    origins, directions, t, t_end = reserved(count, 3), reserved(count, 3), reserved(count), reserved(count)
    directions[-TAIL:] = torch.nn.functional.normalize(numbers(CPU, TAIL, 3), dim=1)
    t_end[-TAIL:] = 1
    start, end, counts = reserved(count, limit), reserved(count, limit), reserved(count, dtype=torch.int32)
    a = addresses([origins, directions, bits, coarse, t, t_end, start, end, counts])
    kernels.march(*a[:2], count, box.ctypes.data, 0, *a[2:4], None, 8, 1 / 31.5, 0.0, limit, *a[4:], None)
    assert (counts[-TAIL:] == 32).all()
    offsets, ray = Rays(count).offsets(), reserved(count * 32, dtype=torch.int64)
    packed = [reserved(count * 32), reserved(count * 32), reserved(count * 32, 3)]
    kernels.march_pack(*a[:2], count, limit, *a[6:8], *addresses([offsets, ray, *packed]), None)
    return [ray[-TAIL * 32 :] - count, *[tensor[-TAIL * 32 :] for tensor in packed]]


def test_the_last_of_many_rays_are_marched_as_they_are_alone(kernels: SimpleNamespace) -> None:
    for found, wanted in zip(marched(kernels, 2**23 + 77), marched(kernels, TAIL), strict=True):
        assert wanted.any() and torch.equal(found, wanted)


def test_a_launch_beyond_what_a_grid_admits_is_an_error(kernels: SimpleNamespace) -> None:
    with pytest.raises(RuntimeError, match="CUDA error"):
        kernels.spherical_harmonics(None, 4, 2**38 + 2**20, None, None)
