"""The table of conversions and the study of the method: rows, resuming, verdicts, pictures of them."""

from __future__ import annotations

import json
import math
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trimesh
from command_line import refused, run, tiny_capture

import app.bench.matrix
import app.bench.nerf_recipe
import app.bench.study
import app.comparison
from app.bench.matrix import all_pairs, read_pairs, verdict
from app.bench.matrix_table import heat_map, markdown
from app.bench.nerf_recipe import nerf_sampler, nerf_steps
from app.bench.study import FULL, RECIPE, SCRATCH, HeldOut, time_to, variants
from app.source import open_source
from fields.backends import BACKENDS
from fields.budget import Budget
from fields.field import Field
from fields.render import render_view
from fields.space import Space

ROW_KEYS = {"name", "config", "ours_s", "baseline", "baseline_s", "ratio", "spread"}
PSNR_KEYS = {"teacher_psnr", "student_psnr", "scratch_psnr", "vs_teacher_psnr", "gap", "verdict"}


@pytest.fixture(autouse=True)
def few_small_views(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.comparison, "_VIEWS", 1)
    monkeypatch.setattr(app.comparison, "_SIDE", 16)
    monkeypatch.setattr(app.bench.matrix, "_VIEWS", 1)
    monkeypatch.setattr(app.bench.study, "_PIXELS", 64)


def bench(out: Path, *words: object) -> Any:
    """`bench convert` at its smallest."""
    scene = () if "--scene" in words else ("--scene", tiny_capture())
    usual = ("--preset", "tiny", "--size", 24, "--time", "16steps")
    return run("bench", "convert", "--out", out, *usual, *scene, *words, "--json")


def test_table_has_a_row_for_each_pair_and_goes_on_where_it_was(tmp_path: Path) -> None:
    first = bench(tmp_path, "--pairs", "hash:mlp")
    assert first.code == 0, first.err
    (row,) = first.json["rows"]
    assert row.keys() >= ROW_KEYS | PSNR_KEYS and row["verdict"] in ("ok", "short")
    assert row["gap"] == pytest.approx(row["student_psnr"] - min(row["teacher_psnr"], row["scratch_psnr"]))
    kept = tmp_path / "rows" / "density-hash-mlp.json"
    before = kept.stat().st_mtime_ns
    second = bench(tmp_path, "--pairs", "hash:mlp,mlp:hash")
    assert second.code == 0, second.err
    assert [r["name"] for r in second.json["rows"]] == ["hash to mlp", "mlp to hash"]
    assert kept.stat().st_mtime_ns == before, "a row that was there was made again"
    assert len(list((tmp_path / "fits").iterdir())) == 2, "fits are shared by teachers and references"
    assert json.loads((tmp_path / "matrix.json").read_text())["rows"] == second.json["rows"]
    assert (tmp_path / "matrix.md").read_text().count("\n") == 4
    assert (tmp_path / "matrix.svg").read_text().count("<rect") == 3
    refused(bench(tmp_path, "--pairs", "hash:mlp", "--seed", 4), 2, "E-USAGE-RESUME", "--seed")


def test_students_are_finished_on_photos_where_that_is_wanted(tmp_path: Path) -> None:
    found = bench(tmp_path, "--pairs", "hash:vm", "--finetune", "3steps")
    assert found.code == 0, found.err
    (row,) = found.json["rows"]
    assert row["finetune_steps"] == 3 and row["steps"] == 16
    refused(bench(tmp_path, "--pairs", "hash:vm"), 2, "E-USAGE-RESUME", "--finetune")
    refused(bench(tmp_path / "no", "--study", "--finetune", "3steps"), 2, "E-USAGE-FINETUNE", "--study")
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_table_on_a_mesh_measures_distances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.bench.matrix, "_RESOLUTION", 24)
    trimesh.creation.icosphere(subdivisions=1).export(tmp_path / "ball.ply")
    found = bench(tmp_path / "out", "--scene", tmp_path / "ball.ply", "--pairs", "hash:hash", "--time", "64steps")
    assert found.code == 0, found.err
    (row,) = found.json["rows"]
    assert row["kind"] == "sdf" and row["measure"] == "chamfer" and 0 < row["student_chamfer"] < 0.2


def test_study_leaves_out_one_part_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = variants(None, 0.0, 0)
    monkeypatch.setattr(app.bench.study, "variants", lambda *_: {name: whole[name] for name in (FULL, "pixels only")})
    outcome = bench(tmp_path, "--study", "--pairs", "hash:mlp")
    assert outcome.code == 0, outcome.err
    rows = outcome.json["rows"]
    assert [row["name"] for row in rows] == [FULL, "pixels only", SCRATCH]
    assert all(row.keys() >= ROW_KEYS | {"curve", "psnr"} and row["curve"][-1][1] == 16 for row in rows)
    assert rows[-1]["ratio"] == pytest.approx(1.0) or rows[-1]["ours_s"] < rows[-1]["baseline_s"]
    assert bench(tmp_path, "--study", "--pairs", "hash:mlp").json["rows"] == rows


def test_sooner_gives_each_its_own_time_and_leaves_nothing_out(tmp_path: Path) -> None:
    outcome = bench(tmp_path, "--sooner", "--pairs", "hash:vm", "--time", "8steps", "--scratch", "24steps")
    assert outcome.code == 0, outcome.err
    assert [(row["name"], row["curve"][-1][1]) for row in outcome.json["rows"]] == [(FULL, 8), (SCRATCH, 24)]
    assert (tmp_path / "sooner.md").is_file()


def test_an_mlp_is_also_fitted_as_nerf_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.bench.nerf_recipe, "_RAYS", 16)
    monkeypatch.setattr(app.bench.study, "_RECIPE_TIME", 3)
    outcome = bench(tmp_path, "--sooner", "--pairs", "hash:mlp", "--time", "8steps", "--scratch", "16steps")
    assert outcome.code == 0, outcome.err
    rows = {row["name"]: row for row in outcome.json["rows"]}
    assert list(rows) == [FULL, SCRATCH, RECIPE] and rows[RECIPE]["curve"][-1][1] == 48


def test_nerfs_recipe_learns_without_an_occupancy_grid() -> None:
    capture = open_source(str(tiny_capture())).require_capture()
    field = Field.create("mlp", Space(capture.bounds), preset="tiny", seed=0)
    field.occupancy.bits.zero_()  # would hide everything
    look = partial(HeldOut(capture).psnr, field, nerf_sampler(field))
    before, reports = look(), list(nerf_steps(field, capture, Budget(steps=64), 0))
    assert look() > before + 0.3 and [report.step for report in reports] == [16, 32, 48, 64]


def test_the_sample_of_held_out_pixels_agrees_with_whole_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.bench.study, "_PIXELS", 20_000)
    capture = open_source(str(tiny_capture())).require_capture()
    field = Field.create("hash", Space(capture.bounds), preset="tiny", seed=0)
    views, background = capture.test, capture.background_value
    errors = []
    for index in range(len(views)):
        picture = render_view(field, views.cameras, index, background=background, near=capture.near)["rgb"]
        errors.append((picture - views.image(index, background)).square().mean())
    whole = -10 * math.log10(sum(errors) / len(errors))
    assert HeldOut(capture).psnr(field) == pytest.approx(whole, abs=0.2)


def test_every_variant_of_the_study_differs_from_the_full_method() -> None:
    found = variants(None, 0.0, 0)
    assert len(found) >= 8 and all(options != found[FULL] for name, options in found.items() if name != FULL)


def test_time_to_a_closeness_lies_between_the_points_around_it() -> None:
    curve = [[1.0, 10, 20.0], [3.0, 30, 24.0], [9.0, 90, 26.0]]
    assert time_to(curve, 22.0) == pytest.approx(2.0) and time_to(curve, 20.0) == 1.0
    assert time_to(curve, 27.0) is None


def test_verdict_allows_half_a_decibel_and_a_fifth_more_distance() -> None:
    assert verdict("psnr", 30.0, 27.6, 28.0)["verdict"] == "ok"
    assert verdict("psnr", 30.0, 27.4, 28.0) == {"gap": pytest.approx(-0.6), "verdict": "short"}
    assert verdict("chamfer", 0.01, 0.0119, 0.008)["verdict"] == "ok"
    assert verdict("chamfer", 0.01, 0.0121, 0.008)["verdict"] == "short"


def test_pairs_are_read_strictly() -> None:
    assert read_pairs("hash:mlp, vm:cp,hash:mlp") == (("hash", "mlp"), ("vm", "cp"))
    assert len(all_pairs()) == len(BACKENDS) ** 2
    refused(run("bench", "convert", "--out", "x", "--pairs", "hash:nerf"), 2, "E-USAGE-PAIRS", "hash:nerf")


def row(a: str, b: str, gap: float) -> dict[str, Any]:
    return {
        "from": a, "to": b, "kind": "density", "measure": "psnr", "teacher_psnr": 30.0, "student_psnr": 30.0 + gap,
        "scratch_psnr": 30.0, "vs_teacher_psnr": 33.0, "ours_s": 1.0, **verdict("psnr", 30.0, 30.0 + gap, 30.0),
    }  # fmt: skip


def test_heat_map_is_greener_for_smaller_losses() -> None:
    picture = heat_map([row("hash", "mlp", -0.1), row("mlp", "hash", -3.0)])
    hues = [int(hue) for hue in re.findall(r"hsl\((\d+)", picture)]
    assert hues[0] > 120 > 60 > hues[1] and "-3.0 dB" in picture and picture.startswith("<svg")
    assert "| hash | mlp |" in markdown([row("hash", "mlp", -0.1)])
