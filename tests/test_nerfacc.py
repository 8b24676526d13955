"""nerfacc as an engine: the same samples, pictures and gradients as ours."""

from __future__ import annotations

import sys

import nerfacc_model
import pytest
import torch
from torch import Tensor

import cuda_ext
from cuda_ext import accelerators, using, with_nerfacc
from cuda_ext.composite import composite_reference
from cuda_ext.march import pack_bits
from fields.cameras import Rays
from fields.engines import check_engine
from fields.errors import UserError
from fields.field import Field
from fields.occupancy import OccupancyGrid
from fields.render import render_rays
from fields.space import Space

CUBE = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
FLAT = torch.tensor([[3.0, -2.0, 10.0], [11.0, -1.6, 14.0]])


@pytest.fixture
def nerfacc(monkeypatch: pytest.MonkeyPatch) -> None:
    """A nerfacc that runs on the CPU, usable and allowed there."""
    monkeypatch.setitem(sys.modules, "nerfacc", nerfacc_model)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(accelerators, "_DEVICES", ("cuda", "cpu"))


def grid_in(space: Space, share: float) -> OccupancyGrid:
    """An occupancy grid with this share of its cells occupied, in clumps."""
    grid = OccupancyGrid(space, 32)
    noise = torch.rand(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    fine = torch.nn.functional.interpolate(noise, size=(32, 32, 32), mode="trilinear")[0, 0]
    grid.bits.copy_(pack_bits((fine > fine.quantile(1 - share)).reshape(-1)))
    return grid


def rays_at(bounds: Tensor, count: int = 60) -> Rays:
    """From outside towards the box, some of which miss it."""
    generator = torch.Generator().manual_seed(2)
    low, high = bounds
    target = low + (torch.rand(count, 3, generator=generator) * 1.4 - 0.2) * (high - low)
    away = torch.nn.functional.normalize(torch.rand(count, 3, generator=generator) - 0.5, dim=1)
    directions = -away
    return Rays(target + away * (high - low).norm(), directions, directions)


@pytest.mark.parametrize("limit", [8, 1024])
@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize("bounds", [CUBE, FLAT], ids=["cube", "flat"])
def test_samples_are_those_of_our_own_march(bounds: Tensor, share: float, limit: int, nerfacc: None) -> None:
    space = Space(bounds)
    grid, rays = grid_in(space, share), rays_at(bounds)
    start, end = space.clip(rays.origins, rays.directions, 0.0)
    jitter = torch.rand(len(rays), generator=torch.Generator().manual_seed(3)) * space.step
    ours, our_x, our_t = grid.sample(rays, start + jitter, end, limit)
    with using("nerfacc"):
        theirs, x, t = grid.sample(rays, start + jitter, end, limit)
    same = theirs.offsets.diff() == ours.offsets.diff()  # rounding may put a step on the other side of the box's end
    assert len(ours) > 200 and same.float().mean() > 0.95
    unit, kept = space.extent, (same[theirs.ray], same[ours.ray])
    for got, wanted in ((theirs.start, ours.start), (theirs.end, ours.end), (x, our_x)):
        torch.testing.assert_close(got[kept[0]] / unit, wanted[kept[1]] / unit, atol=1e-5, rtol=0)
    unfinished = our_t < end
    assert torch.equal((t < end)[same], unfinished[same])
    unfinished &= same
    torch.testing.assert_close(t[unfinished] / unit, our_t[unfinished] / unit, atol=1e-5, rtol=0)


def test_rays_that_meet_nothing_give_no_samples_and_are_at_their_end(nerfacc: None) -> None:
    space = Space(CUBE)
    grid, rays = grid_in(space, 0.3), rays_at(CUBE)
    grid.bits.zero_()
    start, end = space.clip(rays.origins, rays.directions, 0.0)
    with using("nerfacc"):
        samples, x, t = grid.sample(rays, start, end, 8)
    assert len(samples) == 0 and x.shape == (0, 3) and samples.ray_count == len(rays) and bool((t >= end).all())


def packed(lengths: list[int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(4)
    total = sum(lengths)
    start = torch.cat([torch.arange(n) * 0.1 for n in lengths])
    density, rgb = torch.rand(total, generator=generator) * 9, torch.rand(total, 3, generator=generator)
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    return [density, rgb, start, start + 0.1, offsets, torch.rand(len(lengths), 3, generator=generator)]


def test_compositing_and_its_gradients_are_ours(nerfacc: None) -> None:
    inputs = packed([5, 0, 32, 1, 0])
    leaves = [inputs[0].requires_grad_(), inputs[1].requires_grad_(), inputs[5].requires_grad_()]
    with using("nerfacc"):
        theirs = cuda_ext.composite(*inputs)
    results = []
    for outputs in (theirs, composite_reference(*inputs)):
        loss = sum((part * torch.arange(1, part.numel() + 1).view_as(part)).sum() for part in outputs[:3])
        results.append([*outputs, *torch.autograd.grad(loss, leaves)])
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)
    assert not theirs[3].requires_grad


def test_batched_compositing_of_the_real_package_is_ours() -> None:
    """Its packed functions need a GPU, its batched ones do not: rays of equal length give both."""
    real = pytest.importorskip("nerfacc")
    density, rgb, start, end, offsets, background = packed([16] * 6)
    weights, _, _ = real.render_weight_from_density(start.view(6, 16), end.view(6, 16), density.view(6, 16))
    color = real.accumulate_along_rays(weights, rgb.view(6, 16, 3))
    ours = cuda_ext.composite(density, rgb, start, end, offsets, torch.zeros_like(background))
    torch.testing.assert_close(color, ours[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(weights.reshape(-1), ours[3], atol=1e-5, rtol=0)


def test_pictures_are_ours(nerfacc: None) -> None:
    field = Field.create("hash", Space(CUBE), preset="tiny")
    torch.nn.init.uniform_(field.backend.table, -9, 9)
    rays = rays_at(CUBE, 40)
    check_engine(field, ("nerfacc",))
    with using("nerfacc"):
        theirs = render_rays(field, rays)
    ours = render_rays(field, rays)
    assert ours.opacity.max() > 0.9
    for name in ("color", "opacity", "depth"):  # rays may end a sample apart, with a thousandth of the light left
        torch.testing.assert_close(getattr(theirs, name), getattr(ours, name), atol=2e-3, rtol=0)


def test_contracted_space_is_refused(nerfacc: None) -> None:
    field = Field.create("hash", Space(CUBE, "unbounded"), preset="tiny")
    with pytest.raises(UserError, match="unbounded") as caught:
        check_engine(field, ("nerfacc",))
    assert caught.value.code == "E-USAGE-ENGINE"
    rays = rays_at(CUBE)
    with using("nerfacc"), pytest.raises(ValueError, match="contracted"):
        field.occupancy.sample(rays, torch.zeros(len(rays)), torch.ones(len(rays)), 8)


def test_a_build_that_fails_is_told_before_anything_else(nerfacc: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object, **named: object) -> None:
        raise OSError("CUDA_HOME environment variable is not set")

    monkeypatch.setattr(nerfacc_model, "traverse_grids", fails)
    with pytest.raises(UserError, match="CUDA_HOME") as caught:
        check_engine(Field.create("hash", Space(CUBE), preset="tiny"), ("nerfacc",))
    assert caught.value.code == "E-ENV-ENGINE" and caught.value.exit_code == 4


@pytest.mark.cuda
@pytest.mark.parametrize("bounds", [CUBE, FLAT], ids=["cube", "flat"])
def test_on_a_gpu_it_gives_our_samples_and_colours(bounds: Tensor) -> None:
    found, reason = accelerators.find_accelerator("nerfacc")
    if found is None:
        pytest.skip(f"nerfacc: {reason}")
    space = Space(bounds)
    grid, rays = grid_in(space, 0.3).cuda(), rays_at(bounds, 5000).to("cuda")
    start, end = space.clip(rays.origins, rays.directions, 0.0)
    ours, _, _ = grid.sample(rays, start, end, 1024)
    with using("nerfacc"):
        theirs, _, _ = grid.sample(rays, start, end, 1024)
    same = theirs.offsets.diff() == ours.offsets.diff()  # a middle on a cell's border may round to either side
    assert float(same.float().mean()) > 0.98
    inputs = [tensor.cuda() for tensor in packed([5, 0, 32, 1, 0])]
    for got, wanted in zip(with_nerfacc.composite(found, *inputs), composite_reference(*inputs), strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)
