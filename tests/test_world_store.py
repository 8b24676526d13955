"""Scenes on disk: nothing half-written, everything verified, actions taken back."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from world_scenes import CLASSES, FRAME, QUICK, SHAPE, SHAPE_OF_PLANES

from fields.errors import UserError
from fields.folder_lock import FolderLock
from scenegen.world import store as store_module
from scenegen.world.history import SceneHead, read_document
from scenegen.world.store import SceneStore, create_scene, open_scene

HEAD = SceneHead("tiny", "0" * 64, "room", FRAME, CLASSES, SHAPE, SHAPE_OF_PLANES, 2**64 - 1, QUICK)
PLAN = (".json", b"{}")
PLANES = torch.ones(SHAPE_OF_PLANES)
BLOCKS = [(0, 0), (-1, 2), (3, -32768)]


def block(number: float) -> Tensor:
    return torch.full(SHAPE, number)


def filled(folder: Path) -> SceneStore:
    """Three blocks holding 0, 1 and 2."""
    scene = create_scene(folder, HEAD, PLAN)
    with scene.writing():
        scene.begin("generate", BLOCKS, 5)
        for number, index in enumerate(BLOCKS):
            scene.write(index, block(number), PLANES)
        scene.seal()
    return scene


def made(scene: SceneStore) -> dict[tuple[int, int], float]:
    return {index: float(scene.latent(index).mean()) for index in scene.finished()}


def act(scene: SceneStore, kind: Any, blocks: dict[tuple[int, int], float], plan: Any = None) -> None:
    with scene.writing():
        scene.begin(kind, blocks, 1, plan)
        for index, number in blocks.items():
            scene.write(index, block(number), PLANES)
        scene.seal()


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", "scene.json"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def refused(code: str, work: Callable[[], Any]) -> UserError:
    with pytest.raises(UserError) as caught:
        work()
    assert caught.value.code == code and "\n" not in str(caught.value)
    return caught.value


def test_a_scene_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    filled(tmp_path / "scene")
    scene = open_scene(tmp_path / "scene")
    assert scene.head == HEAD and scene.plans == ["plan.json"] and scene.unfinished is None
    assert made(scene) == {(0, 0): 0, (-1, 2): 1, (3, -32768): 2} and scene.pending() == []
    (action,) = scene.actions
    assert (action.kind, action.seed, action.done, set(action.blocks)) == ("generate", 5, True, set(BLOCKS))
    assert sorted(files(scene.folder)) == [
        "blocks/-1_2.safetensors", "blocks/0_0.safetensors", "blocks/3_-32768.safetensors", "plan.json",
    ]  # fmt: skip


def test_an_action_goes_on_where_it_was_left(tmp_path: Path) -> None:
    scene = create_scene(tmp_path / "scene", HEAD, PLAN)
    with scene.writing():
        scene.begin("generate", BLOCKS, 5)
        scene.write((0, 0), block(0), PLANES)
        scene.seal()
    again = open_scene(scene.folder)
    assert again.unfinished is not None and again.finished() == {(0, 0)}
    assert set(again.pending()) == {(-1, 2), (3, -32768)}
    refused("E-SCENE-UNFINISHED", lambda: again.begin("extend", [(8, 8)], 0))
    path = scene.folder / "blocks" / "0_0.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert set(open_scene(scene.folder).pending()) == set(BLOCKS), "a damaged block is made again"


def test_undo_takes_actions_back_one_by_one(tmp_path: Path) -> None:
    scene = filled(tmp_path / "scene")
    states = [files(scene.folder)]
    act(scene, "redo", {(0, 0): 10})
    states.append(files(scene.folder))
    act(scene, "extend", {(1, 0): 11}, (".png", b"more"))
    states.append(files(scene.folder))
    act(scene, "redo", {(0, 0): 20})
    assert made(scene) == {(0, 0): 20, (-1, 2): 1, (3, -32768): 2, (1, 0): 11}
    assert scene.plans == ["plan.json", "plan-2.png"]
    for kind, state in zip(("redo", "extend", "redo"), reversed(states), strict=True):
        assert open_scene(scene.folder).undo().kind == kind
        assert files(scene.folder) == state
    assert made(open_scene(scene.folder)) == {(0, 0): 0, (-1, 2): 1, (3, -32768): 2}
    refused("E-SCENE-HISTORY", open_scene(scene.folder).undo)


def test_an_undone_revision_is_not_given_out_again(tmp_path: Path) -> None:
    scene = filled(tmp_path / "scene")
    act(scene, "redo", {(0, 0): 10})
    scene.undo()
    act(scene, "redo", {(0, 0): 20})
    assert [action.revision for action in scene.actions] == [0, 2] and scene.revisions == 3


class Killed(BaseException):
    """What a test throws where a process would die."""


def stopped_at(number: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Every write of the store counts; the one of this number does not happen any more. Says how many there were."""
    calls = [0]

    def counting(work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            calls[0] += 1
            if calls[0] > number:
                raise Killed
            return work(*arguments, **named)

        return run

    monkeypatch.setattr(store_module, "write_bytes", counting(store_module.write_bytes))
    monkeypatch.setattr(store_module, "write_document", counting(store_module.write_document))
    monkeypatch.setattr(store_module.checkpoint, "save_tensors", counting(store_module.checkpoint.save_tensors))
    for name in ("unlink", "rmdir"):
        monkeypatch.setattr(Path, name, counting(getattr(Path, name)))
    monkeypatch.setattr(shutil, "rmtree", counting(shutil.rmtree))
    return lambda: calls[0]


def test_redo_and_undo_may_die_at_any_write(tmp_path: Path) -> None:
    """Redo, then undo, each dying at write n for every n: it can always be gone on with, to the same end."""
    origin = filled(tmp_path / "origin").folder
    before = files(origin)
    done = tmp_path / "done"
    shutil.copytree(origin, done)
    act(open_scene(done), "redo", {(0, 0): 10})
    after = files(done)
    for first, work in ((origin, "redo"), (done, "undo")):
        for number in range(100):
            folder = tmp_path / f"{work}-{number}"
            shutil.copytree(first, folder)
            with pytest.MonkeyPatch.context() as patch:
                calls = stopped_at(number, patch)
                try:
                    scene = open_scene(folder)
                    act(scene, "redo", {(0, 0): 10}) if work == "redo" else scene.undo()
                except Killed:
                    pass
            scene = open_scene(folder)
            assert made(scene)[0, 0] in (0, 10), "a block is never gone"
            with scene.writing():
                if scene.pending():
                    scene.write((0, 0), block(10), PLANES)
                scene.seal()
            assert files(folder) == (before if len(open_scene(folder).actions) == 1 else after)
            if calls() <= number:
                break
        assert number >= 3 and len(open_scene(folder).actions) == (2 if work == "redo" else 1)


def test_what_another_scene_left_does_not_pass_for_a_block(tmp_path: Path) -> None:
    folder = filled(tmp_path / "scene").folder
    refused("E-USAGE-EXISTS", lambda: create_scene(folder, HEAD, PLAN))
    (folder / "notes.txt").write_text("mine")
    (folder / "scene.json").unlink()  # as a process killed by then leaves it
    scene = create_scene(folder, replace(HEAD, seed=1), PLAN)
    with scene.writing():
        scene.begin("generate", BLOCKS, 1)
    assert set(scene.pending()) == set(BLOCKS)
    scene = create_scene(folder, HEAD, (".png", b"x"), force=True)
    assert scene.finished() == set() and sorted(files(folder)) == ["notes.txt", "plan.png"]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    scene = filled(tmp_path / "scene")
    with FolderLock(scene.folder):
        refused("E-ENV-LOCK", lambda: open_scene(scene.folder).undo())
        assert made(open_scene(scene.folder)), "readers need not wait"


def test_what_killed_writers_left_is_cleared(tmp_path: Path) -> None:
    scene = filled(tmp_path / "scene")
    leftover = scene.folder / "blocks" / ".tmp-999999999-x"
    leftover.write_bytes(b"half")
    (scene.folder / "blocks" / "7_7.safetensors").write_bytes(b"of no action")
    (scene.folder / "plan-9.png").write_bytes(b"of no action")
    with scene.writing():
        assert sorted(os.listdir(scene.folder / "blocks")) == [
            "-1_2.safetensors", "0_0.safetensors", "3_-32768.safetensors",
        ]  # fmt: skip
        assert not (scene.folder / "plan-9.png").exists()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda path: path.unlink(), "E-CKPT-MISSING"),
        (lambda path: path.write_bytes(path.read_bytes()[:-3]), "E-CKPT-"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x01"), "E-CKPT-HASH"),
        (lambda path: shutil.copy(path.with_name("-1_2.safetensors"), path), "E-CKPT-BLOCK"),
    ],
)
def test_a_damaged_or_foreign_block_is_named_with_the_way_out(tmp_path: Path, spoil: Any, code: str) -> None:
    scene = filled(tmp_path / "scene")
    spoil(scene.folder / "blocks" / "0_0.safetensors")
    with pytest.raises(UserError, match=code) as caught:
        scene.latent((0, 0))
    assert "0_0.safetensors" in str(caught.value) and "scene redo" in str(caught.value)
    act(scene, "redo", {(0, 0): 4})
    assert made(open_scene(scene.folder))[0, 0] == 4


def test_blocks_that_are_not_there_or_too_far_are_refused(tmp_path: Path) -> None:
    scene = filled(tmp_path / "scene")
    assert "3 blocks, i -1 to 3, k -32768 to 2" in str(refused("E-SCENE-BLOCK", lambda: scene.latent((5, 5))))
    refused("E-LIMIT-BLOCKS", lambda: scene.begin("extend", [(2**31, 0)], 0))
    refused("E-SCENE-EMPTY", lambda: scene.begin("extend", [], 0))
    for seed in (-1, 2**64):
        refused("E-USAGE-SEED", lambda seed=seed: scene.begin("extend", [(9, 9)], seed))
        refused("E-USAGE-SEED", lambda seed=seed: create_scene(tmp_path / "x", replace(HEAD, seed=seed), PLAN))
    assert not (tmp_path / "x").exists()
    with pytest.raises(ValueError, match="not to be made"):
        scene.write((0, 0), block(1), PLANES)


def test_numbers_that_are_not_finite_are_not_stored(tmp_path: Path) -> None:
    scene = filled(tmp_path / "scene")
    with scene.writing():
        scene.begin("redo", [(0, 0)], 1)
        refused("E-NAN-SAVE", lambda: scene.write((0, 0), block(float("nan")), PLANES))
    assert made(open_scene(scene.folder))[0, 0] == 0


def _without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda document: document.pop(key)


@pytest.mark.parametrize(
    "spoil",
    [
        *(_without(key) for key in ("format", "version", "head", "plan", "actions", "revisions")),
        lambda d: d.update(version=2),
        lambda d: d.update(plan="../../etc/passwd"),
        lambda d: d.update(revisions=0),
        lambda d: d["actions"][0].update(plan="blocks/0_0.safetensors"),
        lambda d: d["actions"][0].update(kind="explode"),
        lambda d: d["actions"][0].update(blocks=[[0, 0.5]]),
        lambda d: d["actions"][0].update(blocks=[[2**31, 0]]),
        lambda d: d["actions"][0].update(done="yes"),
        lambda d: d["actions"].append(d["actions"][0]),
        lambda d: d["head"].update(seed=-1),
        lambda d: d["head"].update(latent=[3, 4, 8]),
        lambda d: d["head"].update(latent=[3, True, 8, 8]),
        lambda d: d["head"].update(world="sea"),
        lambda d: d["head"].update(model_digest="abc"),
        lambda d: d["head"]["frame"].update(size=0),
        lambda d: d["head"]["options"].update(steps="many"),
        lambda d: d["head"]["options"].pop("jump"),
        lambda d: d.update(head=[]),
    ],
)
def test_a_manifest_that_was_tampered_with_is_refused(tmp_path: Path, spoil: Callable[[Any], Any]) -> None:
    folder = filled(tmp_path / "scene").folder
    document = json.loads((folder / "scene.json").read_text())
    spoil(document)
    (folder / "scene.json").write_text(json.dumps(document))
    refused("E-SCENE-MANIFEST", lambda: open_scene(folder))


def test_a_folder_without_a_scene_is_refused(tmp_path: Path) -> None:
    refused("E-SCENE-MISSING", lambda: open_scene(tmp_path))
    refused("E-SCENE-MISSING", lambda: open_scene(tmp_path / "none"))
    (tmp_path / "scene.json").write_text('{"seed": NaN}')
    refused("E-JSON-NONFINITE", lambda: read_document(tmp_path))
    (tmp_path / "scene.json").write_text("[]")
    refused("E-SCENE-MANIFEST", lambda: read_document(tmp_path))
