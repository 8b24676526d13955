"""From scenes to a judged, packed generator with two commands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import run

import scenegen.presets
from app.scene_chain import BLOCKS, DIFFUSION, FIGURES, GALLERY, PLANES, RECORD, VAE, ChainSettings, train_chain
from app.scene_sources import crop_settings
from fields.errors import UserError
from scenegen.model_folder import load_model, read_notes
from scenegen.models import ConvDenoiser
from scenegen.presets import PRESETS, DataPreset
from scenegen.scenes import procedural_sources


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The preset `tiny` with so little of everything that it takes seconds."""
    usual = PRESETS["tiny"]
    fit = replace(usual.fit, joint_blocks=2, joint_steps=3, steps=3, points=256)
    vae, diffusion = replace(usual.vae, batch=2, steps=2), replace(usual.diffusion, batch=2, steps=2, sampling_steps=2)
    preset = replace(usual, data=DataPreset(4, 2, 0.5, 1024), fit=fit, vae=vae, diffusion=diffusion)
    monkeypatch.setitem(scenegen.presets.PRESETS, "tiny", preset)


def test_a_killed_chain_goes_on_to_the_same_generator(small: None, tmp_path: Path) -> None:
    sources = procedural_sources("rooms:4", 3, 4)
    settings = ChainSettings(crop_settings(sources[0], None, 1024), seed=3, count=3)
    whole = train_chain(sources, settings, tmp_path / "whole")
    phases = {report.phase for report in whole}
    assert {"prepare", "decoder", "fit", "vae", "diffusion"} <= phases
    broken = train_chain(sources, settings, tmp_path / "broken")
    next(report for report in broken if report.phase == "vae")
    broken.close()
    assert not (tmp_path / "broken" / FIGURES).exists()
    list(train_chain(sources, settings, tmp_path / "broken"))
    folders = (tmp_path / name / DIFFUSION / "model" for name in ("whole", "broken"))
    ours, theirs = (load_model(ConvDenoiser, folder, "denoiser") for folder in folders)
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    record = json.loads((tmp_path / "broken" / RECORD).read_text())
    assert record["status"] == "done" and set(record["seconds"]) == {"prepare", "fit", "vae", "diffusion", "evaluate"}


def test_commands_train_judge_and_pack(small: None, tmp_path: Path) -> None:
    out, packed = tmp_path / "all", tmp_path / "rooms-mine"
    words = ("scene", "train-all", "--procedural", "rooms:4", "--count", "3", "--processes", "1", "--out", str(out))
    outcome = run(*words, "--json")
    assert outcome.code == 0, outcome.err
    assert {entry.name for entry in out.iterdir()} >= {BLOCKS, PLANES, VAE, DIFFUSION, FIGURES, GALLERY, RECORD}
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


def test_one_source_is_asked_for(tmp_path: Path) -> None:
    for words in ((), (str(tmp_path), "--procedural", "rooms:4")):
        outcome = run("scene", "train-all", *words, "--out", str(tmp_path / "out"))
        assert outcome.code == 2 and "E-USAGE-SOURCE" in outcome.err and not (tmp_path / "out").exists()


def test_sizes_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="E-USAGE-SIZE"):
        crop_settings(procedural_sources("rooms:1", 0, 1)[0], 0.01, 1024)
