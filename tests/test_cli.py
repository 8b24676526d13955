"""Every command end to end on a tiny capture, and what it leaves for machines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import trimesh
from command_line import run, tiny_capture, tiny_run
from PIL import Image

from fields.checkpoint import load_tensors, read_header
from fields.run_folder import RunFolder

EVAL_KEYS = {"source", "split", "views", "mean"}
REPORT_KEYS = {"teacher", "student", "seconds", "vs_teacher", "vs_photos", "fog", "bytes", "ms_per_frame"}
ROW_KEYS = {"name", "config", "ours_s", "baseline", "baseline_s", "ratio", "spread"}


def test_fit_leaves_a_field_a_state_and_a_record() -> None:
    record = json.loads((tiny_run() / "run.json").read_text())
    assert record["status"] == "done" and record["steps"] == 96
    assert record["settings"]["fit"]["preset"] == "tiny" and record["versions"]["torch"]
    assert {"load", "fit", "evaluate"} <= record["seconds"].keys() and record["peak_memory_bytes"] > 0
    assert 8 < record["metrics"]["psnr"] < 60 and record["rays_per_second"] > 0
    header = read_header(tiny_run() / "field.safetensors")
    assert header["backend"] == "hash" and header["notes"]["viewpoint"]["up"][2] > 0.99
    with RunFolder(tiny_run(), resume=True) as folder:
        state = folder.load_state()
    assert state is not None and state.step == 96


def test_equal_seeds_give_equal_fields(tmp_path: Path) -> None:
    words = ("fit", tiny_capture(), "--preset", "tiny", "--steps", 8, "--device", "cpu")
    outcomes = [run(*words, "--out", tmp_path / name, "--seed", seed) for name, seed in (("a", 5), ("b", 5), ("c", 6))]
    assert [outcome.code for outcome in outcomes] == [0, 0, 0], outcomes[0].err
    a, b, c = (load_tensors(tmp_path / name / "field.safetensors")[0]["backend.table"] for name in "abc")
    assert a.equal(b) and not a.equal(c)


def test_resumed_fit_goes_on_to_a_longer_budget(tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = run("fit", tiny_capture(), "--out", out, "--preset", "tiny", "--steps", 8, "--seed", 3)
    second = run("fit", tiny_capture(), "--out", out, "--resume", "--steps", 24, "--json")
    assert (first.code, second.code) == (0, 0), second.err
    assert second.json["steps"] == 24 and second.json["settings"]["fit"]["seed"] == 3


def test_force_starts_anew(tmp_path: Path) -> None:
    shutil.copytree(tiny_run(), tmp_path / "run")
    outcome = run(
        "fit",
        tiny_capture(),
        "--out",
        tmp_path / "run",
        "--preset",
        "tiny",
        "--steps",
        8,
        "--force",
        "--json",
    )
    assert outcome.code == 0 and outcome.json["steps"] == 8
    assert [path.name for path in (tmp_path / "run").glob("state-*")] == ["state-000000008.safetensors"]


def test_fit_says_what_runs_where(tmp_path: Path) -> None:
    outcome = run("fit", tiny_capture(), "--out", tmp_path / "r", "--preset", "tiny", "--steps", 8, "--device", "cpu")
    for part in ("backend hash", "on cpu", "kernels", "parameters", "rays/s", "layout nerf-synthetic"):
        assert part in outcome.out


def test_eval_document_has_every_view_and_their_mean(tmp_path: Path) -> None:
    outcome = run("eval", tiny_run(), tiny_capture(), "--json", tmp_path / "scores.json")
    found = json.loads((tmp_path / "scores.json").read_text())
    assert found.keys() == EVAL_KEYS and found["split"] == "test" and len(found["views"]) == 3
    assert all(view.keys() == {"name", "psnr", "ssim"} for view in found["views"])
    assert found["mean"]["psnr"] == pytest.approx(np.mean([view["psnr"] for view in found["views"]]))
    assert "mean" in outcome.out and f"{found['mean']['psnr']:.2f} dB" in outcome.out


def test_eval_can_score_training_views() -> None:
    outcome = run("eval", tiny_run(), tiny_capture(), "--split", "train", "--json")
    assert outcome.code == 0 and len(outcome.json["views"]) == 8


def test_render_writes_one_png_for_each_frame_and_picture(tmp_path: Path) -> None:
    outcome = run(
        "render",
        tiny_run(),
        "--out",
        tmp_path / "p",
        "--frames",
        2,
        "--size",
        "20x16",
        "--what",
        "rgb,depth,normal,opacity",
        "--json",
    )
    assert outcome.code == 0, outcome.err
    assert len(outcome.json["files"]) == 8 and outcome.json["frames"] == 2
    with Image.open(tmp_path / "p" / "0001_rgb.png") as picture:
        assert picture.size == (20, 16) and "Fieldscape" in picture.info["Software"]
        pixels = np.asarray(picture)
    assert pixels[0, 0].min() > 150 and pixels.std() > 5, "light around the object, and something in it"


def test_render_from_the_cameras_of_a_split(tmp_path: Path) -> None:
    outcome = run("render", tiny_run(), "--out", tmp_path / "p", "--cameras", f"{tiny_capture()}:train", "--json")
    assert outcome.json["frames"] == 8 and (tmp_path / "p" / "r_0.png").is_file()


def test_render_follows_a_camera_path_file(tmp_path: Path) -> None:
    frames = json.loads((tiny_capture() / "transforms_test.json").read_text())
    (tmp_path / "path.json").write_text(json.dumps(frames))
    words = ("--path", tmp_path / "path.json", "--size", "48x48", "--out", tmp_path / "a")
    assert run("render", tiny_run(), *words).code == 0
    assert run("render", tiny_run(), "--cameras", tiny_capture(), "--out", tmp_path / "b").code == 0
    a, b = (np.asarray(Image.open(tmp_path / name), np.int16) for name in ("a/0000.png", "b/r_0.png"))
    assert np.abs(a - b).max() <= 2, "the same cameras give the same pictures"


def test_render_makes_a_film(tmp_path: Path) -> None:
    film = pytest.importorskip("imageio_ffmpeg")
    outcome = run(
        "render",
        tiny_run(),
        "--out",
        tmp_path / "f.mp4",
        "--frames",
        3,
        "--size",
        "33x20",
        "--path",
        "spiral",
        "--what",
        "rgb,depth",
    )
    assert outcome.code == 0, outcome.err
    frames, seconds = film.count_frames_and_secs(str(tmp_path / "f.mp4"))
    assert frames == 3 and 0.05 < seconds < 0.2
    assert (tmp_path / "f.mp4").read_bytes()[4:8] == b"ftyp"


def test_film_without_its_encoder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    outcome = run("render", tiny_run(), "--out", tmp_path / "f.mp4", "--frames", 1, "--size", "16x16")
    assert outcome.code == 4 and "fieldscape[video]" in outcome.err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["glb", "ply", "obj", "stl"])
def test_mesh_is_written_in_every_format(suffix: str, tmp_path: Path) -> None:
    out = tmp_path / f"scene.{suffix}"
    outcome = run("mesh", tiny_run(), "--out", out, "--resolution", 24, "--level", 1.0, "--json")
    assert outcome.code == 0, outcome.err
    loaded = trimesh.load(out, force="mesh")
    assert len(loaded.faces) == outcome.json["faces"] > 100 and outcome.json["watertight"]


def test_mesh_can_be_cropped(tmp_path: Path) -> None:
    outcome = run(
        "mesh",
        tiny_run(),
        "--out",
        tmp_path / "part.ply",
        "--resolution",
        32,
        "--level",
        1.0,
        "--crop",
        "-0.4,-0.4,-0.4,0.4,0.4,0.4",
        "--keep-largest",
        "--json",
    )
    assert outcome.code == 0, outcome.err
    assert 0.3 < np.abs(trimesh.load(tmp_path / "part.ply").vertices).max() < 0.41


def test_mesh_can_be_simplified_and_left_without_colours(tmp_path: Path) -> None:
    words = ("mesh", tiny_run(), "--resolution", 32, "--level", 1.0, "--color", "none", "--json", "--out")
    whole, part = (
        run(*words, tmp_path / "a.ply").json,
        run(*words, tmp_path / "b.ply", "--simplify", 1000).json,
    )
    assert part["faces"] < 0.5 * whole["faces"] and part["volume"] == pytest.approx(whole["volume"], rel=0.1)
    assert b"red" not in (tmp_path / "b.ply").read_bytes()[:400]


def test_impossible_level_names_the_range(tmp_path: Path) -> None:
    outcome = run("mesh", tiny_run(), "--out", tmp_path / "m.glb", "--resolution", 24, "--level", 1e9)
    assert outcome.code == 3 and "E-MC-RANGE" in outcome.err and "--level" in outcome.err
    assert not list(tmp_path.iterdir())


def test_convert_writes_a_field_and_a_report(tmp_path: Path) -> None:
    out, report = tmp_path / "student.safetensors", tmp_path / "report"
    outcome = run(
        "convert",
        tiny_run(),
        "--to",
        "mlp",
        "--preset",
        "tiny",
        "--steps",
        16,
        "--out",
        out,
        "--against",
        tiny_capture(),
        "--report",
        report,
        "--json",
    )
    assert outcome.code == 0, outcome.err
    found = json.loads((report / "report.json").read_text())
    assert found.keys() >= REPORT_KEYS and found["vs_teacher"].keys() == {"psnr", "ssim", "depth"}
    assert found["vs_photos"].keys() == {"teacher_psnr", "student_psnr"} and found["student"]["backend"] == "mlp"
    assert found["bytes"] == out.stat().st_size and 0 <= found["fog"] <= 1
    page = (report / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 4 * 5 + 3 * 6 and "://" not in page
    assert run("render", out, "--out", tmp_path / "p", "--frames", 1, "--size", "16x16").code == 0


def test_convert_into_a_run_folder_without_photos(tmp_path: Path) -> None:
    outcome = run("convert", tiny_run(), "--to", "hash", "--preset", "tiny", "--steps", 32, "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["command"] == "convert" and record["status"] == "done" and record["metrics"]["psnr"] > 5
    assert run("render", tmp_path / "run", "--out", tmp_path / "p", "--frames", 1, "--size", "16x16").code == 0


def test_mesh_source_is_fitted_by_its_distances_and_scored_as_a_mesh(tmp_path: Path) -> None:
    trimesh.creation.icosphere(subdivisions=1).export(tmp_path / "ball.ply")
    fitted = run("fit", tmp_path / "ball.ply", "--out", tmp_path / "run", "--preset", "tiny", "--steps", 60, "--json")
    assert fitted.code == 0, fitted.err
    assert fitted.json["metrics"]["sign_iou"] > 0.8
    scored = run("eval", tmp_path / "run", tmp_path / "ball.ply", "--resolution", 32, "--json").json
    assert scored["mean"].keys() == {"chamfer", "fscore", "sign_iou", "watertight"}
    assert scored["mean"]["chamfer"] < 0.05 and scored["mean"]["watertight"]
    assert run("render", tmp_path / "run", "--out", tmp_path / "p", "--frames", 1, "--size", "64x64").code == 0
    pixels = np.asarray(Image.open(tmp_path / "p" / "0000.png"), np.float32)
    assert pixels[32, 32].max() < 250 and pixels[20:44, 20:44].std() > 3, "a shaded ball, not a flat disc"


def test_bench_gives_rows_beside_a_named_baseline() -> None:
    found = run("bench", "kernels", "--only", "adam", "--repeat", 2, "--json").json
    (row,) = found["rows"]
    assert row.keys() == ROW_KEYS and row["baseline"] == "torch.optim.Adam" and row["ours_s"] > 0
    assert found["hardware"]["calibration_gflops"][0] > 0 and found["versions"]["torch"]


@pytest.mark.parametrize("subject", ["fit", "render"])
def test_bench_of_whole_fields_runs_the_reference_beside_them(subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"_PHOTOS": 6, "_SIDE": 24, "_WARM_FIT": 16, "_WARM_STEPS": 16, "_FRAMES": ((16, "frame"),)}
    for name, value in {**small, "_PRESET": "tiny"}.items():
        monkeypatch.setattr(f"app.bench.fields.{name}", value)
    found = run("bench", subject, "--only", "hash", "--repeat", 1, "--limit", "1s", "--json")
    assert found.code == 0, found.err
    (row,) = found.json["rows"]
    assert row.keys() == ROW_KEYS and row["baseline"] == "PyTorch reference"
    assert row["ours_s"] > 0 and row["baseline_s"] > 0 and "hash" in row["config"]


def test_doctor_finds_what_is_needed() -> None:
    outcome = run("doctor")
    assert outcome.code == 0 and "torch" in outcome.out and "backends" in outcome.out
    checks = {check["name"]: check for check in run("doctor", "--json").json["checks"]}
    assert checks["torch"]["verdict"] == "ok" and "hash" in checks["backends"]["found"]


def test_version_is_one_line() -> None:
    outcome = run("--version")
    assert outcome.code == 0 and outcome.out.startswith("fieldscape ") and outcome.out.count("\n") == 1
