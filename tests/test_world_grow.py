"""Scenes that grow: the same blocks however the work is cut up, and editing with neighbours locked."""

from __future__ import annotations

import itertools
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from world_scenes import CLASSES, QUICK, difference, ground, latents, new_scene, plan_of, tiny_denoiser, tiny_model

from fields.errors import UserError
from fields.progress import Progress, finished
from scenegen import executors
from scenegen.executors import Workers
from scenegen.model_folder import save_models
from scenegen.world import labour as labour_module
from scenegen.world.grow import extend, generate, redo
from scenegen.world.labour import Labour, held_networks, scene_head
from scenegen.world.neighbours import OFFSETS, Index, known_from
from scenegen.world.plan_files import encode_ground
from scenegen.world.store import SceneStore, open_scene
from scenegen.world.waves import moved

TOLERANCE = 1e-5
GROUND = ground((-2, -1), (4, 3))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def whole(model: str, tmp_path_factory: pytest.TempPathFactory) -> SceneStore:
    """Twelve blocks around the origin, made at once."""
    scene, plan = new_scene(tmp_path_factory.mktemp("whole") / "scene", model, GROUND)
    return finished(generate(scene, plan, Labour(model)))


def copy(scene: SceneStore, folder: Path) -> SceneStore:
    shutil.copytree(scene.folder, folder)
    return open_scene(folder)


def gap(one: Tensor, other: Tensor, offset: Index) -> float:
    """The largest difference in cells that a block shares with the one at `offset`."""
    known = known_from({offset: other}, tuple(one.shape))
    return float((known.latent - one)[known.mask.expand_as(one)].abs().max())


def test_every_painted_block_is_made_and_all_agree_to_the_bit_where_they_overlap(whole: SceneStore) -> None:
    made = latents(whole)
    assert set(made) == set(itertools.product(range(-2, 2), range(-1, 2)))
    pairs = [(index, offset) for index in made for offset in OFFSETS if moved(index, offset) in made]
    assert pairs and all(gap(made[index], made[moved(index, offset)], offset) == 0 for index, offset in pairs)
    assert len({made[index].numpy().tobytes() for index in made}) == len(made)


@pytest.mark.parametrize("batch", [1, 3])
def test_batches_make_no_difference(batch: int, whole: SceneStore, model: str, tmp_path: Path) -> None:
    scene, plan = new_scene(tmp_path / "scene", model, GROUND)
    finished(generate(scene, plan, Labour(model, batch=batch)))
    assert difference(latents(scene), latents(whole)) <= TOLERANCE


def test_processes_make_no_difference_and_are_kept_from_wave_to_wave(
    whole: SceneStore, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools: list[executors.ProcessPoolExecutor] = []

    class Counted(executors.ProcessPoolExecutor):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            pools.append(self)

    monkeypatch.setattr(executors, "ProcessPoolExecutor", Counted)
    scene, plan = new_scene(tmp_path / "scene", model, GROUND)
    finished(generate(scene, plan, Labour(model, processes=2, batch=2)))
    assert difference(latents(scene), latents(whole)) <= TOLERANCE
    assert len(pools) == 1


def test_ray_makes_no_difference(
    whole: SceneStore, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = SimpleNamespace(
        init=lambda **options: None,
        remote=lambda work: SimpleNamespace(remote=work),
        wait=lambda waiting: (waiting[-1:], waiting[:-1]),
        get=lambda ready: ready,
        cancel=lambda reference: None,
    )
    monkeypatch.setitem(sys.modules, "ray", stand_in)
    scene, plan = new_scene(tmp_path / "scene", model, GROUND)
    finished(generate(scene, plan, Labour(model, executor="ray", batch=1)))
    assert difference(latents(scene), latents(whole)) <= TOLERANCE


@pytest.mark.slow
def test_a_local_ray_cluster_makes_no_difference(whole: SceneStore, model: str, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, logging_level="ERROR")
    try:
        scene, plan = new_scene(tmp_path / "scene", model, GROUND)
        finished(generate(scene, plan, Labour(model, executor="ray", batch=2)))
    finally:
        ray.shutdown()
    assert difference(latents(scene), latents(whole)) <= TOLERANCE


def test_the_order_in_which_blocks_of_a_wave_are_asked_for_and_come_makes_no_difference(
    whole: SceneStore, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance, in_order = random.Random(0), Workers.results

    def shuffled(self: Workers, work: Any, tasks: Any) -> Iterator[Any]:
        return iter(chance.sample(found := list(in_order(self, work, tasks)), len(found)))

    monkeypatch.setattr(Workers, "results", shuffled)
    monkeypatch.setattr("scenegen.world.grow.in_waves", _shuffled_waves(chance))
    scene, plan = new_scene(tmp_path / "scene", model, GROUND)
    finished(generate(scene, plan, Labour(model, batch=2)))
    assert difference(latents(scene), latents(whole)) <= TOLERANCE


def _shuffled_waves(chance: random.Random) -> Any:
    from scenegen.world.waves import in_waves

    return lambda blocks: [chance.sample(wave, len(wave)) for wave in in_waves(blocks)]


def test_an_interruption_after_any_block_makes_no_difference(whole: SceneStore, model: str, tmp_path: Path) -> None:
    scene, plan = new_scene(tmp_path / "scene", model, GROUND)
    for done in range(len(whole.finished())):
        steps = generate(open_scene(scene.folder), plan, Labour(model, batch=3))
        next(steps)
        steps.close()
        scene = open_scene(scene.folder)
        assert len(scene.finished()) == done + 1
        assert (scene.unfinished is None) == (not scene.pending() and done < 0)
    scene = finished(generate(scene, plan, Labour(model)))
    assert scene.unfinished is None and difference(latents(scene), latents(whole)) <= TOLERANCE


def test_a_finished_scene_is_left_as_it_is(whole: SceneStore, model: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.folder.rglob("[!.]*.*")}
    assert list(generate(open_scene(whole.folder), plan_of(whole), Labour(model))) == []
    assert {path: path.stat().st_mtime_ns for path in whole.folder.rglob("[!.]*.*")} == before


def test_reports_name_each_block_its_wave_and_what_is_left_of_it(model: str, tmp_path: Path) -> None:
    scene, plan = new_scene(tmp_path / "scene", model, GROUND)
    seen: list[Progress] = []
    for report in generate(scene, plan, Labour(model, batch=2)):
        assert (int(report.metrics["i"]), int(report.metrics["k"])) in open_scene(scene.folder).finished()
        seen.append(report)
    assert [report.step for report in seen] == list(range(1, 13)) and {r.total for r in seen} == {12}
    assert {report.phase for report in seen} == {"generate"} and seen[-1].remaining == 0
    waves = [report.metrics["wave"] for report in seen]
    assert waves == sorted(waves) and set(waves) == {1, 2, 3, 4}
    assert [report.metrics["left"] for report in seen].count(0) == 4


def test_another_seed_makes_other_blocks(whole: SceneStore, model: str, tmp_path: Path) -> None:
    scene, plan = new_scene(tmp_path / "scene", model, GROUND, seed=8)
    made, known = latents(finished(generate(scene, plan, Labour(model)))), latents(whole)
    assert min(float((made[index] - known[index]).abs().max()) for index in made) > 0.1


@pytest.mark.parametrize("first", [(0, 0), (-7, 4)])
def test_a_block_is_the_same_function_of_its_surroundings_wherever_it_stands(first: Index, model: str) -> None:
    """An extension beside a finished block goes by it, in all eight directions and on either side of zero."""
    from tempfile import TemporaryDirectory

    for offset in OFFSETS:
        with TemporaryDirectory() as folder:
            scene, plan = new_scene(Path(folder) / "scene", model, ground(first, (1, 1)))
            finished(generate(scene, plan, Labour(model)))
            there = scene.latent(first)
            piece = ground(moved(first, offset), (1, 1), seed=1)
            more = plan.joined(_plan_with(piece, plan))
            finished(extend(scene, more, Labour(model), encode_ground(piece), [moved(first, offset)]))
            assert torch.equal(scene.latent(first), there), "what is known does not drift"
            assert gap(scene.latent(moved(first, offset)), there, (-offset[0], -offset[1])) == 0


def _plan_with(piece: Any, plan: Any) -> Any:
    return type(plan)((piece,), plan.classes)


@pytest.mark.parametrize("count", range(9))
def test_a_block_may_be_made_last_among_any_number_of_neighbours(count: int, model: str, tmp_path: Path) -> None:
    around = [moved((-3, 5), offset) for offset in OFFSETS[:count]]
    scene, plan = new_scene(tmp_path / "scene", model, ground((-4, 4), (3, 3)))
    with scene.writing():
        scene.begin("generate", [*around, (40, 40)], 7)  # the far one, so that there is one at least
    finished(generate(scene, plan, Labour(model)))
    before = latents(scene)
    finished(extend(scene, plan, Labour(model), blocks=[(-3, 5), *around]))
    assert scene.finished() == {*before, (-3, 5)} and scene.actions[-1].blocks == ((-3, 5),)
    for index in around:
        assert torch.equal(scene.latent(index), before[index])
        assert gap(scene.latent((-3, 5)), before[index], (index[0] + 3, index[1] - 5)) == 0


def test_redo_changes_one_block_from_a_seed_and_undo_brings_it_back(
    whole: SceneStore, model: str, tmp_path: Path
) -> None:
    scene, before = copy(whole, tmp_path / "scene"), latents(whole)
    (report,) = redo(scene, plan_of(scene), Labour(model), (0, 0), 123)
    assert (report.phase, report.step, report.total) == ("redo", 1, 1)
    changed = latents(scene)
    assert [index for index in before if not torch.equal(changed[index], before[index])] == [(0, 0)]
    assert all(gap(changed[0, 0], before[offset], offset) == 0 for offset in OFFSETS if offset in before)
    again = copy(whole, tmp_path / "again")
    finished(redo(again, plan_of(again), Labour(model), (0, 0), 123))
    assert torch.equal(again.latent((0, 0)), changed[0, 0])
    finished(redo(scene, plan_of(scene), Labour(model), (0, 0)))
    finished(redo(scene, plan_of(scene), Labour(model), (1, 1)))
    assert not torch.equal(scene.latent((0, 0)), changed[0, 0]), "another seed by default"
    for _ in range(3):
        scene.undo()
    assert difference(latents(scene), before) == 0


def test_extend_makes_what_is_new_only_and_undo_takes_plan_and_blocks_back(
    whole: SceneStore, model: str, tmp_path: Path
) -> None:
    scene, before = copy(whole, tmp_path / "scene"), latents(whole)
    piece = ground((2, -1), (2, 3), seed=4)
    plan = plan_of(scene)
    finished(extend(scene, plan.joined(_plan_with(piece, plan)), Labour(model), encode_ground(piece)))
    assert scene.finished() == {*before, *itertools.product((2, 3), (-1, 0, 1))}
    assert difference({index: scene.latent(index) for index in before}, before) == 0
    assert plan_of(open_scene(scene.folder)).covering(scene.frame) == sorted(scene.finished(), key=lambda b: b[::-1])
    with pytest.raises(UserError, match="E-SCENE-EMPTY"):
        finished(extend(scene, plan_of(scene), Labour(model)))
    assert scene.undo().kind == "extend"
    assert difference(latents(scene), before) == 0 and scene.plans == ["plan.png"]


def test_an_unfinished_extension_is_finished_by_generate_or_undone(
    whole: SceneStore, model: str, tmp_path: Path
) -> None:
    piece, plan = ground((2, -1), (2, 2), seed=4), plan_of(whole)
    ends = []
    for name in ("cut", "unbroken"):
        scene = copy(whole, tmp_path / name)
        steps = extend(scene, plan.joined(_plan_with(piece, plan)), Labour(model), encode_ground(piece))
        if name == "cut":
            next(steps)
            steps.close()
            scene = open_scene(scene.folder)
            with pytest.raises(UserError, match="E-SCENE-UNFINISHED"):
                finished(redo(scene, plan_of(scene), Labour(model), (0, 0)))
            assert copy(scene, tmp_path / "undone").undo().kind == "extend"
            assert difference(latents(open_scene(tmp_path / "undone")), latents(whole)) == 0
            steps = generate(scene, plan_of(scene), Labour(model))
        finished(steps)
        ends.append(latents(scene))
    assert difference(*ends) <= TOLERANCE


def test_a_scene_is_gone_on_with_by_its_own_model_only(whole: SceneStore, model: str, tmp_path: Path) -> None:
    scene = copy(whole, tmp_path / "scene")
    notes = {"world": "room", "frame": {"size": 3.2, "floor": -0.15}, "classes": list(CLASSES), "prediction": "sample"}
    other = str(save_models(tmp_path / "other", {"denoiser": tiny_denoiser()}, card="another\n", notes=notes))
    with pytest.raises(UserError, match="E-SCENE-MODEL"):
        finished(redo(scene, plan_of(scene), Labour(other), (0, 0)))
    with pytest.raises(UserError, match="E-SCENE-MODEL"):
        held_networks(model, "0" * 64, "cpu")
    with pytest.raises(UserError, match="E-CKPT-MISSING"):
        scene_head(tmp_path / "none", 0, QUICK)
    bare = save_models(tmp_path / "bare", {"denoiser": tiny_denoiser()}, card="", notes={"frame": {"size": "x"}})
    with pytest.raises(UserError, match="E-CKPT-MODEL"):
        scene_head(bare, 0, QUICK)
    with pytest.raises(UserError, match="E-SCENE-BLOCK"):
        finished(redo(scene, plan_of(scene), Labour(model), (9, 9)))
    assert len(scene.actions) == 1


def test_a_damaged_neighbour_is_named_before_anything_is_begun(whole: SceneStore, model: str, tmp_path: Path) -> None:
    scene = copy(whole, tmp_path / "scene")
    path = scene.folder / "blocks" / "1_0.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    for steps in (
        redo(scene, plan_of(scene), Labour(model), (0, 0)),
        extend(scene, plan_of(scene), Labour(model), blocks=[(2, 0)]),
    ):
        with pytest.raises(UserError, match=r"1_0\.safetensors"):
            finished(steps)
        assert len(open_scene(scene.folder).actions) == 1
    finished(redo(scene, plan_of(scene), Labour(model), (1, 0)))
    assert latents(scene)


def test_a_plan_with_nothing_on_it_is_refused(model: str, tmp_path: Path) -> None:
    scene, plan = new_scene(tmp_path / "scene", model, GROUND)
    with pytest.raises(UserError, match="E-SCENE-EMPTY"):
        finished(generate(scene, type(plan)((), plan.classes), Labour(model)))
    assert open_scene(scene.folder).actions == ()


def test_tasks_are_put_together_shortly_before_they_are_done(model: str, tmp_path: Path) -> None:
    scene, plan = new_scene(tmp_path / "scene", model, ground((0, 0), (12, 4)))
    asked = []
    watched = SimpleNamespace(covering=plan.covering, masks=lambda *where: asked.append(where) or plan.masks(*where))
    for report in generate(scene, watched, Labour(model, batch=2)):  # type: ignore[arg-type]
        assert len(asked) - report.step <= 2, "one batch ahead at most"


def test_a_process_loads_the_model_once(whole: SceneStore, model: str, tmp_path: Path) -> None:
    held_networks.cache_clear()
    scene = copy(whole, tmp_path / "scene")
    for _ in range(2):
        finished(redo(scene, plan_of(scene), Labour(model), (1, 0)))
    assert labour_module.held_networks.cache_info().misses == 1
