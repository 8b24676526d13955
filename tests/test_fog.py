"""Empty space stays empty, also for programs that do not know the occupancy grid."""

import pytest
import torch

from cuda_ext.march import pack_bits
from data.procedural import make_capture
from fields.budget import Budget
from fields.field import Field
from fields.fit import FitOptions, FitState, fit_images
from fields.fog import empty_log_density, fog_loss
from fields.occupancy import OccupancyGrid
from fields.space import Space
from fields.views import Capture
from fields.volume import Kind


@pytest.fixture(scope="module")
def capture() -> Capture:
    return make_capture(views=8, test_views=2, size=32, seed=0)


def _lower_half(field: Field) -> OccupancyGrid:
    """The field's grid, with its upper half empty; what fits remember is empty there too."""
    grid = field.occupancy
    g = grid.resolution
    low = torch.arange(g)[:, None, None].expand(g, g, g) < g // 2
    grid.bits.copy_(pack_bits(low.reshape(-1)))
    return grid


def test_empty_positions_lie_in_empty_cells_all_over(capture: Capture) -> None:
    field = Field.create("hash", Space(capture.bounds), preset="tiny")
    grid = _lower_half(field)
    x = grid.empty_positions(4096, torch.Generator().manual_seed(0))
    assert 1800 < len(x) < 2300, "about half of the cells are empty"
    assert not grid.occupied(x).any()
    u = field.space.to_unit(x)
    assert u.min(0).values.lt(torch.tensor([0.01, 0.01, 0.51])).all() and u.max(0).values.gt(0.99).all()
    grid.bits.fill_(255)
    assert grid.empty_positions(64, torch.Generator().manual_seed(0)).shape == (0, 3)


@pytest.mark.parametrize("kind", ["density", "sdf"])
def test_a_fit_that_clears_takes_fog_out_of_empty_cells(capture: Capture, kind: Kind) -> None:
    """Of densities; signed distances have none to take out."""
    (before, rays), (left, rays_beside) = _fitted(capture, kind, 0), _fitted(capture, kind, 4096)
    assert left == before if kind == "sdf" else left < 0.7 * before
    assert rays_beside < 2 * rays, "steps are as large as without"


def _fitted(capture: Capture, kind: Kind, clear: int) -> tuple[float, int]:
    """What a few steps leave in empty cells (log-density beyond nothing, or distance), and the rays of the last."""
    field = Field.create("vm", Space(capture.bounds), kind, preset="tiny")
    grid = _lower_half(field)
    x = grid.empty_positions(2048, torch.Generator().manual_seed(1))
    grid.remember(field)
    state, options = FitState(field, 0), FitOptions(near=capture.near, clear=clear)
    for _ in fit_images(field, capture, Budget(steps=31), state=state, options=options):
        pass
    with torch.no_grad():
        geometry = field.geometry(field.features(x), x)
    if kind == "density":
        return float(fog_loss(geometry, empty_log_density(field.space))), state.rays
    return float(geometry.abs().mean()), state.rays
