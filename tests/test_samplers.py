"""Samplers: what they share, and the uniform one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cuda_ext.march import pack_bits
from fields.cameras import Rays
from fields.field import Field
from fields.occupancy import OccupancyGrid
from fields.render import march_rays, render_rays
from fields.samplers import Sampler, UniformSampler
from fields.space import Space

BOUNDS = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])


def rays_from(count: int = 20) -> Rays:
    generator = torch.Generator().manual_seed(0)
    origins = torch.nn.functional.normalize(torch.rand(count, 3, generator=generator) - 0.5, dim=1) * 3
    directions = torch.nn.functional.normalize(torch.rand(count, 3, generator=generator) - 0.5 - origins, dim=1)
    return Rays(origins, directions, directions)


SAMPLERS: list[Sampler] = [OccupancyGrid(Space(BOUNDS)), UniformSampler(0.01), UniformSampler(7.0)]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=["occupancy", "fine", "one step"])
def test_samples_taken_in_waves_are_those_taken_at_once(sampler: Sampler) -> None:
    rays = rays_from()
    t, end = Space(BOUNDS).clip(rays.origins, rays.directions, 0.0)
    whole, x, onwards = sampler.sample(rays, t, end, 1024)
    assert bool((onwards >= end).all()) and x.shape == (len(whole), 3)
    starts, ends = [], []
    while bool((t < end).any()):
        part, _, t = sampler.sample(rays, t, end, 50)
        assert int(part.offsets.diff().max()) <= 50
        starts.append(torch.stack([part.ray.float(), part.start], dim=1))
        ends.append(part.end)
    order = torch.argsort(torch.cat(starts)[:, 0], stable=True)
    torch.testing.assert_close(torch.cat(starts)[order][:, 1], whole.start, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.cat(ends)[order], whole.end, atol=1e-5, rtol=0)


@given(st.floats(0.01, 3.0), st.floats(-1.0, 4.0), st.integers(1, 400))
def test_uniform_steps_tile_the_ray_from_start_to_end(step: float, length: float, limit: int) -> None:
    rays = rays_from(1)
    start, end = torch.tensor([0.5]), torch.tensor([0.5 + length])
    samples, _, onwards = UniformSampler(step).sample(rays, start, end, limit)
    assert len(samples) <= limit and (len(samples) > 0) == bool(end > start)
    if len(samples):
        torch.testing.assert_close(samples.start[1:], samples.end[:-1], atol=1e-5, rtol=0)
        sizes = samples.end - samples.start
        assert float(samples.start[0]) == 0.5 and float(sizes.max()) <= step * 1.0001
        torch.testing.assert_close(sizes[:-1], torch.full_like(sizes[:-1], step), atol=1e-5, rtol=0)
        torch.testing.assert_close(samples.end[-1:], onwards)
    covered = float((samples.end - samples.start).sum())
    assert covered == pytest.approx(max(0.0, min(length, limit * step)), abs=1e-4)


def test_rays_that_miss_or_are_not_numbers_get_no_samples() -> None:
    rays = rays_from(3)
    start, end = torch.tensor([2.0, 1.0, float("nan")]), torch.tensor([1.0, -float("inf"), 1.0])
    samples, x, onwards = UniformSampler(0.1).sample(rays, start, end, 8)
    assert len(samples) == 0 and x.shape == (0, 3) and not bool((onwards < end).any())


def test_no_step_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a positive length"):
        UniformSampler(0.0)


def test_a_field_with_all_cells_occupied_looks_the_same_through_either() -> None:
    field = Field.create("hash", Space(BOUNDS), preset="tiny")
    torch.nn.init.uniform_(field.backend.table, -1, 1)
    rays = rays_from()
    uniform = UniformSampler(field.space.step)
    torch.testing.assert_close(
        render_rays(field, rays, sampler=uniform).color, render_rays(field, rays).color, atol=5e-3, rtol=0
    )
    field.occupancy.bits.zero_()
    assert len(march_rays(field, rays, 0.0, 0.0)[0]) == 0
    assert len(march_rays(field, rays, 0.0, 0.0, uniform)[0]) > 0


def test_the_occupied_box_ends_with_its_cells() -> None:
    space = Space(torch.tensor([[-1.0, -1.0, -2.0], [1.0, 2.0, 3.0]]))
    grid = OccupancyGrid(space)
    cells = torch.zeros(128, 128, 128, dtype=torch.bool)  # z, y, x
    cells[3:10, 20:30, 77] = cells[50, 60, 101] = True
    grid.bits.copy_(pack_bits(cells.reshape(-1)))
    wanted = space.to_scene(torch.tensor([[77.0, 20, 3], [102.0, 61, 51]]) / 128)
    torch.testing.assert_close(grid.occupied_box(), wanted)
    grid.bits.zero_()
    assert torch.equal(grid.occupied_box(), space.bounds)
