"""tinycudann as an engine: our parameters in its layout give our results."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tinycudann_model
import torch
from command_line import run as run_command
from command_line import tiny_capture
from torch import Tensor

import cuda_ext
from app import fitting
from app.source import open_source
from cuda_ext import HashGrid, accelerators, using, with_tinycudann
from cuda_ext.hash_grid import hash_grid_reference
from cuda_ext.mlp import mlp_reference, split_weights, weight_count
from fields.engines import check_engine
from fields.errors import UserError
from fields.field import Field
from fields.space import Space

BOUNDS = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
GRIDS = {
    "dense and hashed": HashGrid(6, 2, 10, 4.0, 40.0),
    "all dense": HashGrid(3, 4, 12, 3.0, 9.0),
    "all hashed": HashGrid(4, 1, 6, 8.0, 64.0),
    "scales that double": HashGrid(5, 2, 11, 4.0, 64.0),
    "coarsest not whole": HashGrid(5, 8, 9, 4.5, 60.3),
    "one level": HashGrid(1, 2, 14, 16.0, 16.0),
    "sixteen levels": HashGrid(16, 2, 12, 16.0, 512.0),
    "fewer entries than a page": HashGrid(4, 2, 4, 2.0, 8.0),
}


@pytest.fixture
def tcnn(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A tinycudann that runs on the CPU, usable and allowed there."""
    monkeypatch.setitem(sys.modules, "tinycudann", tinycudann_model)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(accelerators, "_DEVICES", ("cuda", "cpu"))
    yield
    with_tinycudann._encodings.cache_clear()
    with_tinycudann._network.cache_clear()


def positions(count: int = 300) -> Tensor:
    """All over the cube, on its border and outside."""
    u = torch.rand(count, 3, generator=torch.Generator().manual_seed(0))
    u[: count // 3] = 1 - u[: count // 3] * 0.04  # where its own last vertices are shared with the next row
    u[0], u[1], u[2] = 0.0, 1.0, torch.tensor([1.0, 0.0, 1.0])
    u[3], u[4] = torch.tensor([1.5, -0.5, 0.5]), torch.tensor([0.5, float("nan"), 1.0])
    return u


def table_of(grid: HashGrid) -> Tensor:
    return torch.rand(grid.entries, grid.features, generator=torch.Generator().manual_seed(1)) - 0.5


def gradients(run: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    y = run(*leaves)
    return [y.detach(), *torch.autograd.grad((y * torch.arange(y.numel()).view_as(y)).sum(), leaves)]


@pytest.mark.parametrize("name", GRIDS)
def test_hash_grid_and_its_gradients_are_ours(name: str, tcnn: None) -> None:
    grid, u = GRIDS[name], positions()

    def theirs(table: Tensor) -> Tensor:
        return with_tinycudann.hash_grid(tinycudann_model, u, table, grid)

    ours = gradients(lambda table: hash_grid_reference(u, table, grid), table_of(grid))
    scale = ours[1].abs().max()
    for got, wanted, unit in zip(gradients(theirs, table_of(grid)), ours, (1.0, scale), strict=True):
        torch.testing.assert_close(got / unit, wanted / unit, atol=2e-4, rtol=0)


def test_position_gradients_are_ours(tcnn: None) -> None:
    grid, u = GRIDS["dense and hashed"], positions()[5:] * 0.98 + 0.01
    table = table_of(grid)
    (_, theirs) = gradients(lambda u: with_tinycudann.hash_grid(tinycudann_model, u, table, grid), u)
    (_, ours) = gradients(lambda u: hash_grid_reference(u, table, grid), u)
    near_edge = (theirs - ours).abs() > 1e-3 * ours.abs().max()
    assert near_edge.float().mean() < 0.01  # where rounding puts a position on the other side of a vertex


def test_one_grid_for_all_levels_would_not_do(tcnn: None) -> None:
    """Theirs shares the last vertices of dense levels: the reason for the grids of their own."""
    grid = HashGrid(1, 2, 14, 16.0, 16.0)
    plain = tinycudann_model.Encoding(3, with_tinycudann._config(grid, 1, 16, 1.0))
    inner = torch.full((1, 3), 0.4)
    table = table_of(grid)
    ours = table[: 17**3].view(17, 17, 17, 2)[:16, :16, :16]
    plain.params.data = ours.reshape(-1)
    torch.testing.assert_close(plain(inner), hash_grid_reference(inner, table, grid))
    outer = 1 - torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) * 0.02
    assert (plain(outer) - hash_grid_reference(outer, table, grid)).abs().max() > 0.1


def test_hashed_levels_come_from_one_grid() -> None:
    parts = with_tinycudann.parts_of(HashGrid(16, 2, 19, 16.0, 2048.0))
    assert [part.config["n_levels"] for part in parts] == [1, 1, 1, 1, 1, 1, 16][-len(parts) :]
    assert parts[-1].skipped == len(parts) - 1 and parts[-1].factor == 1.0
    assert parts[-1].rows.stop == HashGrid(16, 2, 19, 16.0, 2048.0).entries


@pytest.mark.parametrize("grid", [HashGrid(finest=8192.0), HashGrid(log2_entries=22)])
def test_grids_beyond_its_precision_are_refused(grid: HashGrid) -> None:
    with pytest.raises(ValueError, match="tinycudann: finest"):
        with_tinycudann.parts_of(grid)


@pytest.mark.parametrize("widths", [(32, 64, 16), (20, 16, 16, 3), (32, 128, 5), (3, 32, 32, 32, 1)])
def test_networks_and_their_gradients_are_ours(widths: tuple[int, ...], tcnn: None) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(50, widths[0], generator=generator) - 0.5
    weights = torch.rand(weight_count(widths), generator=generator) - 0.5

    def theirs(x: Tensor, weights: Tensor) -> Tensor:
        return with_tinycudann.mlp(tinycudann_model, x, split_weights(weights, widths))

    ours = gradients(lambda x, w: mlp_reference(x, w, widths), x, weights)
    for got, wanted in zip(gradients(theirs, x, weights), ours, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-4 * float(wanted.abs().max()), rtol=1e-4)


@pytest.mark.parametrize(("widths", "suits"), [((32, 64, 16), True), ((32, 48, 16), False), ((32, 16), False),
                                               ((8, 64, 32, 4), False), ((8, 64, 64, 4), True)])  # fmt: skip
def test_only_equal_hidden_layers_of_its_widths_suit(widths: tuple[int, ...], suits: bool) -> None:
    assert with_tinycudann.suits_network(widths) == suits


def test_another_number_of_parameters_is_noticed(tcnn: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(tinycudann_model.Network):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            self.params = torch.nn.Parameter(torch.zeros(self.params.numel() + 8))

    monkeypatch.setattr(tinycudann_model, "Network", Other)
    with pytest.raises(RuntimeError, match=r"tinycudann: a network has 1032 parameters, expected 1024"):
        with_tinycudann.mlp(tinycudann_model, torch.zeros(1, 32), [torch.zeros(32, 16), torch.zeros(16, 20)])


def test_a_field_computes_and_learns_with_it_as_without(tcnn: None) -> None:
    field = Field.create("hash", Space(BOUNDS), preset="tiny")
    torch.nn.init.uniform_(field.backend.table, -0.5, 0.5)
    x, directions = positions()[5:] * 2 - 1, torch.nn.functional.normalize(positions()[5:] - 0.3, dim=1)

    def run() -> list[Tensor]:
        field.zero_grad()
        out = field(x, directions)
        (out.rgb.sum() + out.features.square().sum()).backward()
        return [out.rgb.detach(), out.features.detach(), field.backend.table.grad, field.appearance.weights.grad]

    check_engine(field, ("tinycudann",))
    with using("tinycudann"):
        theirs = run()
        assert with_tinycudann._encodings.cache_info().currsize == 1
    for got, wanted in zip(theirs, run(), strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-3 * float(wanted.abs().max()), rtol=1e-3)


def test_a_run_fitted_with_it_is_a_run_like_any_other(
    tcnn: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "engines_for", lambda text, *_: (text,))  # on the CPU, as no GPU is needed here
    settings = fitting.FitSettings(preset="tiny", steps=32, engine="tinycudann")
    steps = fitting.fit_run(open_source(str(tiny_capture())), settings, tmp_path / "run")
    record: dict = {}
    while not record:
        try:
            next(steps)
        except StopIteration as end:
            record = end.value
    assert with_tinycudann._encodings.cache_info().currsize == 1
    assert record["settings"]["fit"]["engine"] == "tinycudann"
    native = run_command("eval", tmp_path / "run", tiny_capture(), "--json").json
    assert native["mean"]["psnr"] == pytest.approx(record["metrics"]["psnr"], abs=0.05)


def test_the_reference_and_empty_queries_do_without_it(tcnn: None) -> None:
    grid = GRIDS["all dense"]
    with using("tinycudann"):
        assert cuda_ext.hash_grid(torch.zeros(0, 3), table_of(grid), grid).shape == (0, 12)
        with cuda_ext.reference_only():
            cuda_ext.hash_grid(positions(), table_of(grid), grid)
    assert with_tinycudann._encodings.cache_info().currsize == 0


@pytest.mark.parametrize(
    ("name", "kind", "settings", "part"),
    [
        ("hash", "sdf", {}, "signed distance"),
        ("vm", "density", {}, "without a hash grid"),
        ("hash", "density", {"hidden": 48}, "hidden=48"),
        ("hash", "density", {"layers": 0}, "layers=0"),
        ("hash", "density", {"finest": 5000.0}, "finest=5000"),
    ],
)
def test_fields_it_does_not_suit_are_refused(name: str, kind: str, settings: dict, part: str, tcnn: None) -> None:
    field = Field.create(name, Space(BOUNDS), kind, preset="tiny", settings=settings)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=part) as caught:
        check_engine(field, ("tinycudann",))
    assert caught.value.code == "E-USAGE-ENGINE"


@pytest.mark.cuda
def test_on_a_gpu_it_agrees_to_half_precision() -> None:
    found, reason = accelerators.find_accelerator("tinycudann")
    if found is None:
        pytest.skip(f"tinycudann: {reason}")
    widths = (32, 64, 16)
    for grid in (HashGrid(), *GRIDS.values()):
        u, table = positions(3000).cuda(), table_of(grid).cuda()
        with using("tinycudann"):
            theirs = cuda_ext.hash_grid(u, table, grid)
        wrong = (theirs - hash_grid_reference(u, table, grid)).abs() > 1e-2
        assert wrong.float().mean() < 0.01, grid
    x, weights = torch.rand(1000, 32).cuda() - 0.5, (torch.rand(weight_count(widths)).cuda() - 0.5) * 0.3
    with using("tinycudann"):
        theirs = cuda_ext.mlp(x, weights, widths)
    torch.testing.assert_close(theirs, mlp_reference(x, weights, widths), atol=1e-2, rtol=1e-2)
