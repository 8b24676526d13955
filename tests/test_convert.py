"""Converting: every option at its smallest, resuming, refusals, and what the report holds."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from command_line import refused, run, tiny_capture, tiny_run
from torch import Tensor

import app.comparison
import app.conversion
import app.surfaces
from app.conversion import convert
from app.conversion_document import warnings_of
from app.conversion_plan import Company, plan_conversion
from app.conversion_state import ConvertSettings, Curve, state_folder
from app.library import open_field
from app.meshing import MeshOptions, surface_steps
from app.sizing import fitting_settings, largest_bytes
from app.source import open_source
from app.surfaces import DirectSurface, surface_error
from app.teachers import teacher_of
from fields.backends import BACKENDS, with_settings
from fields.checkpoint import load_tensors, read_header
from fields.errors import UserError
from fields.field import Field
from fields.progress import Progress
from fields.space import Space

SPACE = Space(torch.tensor([[-1.0, -1, -1], [1, 1, 1]]))
MORE_KEYS = {
    "opacity_error", "photos_ssim", "fog_unmasked", "bytes_without_grid", "peak_memory_bytes", "curve", "surface",
    "baseline", "size_choice", "conversions", "warnings", "start", "steps",
}  # fmt: skip


@pytest.fixture(autouse=True)
def few_small_views(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.comparison, "_VIEWS", 2)
    monkeypatch.setattr(app.comparison, "_SIDE", 20)
    monkeypatch.setitem(app.surfaces._LATTICE, "tiny", 24)


def exhaust(steps: Generator[Progress, None, Any]) -> Any:
    """A generator's return value."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def converted(tmp_path: Path, *words: object, to: str = "mlp", steps: int = 16) -> Any:
    """The document of a conversion of the tiny run into `tmp_path`/out.safetensors."""
    out = tmp_path / "out.safetensors"
    outcome = run(
        "convert", tiny_run(), "--to", to, "--preset", "tiny", "--steps", steps, "--out", out, *words, "--json"
    )
    assert outcome.code == 0, outcome.err
    return outcome.json


def test_report_has_every_figure_and_page_fetches_nothing(tmp_path: Path) -> None:
    report = tmp_path / "report"
    converted(
        tmp_path, "--against", tiny_capture(), "--report", report, "--baseline", "--finetune", "16steps", steps=48
    )
    found = json.loads((report / "report.json").read_text())
    assert found.keys() >= MORE_KEYS
    assert found["steps"] == {"distil": 48, "finetune": 16}
    assert found["seconds"].keys() >= {"start", "pixels", "finetune", "compare", "baseline"}
    assert found["bytes"] - found["bytes_without_grid"] == 128**3 // 8
    assert found["baseline"]["steps"] == 64 and found["baseline"]["photos_psnr"] > 3
    assert "photos" in found["baseline"]["name"] and found["conversions"][-1]["to"] == "mlp"
    assert 0 <= found["fog"] <= 1 and 0 <= found["fog_unmasked"] <= 1
    page = (report / "report.html").read_text()
    assert "://" not in page and "<script" not in page and "default-src 'none'" in page
    assert page.count("<svg") == 1 and "Beside a baseline" in page and "<h2>Conversions so far" in page
    for text in found["warnings"]:
        assert text[:20].replace("'", "&#x27;") in page


def test_baseline_without_photos_is_named_and_learns_pixels_only(tmp_path: Path) -> None:
    found = converted(tmp_path, "--baseline")
    assert "pixels only" in found["baseline"]["name"] and found["baseline"]["photos_psnr"] is None
    assert found["baseline"]["steps"] == 16 and found["vs_photos"] is None


def test_field_file_keeps_the_chain_of_conversions(tmp_path: Path) -> None:
    converted(tmp_path, to="hash")
    again = run("convert", tmp_path / "out.safetensors", "--to", "mlp", "--preset", "tiny", "--steps", 16,
                "--out", tmp_path / "second", "--json")  # fmt: skip
    assert again.code == 0, again.err
    links = read_header(tmp_path / "second" / "field.safetensors")["notes"]["conversions"]
    assert [(link["from"], link["to"]) for link in links] == [("hash", "hash"), ("hash", "mlp")]
    assert any("number 2 in a row" in text for text in again.json["warnings"])


def test_wanted_closeness_ends_the_run_early(tmp_path: Path) -> None:
    found = converted(tmp_path, "--psnr", 1, steps=400)
    assert found["steps"]["distil"] < 200
    missed = converted(tmp_path, "--psnr", 90, "--force")
    assert any("--psnr 90 was not reached" in text for text in missed["warnings"])


def test_file_stays_below_the_wanted_size(tmp_path: Path) -> None:
    found = converted(tmp_path, "--max-size", "500kB", "--set", "log2_entries=12", to="hash")
    assert found["bytes"] < 500_000 and "levels" in found["size_choice"]["chosen"]
    config = read_header(tmp_path / "out.safetensors")["config"]["parts"][0]
    assert config["log2_entries"] == 12 and config["levels"] < 8


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_sizes_go_down_until_the_file_fits_and_no_further(backend: str) -> None:
    whole = largest_bytes(backend, BACKENDS[backend].PRESETS["tiny"], SPACE, "density")
    assert not fitting_settings(backend, "tiny", {}, SPACE, whole + 1, "density").changed
    limit = int(0.5 * (whole - 270_000)) + 270_000
    choice = fitting_settings(backend, "tiny", {}, SPACE, limit, "density")
    config = with_settings(BACKENDS[backend].PRESETS["tiny"], choice.settings)
    assert choice.bytes == largest_bytes(backend, config, SPACE, "density") < limit
    assert choice.bytes > 0.3 * limit
    with pytest.raises(UserError, match=r"E-LIMIT-SIZE.*more than \d+ bytes"):
        fitting_settings(backend, "tiny", {}, SPACE, 1000, "density")


def test_cameras_of_a_capture_are_where_rays_come_from(tmp_path: Path) -> None:
    words = ("--cameras", f"{tiny_capture()}:test")
    converted(tmp_path, *words)
    company = Company(cameras=open_source(str(tiny_capture())).require_capture().test.cameras)
    plan = plan_conversion(teacher_of(open_field(str(tiny_run()))), ConvertSettings("mlp", preset="tiny"), company)
    assert plan.options.cameras is company.cameras and plan.identity["cameras"]


def test_mesh_file_teaches_a_distance_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.distance.RESOLUTION", 32)
    trimesh.creation.icosphere(subdivisions=1).export(tmp_path / "ball.ply")
    outcome = run("convert", tmp_path / "ball.ply", "--to", "hash", "--preset", "tiny", "--steps", 32,
                  "--out", tmp_path / "ball", "--json")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.json["teacher"]["backend"] == "mesh" and outcome.json["student"]["kind"] == "sdf"
    assert outcome.json["vs_teacher"]["psnr"] > 17  # of clay, as the mesh has no colours
    assert "pixels" not in outcome.json["seconds"]


def test_density_becomes_distance_with_a_report_of_its_surface(tmp_path: Path) -> None:
    found = converted(tmp_path, "--kind", "sdf", to="hash", steps=32)
    assert found["student"]["kind"] == "sdf"
    assert 0 <= found["surface"]["chamfer"] < 0.2 and {"watertight", "direct_watertight"} <= found["surface"].keys()
    assert found["seconds"]["distance"] > 0


def test_surface_error_is_measured_to_the_teachers_own_mesh() -> None:
    student = Field.create("hash", SPACE, "sdf", preset="tiny")  # a new distance field is a ball
    wider = exhaust(surface_steps(student, MeshOptions(24), {}))[0]
    wider = replace(wider, vertices=1.2 * wider.vertices)
    error = exhaust(surface_error(DirectSurface(wider, 24, 0), student))
    radius = float(np.linalg.norm(wider.vertices, axis=1).mean()) / 1.2
    diagonal = float(np.linalg.norm(np.ptp(wider.vertices, axis=0)))
    assert error["chamfer"] == pytest.approx(0.2 * radius / diagonal, rel=0.1)
    assert error["watertight"] and error["direct_watertight"] and error["resolution"] == 24


def test_teacher_is_edited_first(tmp_path: Path) -> None:
    found = converted(tmp_path, "--edit", "crop:-1.5,-1.5,-1.5,0,1.5,1.5")
    assert found["teacher"]["backend"] == "edited hash"
    header = read_header(tmp_path / "out.safetensors")
    assert header["notes"]["edits"] == ["crop"] and header["bounds"][1][0] < 0.1


def steps_of(
    out: Path, *, stop: tuple[str, int] | None = None, resume: bool = False, finetune: bool = True
) -> list[Progress]:
    """Convert the tiny run; closed at a report of phase and step `stop`, as by Ctrl-C."""
    settings = ConvertSettings(
        "vm", preset="tiny", steps=48, seed=3, finetune_steps=48 if finetune else None,
        settings={"start": 16, "resolution": 24},
    )  # fmt: skip
    company = Company(against=open_source(str(tiny_capture())).require_capture())
    job = convert(open_field(str(tiny_run())), settings, out, resume=resume, company=company)
    seen = []
    for progress in job:
        seen.append(progress)
        if stop is not None and progress.phase == stop[0] and progress.step >= stop[1]:
            job.close()
            break
    return seen


def weights(path: Path) -> dict[str, Tensor]:
    return load_tensors(path)[0]


@pytest.mark.parametrize("stop", [("pixels", 32), ("finetune", 16), ("compare", 1)])
def test_resumed_conversion_equals_an_unbroken_one(
    stop: tuple[str, int], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = tmp_path_factory.getbasetemp() / "whole.safetensors"
    if not whole.exists():
        steps_of(whole)
    out = tmp_path / "broken.safetensors"
    steps_of(out, stop=stop)
    assert not out.exists() and list(state_folder(out).glob("state-*"))
    resumed = steps_of(out, resume=True)
    assert resumed[0].phase != "start" and not state_folder(out).exists()
    a, b = weights(whole), weights(out)
    assert a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


def test_conversion_stopped_during_its_start_begins_anew(tmp_path: Path) -> None:
    out = tmp_path / "run"
    steps_of(out, stop=("start", 1), finetune=False)
    assert not list(out.glob("state-*"))
    steps_of(out, resume=True, finetune=False)
    assert (out / "field.safetensors").is_file() and json.loads((out / "run.json").read_text())["status"] == "done"


def test_states_are_stored_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saves: list[int] = []
    keep = app.conversion.save_stage
    monkeypatch.setattr(app.conversion, "save_stage", lambda *a: (saves.append(a[2]), keep(*a))[1])
    monkeypatch.setattr("app.conversion.saved.__defaults__", (0.0, 1e9))
    converted(tmp_path, steps=48)
    assert saves[:3] == [16, 32, 48] and not (tmp_path / "out.partial").exists()


def test_resuming_needs_the_same_settings(tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    steps_of(out, stop=("pixels", 16))
    words = ("convert", tiny_run(), "--out", out, "--resume", "--seed", 3, "--against", tiny_capture(),
             "--set", "start=16", "--set", "resolution=24")  # fmt: skip
    refused(run(*words, "--to", "cp", "--preset", "tiny"), 2, "E-USAGE-RESUME", "--to", "cp", "vm")
    refused(run(*words, "--to", "vm", "--preset", "small"), 2, "E-USAGE-RESUME", "--preset")
    refused(run(*words[:-2], "--to", "vm", "--preset", "tiny"), 2, "E-USAGE-RESUME", "--set")
    refused(run("convert", tiny_run(), "--to", "vm", "--out", out), 2, "E-USAGE-EXISTS", "--resume")


def test_finished_conversion_cannot_be_resumed(tmp_path: Path) -> None:
    converted(tmp_path)
    words = (
        "convert",
        tiny_run(),
        "--to",
        "mlp",
        "--preset",
        "tiny",
        "--out",
        tmp_path / "out.safetensors",
        "--resume",
    )
    refused(run(*words), 2, "E-USAGE-RESUME", "done")


REFUSALS = {
    "finetune without photos": (("--finetune", "10s"), "E-USAGE-FINETUNE"),
    "finetune for no time": (("--finetune", "0steps"), "E-USAGE-TIME"),
    "psnr that is no number": (("--psnr", "nan"), "E-USAGE-PSNR"),
    "psnr below zero": (("--psnr", "-3"), "E-USAGE-PSNR"),
    "size without a number": (("--max-size", "small"), "E-USAGE-BYTES"),
    "size of nothing": (("--max-size", "0"), "E-USAGE-BYTES"),
    "resume and force": (("--resume", "--force"), "E-USAGE-CONFLICT"),
    "photos of an edited scene": (("--edit", "delete:0,0,0,1,1,1", "--against", "sample"), "E-USAGE-CONFLICT"),
    "edit that cannot be read": (("--edit", "paint:red"), "E-USAGE-EDIT"),
    "crop that misses": (("--edit", "crop:8,8,8,9,9,9"), "E-USAGE-EDIT"),
    "other kind": (("--kind", "splat"), "E-USAGE-KIND"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_bad_options_are_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    words, code = REFUSALS[name]
    refused(run("convert", tiny_run(), "--to", "mlp", "--out", tmp_path / "x.safetensors", *words), 2, code)
    assert not list(tmp_path.iterdir())


def test_size_that_no_file_has_is_refused_with_the_smallest(tmp_path: Path) -> None:
    outcome = run("convert", tiny_run(), "--to", "vm", "--out", tmp_path / "x", "--max-size", "200kB")
    refused(outcome, 5, "E-LIMIT-SIZE", "200000", "bytes")
    assert not list(tmp_path.iterdir())


def document(**changes: Any) -> dict[str, Any]:
    """A report without anything to warn of."""
    plain: dict[str, Any] = {
        "vs_teacher": {"psnr": 30.0}, "curve": [], "student": {"parameters": 10}, "teacher": {"parameters": 1000},
        "settings": {"convert": {"target_psnr": None}}, "vs_photos": None, "fog": 0.0, "fog_unmasked": 0.0,
        "surface": None, "baseline": None, "size_choice": None, "conversions": [], "bytes": 100,
    }  # fmt: skip
    return plain | changes


def curve(slope: float) -> list[list[float]]:
    return [[float(t), 20 + slope * t] for t in range(1, 41)]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, None),
        ({"curve": curve(0.0)}, "Limited by the student's capacity"),
        ({"curve": curve(0.2)}, "Still improving"),
        ({"fog": 0.1}, "There is fog"),
        ({"fog_unmasked": 0.3}, "needs its occupancy grid"),
        ({"vs_photos": {"teacher_psnr": 30.0, "student_psnr": 26.0}}, "further from the photos"),
        ({"baseline": {"name": "scratch", "psnr": 31.0}}, "the baseline does better"),
        ({"surface": {"direct_watertight": False}}, "not closed"),
    ],
)
def test_warnings_say_what_matters(changes: dict[str, Any], wanted: str | None) -> None:
    found = warnings_of(document(**changes))
    assert len(found) == (wanted is not None) and (wanted is None or wanted in found[0])


def test_long_curve_is_thinned_but_keeps_its_span() -> None:
    line = Curve()
    for step in range(5000):
        line.add(float(step), 20 + step / 1000)
    points = line.tensor()
    assert 100 < len(points) <= 400 and points[-1, 0] > 4900 and bool((points.diff(dim=0)[:, 0] > 0).all())
