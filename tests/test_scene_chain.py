"""From scenes to a judged, packed generator with two commands."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import pytest
import torch
from command_line import run

import scenegen.presets
from app.scene_chain import (
    BLOCKS,
    DIFFUSION,
    FIGURES,
    GALLERY,
    IMPROVED,
    PLANES,
    RECORD,
    VAE,
    ChainSettings,
    train_chain,
)
from app.scene_pack import _figures as figures_of
from app.scene_sources import crop_settings
from fields.errors import UserError
from scenegen.model_folder import load_model, read_notes
from scenegen.models import ConvDenoiser, TriplaneVAE
from scenegen.presets import PRESETS, DataPreset
from scenegen.scenes import procedural_sources


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The preset `tiny` with so little of everything that it takes seconds."""
    usual = PRESETS["tiny"]
    fit = replace(usual.fit, joint_blocks=2, joint_steps=3, steps=3, points=256)
    vae = replace(usual.vae, batch=2, steps=2, improve_steps=12)
    diffusion = replace(usual.diffusion, batch=2, steps=2, sampling_steps=2)
    preset = replace(usual, data=DataPreset(4, 2, 0.5, 1024), fit=fit, vae=vae, diffusion=diffusion)
    monkeypatch.setitem(scenegen.presets.PRESETS, "tiny", preset)


def weights(out: Path, run_folder: str, kind: type[ConvDenoiser | TriplaneVAE], name: str) -> dict[str, torch.Tensor]:
    """The weights of a network that a stage of the chain has left."""
    return load_model(kind, out / run_folder / "model", name).state_dict()


def test_a_killed_chain_goes_on_to_the_same_generator(small: None, tmp_path: Path) -> None:
    sources = procedural_sources("rooms:4", 3, 4)
    settings = ChainSettings(crop_settings(sources[0], None, 1024), seed=3, count=3)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    phases = {report.phase for report in train_chain(sources, settings, whole)}
    assert {"prepare", "decoder", "fit", "vae", "improve", "diffusion"} <= phases
    for stage in ("vae", "improve"):
        running = train_chain(sources, settings, broken)
        next(report for report in running if report.phase == stage)
        running.close()
    assert json.loads((broken / IMPROVED / RECORD).read_text())["status"] == "interrupted"
    assert json.loads((broken / RECORD).read_text())["seconds"]["improve"] > 0  # of the stage it was stopped in
    assert not (broken / IMPROVED / "model").exists() and not (broken / FIGURES).exists()
    list(train_chain(sources, settings, broken))
    for kind, name in ((ConvDenoiser, "denoiser"), (TriplaneVAE, "vae")):
        ours, theirs = (weights(out, DIFFUSION, kind, name) for out in (whole, broken))
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    record = json.loads((broken / RECORD).read_text())
    stages = {"prepare", "fit", "vae", "improve", "diffusion", "evaluate"}
    assert record["status"] == "done" and set(record["seconds"]) == stages
    again = takewhile(lambda report: report.phase != "diffusion", train_chain(sources, settings, broken))
    assert [report.step for report in again if report.phase == "improve"] == [12]  # done already


def test_the_generator_has_the_improved_way_back_from_the_same_latents(small: None, tmp_path: Path) -> None:
    sources = procedural_sources("rooms:4", 3, 4)
    running = train_chain(sources, ChainSettings(crop_settings(sources[0], None, 1024)), tmp_path)
    next(report for report in running if (tmp_path / DIFFUSION / "model").exists())
    running.close()
    first, improved, last = (weights(tmp_path, name, TriplaneVAE, "vae") for name in (VAE, IMPROVED, DIFFUSION))
    assert all(torch.equal(improved[key], last[key]) for key in improved)
    back = ("latent_in.", "decoder.", "planes_out.")
    changed = {key for key in first if not torch.equal(first[key], last[key])}
    assert changed and all(key.startswith(back) for key in changed)
    assert {key.split(".")[0] + "." for key in changed} == set(back)


def test_commands_train_judge_and_pack(small: None, tmp_path: Path) -> None:
    out, packed = tmp_path / "all", tmp_path / "rooms-mine"
    words = ("scene", "train-all", "--procedural", "rooms:4", "--count", "3", "--processes", "1", "--out", str(out))
    outcome = run(*words, "--json")
    assert outcome.code == 0, outcome.err
    assert {entry.name for entry in out.iterdir()} >= {
        BLOCKS,
        PLANES,
        VAE,
        IMPROVED,
        DIFFUSION,
        FIGURES,
        GALLERY,
        RECORD,
    }
    assert outcome.json["metrics"]["generation"]["blocks"] == 2
    again = run(*words)
    assert again.code == 2 and "E-USAGE-EXISTS" in again.err
    pack = ("scene", "pack", str(out / DIFFUSION), "--out", str(packed), "--data", "four flats", "--licence", "CC0")
    assert run(*pack, "--figures", str(out / FIGURES)).code == 0
    card = (packed / "README.md").read_text()
    assert "four flats" in card and "CC0" in card and "1-NNA" in card and "surface error" in card
    assert read_notes(packed)["classes"] == read_notes(out / DIFFUSION / "model")["classes"]
    mine, theirs = (load_model(ConvDenoiser, path, "denoiser") for path in (packed, out / DIFFUSION / "model"))
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)
    (tmp_path / "list.json").write_text("[]")
    bad = run(*pack, "--figures", str(tmp_path / "list.json"), "--force")
    assert bad.code == 3 and "E-JSON-KIND" in bad.err


def test_figures_that_do_not_exist_are_told_as_such() -> None:
    """Blocks without any surface have no distances between shapes."""
    reference = {"nna": 0.5, "cov": None}
    found = figures_of({"fit": {"surface_mm": None, "sign_iou": 0.5}, "generation": {"nna": None, "cov": 0.25,
                                                                                   "reference": reference}})
    assert "| planes as fitted | surface error none mm, sign IoU 0.500 |" in found
    assert "| generated against held-out: 1-NNA, COV | none, 0.250 |" in found


def test_one_source_is_asked_for(tmp_path: Path) -> None:
    for words in ((), (str(tmp_path), "--procedural", "rooms:4")):
        outcome = run("scene", "train-all", *words, "--out", str(tmp_path / "out"))
        assert outcome.code == 2 and "E-USAGE-SOURCE" in outcome.err and not (tmp_path / "out").exists()


def test_sizes_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="E-USAGE-SIZE"):
        crop_settings(procedural_sources("rooms:1", 0, 1)[0], 0.01, 1024)
