"""Fitting photos, rendering and distilling on a small analytic capture."""

import math

import pytest
import torch

from data.procedural import make_capture
from fields.budget import Budget, decayed_rate
from fields.errors import UserError
from fields.field import Field
from fields.field_file import load_field_with_notes, save_field
from fields.fit import FitState, PixelCursor, PixelSource, fit_images
from fields.guard import NaNGuard
from fields.render import render_rays, render_view
from fields.space import Space
from fields.views import Capture


@pytest.fixture(scope="module")
def capture() -> Capture:
    return make_capture(views=16, test_views=2, size=48, seed=0)


def new_field(capture: Capture, name: str = "hash") -> Field:
    return Field.create(name, Space(capture.bounds, capture.contraction), preset="tiny")


def fit(field: Field, capture: Capture, steps: int) -> FitState:
    state = FitState(field, 0)
    for _ in fit_images(field, capture, Budget(steps=steps), state=state):
        pass
    return state


@pytest.fixture(scope="module")
def fitted(capture: Capture) -> Field:
    field = new_field(capture)
    fit(field, capture, 400)
    return field


def psnr(field: Field, capture: Capture) -> float:
    error = [
        (render_view(field, capture.test.cameras, i)["rgb"] - capture.test.image(i)).square().mean()
        for i in range(len(capture.test))
    ]
    return -10 * math.log10(float(torch.stack(error).mean()))


def test_fit_learns_the_capture(fitted: Field, capture: Capture) -> None:
    blank = new_field(capture)
    assert psnr(fitted, capture) > 19
    assert psnr(fitted, capture) > psnr(blank, capture) + 6
    assert fitted.occupancy.occupied_fraction < 0.5


def test_interrupted_fit_equals_an_unbroken_one_bit_for_bit(capture: Capture) -> None:
    whole, broken = new_field(capture), new_field(capture)
    expected = fit(whole, capture, 80)
    steps = fit_images(broken, capture, Budget(steps=80), state=(state := FitState(broken, 0)))
    while state.step < 48:
        next(steps)
    tensors = {name: tensor.clone() for name, tensor in state.tensors().items()}
    resumed = new_field(capture)
    again = FitState.restore(resumed, tensors)
    for _ in fit_images(resumed, capture, Budget(steps=80), state=again):
        pass
    assert again.step == expected.step == 80
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_field_file_round_trip_renders_the_same(fitted: Field, capture: Capture, tmp_path) -> None:
    path = tmp_path / "field.safetensors"
    save_field(fitted, path, {"source": "sample"})
    loaded, notes = load_field_with_notes(path)
    assert notes == {"source": "sample"}
    a = render_view(fitted, capture.test.cameras, 0)["rgb"]
    assert torch.equal(a, render_view(loaded, capture.test.cameras, 0)["rgb"])


def test_render_gives_every_picture_asked_for(fitted: Field, capture: Capture) -> None:
    found = render_view(fitted, capture.test.cameras, 0, what=("rgb", "depth", "opacity", "normal"))
    assert found["rgb"].shape == found["normal"].shape == (48, 48, 3)
    assert found["depth"].shape == found["opacity"].shape == (48, 48)
    alpha = capture.test.pixels[: 48 * 48, 3].view(48, 48).float() / 255
    assert float((found["opacity"] - alpha).abs().mean()) < 0.1
    seen = found["opacity"] > 0.99
    distance = float(capture.test.cameras.origins[0].norm())
    assert float((found["depth"][seen] - distance).abs().max()) < 3
    towards = -capture.test.cameras.view(0).directions.view(48, 48, 3)
    assert float((found["normal"] * towards).sum(dim=-1)[seen].mean()) > 0.1


def test_rays_that_miss_show_the_background(fitted: Field, capture: Capture) -> None:
    rays = capture.test.cameras.view(0)[:4]
    away = type(rays)(rays.origins, -rays.directions, -rays.view_directions)
    out = render_rays(fitted, away, background=0.25)
    assert torch.equal(out.color, torch.full((4, 3), 0.25)) and float(out.opacity.max()) == 0


def test_empty_field_renders_background_without_error(fitted: Field, capture: Capture) -> None:
    empty = new_field(capture)
    empty.occupancy.bits.zero_()
    picture = render_view(empty, capture.test.cameras, 0, background=1.0)["rgb"]
    assert bool((picture == 1).all())
    assert fit(empty, capture, 20).step == 20  # nothing to learn from, but nothing breaks either


def test_pixels_over_random_background_are_composited(capture: Capture) -> None:
    space = Space(capture.bounds)
    rays, start, end, color, behind = PixelSource(capture, PixelCursor(0), space, 0.0).draw(2000)
    empty = (color == behind).all(dim=1)
    assert 0.2 < float(empty.float().mean()) < 0.95
    assert torch.allclose(rays.directions.norm(dim=1), torch.ones(2000), atol=1e-5)
    entered = space.clip(rays.origins, rays.directions, 0.0)
    moved = start - entered[0]
    assert torch.equal(end, entered[1]) and float(moved.min()) >= 0 and float(moved.max()) > space.step


def test_bad_gradients_are_skipped_then_rolled_back_then_refused(capture: Capture) -> None:
    field = new_field(capture)
    state = FitState(field, 0)
    guard = NaNGuard(field, state.optimiser)
    assert guard.admits(0, torch.tensor(1.0))
    good = field.appearance.weights.detach().clone()
    with torch.no_grad():
        field.appearance.weights.fill_(3.0)
    for _ in range(3):
        assert not guard.admits(1, torch.tensor(float("nan")))
    assert torch.equal(field.appearance.weights, good) and guard.rate == 0.5
    with pytest.raises(UserError) as error:
        for step in range(2, 40):
            guard.admits(step, torch.tensor(float("inf")))
    assert error.value.code == "E-NAN-FIT"


def test_a_state_that_lacks_something_is_refused_by_name(capture: Capture) -> None:
    field = new_field(capture)
    tensors = FitState(field, 0).tensors()
    del tensors["pixels.box"]
    with pytest.raises(UserError, match="no 'box'") as error:
        FitState.restore(field, tensors)
    assert error.value.code == "E-CKPT-TENSORS"


def test_budget_ends_by_whichever_comes_first() -> None:
    budget = Budget(seconds=10, steps=100)
    assert budget.fraction(50, 1) == 0.5 and budget.done(1, 10) and budget.done(100, 1)
    with pytest.raises(UserError):
        Budget(seconds=0)
    assert decayed_rate(0.2) == 1 and decayed_rate(1.0) == pytest.approx(0.03)
