"""Scenes from the command line: made, gone on with, grown, made anew in part, taken back, meshed, and refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from command_line import Outcome, refused, run
from PIL import Image
from world_models import floor_model

from app import world
from app.scene_evaluation import open_networks
from app.seam_evaluation import SeamOptions, rings_of, seam_run
from app.world import PREVIEW, RECORD, Means, extend_job, generate_job, new_ground, plan_of, resume_job
from app.world_request import SceneRequest
from data.class_map import ClassMap, save_png
from data.images import decode, read_header
from data.palette import BY_NAME
from fields.errors import UserError
from fields.progress import finished
from scenegen import shipped
from scenegen.model_folder import MANIFEST
from scenegen.shipped import find_model, shipped_models
from scenegen.world.composed import parse_toward
from scenegen.world.extrapolate import GrowOptions
from scenegen.world.neighbours import Index
from scenegen.world.store import SceneStore, open_scene

QUICK = ("--steps", 2, "--no-preview")


def generate(out: Path, *words: object) -> Outcome:
    return run("scene", "generate", "--out", out, "--model", floor_model(), *QUICK, *words)


def painted(path: Path, origin: tuple[float, float] = (0.0, 0.0), size: tuple[int, int] = (56, 32)) -> Path:
    """A floor with walls and a bed, `size` = (columns, rows) of 0.1 m."""
    indices = np.full(size[::-1], BY_NAME["wall"].index, np.uint8)
    indices[2:-2, 2:-2] = BY_NAME["floor"].index
    indices[5:20, 5:15] = BY_NAME["bed"].index
    save_png(ClassMap(indices, origin, 0.1), path)
    return path


def latents(scene: Path) -> dict[Index, bytes]:
    store = open_scene(scene)
    return {index: store.latent(index).numpy().tobytes() for index in store.finished()}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished scene of 3 x 2 blocks; copied where it is to change."""
    out = tmp_path_factory.mktemp("scenes") / "scene"
    assert generate(out, "--size", "3x2").code == 0
    return out


@pytest.fixture
def copy(scene: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scene, tmp_path / "scene"))


def means(**more: Any) -> Means:
    return Means(floor_model(), **{"previews": False, **more})


def test_scene_of_a_painted_plan_is_made_extended_redone_taken_back_and_meshed(tmp_path: Path) -> None:
    out, plan = tmp_path / "scene", painted(tmp_path / "plan.png")
    made = generate(out, "--layout", plan, "--json")
    assert made.code == 0 and (made.json["blocks"], made.json["made"], made.json["status"]) == (2, 2, "done"), made.err
    first = latents(out)
    more = run("scene", "extend", out, "--layout", painted(tmp_path / "more.png", (0.0, 2.4)), "--no-preview")
    assert more.code == 0 and "made 2 blocks" in more.out, more.err
    grown = latents(out)
    assert set(grown) == {(0, 0), (1, 0), (0, 1), (1, 1)} and all(grown[index] == first[index] for index in first)
    assert run("scene", "redo", out, "--block", "1,0", "--no-preview").code == 0
    redone = latents(out)
    assert [index for index in grown if redone[index] != grown[index]] == [(1, 0)]
    undone = run("scene", "undo", out, "--no-preview", "--json")
    assert undone.json == {"out": str(out), "undone": "redo", "blocks": [[1, 0]], "left": 4} and latents(out) == grown
    meshed = run("scene", "mesh", out, "--out", tmp_path / "scene.glb", "--cells", 16, "--json")
    assert meshed.code == 0 and meshed.json["faces"] > 100 and meshed.json["pending"] == 0
    assert run("scene", "undo", out, "--no-preview").code == 0 and latents(out) == first
    assert len(plan_of(open_scene(out)).grounds) == 1


def test_mesh_is_in_metres_with_y_up_and_refuses_to_overwrite(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "scene.glb"
    assert run("scene", "mesh", scene, "--out", out, "--cells", 16).code == 0
    low, high = trimesh.load(out).bounds
    assert high[0] - low[0] == pytest.approx(8.0, abs=0.3) and high[2] - low[2] == pytest.approx(5.6, abs=0.3)
    assert -0.2 < low[1] < high[1] < 3.1
    refused(run("scene", "mesh", scene, "--out", out), 2, "E-USAGE-EXISTS")


def test_scene_grows_beside_itself_and_what_was_there_stays(copy: Path) -> None:
    before, plan = latents(copy), plan_of(open_scene(copy))
    outcome = run("scene", "extend", copy, "--toward", "+x1,-z1", "--no-preview")
    after, grown = latents(copy), plan_of(open_scene(copy))
    assert outcome.code == 0 and set(after) == {(i, k) for i in range(4) for k in range(-1, 2)}, outcome.err
    assert all(after[index] == before[index] for index in before)
    maps, more = (each.masks(open_scene(copy).frame, (1, 0)) for each in (plan, grown))
    seen = maps.bool().any(0)
    assert torch.equal(more[:, seen], maps[:, seen])
    assert run("scene", "extend", copy, "--toward", "-x1", "--no-preview", "--seed", 9).code == 0
    assert (-1, -1) in latents(copy)


def test_seed_decides_what_comes_out(scene: Path, tmp_path: Path) -> None:
    again, other = tmp_path / "again", tmp_path / "other"
    assert generate(again, "--size", "3x2", "--seed", 0).code == 0
    assert generate(other, "--size", "3x2", "--seed", 1, "--batch", 1).code == 0
    assert latents(again) == latents(scene) and not set(latents(other).values()) & set(latents(scene).values())


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_interrupted_scene_is_finished_to_what_it_would_have_been(scene: Path, tmp_path: Path, blocks: int) -> None:
    out = tmp_path / "scene"
    request = SceneRequest(str(floor_model()), None, "3x2", steps=2)
    head = request.head()
    job = generate_job(out, head, request.plan(head), means())
    for _ in range(blocks):
        next(job)
    job.close()
    if blocks:
        assert json.loads((out / RECORD).read_text())["status"] == "interrupted"
        assert len(open_scene(out).pending()) == 6 - blocks
        mesh = run("scene", "mesh", out, "--out", tmp_path / "part.ply", "--cells", 16)
        assert mesh.code == 0 and f"{6 - blocks} blocks still to be made" in mesh.err
    finished_run = generate(out, "--size", "3x2", "--resume", "--json")
    assert finished_run.code == 0 and finished_run.json["made"] == 6 - blocks, finished_run.err
    assert {k: np.frombuffer(v, np.float32) for k, v in latents(out).items()} == {
        k: pytest.approx(np.frombuffer(v, np.float32), abs=1e-5) for k, v in latents(scene).items()
    }


def test_interrupted_extension_is_finished_by_generate_resume_or_taken_back(copy: Path) -> None:
    def begin() -> SceneStore:
        store = open_scene(copy)
        job = extend_job(store, new_ground(store, None, parse_toward("+x1")), means())
        next(job)
        job.close()
        return store

    begin()
    refused(run("scene", "extend", copy, "--toward", "+z1"), 3, "E-SCENE-UNFINISHED", "--resume")
    assert run("scene", "generate", "--out", copy, "--resume", "--no-preview").code == 0
    assert len(latents(copy)) == 8 and open_scene(copy).unfinished is None
    assert run("scene", "undo", copy, "--no-preview").code == 0 and len(latents(copy)) == 6
    begin()
    assert run("scene", "undo", copy, "--no-preview").code == 0 and len(latents(copy)) == 6


def test_finished_scene_has_nothing_to_resume_and_keeps_its_record(copy: Path) -> None:
    record = (copy / RECORD).read_bytes()
    outcome = generate(copy, "--size", "3x2", "--resume")
    assert outcome.code == 0 and "nothing to be made; 6 blocks" in outcome.out
    assert (copy / RECORD).read_bytes() == record


def test_picture_is_drawn_after_every_wave_and_progress_names_the_blocks(tmp_path: Path, monkeypatch: Any) -> None:
    drawn: list[int] = []

    def draw(store: SceneStore, *_: object) -> Any:
        drawn.append(len(store.finished()))
        (store.folder / PREVIEW).touch()
        yield from ()

    monkeypatch.setattr(world, "draw_preview", draw)
    request = SceneRequest(str(floor_model()), None, "3x2", steps=2)
    head = request.head()
    reports = list(generate_job(tmp_path / "scene", head, request.plan(head), means(previews=True)))
    assert drawn == [2, 3, 5, 6]  # even even: 0,0 and 2,0; odd even: 1,0; even odd: 0,1 and 2,1; odd odd: 1,1
    assert [(p.metrics["i"], p.metrics["k"]) for p in reports][2] == (1, 0)
    assert [p.step for p in reports] == [1, 2, 3, 4, 5, 6] and reports[0].total == 6 and reports[-1].remaining == 0
    assert all(p.remaining > 0 for p in reports[:-1])


def test_preview_shows_the_scene_from_above_and_in_perspective(copy: Path) -> None:
    assert run("scene", "redo", copy, "--block", "0,0").code == 0
    picture = decode(copy / PREVIEW, read_header(copy / PREVIEW))
    assert picture.shape[1] > picture.shape[0] > 100 and picture.std() > 5
    assert json.loads((copy / RECORD).read_text())["seconds"].keys() == {"blocks", "preview"}
    assert (
        run("scene", "undo", copy, "--no-preview").code == 0 and not (copy / PREVIEW).exists()
    )  # none, or the right one


def test_record_tells_how_the_scene_was_made(scene: Path) -> None:
    record = json.loads((scene / RECORD).read_text())
    assert record["command"] == "scene generate" and record["status"] == "done" and record["seconds_per_block"] > 0
    assert {"model": str(floor_model()), "steps": 2, "seed": 0}.items() <= record["settings"].items()
    assert record["peak_memory_bytes"] > 0 and "hardware" in record


def test_resume_begins_a_scene_that_is_not_there_yet(tmp_path: Path) -> None:
    assert generate(tmp_path / "scene", "--size", "1x1", "--resume").code == 0
    assert set(latents(tmp_path / "scene")) == {(0, 0)}


def test_scene_is_replaced_only_by_force(copy: Path) -> None:
    refused(generate(copy, "--size", "1x1"), 2, "E-USAGE-EXISTS", "--force")
    assert generate(copy, "--size", "1x1", "--force").code == 0 and set(latents(copy)) == {(0, 0)}


# Words after `scene`, exit code, parts of the one line. SCENE is a finished scene of 3 x 2 blocks, NEW a folder that
# is not there, MODEL a model, PLAN.png a painted plan, VOID.png an empty one, FAR.png one 400 m away, TOWN.png grass.
CASES = {
    "B01 wrong mode": ("generate --out NEW --layout GREY.png", 3, "E-LAYOUT-COLOUR"),
    "B02 unknown colour": ("generate --out NEW --layout RED.png", 3, "E-LAYOUT-COLOUR", "#ff0101 on 9 pixels"),
    "B03 blurred": ("generate --out NEW --layout BLUR.png", 3, "E-LAYOUT-COLOUR", "anti-aliasing"),
    "B04 no columns": ("generate --out NEW --size 0x3", 2, "E-USAGE-SIZE", "6x6"),
    "B04 empty file": ("generate --out NEW --layout ZERO.png", 3, "E-IMG-EMPTY"),
    "B05 too many blocks": ("generate --out NEW --size 1025x1", 5, "E-LIMIT-SIZE", "128"),
    "B05 too many pixels": ("generate --out NEW --layout WIDE.png", 5, "E-LIMIT-LAYOUT", "8192"),
    "B06 nothing but void": ("generate --out NEW --layout VOID.png", 3, "E-LAYOUT-EMPTY"),
    "B07 no valid block": ("generate --out NEW --layout TOWN.png", 3, "E-LAYOUT-WORLD", "grass"),
    "B07 nothing new": ("extend SCENE --layout PLAN.png", 3, "E-SCENE-COVERED", "--toward"),
    "B08 overlap 0": ("generate --out NEW --size 2x2 --overlap 0", 2, "E-USAGE-OPTION"),
    "B08 overlap 1": ("extend SCENE --toward +x1 --overlap 1", 2, "E-USAGE-OPTION"),
    "B09 apart": ("extend SCENE --layout FAR.png", 3, "E-SCENE-APART", "origin"),
    "B10 block 2^31": ("redo SCENE --block 2147483648,0", 5, "E-LIMIT-BLOCKS", "32768"),
    "B10 toward 2^31": ("extend SCENE --toward +x2147483648", 2, "E-USAGE-TOWARD"),
    "B10 scale": ("generate --out NEW --layout BARE.png --scale 900", 5, "E-LIMIT-BLOCKS"),
    "B11 no steps": ("generate --out NEW --size 2x2 --steps 0", 2, "E-USAGE-STEPS", "1 to 1000"),
    "B11 negative steps": ("generate --out NEW --size 2x2 --steps -3", 2, "E-USAGE-STEPS"),
    "B11 a million steps": ("generate --out NEW --size 2x2 --steps 1000000", 2, "E-USAGE-STEPS"),
    "B11 resamples": ("generate --out NEW --size 2x2 --resamples 0", 2, "E-USAGE-RESAMPLES"),
    "B11 jump": ("generate --out NEW --size 2x2 --steps 5 --resamples 2 --jump 9", 2, "E-USAGE-JUMP"),
    "B12 guidance nan": ("generate --out NEW --size 2x2 --guidance nan", 2, "E-USAGE-GUIDANCE"),
    "B12 guidance -1": ("generate --out NEW --size 2x2 --guidance -1", 2, "E-USAGE-GUIDANCE"),
    "B13 seed -1": ("generate --out NEW --size 2x2 --seed -1", 2, "E-USAGE", "seed"),
    "B13 seed 2^64": ("generate --out NEW --size 2x2 --seed 18446744073709551616", 2, "E-USAGE", "seed"),
    "B13 seed abc": ("generate --out NEW --size 2x2 --seed abc", 2, "E-USAGE", "seed"),
    "B13 redo seed": ("redo SCENE --block 0,0 --seed 18446744073709551616", 2, "E-USAGE", "seed"),
    "no plan": ("generate --out NEW", 2, "E-USAGE-PLAN", "--size"),
    "two plans": ("generate --out NEW --size 2x2 --layout PLAN.png", 2, "E-USAGE-PLAN"),
    "plan missing": ("generate --out NEW --layout none.png", 3, "E-IMG-KIND", "none.png"),
    "layout missing": ("generate --out NEW --layout none.json", 3, "E-LAYOUT-FILE"),
    "layout broken": ("generate --out NEW --layout BROKEN.json", 3, "E-JSON-SYNTAX", "BROKEN.json:1"),
    "scale nan": ("generate --out NEW --layout BARE.png --scale nan", 2, "E-USAGE-SCALE"),
    "plan is the scene": ("generate --out SCENE --layout SCENE --force", 2, "E-USAGE-SAME"),
    "model missing": ("generate --out NEW --size 2x2 --model nothing-here", 6, "E-CKPT-MISSING", "nothing-here"),
    "executor": ("generate --out NEW --size 2x2 --executor slurm", 2, "E-USAGE-EXECUTOR"),
    "resume and force": ("generate --out SCENE --resume --force", 2, "E-USAGE-CONFLICT"),
    "resume otherwise": ("generate --out SCENE --resume --steps 9 --seed 3", 2, "E-USAGE-RESUME", "--seed --steps"),
    "resume under another plan": ("generate --out SCENE --resume --size 4x4", 2, "E-USAGE-RESUME", "--size"),
    "no scene": ("extend NEW --toward +x1", 3, "E-SCENE-MISSING"),
    "nothing to undo": ("undo SCENE", 3, "E-SCENE-HISTORY"),
    "no ground": ("extend SCENE", 2, "E-USAGE-PLAN", "--toward"),
    "ground twice": ("extend SCENE --toward +x1 --layout PLAN.png", 2, "E-USAGE-PLAN"),
    "side": ("extend SCENE --toward up", 2, "E-USAGE-TOWARD", "+x2,-z1"),
    "block": ("redo SCENE --block 1", 2, "E-USAGE-BLOCK", "2,-1"),
    "block not there": ("redo SCENE --block 7,7", 3, "E-SCENE-BLOCK", "6 blocks"),
    "mesh format": ("mesh SCENE --out new.usd", 2, "E-USAGE-FORMAT", ".glb"),
    "mesh cells": ("mesh SCENE --out new.glb --cells 0", 2, "--cells"),
}  # fmt: skip


@pytest.fixture
def place(scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the files that the cases name."""
    monkeypatch.chdir(tmp_path)
    painted(tmp_path / "PLAN.png")
    painted(tmp_path / "FAR.png", (400.0, 0.0))
    save_png(ClassMap(np.zeros((40, 40), np.uint8), (0, 0), 0.1), "VOID.png")
    save_png(ClassMap(np.full((40, 40), BY_NAME["grass"].index, np.uint8), (0, 0), 0.1), "TOWN.png")
    picture = Image.fromarray(decode(Path("PLAN.png"), read_header(Path("PLAN.png")))[..., :3])
    picture.save("BARE.png")
    picture.resize((112, 64), Image.Resampling.BICUBIC).resize((20, 11), Image.Resampling.BICUBIC).save("BLUR.png")
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 999).save("GREY.png")
    Image.new("L", (8193, 1)).save("WIDE.png")
    picture.paste((255, 1, 1), (30, 20, 33, 23))
    picture.save("RED.png")
    Path("ZERO.png").touch()
    Path("BROKEN.json").write_text("{")
    return tmp_path


def _files(folder: Path) -> dict[Path, int]:
    """Files and when they were written; the lock does not count."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.parametrize("name", CASES)
def test_bad_requests_are_refused_by_one_line_before_anything_is_written(name: str, place: Path, scene: Path) -> None:
    words, code, *parts = CASES[name]
    before = _files(scene)
    words = words.replace("SCENE", str(scene)).replace("NEW", "new")
    more = ["--model", str(floor_model())] if words.startswith("generate") and "--model" not in words else []
    refused(run("scene", *words.split(), *more), code, *parts)
    assert not Path("new").exists() and not Path("new.glb").exists()
    assert _files(scene) == before


def test_scene_goes_on_with_the_same_model_only(copy: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(floor_model(), tmp_path / "other"))
    (other / MANIFEST).write_text((other / MANIFEST).read_text() + "\n")
    refused(run("scene", "redo", copy, "--block", "0,0", "--model", other), 3, "E-SCENE-MODEL")
    moved = Path(shutil.copytree(floor_model(), tmp_path / "moved"))
    assert run("scene", "redo", copy, "--block", "0,0", "--model", moved, "--no-preview").code == 0


def test_models_are_found_by_name_folder_or_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(floor_model(), tmp_path / "shipped" / "rooms-test")
    shutil.copytree(floor_model(), tmp_path / "run" / "model")
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "shipped")
    assert shipped_models() == ["rooms-test"]
    assert find_model("rooms-test") == tmp_path / "shipped" / "rooms-test"
    assert find_model(tmp_path / "run") == tmp_path / "run" / "model"
    assert find_model(floor_model()) == floor_model()
    assert generate(tmp_path / "scene", "--size", "1x1", "--model", "rooms-test").code == 0
    assert open_scene(tmp_path / "scene").head.model == "rooms-test"
    for name in ("", ".", "..", "no/such", "rooms\0"):
        with pytest.raises(UserError) as caught:
            find_model(name)
        assert caught.value.code == "E-CKPT-MISSING" and "rooms-test" in caught.value.line()


def test_jobs_give_their_record_without_a_command_line(copy: Path, tmp_path: Path) -> None:
    store = open_scene(copy)
    record = finished(extend_job(store, new_ground(store, None, parse_toward("+z1"), seed=3), means(batch=2)))
    assert (record["made"], record["blocks"], record["pending"]) == (3, 9, 0)
    assert finished(resume_job(open_scene(copy), means()))["made"] == 0


@pytest.mark.slow
def test_processes_give_the_same_scene(scene: Path, tmp_path: Path) -> None:
    assert generate(tmp_path / "scene", "--size", "3x2", "--processes", 2).code == 0
    ours, theirs = latents(tmp_path / "scene"), latents(scene)
    for index in theirs:
        assert np.frombuffer(ours[index], np.float32) == pytest.approx(
            np.frombuffer(theirs[index], np.float32), abs=1e-5
        )


def test_seam_report_compares_ways_of_making_the_same_blocks(tmp_path: Path) -> None:
    networks, _ = open_networks(floor_model(), "cpu")
    options = SeamOptions((2, 2), grow=GrowOptions(steps=2, jump=1), cells=16, rings=1)
    found = finished(seam_run(floor_model(), networks, options, tmp_path / "seams.png"))
    names = ["independent", "synchronised", *(f"resamples {n}{way}" for n in (1, 2, 3, 5) for way in ("", ", settled"))]
    assert [row["name"] for row in found["rows"]] == names and found["size"] == [2, 2]
    assert {"gap_mm", "sign_iou", "normal_deg", "chamfer_mm", "blended", "mesh"} <= found["rows"][0].keys()
    assert all(row["mesh"]["open_edges"] == 0 for row in found["rows"])
    assert [(ring["ring"], ring["blocks"]) for ring in found["rings"]] == [(0, 1), (1, 8)]
    alone, scene = (next(row for row in found["rows"] if row["name"] == name)["layout"]["iou"]
                    for name in ("independent", "resamples 1, settled"))  # fmt: skip
    assert found["layout_gain"] == (None if None in (alone, scene) else scene - alone)
    assert {"layout_iou", "single_layout_iou", "layout_gain"} <= found["rings"][1].keys()
    assert read_header(tmp_path / "seams.png").size[0] > 6 * 28


def test_rings_lie_around_the_middle_block() -> None:
    rings = rings_of([(i, k) for k in range(-1, 4) for i in range(5)])
    assert [len(ring) for ring in rings] == [1, 8, 16] and rings[0] == [(2, 1)]


def test_evaluation_without_anything_to_evaluate_is_refused() -> None:
    refused(run("scene", "evaluate", floor_model()), 2, "E-USAGE-SOURCE", "--seams")
    refused(run("scene", "evaluate", floor_model(), "--seams", "--size", "0x1"), 2, "E-USAGE-SIZE")
