"""`scene prepare`: the same blocks however they are made, interrupted or spread."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from data.layout_files import save_layout
from data.rooms import make_room_scene
from fields.errors import UserError
from scenegen.blocks import BlockFrame
from scenegen.crops import CropSettings
from scenegen.executors import check_executor, results
from scenegen.prepare import SCENES_PER_SHARD, Prepared, PrepareSettings, held_out, make_shard, prepare_blocks
from scenegen.scenes import SceneSource, folder_sources, procedural_sources
from scenegen.store import open_store
from tests.command_line import refused, run

SETTINGS = PrepareSettings(CropSettings(BlockFrame(), "room", 128, checks=16), crops=1, held_out=0.25, seed=5)
SOURCES = procedural_sources(f"rooms:{SCENES_PER_SHARD + 1}", 5, 1)  # two shards, the second of one scene


def _prepared(out: Path, sources: list[SceneSource] = SOURCES, **options: Any) -> Prepared:
    steps = prepare_blocks(sources, SETTINGS, out, **options)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blocks") / "store"
    assert _prepared(folder).skipped == ()
    return folder


def test_every_scene_gives_its_blocks_in_one_split(prepared: Path) -> None:
    store = open_store(prepared, "samples")
    blocks = store.blocks()
    assert [b.scene for b in blocks] == [source.name for source in SOURCES]
    assert len(store.blocks("held-out")) == round(0.25 * len(SOURCES))
    tensors = store.gather(blocks)
    assert tensors["points"].shape == (len(blocks), 128, 3) and tensors["points"].dtype == torch.float16
    assert tensors["layout"].shape[1:] == (len(store.head.classes), 32, 32)
    assert ((tensors["normals"].float().norm(dim=-1) - 1).abs() < 1e-2).all()
    assert (tensors["sdf"][:, 96:] < 0).any() and (tensors["sdf"][:, 96:] > 0).any()


def test_two_processes_make_the_same_bytes(prepared: Path, tmp_path: Path) -> None:
    _prepared(tmp_path / "again", processes=2)
    assert _bytes(tmp_path / "again") == _bytes(prepared)


def test_a_resumed_run_makes_what_is_missing_only(prepared: Path, tmp_path: Path) -> None:
    steps = prepare_blocks(SOURCES, SETTINGS, tmp_path / "store")
    next(steps)
    steps.close()
    (first,) = (tmp_path / "store").glob("shard-*")
    made = first.stat().st_mtime_ns
    _prepared(tmp_path / "store", resume=True)
    assert first.stat().st_mtime_ns == made
    assert _bytes(tmp_path / "store") == _bytes(prepared)


def test_a_shard_follows_from_scene_and_seed_alone() -> None:
    alone = list(results(_length, ["a", "bb", "ccc"]))
    assert alone == [1, 2, 3]
    from scenegen.prepare import Shard

    task = Shard(0, ((4, SOURCES[4], "train"),))
    first, again = make_shard(SETTINGS, task), make_shard(SETTINGS, task)
    assert all(np.array_equal(first.arrays[name], again.arrays[name]) for name in first.arrays)


def test_held_out_scenes_are_a_share_and_leave_one_to_train_on() -> None:
    assert len(held_out(100, 0.25, 0)) == 25 and held_out(100, 0.25, 0) != held_out(100, 0.25, 1)
    assert held_out(1, 0.9, 0) == set()


def test_mesh_folders_give_blocks_with_plans_and_bad_files_are_named(tmp_path: Path) -> None:
    scene = make_room_scene(2)
    scene.save(tmp_path / "meshes" / "a.glb")
    save_layout(scene.layout, tmp_path / "meshes" / "a.json")
    (tmp_path / "meshes" / "b.obj").write_text("v 0 0 nonsense\n")
    found = _prepared(tmp_path / "store", folder_sources(str(tmp_path / "meshes"), "room"))
    (block,) = found.store.blocks()
    assert block.scene == "a.glb" and found.store.gather([block], ["layout"])["layout"].any()
    assert len(found.skipped) == 1 and found.skipped[0].startswith("b.obj: ")


def test_a_folder_without_a_usable_scene_is_refused(tmp_path: Path) -> None:
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes" / "b.obj").write_text("v 0 0 nonsense\n")
    with pytest.raises(UserError, match="E-BLOCKS-EMPTY"):
        _prepared(tmp_path / "store", folder_sources(str(tmp_path / "meshes"), "room"))


def test_ray_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match="E-ENV-RAY"):
        check_executor("ray")
    with pytest.raises(UserError, match="E-USAGE-EXECUTOR"):
        check_executor("slurm")


def test_tasks_go_through_ray_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", _ray_of_one_process())
    assert check_executor("ray") == "ray"
    assert sorted(results(_length, ["a", "bb", "ccc"], "ray")) == [1, 2, 3]


def test_command_prepares_and_refuses(tmp_path: Path) -> None:
    words = ("scene", "prepare", "--procedural", "rooms:2", "--samples", 64, "--crops", 1, "--processes", 1, "--json")
    outcome = run(*words, "--out", tmp_path / "store")
    assert outcome.code == 0, outcome.err
    assert outcome.json["blocks"] == {"train": 2, "held-out": 0} and outcome.json["skipped"] == []
    refused(run(*words[:-1], "--out", tmp_path / "store"), 2, "E-USAGE-EXISTS")
    refused(run(*words[:-1], "--out", tmp_path / "store", "--resume", "--seed", 1), 3, "E-BLOCKS-SETTINGS")
    refused(run("scene", "prepare", "--out", tmp_path / "x"), 2, "E-USAGE-SOURCE")
    refused(run("scene", "prepare", tmp_path / "none", "--out", tmp_path / "x"), 3, "E-BLOCKS-SCENES")
    refused(run(*words[:-1], "--out", tmp_path / "x", "--held-out", 1), 2, "E-USAGE-SHARE")
    assert not (tmp_path / "x").exists()


def _length(word: str) -> int:
    return len(word)


def _ray_of_one_process() -> SimpleNamespace:
    """The functions of Ray that are called; a reference is the result itself."""
    return SimpleNamespace(
        init=lambda **options: None,
        remote=lambda work: SimpleNamespace(remote=work),
        wait=lambda waiting: (waiting[:1], waiting[1:]),
        get=lambda ready: ready,
        cancel=lambda reference: None,
    )
