"""Training and judging the generator as jobs on block stores: folders, resuming, figures, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import run
from PIL import Image

from app.scene_training import MODEL, Place, TrainSettings, vae_run
from data.palette import legend
from fields.checkpoint import load_tensors
from fields.errors import UserError
from scenegen.blocks import BlockFrame
from scenegen.decoder import TriplaneDecoder
from scenegen.model_files import save_model
from scenegen.store import Block, BlockStore, StoreHead, begin_store, open_store

CLASSES = tuple(entry.name for entry in legend("room"))
CHECKS, COUNT = 32, 7


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `blocks` and `planes` of seven blocks, four of them held out, each with a ball in it."""
    root = tmp_path_factory.mktemp("stores")
    generator = torch.Generator().manual_seed(0)
    blocks = [
        Block(f"scene-{k}", "train" if k % 2 else "held-out", (float(k), 1.45, 0.0), 0, k, {"surface_mm": 1.0,
              "sign_iou": 0.9, "thin": 0.0}) for k in range(COUNT)
    ]  # fmt: skip
    points = torch.rand(COUNT, 256, 3, generator=generator) * 2 - 1
    checks = torch.rand(COUNT, 3 * CHECKS, 3, generator=generator) * 2 - 1
    samples = {
        "points": points,
        "sdf": (points.norm(dim=-1) - 0.6).clamp(-0.25, 0.25),
        "check_points": checks,
        "check_sdf": (checks.norm(dim=-1) - 0.6).clamp(-0.25, 0.25),
        "check_thin": torch.zeros(COUNT, CHECKS, dtype=torch.uint8),
    }
    _fill(root / "blocks", "samples", samples, blocks)
    layout = torch.zeros(COUNT, len(CLASSES), 32, 32, dtype=torch.uint8)
    layout[:, CLASSES.index("table"), 12:20, 12:20] = 1
    planes = torch.randn(COUNT, 3, 8, 32, 32, generator=generator).half()
    _fill(root / "planes", "fitted", {"planes": planes, "layout": layout}, blocks)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_model(TriplaneDecoder(), root / "planes" / "decoder")
    return root


def _fill(folder: Path, kind: Any, tensors: dict[str, torch.Tensor], blocks: list[Block]) -> None:
    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in tensors.items()}
    head = StoreHead(kind, "room", BlockFrame(), CLASSES, 1, shapes, {})
    begin_store(folder, head, resume=False, force=False).write(0, tensors, blocks)


def _open(root: Path) -> tuple[BlockStore, BlockStore]:
    return open_store(root / "blocks", "samples"), open_store(root / "planes", "fitted")


def test_interrupted_run_resumes_to_the_weights_of_an_unbroken_one(stores: Path, tmp_path: Path) -> None:
    settings = TrainSettings(steps=12, batch=1)
    list(vae_run(*_open(stores), settings, Place(tmp_path / "whole")))
    broken = vae_run(*_open(stores), settings, Place(tmp_path / "broken"))
    assert next(broken).step == 10
    broken.close()
    assert json.loads((tmp_path / "broken" / "run.json").read_text())["status"] == "interrupted"
    assert not (tmp_path / "broken" / MODEL).exists()
    list(vae_run(*_open(stores), settings, Place(tmp_path / "broken", resume=True)))
    whole, resumed = (load_tensors(tmp_path / name / "state-000000012.safetensors")[0] for name in ("whole", "broken"))
    assert [name for name in whole if name != "numbers" and not torch.equal(whole[name], resumed[name])] == []
    assert json.loads((tmp_path / "broken" / "run.json").read_text())["status"] == "done"


def test_commands_lead_from_planes_to_figures(stores: Path, tmp_path: Path) -> None:
    blocks, planes, vae, out = (str(p) for p in (stores / "blocks", stores / "planes", tmp_path / "v", tmp_path / "d"))
    _json("scene", "train-vae", blocks, planes, "--steps", "2", "--batch", "1", "--out", vae, "--json")
    alone = _json("scene", "evaluate", vae, blocks, planes, "--json")
    assert alone["generation"] == {} and 0 <= alone["vae"]["sign_iou"] <= 1
    _json("scene", "train-diffusion", vae, planes, "--steps", "2", "--batch", "2", "--out", out, "--json")
    assert _size(Path(out) / "samples.png") == (3 * 68 + 4, 2 * 68 + 4)
    sheet = str(tmp_path / "sheet.png")
    command = ("scene", "evaluate", out, blocks, planes, "--count", "3", "--steps", "2", "--sheet", sheet, "--json")
    document = _json(*command)
    better = str(tmp_path / "better")
    _json("scene", "train-vae", blocks, planes, "--improve", out, "--steps", "2", "--batch", "1",
          "--out", better, "--json")  # fmt: skip
    assert {"decoder", "vae", "denoiser"} <= {path.name for path in (Path(better) / "model").iterdir()}
    assert _json("scene", "evaluate", better, blocks, planes, "--count", "3", "--steps", "2", "--json")["generation"]
    assert {"fit", "vae", "generation", "layout", "seams", "seconds_per_block", "peak_bytes"} <= set(document)
    assert document["generation"]["blocks"] == 2 and set(document["layout"]) >= {"iou", "shuffled"}
    assert _size(sheet)[1] == 3 * 68 + 4


def test_planes_of_another_preset_are_refused_before_anything_is_written(stores: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        next(vae_run(*_open(stores), TrainSettings("small"), Place(tmp_path / "out")))
    assert caught.value.code == "E-USAGE-PRESET" and not (tmp_path / "out").exists()


def _json(*words: str) -> dict[str, Any]:
    """The document of a command that succeeded."""
    outcome = run(*words)
    assert outcome.code == 0, outcome.err
    return outcome.json


def _size(path: str | Path) -> tuple[int, int]:
    """Width and height of a picture."""
    with Image.open(path) as picture:
        return picture.size
