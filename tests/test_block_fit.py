"""Fitting tri-planes to blocks: lookups, losses, resuming, and how near the surface they come."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from cuda_ext.engine import reference_only
from fields.errors import UserError, UserErrors
from fields.progress import finished
from scenegen.augment import SYMMETRIES
from scenegen.blocks import CLAMP, BlockFrame
from scenegen.crops import CropSettings
from scenegen.decoder import TriplaneDecoder
from scenegen.executors import results
from scenegen.fit import FitSettings, Fitted, _fit_whole_shard, _Task, fit_blocks, new_decoder, open_decoder, optimise
from scenegen.fit_loss import block_quality, distance_error, draw, mean_quality, sign_iou
from scenegen.lookup import plane_features
from scenegen.prepare import PrepareSettings, prepare_blocks
from scenegen.presets import PRESETS, FitPreset
from scenegen.scenes import procedural_sources
from scenegen.store import BlockStore, open_store
from tests.command_line import run

MINUTE = FitPreset(4, 8, 16, 1, (4, 8), joint_blocks=2, joint_steps=12, steps=10, points=64, batch=2)
SETTINGS = FitSettings(MINUTE, seed=3)


def _prepared(folder: Path, scenes: int, samples: int) -> BlockStore:
    crop = CropSettings(BlockFrame(), "room", samples, checks=max(64, samples // 8))
    settings = PrepareSettings(crop, crops=1, held_out=0.34, seed=0)
    return finished(prepare_blocks(procedural_sources(f"rooms:{scenes}", 0, 1), settings, folder)).store


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> BlockStore:
    return _prepared(tmp_path_factory.mktemp("samples") / "store", 3, 256)


@pytest.fixture(scope="module")
def fitted(samples: BlockStore, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return finished(fit_blocks(samples, SETTINGS, tmp_path_factory.mktemp("fitted") / "store"))


def test_planes_are_read_along_their_axes() -> None:
    ramp = torch.linspace(-1, 1, 5)
    planes = torch.zeros(1, 3, 3, 5, 5)
    planes[0, 0, 0], planes[0, 1, 1], planes[0, 2, 2] = ramp[None, :], ramp[:, None], ramp[None, :]
    x = torch.rand(1, 7, 3) * 2 - 1  # columns of xy lie along x, rows of xz along z, columns of yz along y
    assert torch.allclose(plane_features(planes, x)[0], x[0][:, [0, 2, 1]], atol=1e-6)


def test_all_blocks_at_once_give_the_same_features_and_gradients_as_the_kernel() -> None:
    torch.manual_seed(1)
    decoder = TriplaneDecoder(channels=4, resolution=6, width=8, layers=1)
    planes, x = torch.randn(2, 3, 4, 6, 6), torch.rand(2, 9, 3) * 1.9 - 0.95
    found = []
    for reference in (False, True):
        leaf = planes.clone().requires_grad_()
        if reference:
            with reference_only():
                f, gradient = decoder.with_gradient(leaf, x)
                (f.sum() + gradient.square().sum()).backward()
        else:
            f, gradient = decoder.with_gradient(leaf, x)
            (f.sum() + gradient.square().sum()).backward()
        found.append((f, gradient, leaf.grad))
    for ours, theirs in zip(*found, strict=True):
        assert ours is not None and torch.allclose(ours, theirs, atol=1e-5)


def test_turned_planes_decode_to_turned_blocks() -> None:
    torch.manual_seed(2)
    decoder = TriplaneDecoder(channels=4, resolution=6, width=8, layers=1)
    planes, x = torch.randn(1, 3, 4, 6, 6), torch.rand(1, 20, 3) * 2 - 1
    for symmetry in SYMMETRIES:
        assert torch.allclose(decoder(symmetry.planes(planes), symmetry.points(x)), decoder(planes, x), atol=1e-5)


def test_a_frozen_decoder_has_the_same_distances_and_derivatives() -> None:
    """With more points than go through it together: values, gradients in space, and those of both to the planes."""
    torch.manual_seed(2)
    decoder, x = TriplaneDecoder(4, 8, 16, 2), torch.rand(2, 5000, 3) * 2 - 1
    planes = torch.randn(2, 3, 4, 8, 8)

    def found() -> list[torch.Tensor]:
        leaf = planes.clone().requires_grad_()
        distance, gradient = decoder.with_gradient(leaf, x)
        loss = (decoder(leaf, x) * torch.linspace(-1, 1, 5000)).sum() + (gradient.norm(dim=-1) - 1).square().sum()
        return [distance, gradient, *torch.autograd.grad(loss, leaf)]

    learning = found()
    decoder.requires_grad_(False)
    for ours, theirs in zip(found(), learning, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3, rtol=1e-4)


def test_being_farther_than_far_is_no_error() -> None:
    sdf = torch.tensor([CLAMP, CLAMP, -CLAMP, 0.1])
    error = distance_error(torch.tensor([0.9, 0.1, -0.9, -0.1]), sdf)
    assert torch.allclose(error, torch.tensor([0.0, 0.15, 0.0, 0.2]))


def test_batches_have_a_quarter_of_each_kind_and_matching_targets(samples: BlockStore) -> None:
    whole = samples.gather(samples.blocks())
    batch = draw(whole, 64, torch.Generator().manual_seed(0))
    assert int(batch["surface"].sum()) == 16 and batch["sdf"].shape[1] == 64
    points = torch.cat([batch["steep_points"], batch["points"]], 1)
    known = {tuple(p.tolist()): float(s) for p, s in zip(whole["points"][0].float(), whole["sdf"][0], strict=True)}
    for point, sdf in zip(points[0], batch["sdf"][0], strict=True):
        assert known[tuple(point.tolist())] == float(sdf)
    assert batch["normals"].shape[1] == 8 and batch["sdf"][:, :8].abs().max() < 2e-3


def test_sign_iou_counts_the_insides() -> None:
    assert sign_iou(torch.tensor([-1.0, -1.0, 1.0]), torch.tensor([-1.0, 1.0, 1.0])) == 0.5
    assert sign_iou(torch.tensor([1.0]), torch.tensor([1.0])) == 1.0
    rows = [{"surface_mm": 1.0, "sign_iou": 1.0, "thin": 0.0},
            {"surface_mm": 3.0, "sign_iou": 0.5, "thin": 4.0, "thin_mm": 6.0, "thin_iou": 0.5}]  # fmt: skip
    assert mean_quality(rows) == {"surface_mm": 2.0, "sign_iou": 0.75, "thin_mm": 6.0, "thin_iou": 0.5,
                                  "blocks": 2.0, "thin": 4.0}  # fmt: skip
    assert mean_quality([]) == {}


def test_a_fitted_store_is_complete_and_tells_its_quality(samples: BlockStore, fitted: Fitted) -> None:
    store = open_store(fitted.store.folder, "fitted")
    assert [b.scene for b in store.blocks()] == [b.scene for b in samples.blocks()]
    held, frame = store.blocks("held-out"), store.head.frame
    planes = store.gather(held)["planes"]
    assert planes.shape == (1, 3, 4, 8, 8) and planes.dtype == torch.float16
    again = block_quality(open_decoder(store), planes.float(), samples.gather(held), frame)
    assert again[0] == pytest.approx(held[0].quality, rel=1e-3)
    assert fitted.quality["held-out"]["blocks"] == 1.0 and fitted.cpu_seconds_per_block > 0


def test_start_is_the_same_in_all_directions(fitted: Fitted) -> None:
    start = open_decoder(fitted.store).start
    assert start.abs().max() > 0
    assert all(torch.allclose(symmetry.planes(start), start, atol=1e-6) for symmetry in SYMMETRIES)


def test_a_block_is_fitted_alike_in_any_company(samples: BlockStore) -> None:
    decoder = new_decoder(SETTINGS).requires_grad_(False)
    batch = samples.gather(samples.blocks())
    together = [now.planes for now in optimise(decoder, batch, SETTINGS, 6)][-1]
    alone = [now.planes for now in optimise(decoder, {k: v[1:2] for k, v in batch.items()}, SETTINGS, 6)][-1]
    assert torch.allclose(together[1], alone[0], atol=1e-5)


def test_a_resumed_fit_makes_missing_shards_with_the_same_bits(
    samples: BlockStore, fitted: Fitted, tmp_path: Path
) -> None:
    shutil.copytree(fitted.store.folder, tmp_path / "copy")
    shard = tmp_path / "copy" / fitted.store.path(0).name
    before = shard.read_bytes()
    shard.write_bytes(before[:-1])
    finished(fit_blocks(samples, SETTINGS, tmp_path / "copy", resume=True))
    assert shard.read_bytes() == before


def test_processes_fit_what_one_does(samples: BlockStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scenegen.prepare.SCENES_PER_SHARD", 1)
    several = _prepared(tmp_path / "samples", 3, 256)
    one, two = (finished(fit_blocks(several, SETTINGS, tmp_path / str(n), processes=n)) for n in (1, 2))
    assert several.head.shards == 3 and two.cpu_seconds_per_block > 0
    planes = [found.store.gather(found.store.blocks())["planes"].float() for found in (one, two)]
    assert torch.allclose(*planes, atol=2e-3) and planes[0].std() > 0.01
    for ours, theirs in zip(one.store.blocks(), two.store.blocks(), strict=True):
        assert ours.scene == theirs.scene and ours.quality == pytest.approx(theirs.quality, rel=0.05)


def test_a_process_that_meets_damage_says_what_and_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scenegen.prepare.SCENES_PER_SHARD", 1)
    several = _prepared(tmp_path / "samples", 3, 256)
    finished(fit_blocks(several, SETTINGS, tmp_path / "planes"))
    task = _Task(0, [block for block in several.blocks() if block.shard == 0])
    damaged = several.path(0)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    work = partial(_fit_whole_shard, several, open_store(tmp_path / "planes", "fitted"), SETTINGS)
    with pytest.raises(UserError) as caught:
        list(results(work, [task, task], processes=2))
    assert caught.value.code.startswith("E-CKPT") and damaged.name in str(caught.value)


@pytest.mark.parametrize("count", [1, 3])
def test_errors_survive_the_way_between_processes(count: int) -> None:
    problems = [
        UserError("E-MESH-EMPTY", f"no {k}", where="a.obj", got=k, expected="1", fix="mend") for k in range(count)
    ]
    error = problems[0] if count == 1 else UserErrors(problems)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error) and vars(again).keys() == vars(error).keys()


def test_starting_anew_trains_another_decoder(samples: BlockStore, fitted: Fitted, tmp_path: Path) -> None:
    shutil.copytree(fitted.store.folder, tmp_path / "copy")
    anew = finished(fit_blocks(samples, replace(SETTINGS, seed=4), tmp_path / "copy", force=True))
    kept = finished(fit_blocks(samples, replace(SETTINGS, seed=4), tmp_path / "copy", resume=True))
    start = anew.decoder.start
    assert torch.equal(kept.decoder.start, start) and not torch.equal(fitted.decoder.start, start)


def test_command_fits_and_reports(samples: BlockStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", replace(PRESETS["tiny"], fit=MINUTE))
    outcome = run("scene", "fit", samples.folder, "--out", tmp_path / "fit", "--device", "cpu", "--steps", 4, "--json")
    assert outcome.code == 0, outcome.err
    assert {"surface_mm", "sign_iou"} <= set(outcome.json["quality"]["held-out"])
    assert (tmp_path / "fit" / "decoder" / "config.json").is_file()


@pytest.mark.slow
def test_tiny_planes_come_near_the_surfaces_of_rooms(tmp_path: Path) -> None:
    store = _prepared(tmp_path / "samples", 4, 16_384)
    preset = replace(PRESETS["tiny"].fit, joint_blocks=4)
    found = finished(fit_blocks(store, FitSettings(preset), tmp_path / "fitted"))
    for figures in found.quality.values():
        assert figures["surface_mm"] < 7 and figures["sign_iou"] > 0.87
