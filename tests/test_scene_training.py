"""Training and sampling of the block generator: learning, resuming bit-equally, guarding, sharing, sampling."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from scene_blocks import CHANNELS, CLASSES, PIXELS, RESOLUTION, SmallDecoder, small_blocks, woken
from torch import Tensor

from fields.budget import Budget
from fields.checkpoint import load_tensors, save_tensors
from fields.errors import UserError
from fields.progress import finished
from scenegen.augment import SYMMETRIES
from scenegen.average import Average
from scenegen.fit_loss import side_error
from scenegen.latents import LatentSet, encode_blocks
from scenegen.models import ConvDenoiser, TriplaneVAE
from scenegen.sampling import SamplingOptions, decode_latents, sample_latents
from scenegen.schedulers import PREDICTIONS, SAMPLERS, noise_schedule, target_of
from scenegen.train_diffusion import DiffusionOptions, train_diffusion
from scenegen.train_vae import VaeOptions, train_vae
from scenegen.training import TrainState, rate_at

VAE_OPTIONS = VaeOptions(batch=4, rate=3e-3, points=32, seed=5)
DIFFUSION_OPTIONS = DiffusionOptions(batch=4, rate=3e-3, seed=5, decay=0.9)


def vae_state(options: VaeOptions = VAE_OPTIONS) -> TrainState[TriplaneVAE]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TriplaneVAE(CHANNELS, RESOLUTION, 2, 4, (8, 16, 16), heads=2)
    return TrainState(model, options)


def diffusion_state(options: DiffusionOptions = DIFFUSION_OPTIONS) -> TrainState[ConvDenoiser]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ConvDenoiser(2, 4, CLASSES, PIXELS, (16, 32), heads=2, middle_layers=1, condition_width=8)
    return TrainState(model, options)


def small_latents(count: int = 4) -> LatentSet:
    """Latents whose first channel on the ground plane says where the first class stands."""
    layout = small_blocks(count).layout
    mean = torch.zeros(count, 8, 3, 2, 4, 4)
    for k, symmetry in enumerate(SYMMETRIES):
        coarse = torch.nn.functional.avg_pool2d(symmetry.layout(layout).float(), 8)
        mean[:, k, 1, 0] = coarse[:, 0] * 4 + 0.3
    return LatentSet(mean, torch.full_like(mean, 0.01), layout)


def run_vae(state: TrainState[TriplaneVAE], steps: int, options: VaeOptions = VAE_OPTIONS) -> list[Any]:
    return list(train_vae(state, small_blocks(4), SmallDecoder(), options, Budget(steps=steps)))


def run_diffusion(
    state: TrainState[ConvDenoiser], steps: int, options: DiffusionOptions = DIFFUSION_OPTIONS
) -> list[Any]:
    return list(train_diffusion(state, small_latents(), options, Budget(steps=steps)))


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    """Names that differ, the clock aside."""
    assert a.keys() == b.keys()
    clock = {"numbers"}
    assert torch.equal(a["numbers"][[0, 2, 3]], b["numbers"][[0, 2, 3]])
    return [name for name in a.keys() - clock if not torch.equal(a[name], b[name])]


@pytest.mark.parametrize("kind", ["vae", "diffusion"])
def test_resumed_training_equals_an_unbroken_one_bit_for_bit(kind: str, tmp_path: Path) -> None:
    make: Any = vae_state if kind == "vae" else diffusion_state
    blocks, latents, budget = small_blocks(4), small_latents(), Budget(steps=24)

    def steps(state: Any) -> Any:
        if kind == "vae":
            return train_vae(state, blocks, SmallDecoder(), VAE_OPTIONS, budget)
        return train_diffusion(state, latents, DIFFUSION_OPTIONS, budget)

    unbroken, first, second = make(), make(), make()
    list(steps(unbroken))
    running = steps(first)
    assert next(running).step == 10
    running.close()
    save_tensors(tmp_path / "state.safetensors", first.tensors(), {"type": "state"})
    list(steps(first))  # what goes on in the same process must not reach the stored state
    second.load(load_tensors(tmp_path / "state.safetensors")[0])
    assert second.step == 10
    list(steps(second))
    assert equal(unbroken.tensors(), second.tensors()) == []
    assert equal(unbroken.tensors(), first.tensors()) == []


@pytest.mark.parametrize("kind", ["vae", "diffusion"])
def test_equal_seeds_give_equal_networks_and_others_do_not(kind: str) -> None:
    make: Any = vae_state if kind == "vae" else diffusion_state
    run: Any = run_vae if kind == "vae" else run_diffusion
    options: Any = VAE_OPTIONS if kind == "vae" else DIFFUSION_OPTIONS
    states = [make(), make(), make(type(options)(**{**vars(options), "seed": 6}))]
    for state in states:
        run(state, 3)
    assert equal(states[0].tensors(), states[1].tensors()) == []
    ours, theirs = (state.model.state_dict() for state in states[1:])
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_spent_budget_leaves_the_state_alone_and_a_longer_one_goes_on() -> None:
    state = vae_state()
    assert [report.step for report in run_vae(state, 12)] == [10, 12]
    before = {name: tensor.clone() for name, tensor in state.tensors().items()}
    run_vae(state, 12)
    assert equal(before, state.tensors()) == []
    assert run_vae(state, 14)[-1].step == 14


@pytest.mark.slow
def test_vae_learns_four_smooth_blocks_to_a_tenth_of_their_spread() -> None:
    options = VaeOptions(batch=4, rate=4e-3, points=64, kl_weight=1e-5, warm_up=0.7)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = TrainState(TriplaneVAE(CHANNELS, RESOLUTION, 8, 8, (16, 24), heads=2), options)
    reports = run_vae(state, 400, options)
    planes = small_blocks(4).planes.float()
    found = state.averaged()(planes)[0]
    error = ((found - planes) / state.model.plane_deviation).abs().mean()
    first = next(report.metrics["planes"] for report in reports)
    assert reports[0].step == 10 and first > 0.5
    assert float(error) < 0.1 * first
    assert reports[-1].metrics["sdf"] < 0.02


def test_distances_are_taught_after_the_warm_up_only() -> None:
    reports = run_vae(vae_state(), 40, VaeOptions(batch=1, points=16, warm_up=0.5))
    assert ["sdf" in report.metrics for report in reports] == [False, False, True, True]


def test_frozen_decoder_stays_as_it_is() -> None:
    decoder, state = SmallDecoder(), vae_state()
    before = [p.clone() for p in decoder.parameters()]
    list(train_vae(state, small_blocks(4), decoder, VAE_OPTIONS, Budget(steps=12)))
    assert all(torch.equal(a, b) for a, b in zip(before, decoder.parameters(), strict=True))
    assert all(p.grad is None for p in decoder.parameters())


def test_fixed_latents_stay_to_the_bit_while_the_way_back_is_trained() -> None:
    model, planes = vae_state().model, small_blocks(4).planes.float()
    run_vae(TrainState(model, VAE_OPTIONS), 1)
    model.fix_latents()
    before, normalisation = model.encode(planes), model.plane_mean.clone()
    latent = torch.ones(1, *model.latent_shape)
    back = model.decode(latent)
    reports = run_vae(TrainState(model, VAE_OPTIONS), 12)
    assert "sdf" in reports[0].metrics  # no warm-up
    assert torch.equal(model.encode(planes).mean, before.mean) and torch.equal(model.plane_mean, normalisation)
    assert not torch.equal(model.decode(latent), back)


def test_steps_without_a_finite_gradient_are_skipped_and_many_of_them_end_the_run() -> None:
    class Spoiled(SmallDecoder):
        calls, bad = 0, {2}

        def forward(self, planes: Tensor, points: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(planes, points) * (float("nan") if self.calls in self.bad else 1.0)

    options = VaeOptions(batch=2, points=16, warm_up=0.0)
    state = vae_state(options)
    list(train_vae(state, small_blocks(4), Spoiled(), options, Budget(steps=6)))
    assert state.step == 6 and all(p.isfinite().all() for p in state.model.parameters())
    hopeless = Spoiled()
    hopeless.bad = set(range(3, 100))
    with pytest.raises(UserError) as caught:
        list(train_vae(vae_state(options), small_blocks(4), hopeless, options, Budget(steps=60)))
    assert caught.value.code == "E-NAN-FIT"


@pytest.mark.slow
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_denoiser_learns_where_the_plan_puts_things(prediction: str) -> None:
    options = DiffusionOptions(batch=16, rate=3e-3, decay=0.95, prediction=prediction)
    state, latents = diffusion_state(options), small_latents()
    list(train_diffusion(state, latents, options, Budget(steps=250)))
    sampling = SamplingOptions("ddim", 20, prediction=prediction)
    found = finished(sample_latents(state.averaged(), latents.layout, [1, 2, 3, 4], sampling))
    wanted, shuffled = latents.mean[:, 0, 1, 0], latents.mean[:, 0, 1, 0].roll(1, 0)
    assert (found[:, 1, 0] - wanted).abs().mean() < 0.5 * (found[:, 1, 0] - shuffled).abs().mean()


def test_training_in_bfloat16_learns_too_and_keeps_weights_in_fp32() -> None:
    options = DiffusionOptions(batch=8, rate=3e-3, bfloat16=True)
    state = diffusion_state(options)
    losses = [r.loss for r in run_diffusion(state, 30, options)]
    assert losses[-1] < losses[0] and all(p.dtype == torch.float32 for p in state.model.parameters())
    assert all(r.loss == r.loss for r in run_vae(vae_state(), 12, VaeOptions(batch=2, points=16, bfloat16=True)))


def test_average_follows_the_weights_and_forgets_the_start() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(100.0)
    average = Average(network, 0.9)
    network.weight.data.fill_(1.0)
    average.update(0)
    assert float(average.values[0]) == pytest.approx(0.1 * 100 + 0.9)
    for step in range(1, 200):
        average.update(step)
    assert float(average.values[0]) == pytest.approx(1.0, abs=1e-3)
    assert network.weight.item() == 1.0


def test_learning_rate_rises_then_falls() -> None:
    assert rate_at(0, 0.0) == pytest.approx(0.01)
    assert rate_at(99, 0.0) == pytest.approx(1.0)
    assert rate_at(5000, 1.0) == pytest.approx(0.02)


def test_velocity_target_is_that_of_salimans_and_ho() -> None:
    schedule = noise_schedule("v_prediction")
    clean, noise = torch.randn(2, 2, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    time = torch.tensor([10, 900])
    alpha = schedule.alphas_cumprod[time].view(2, 1, 1, 1, 1)
    wanted = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
    torch.testing.assert_close(target_of(schedule, clean, noise, time), wanted)
    assert target_of(noise_schedule("sample"), clean, noise, time) is clean


def test_encoded_copies_are_those_of_the_moved_blocks() -> None:
    model, blocks = vae_state().model, small_blocks(3)
    latents = finished(encode_blocks(model, blocks.planes, blocks.layout, batch=2))
    assert latents.mean.shape == (3, 8, *model.latent_shape)
    alone = model.encode(SYMMETRIES[5].planes(blocks.planes[2:3].float()))
    torch.testing.assert_close(latents.mean[2:3, 5], alone.mean)
    mean, deviation = latents.channel_figures()
    flat = torch.stack([latents.mean[..., c, :, :].flatten() for c in range(2)])
    torch.testing.assert_close(mean, flat.mean(1))
    assert (deviation > flat.std(1, correction=0)).all()


class PerfectDenoiser(ConvDenoiser):
    """Knows the one clean latent that there is."""

    def forward(self, noisy: Tensor, time: Tensor, layout: Tensor, planned: Tensor, context: Any = None) -> Tensor:
        return torch.full_like(noisy, 0.7)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_finds_what_a_perfect_denoiser_knows(name: str) -> None:
    network = PerfectDenoiser(2, 4, CLASSES, PIXELS, (16,), heads=2, condition_width=8)
    network.normalise_to(torch.tensor([1.0, -1.0]), torch.tensor([2.0, 0.5]))
    found = finished(
        sample_latents(network, torch.zeros(2, CLASSES, PIXELS, PIXELS), [0, 1], SamplingOptions(name, 12))
    )
    torch.testing.assert_close(found[:, :, 0], torch.full((2, 3, 4, 4), 0.7 * 2 + 1), atol=0.02, rtol=0)
    torch.testing.assert_close(found[:, :, 1], torch.full((2, 3, 4, 4), 0.7 * 0.5 - 1), atol=0.02, rtol=0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_block_comes_out_the_same_in_any_batch(name: str) -> None:
    network = woken(diffusion_state().model)
    layout = small_blocks(3).layout
    together = finished(sample_latents(network, layout, [4, 5, 6], SamplingOptions(name, 6, guidance=2.0)))
    options = SamplingOptions(name, 6, guidance=2.0, batch=1)
    alone = finished(sample_latents(network, layout[1:2], [5], options))
    torch.testing.assert_close(together[1:2], alone, atol=2e-4, rtol=0)  # random weights amplify rounding
    assert (together[0] - together[1]).abs().max() > 1e-2
    planes = decode_latents(vae_state().model, together, batch=2)
    assert planes.shape == (3, 3, CHANNELS, RESOLUTION, RESOLUTION)


def test_guidance_of_none_ignores_the_plan() -> None:
    network = woken(diffusion_state().model)
    layout, options = small_blocks(1).layout, SamplingOptions(steps=4, guidance=0.0)
    a = finished(sample_latents(network, layout, [1], options))
    b = finished(sample_latents(network, 1 - layout, [1], options))
    assert torch.equal(a, b)


def test_sampling_reports_every_step() -> None:
    steps = sample_latents(
        diffusion_state().model, small_blocks(3).layout, [1, 2, 3], SamplingOptions(steps=5, batch=2)
    )
    assert [report.step for report in steps] == list(range(1, 11))


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: SamplingOptions(steps=0), "E-USAGE-STEPS"),
        (lambda: SamplingOptions(steps=1001), "E-USAGE-STEPS"),
        (lambda: noise_schedule("epsilonish"), "E-USAGE-PREDICTION"),
        (
            lambda: next(
                sample_latents(diffusion_state().model, small_blocks(1).layout, [1], SamplingOptions("euler", 4))
            ),
            "E-USAGE-SAMPLER",
        ),
    ],
)
def test_impossible_sampling_is_refused(make: Any, code: str) -> None:
    with pytest.raises(UserError) as caught:
        make()
    assert caught.value.code == code


_TWO = """
import sys, warnings, torch
sys.path[:0] = [{tests!r}]
from test_scene_training import run_diffusion, diffusion_state, run_vae, vae_state
import torch.distributed as dist
from safetensors.torch import save
from fields.safeio import write_bytes
from test_scene_training import DiffusionOptions
torch.set_num_threads(1)
states = {{"vae": vae_state(), "diffusion": diffusion_state()}}
run_vae(states["vae"], 6)
run_diffusion(states["diffusion"], 6)
assert dist.get_world_size() == 2
for name, state in states.items():
    write_bytes({out!r} + f"/{{name}}-{{dist.get_rank()}}.safetensors", save(dict(state.model.state_dict())))
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_learn_the_same_as_one(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    tests = Path(__file__).resolve().parent
    script = tmp_path / "two.py"
    script.write_text(_TWO.format(tests=str(tests), out=str(tmp_path)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "PYTHONPATH": str(tests.parent), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, state, run in (("vae", vae_state(), run_vae), ("diffusion", diffusion_state(), run_diffusion)):
        run(state, 6)  # type: ignore[operator]
        one, two = (load_file(tmp_path / f"{name}-{rank}.safetensors") for rank in (0, 1))
        assert all(torch.equal(one[key], two[key]) for key in one)
        for key, value in state.model.state_dict().items():  # type: ignore[attr-defined]
            torch.testing.assert_close(one[key], value, atol=2e-3, rtol=1e-2)


def test_being_on_the_wrong_side_costs_more_the_farther_it_is_and_the_true_distance_costs_least() -> None:
    sdf = torch.tensor([-0.05, -0.01, 0.0, 0.01, 0.05])
    offsets = torch.linspace(-0.1, 0.1, 41)
    costs = side_error(sdf[:, None] + offsets, sdf[:, None].expand(-1, 41))
    assert (costs.argmin(1) == 20).all()
    inside = side_error(torch.tensor([0.01, 0.03, 0.06]), torch.full((3,), -0.05))
    assert (inside.diff() > 0).all()
