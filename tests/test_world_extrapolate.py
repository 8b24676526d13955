"""New blocks beside known ones: the plan of steps, what is kept, and what resampling gains."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from world_scenes import CLASSES, QUICK, SHAPE, tiny_denoiser

from fields.errors import UserError
from fields.progress import finished
from scenegen.sampling import SamplingOptions, sample_latents
from scenegen.schedulers import noise_schedule
from scenegen.world.alternatives import independent, synchronised
from scenegen.world.extrapolate import (
    CLEAN,
    GrowOptions,
    NoiseLevels,
    Step,
    extrapolate,
    resampling_plan,
    sampling_times,
)
from scenegen.world.neighbours import OFFSETS, Known, known_from
from scenegen.world.noise import CellNoise
from scenegen.world.waves import moved

NETWORK = tiny_denoiser()


def plans(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return (torch.rand(count, len(CLASSES), 32, 32, generator=generator) > 0.7).to(torch.uint8)


def beside(offsets: Any) -> Known:
    """What random neighbours fix that agree with one another."""
    whole = CellNoise([(0, 0), *OFFSETS], SHAPE, 99)(0)
    return known_from({offset: whole[1 + OFFSETS.index(offset)] for offset in offsets}, SHAPE)


def counted(plan: list[Step]) -> tuple[int, int]:
    return sum(step.kind == "denoise" for step in plan), sum(step.kind == "renoise" for step in plan)


@pytest.mark.parametrize(
    ("arguments", "evaluations", "jumps"),
    [
        ((50, 1, 10), 50, 0),
        ((50, 3, 10), 130, 8),
        ((1000, 15, 100), 13_600, 126),
        ((8, 2, 1), 15, 7),
        ((4, 3, 4), 4, 0),
    ],
)
def test_plan_has_as_many_evaluations_as_repaint_counts(arguments: Any, evaluations: int, jumps: int) -> None:
    assert counted(resampling_plan(*arguments)) == (evaluations, jumps)


def test_plan_is_one_way_from_noise_to_clean_and_jumps_go_back() -> None:
    steps, resamples, jump = 20, 3, 4
    plan, times = resampling_plan(steps, resamples, jump), sampling_times(steps)
    assert plan[0].time == times[0] == 999 and plan[-1].next_time == CLEAN
    assert all(one.next_time == other.time for one, other in itertools.pairwise(plan))
    for step in plan:
        way = times.index(step.next_time) - times.index(step.time)
        assert way == (1 if step.kind == "denoise" else -jump)
    started = [step.time for step in plan if step.kind == "denoise"]
    assert {started.count(time) for time in times[jump:-1]} == {resamples}
    assert {started.count(time) for time in times[:jump]} == {1}


def test_small_plan_is_as_drawn_in_the_paper() -> None:
    level = sampling_times(4)[::-1].index
    found = [(level(step.time), level(step.next_time)) for step in resampling_plan(4, 2, 2)]
    assert found == [(4, 3), (3, 2), (2, 1), (1, 0), (0, 2), (2, 1), (1, 0)]


@pytest.mark.parametrize("prediction", ["sample", "v_prediction"])
def test_without_neighbours_it_is_plain_ddim(prediction: str) -> None:
    options = GrowOptions(5, resamples=3, jump=2, guidance=1.5, prediction=prediction)  # 5 divides 1,000
    start = torch.stack([torch.randn(SHAPE, generator=torch.Generator().manual_seed(n)) for n in (3, 4)])
    found = extrapolate(NETWORK, plans(2), [known_from({}, SHAPE)] * 2, lambda draw: start, options)
    plain = SamplingOptions("ddim", 5, 1.5, prediction)
    expected = finished(sample_latents(NETWORK, plans(2), [3, 4], plain))
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("count", range(9))
def test_known_cells_come_out_bit_for_bit_with_any_number_of_neighbours(count: int) -> None:
    known = beside(OFFSETS[:count])
    (found,) = extrapolate(NETWORK, plans(1), [known], CellNoise([(-4, 9)], SHAPE, 1), QUICK)
    where = known.mask.expand(SHAPE)
    assert torch.equal(found[where], known.latent[where]) and found.isfinite().all()
    (alone,) = extrapolate(NETWORK, plans(1), [beside(())], CellNoise([(-4, 9)], SHAPE, 1), QUICK)
    assert torch.equal(found, alone) == (count == 0), "the rest goes by what is known"


def test_a_block_comes_out_the_same_in_any_batch() -> None:
    indices = [(0, 0), (4, 0), (-2, 6), (8, 8), (-6, -6)]
    known = [beside(()), beside(OFFSETS), beside(OFFSETS[:1]), beside(()), beside(OFFSETS[3:6])]
    together = extrapolate(NETWORK, plans(5), known, CellNoise(indices, SHAPE, 1), QUICK)
    for part in ([0], [1], [4, 2], [3, 1, 0]):
        noise = CellNoise([indices[n] for n in part], SHAPE, 1)
        found = extrapolate(NETWORK, plans(5)[part], [known[n] for n in part], noise, QUICK)
        assert (found - together[part]).abs().max() <= 1e-5


class OneNumber(nn.Module):
    """The exact denoiser of latents whose cells all hold one number, drawn from the standard normal distribution."""

    latent_shape = SHAPE

    def __init__(self) -> None:
        super().__init__()
        self.anything = nn.Parameter(torch.zeros(1))
        self.kept = noise_schedule().alphas_cumprod

    def normalised(self, latent: Tensor) -> Tensor:
        return latent

    restored = normalised

    def forward(self, noisy: Tensor, time: Tensor, *_: Any) -> Tensor:
        a, n = self.kept[time][:, None, None, None, None], noisy[0].numel()
        return (a.sqrt() * noisy.sum((1, 2, 3, 4), keepdim=True) / (n * a + 1 - a)).expand_as(noisy)


def test_resampling_brings_new_cells_to_where_known_ones_are() -> None:
    model: Any = OneNumber()
    mask = beside([(1, 0)]).mask
    known = [Known(torch.full(SHAPE, 1.7) * mask, mask)] * 64
    noise = CellNoise([(2 * n, 0) for n in range(64)], SHAPE, 3)
    missed = []
    for resamples in (1, 3, 10):
        found = extrapolate(model, plans(64), known, noise, GrowOptions(20, resamples, 4))
        missed.append(float((found - 1.7)[~mask.expand(64, *SHAPE)].abs().mean()))
    assert missed[0] > 1.5 * missed[1] > 1.5 * missed[2]
    assert missed[2] < 0.35


def test_both_predictions_say_the_same() -> None:
    clean, noise = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).unbind()
    schedule, time = noise_schedule("v_prediction"), 321
    noisy = NoiseLevels("sample").noised(clean, CLEAN, time, noise)
    velocity = schedule.get_velocity(clean[None], noise[None], torch.tensor([time]))[0]  # type: ignore[arg-type]
    torch.testing.assert_close(NoiseLevels("v_prediction").clean(velocity, noisy, time), clean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(NoiseLevels("sample").clean(clean, noisy, time), clean)


def test_noise_added_in_two_parts_has_the_strength_of_one() -> None:
    level, generator = NoiseLevels("sample"), torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 20_000, generator=generator)
    twice = level.noised(level.noised(torch.ones(20_000), CLEAN, 100, first), 100, 700, second)
    once = level.noised(torch.ones(20_000), CLEAN, 700, first)
    assert float(twice.mean() - once.mean()) == pytest.approx(0, abs=0.03)
    assert float(twice.std() / once.std()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"steps": 0}, "E-USAGE-STEPS"), ({"steps": -3}, "E-USAGE-STEPS"), ({"steps": 10**6}, "E-USAGE-STEPS"),
        ({"resamples": 0}, "E-USAGE-RESAMPLES"), ({"jump": 0}, "E-USAGE-JUMP"),
        ({"resamples": 2, "jump": 50}, "E-USAGE-JUMP"),
        ({"guidance": float("nan")}, "E-USAGE-GUIDANCE"), ({"guidance": -1.0}, "E-USAGE-GUIDANCE"),
        ({"prediction": "epsilon"}, "E-USAGE-PREDICTION"),
    ],
)  # fmt: skip
def test_impossible_options_are_refused(wrong: dict[str, Any], code: str) -> None:
    with pytest.raises(UserError) as caught:
        GrowOptions(**wrong)
    assert caught.value.code == code


def gaps(indices: list[tuple[int, int]], found: Tensor) -> list[float]:
    """Mean differences of pairs of neighbours in the cells they share."""
    by_index = dict(zip(indices, found, strict=True))
    sides = [(index, offset) for index in indices for offset in OFFSETS if moved(index, offset) in by_index]
    shared = [known_from({offset: by_index[moved(index, offset)]}, SHAPE) for index, offset in sides]
    return [
        float((known.latent - by_index[index])[known.mask.expand(SHAPE)].abs().mean())
        for (index, _), known in zip(sides, shared, strict=True)
    ]


def test_synchronised_blocks_agree_where_they_overlap_and_independent_ones_do_not() -> None:
    indices = [(i, k) for k in (-1, 0) for i in (-1, 0, 1)]
    together = synchronised(NETWORK, plans(6), indices, 3, QUICK)
    assert max(gaps(indices, together)) < 1e-5
    apart = independent(NETWORK, plans(6), indices, 3, QUICK)
    assert apart.shape == together.shape == (6, *SHAPE) and min(gaps(indices, apart)) > 0.05
    assert torch.equal(independent(NETWORK, plans(6)[2:3], indices[2:3], 3, QUICK)[0], apart[2])
