"""Every backend keeps the same contract: shapes, gradients, learning, growing, saving."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from cuda_ext import Adam
from fields.backends import BACKENDS, build_backend
from fields.backends.base import Backend
from fields.backends.composition import Composition
from fields.backends.sparse import SparseBackend
from fields.errors import UserError
from fields.field import Field
from fields.field_file import load_field, save_field
from fields.planes import resample_lines, resample_planes, resolution_at
from fields.space import Space
from fields.voxels import cells_around, full_grid, vertices_in

SPACE = Space(torch.tensor([[-1.0, -1, -1], [1, 1, 1]]))
NAMES = [*BACKENDS, "hash+vm"]
GROWING = ["vm", "cp", "triplane", "sparse"]


def create(name: str, kind: str = "density", seed: int = 0, **settings: object) -> Field:
    return Field.create(name, SPACE, kind, preset="tiny", settings=settings, seed=seed)  # type: ignore[arg-type]


def points(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, 3, generator=generator) * 2 - 1
    return x, torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)


def ball(x: Tensor) -> tuple[Tensor, Tensor]:
    """A coloured ball of radius 0.6: log-density [N] and rgb [N, 3]."""
    return 6 - 12 * torch.sigmoid(20 * (x.norm(dim=1) - 0.6)), 0.5 + 0.4 * x


def train(field: Field, steps: int, first: float = 0.0, last: float = 1.0) -> None:
    """Fit the ball, growing on the way from fraction `first` to `last` of a run."""
    optimiser = None
    for step in range(steps):
        if field.backend.grow(first + (last - first) * step / steps) or optimiser is None:
            optimiser = Adam(field.parameter_groups())
            field.backend.attach(optimiser)
        x, directions = points(2048, seed=step)
        out = field(x, directions)
        log_density, rgb = ball(x)
        inside = (log_density > 0).float()[:, None]
        loss = (out.features[:, 0] - log_density).square().mean()
        loss = loss + 10 * ((out.rgb - rgb).square() * inside).mean()
        penalty = field.backend.penalty()
        (loss if penalty is None else loss + penalty).backward()
        optimiser.collect()
        optimiser.step(0.1 ** (step / steps))
    field.backend.attach(None)


@pytest.fixture(scope="module")
def trained() -> Iterator[dict[str, Field]]:
    yield {}


def trained_field(name: str, known: dict[str, Field]) -> Field:
    if name not in known:
        known[name] = create(name)
        train(known[name], 700 if name == "mlp" else 250)
    return known[name]


@pytest.mark.parametrize("kind", ["density", "sdf"])
@pytest.mark.parametrize("name", NAMES)
def test_features_have_the_contract_of_a_field(name: str, kind: str) -> None:
    field = create(name, kind)
    x, directions = points(65)
    out = field(x, directions)
    assert out.features.shape == (65, field.backend.width)
    assert out.rgb.shape == (65, 3) and out.density.shape == (65,)
    assert all(tensor.isfinite().all() for tensor in (out.features, out.geometry, out.density, out.rgb))
    assert out.features[:, 0].abs().mean() < 1.0  # a new density is about one per box
    empty = field(x[:0], directions[:0])
    assert empty.features.shape == (0, field.backend.width) and empty.rgb.shape == (0, 3)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_determines_a_new_field(name: str) -> None:
    x, _ = points(33)
    first, same, other = create(name), create(name), create(name, seed=1)
    assert torch.equal(first.features(x), same.features(x))
    assert name == "sparse" or not torch.equal(first.features(x), other.features(x))


@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_every_parameter(name: str) -> None:
    field = create(name)
    x, directions = points(4096)
    out = field(x, directions)
    (out.features.square().sum() + (out.features * torch.arange(1, field.backend.width + 1)).sum()
     + out.rgb.sum()).backward()
    for label, p in field.named_parameters():
        if p.requires_grad:
            assert p.grad is not None and p.grad.isfinite().all() and p.grad.any(), label


@pytest.mark.parametrize("name", NAMES)
def test_gradient_in_the_position_agrees_with_differences(name: str) -> None:
    field = create(name).backend
    if name == "sparse":
        field.values.data.normal_(generator=torch.Generator().manual_seed(0))
    dtype = next(field.parameters()).dtype
    u = torch.rand(64, 3, generator=torch.Generator().manual_seed(5)).to(dtype)
    u = (u * 0.9 + 0.05).requires_grad_()
    gradient = torch.autograd.grad(field.features(u)[:, 0].sum(), u)[0]
    step = 2e-4
    for k in range(3):
        offset = step * torch.eye(3, dtype=dtype)[k]
        with torch.no_grad():
            difference = (field.features(u + offset) - field.features(u - offset))[:, 0] / (2 * step)
        close = (gradient[:, k] - difference).abs() < 0.02 * gradient.abs().max() + 1e-3
        assert close.float().mean() > 0.8  # differences across a face between two cells mix both slopes


@pytest.mark.parametrize("name", list(BACKENDS))
def test_a_coloured_ball_is_learnt(name: str, trained: dict[str, Field]) -> None:
    field = trained_field(name, trained)
    x, directions = points(4096, seed=999)
    out = field.evaluate(x, directions)
    log_density, rgb = ball(x)
    inside = log_density > 0
    agrees = ((out.features[:, 0] > 0) == inside).float().mean()
    assert agrees > 0.97
    assert (out.rgb - rgb)[inside].square().mean() < 0.02


@pytest.mark.parametrize("name", list(BACKENDS))
def test_a_distance_is_learnt(name: str) -> None:
    field = create(name, "sdf")

    def box(x: Tensor) -> Tensor:
        q = x.abs() - torch.tensor([0.6, 0.4, 0.5])
        return q.clamp_min(0).norm(dim=1) + q.amax(dim=1).clamp_max(0)

    optimiser = Adam(field.parameter_groups())
    for step in range(200):
        x, _ = points(2048, seed=step)
        (field.sdf(x) - box(x)).abs().mean().backward()
        optimiser.collect()
        optimiser.step(0.1 ** (step / 200))
    x, _ = points(4096, seed=999)
    assert (field.sdf(x) - box(x)).abs().mean() < 0.03


@pytest.mark.parametrize("name", GROWING)
def test_growing_keeps_the_function(name: str) -> None:
    field = create(name)
    train(field, 150, last=0.0)
    x, _ = points(4096, seed=1)
    before, count = field.features(x).detach(), field.parameter_count
    assert field.backend.grow(1.0) and field.parameter_count > count
    after = field.features(x).detach()
    matters = ball(x)[0] > 0
    assert (after - before)[matters, 0].abs().mean() < 0.1 * before[:, 0].std()
    assert ((after[:, 0] > 0) == (before[:, 0] > 0)).float().mean() > 0.98
    assert not field.backend.grow(1.0)


@pytest.mark.parametrize("name", [*BACKENDS, "sparse_sdf", "hash+vm"])
def test_a_grown_field_is_saved_and_loaded(name: str, tmp_path: object, trained: dict[str, Field]) -> None:
    if name == "sparse_sdf":
        field = create("sparse", "sdf")
    else:
        field = trained_field(name, trained) if name in BACKENDS else create(name)
    field.backend.grow(1.0)
    path = f"{tmp_path}/field.safetensors"
    save_field(field, path)
    again = load_field(path)
    x, directions = points(1000, seed=2)
    before, after = field.evaluate(x, directions), again.evaluate(x, directions)
    assert all(torch.equal(a, b) for a, b in zip(vars(before).values(), vars(after).values(), strict=True))
    assert not again.backend.grow(1.0)
    penalties = field.backend.penalty(), again.backend.penalty()
    assert (penalties[0] is None) == (penalties[1] is None)
    assert penalties[0] is None or torch.equal(*penalties)  # type: ignore[arg-type]


def test_pruning_empties_what_is_empty_and_keeps_the_rest(trained: dict[str, Field]) -> None:
    field = trained_field("sparse", trained)
    backend = field.backend
    assert isinstance(backend, SparseBackend)
    assert len(backend.values) < 0.5 * (backend.cells + 1) ** 3
    x, _ = points(4096, seed=3)
    log_density, _ = ball(x)
    assert (field.features(x)[:, 0] > 0)[log_density > 4].float().mean() > 0.99
    corner = torch.full((1, 3), 0.95)
    assert float(field.features(corner)[0, 0].detach()) == pytest.approx(-10.0)


def test_a_thin_sheet_survives_pruning() -> None:
    backend = build_backend("sparse", "tiny")
    assert isinstance(backend, SparseBackend)
    backend.values.data[:, 0] = torch.where(backend.vertices[:, 2] == 10, 1.5, -2.0)
    u = torch.rand(500, 3, generator=torch.Generator().manual_seed(0))
    u[:, 2] = 10 / backend.cells
    before = backend.features(u)[:, 0]
    assert backend.grow(0.2)
    torch.testing.assert_close(backend.features(u)[:, 0], before, atol=1e-3, rtol=0)
    assert len(backend.values) < 0.15 * (backend.cells + 1) ** 3


def test_a_limit_bounds_the_vertices_and_a_distance_grid_stays_whole() -> None:
    backend = create("sparse", "sdf", start=16, resolution=64, limit=20_000).backend
    assert isinstance(backend, SparseBackend)
    assert backend.grow(1.0)
    assert len(backend.values) == (backend.cells + 1) ** 3 <= 20_000
    assert backend.cells > 16


def test_an_entirely_empty_sparse_field_still_answers() -> None:
    backend = build_backend("sparse", "tiny")
    assert isinstance(backend, SparseBackend)
    backend.values.data[:, 0] = -3.0
    assert backend.grow(1.0) and len(backend.values) == 0
    torch.testing.assert_close(backend.features(torch.rand(10, 3))[:, 0], torch.full((10,), -10.0))
    assert backend.penalty() is None


def test_total_variation_is_zero_only_where_nothing_varies() -> None:
    backend = build_backend("sparse", "tiny")
    assert isinstance(backend, SparseBackend)
    flat = backend.penalty()
    backend.values.data.normal_(generator=torch.Generator().manual_seed(0))
    rough = backend.penalty()
    assert flat is not None and rough is not None
    assert rough > 10 * flat


@pytest.mark.parametrize("name", GROWING)
def test_sink_and_autograd_take_the_same_steps(name: str) -> None:
    results = []
    for attached in (False, True):
        field = create(name)
        optimiser = Adam(field.parameter_groups())
        if attached:
            field.backend.attach(optimiser)
        for step in range(3):
            x, directions = points(512, seed=step)
            field(x, directions).features.sub(1).square().mean().backward()
            optimiser.collect()
            optimiser.step()
        results.append(field.features(points(100, seed=9)[0]).detach())
    torch.testing.assert_close(*results, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("vm", {"start": 200}), ("cp", {"density": 0}), ("triplane", {"combine": "min"}),
     ("sparse", {"start": 30}), ("sparse", {"limit": 5})],
)
def test_wrong_settings_are_refused(name: str, settings: dict[str, object]) -> None:
    with pytest.raises(UserError) as error:
        build_backend(name, "tiny", settings)
    assert error.value.code == "E-USAGE-SET"


@pytest.mark.parametrize("combine", ["sum", "concat", "product"])
def test_planes_combine_in_three_ways(combine: str) -> None:
    field = create("triplane", combine=combine)
    train(field, 150)
    x, _ = points(2000, seed=4)
    assert ((field.features(x)[:, 0] > 0) == (ball(x)[0] > 0)).float().mean() > 0.95


def test_a_composition_refuses_parts_of_different_width() -> None:
    parts: list[Backend] = [build_backend("vm", "tiny"), build_backend("sparse", "tiny")]
    with pytest.raises(ValueError, match="feature spaces differ"):
        Composition(parts)


def test_resampling_keeps_what_is_linear() -> None:
    ramp = torch.linspace(0, 1, 5)
    planes = (ramp[:, None] + 2 * ramp[None])[None, :, :, None].expand(3, -1, -1, 2)
    fine = torch.linspace(0, 1, 13)
    torch.testing.assert_close(resample_planes(planes, 13)[1, :, :, 1], fine[:, None] + 2 * fine[None])
    torch.testing.assert_close(resample_lines(ramp[None, :, None].expand(3, -1, 4), 13)[2, :, 3], fine)


def test_resolution_grows_in_even_steps_of_the_logarithm() -> None:
    sizes = [resolution_at(fraction / 100, 128, 300) for fraction in range(101)]
    assert sizes[0] == 128 and sizes[-1] == 300 and sizes == sorted(sizes)
    assert sorted(set(sizes)) == [128, 152, 180, 213, 253, 300]


def test_refined_vertices_lie_in_or_on_the_voxels_that_were_kept() -> None:
    assert torch.equal(full_grid(2)[[1, 2, 4]], torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    occupied = cells_around(torch.tensor([[0, 2, 4]]), 4)
    assert occupied.nonzero().tolist() == [[3, 1, 0], [3, 2, 0]]  # z, y, x
    for cells in (4, 8, 7):
        found = {tuple(vertex) for vertex in (vertices_in(occupied, cells).double() / cells).tolist()}
        axis = [k / cells for k in range(cells + 1)]
        expected = {(x, y, z) for x in axis for y in axis for z in axis
                    if x <= 0.25 and 0.25 - 1e-9 <= y <= 0.75 + 1e-9 and z >= 0.75 - 1e-9}
        assert found == expected
