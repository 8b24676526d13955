"""The parts behind the commands: option values, progress, pictures, viewpoints, reports, timing."""

from __future__ import annotations

import io
import math
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, strategies
from PIL import Image

from app import parsing, pictures, report, viewpoint
from app.arguments import split_global
from app.bench.timing import Contest, measure
from app.camera_file import read_path
from app.comparison import error_limit
from app.console import Console, clock, finite, quantity
from app.doctor import PROBLEM, _guarded
from app.evaluation import spread_index
from app.meshing import _unwarped
from app.record import Record
from app.source import split_source
from data.procedural import make_capture
from fields.cameras import Cameras, look_at
from fields.errors import UserError
from fields.field import Field
from fields.mesh import Mesh
from fields.progress import Progress
from fields.space import Space


def test_a_record_written_within_a_phase_counts_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("app.record.time", SimpleNamespace(perf_counter=lambda: now))
    record = Record("fit", {}, "cpu", {"seconds": {"load": 1.0, "fit": 5.0}})
    with record.phase("fit"):
        now = 3.0
        assert record.document()["seconds"] == {"load": 1.0, "fit": 8.0}
        now = 4.0
    assert record.document()["seconds"] == {"load": 1.0, "fit": 9.0}


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60), ("5m", 300), ("1.5h", 5400), ("7", 7), (" 2s ", 2)])
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parsing.duration(text) == seconds


@given(strategies.text(max_size=12))
def test_any_text_is_an_option_value_or_one_refusal(text: str) -> None:
    for read in (
        parsing.duration,
        parsing.size,
        parsing.box,
        lambda t: parsing.settings([t], "hash"),
        lambda t: parsing.choices(t, ("rgb", "depth"), "--what"),
    ):
        try:
            read(text)
        except UserError as error:
            assert error.exit_code == 2 and "\n" not in error.line()


def test_settings_of_a_composition_name_their_part() -> None:
    assert parsing.settings(["hash.levels=4", "vm.rank=8"], "hash+vm") == {
        "hash": {"levels": "4"},
        "vm": {"rank": "8"},
    }
    with pytest.raises(UserError, match=r"which part.*hash\.levels=4"):
        parsing.settings(["levels=4"], "hash+vm")
    with pytest.raises(UserError, match="twice"):
        parsing.settings(["levels=4", "levels=5"], "hash")


def test_json_option_takes_a_file_only_when_one_follows() -> None:
    assert split_global(["eval", "--json", "F", "S"]) == (
        ["eval", "--json=-", "F", "S"],
        split_global(["--json"])[1],
    )
    words, found = split_global(["eval", "--debug", "--json", "out.json", "--", "--json"])
    assert words == ["eval", "--json=out.json", "--", "--json"] and found.debug and not found.json


def test_source_may_name_its_split() -> None:
    assert split_source("photos:train") == ("photos", "train")
    assert split_source("C:/photos") == ("C:/photos", "test")


def test_numbers_are_told_shortly() -> None:
    assert [quantity(v) for v in (937, 12_400, 3.3e6, 2e9)] == ["937", "12.4 k", "3.3 M", "2 G"]
    assert [clock(s) for s in (8.2, 65, 7384)] == ["8 s", "1:05", "2:03:04"]
    assert [report.size_text(b) for b in (3, 2048, 3 << 20)] == ["3 B", "2.0 KiB", "3.0 MiB"]


def test_documents_hold_no_number_that_json_lacks() -> None:
    assert finite({"a": [math.inf, 1.5], "b": (float("nan"),)}) == {"a": [None, 1.5], "b": [None]}


def test_job_runs_to_its_value_and_tells_its_phases(capsys: pytest.CaptureFixture[str]) -> None:
    def job() -> Generator[Progress, None, str]:
        yield Progress(1, 2, "fit", 1.0, 1.0, 0.25, {"psnr": 20.0})
        yield Progress(2, 2, "fit", 2.0, 0.0, 0.125, {"psnr": 23.5})
        return "field"

    assert Console().run(job()) == "field"
    lines = capsys.readouterr().err.splitlines()
    assert "50%" in lines[0] and "psnr 23.50 dB" in lines[-1]
    assert Console("-").run(job()) == "field"
    assert capsys.readouterr().err == ""


def test_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    Console().run(Progress(step, 4, "fit", step, 4 - step, 0.5) for step in range(5))  # type: ignore[arg-type]
    assert "fit" in capsys.readouterr().err


def test_views_for_a_quick_look_are_spread() -> None:
    assert spread_index(200, 4) == [24, 74, 124, 174] or spread_index(200, 4) == [25, 75, 125, 175]
    assert spread_index(3, 8) == [0, 1, 2] and spread_index(0, 4) == []


def test_colour_maps_go_from_end_to_end() -> None:
    ramp = torch.linspace(0, 1, 64)[None]
    hot = pictures.heat(ramp, 1.0)[0]
    assert hot[0].sum() < 0.05 and hot[-1].min() > 0.7 and bool((hot.sum(dim=1).diff() > 0).all())
    near, far = pictures.rainbow(ramp, 0.0, 1.0)[0][[0, -1]]
    assert near[0] > near[2] and far[2] > far[0], "near is red, far is blue"
    assert bool(torch.isfinite(pictures.rainbow(torch.tensor([[float("nan")]]), 0, 1)).all())


def test_depth_range_ignores_what_is_not_seen() -> None:
    depth, opacity = torch.tensor([[1.0, 2.0, 900.0]]), torch.tensor([[1.0, 1.0, 0.1]])
    low, high = pictures.depth_range(depth, opacity)
    assert 1.0 <= low < high <= 2.0
    assert pictures.depth_range(depth, torch.zeros(1, 3)) == (0.0, 1.0)


@given(strategies.integers(1, 9), strategies.integers(1, 9), strategies.sampled_from([3, 4]))
def test_pictures_survive_as_png(height: int, width: int, channels: int) -> None:
    picture = torch.rand(height, width, channels)
    with Image.open(io.BytesIO(pictures.png(picture, {"Source": "x"}))) as found:
        assert found.info["Source"] == "x"
        assert np.abs(np.asarray(found) / 255 - picture.numpy()).max() < 0.0021


def test_cut_out_pictures_are_trimmed_together() -> None:
    frames = [torch.zeros(50, 50, 4), torch.zeros(50, 50, 4)]
    frames[0][20, 10, 3] = frames[1][30, 40, 3] = 1.0
    assert [tuple(frame.shape) for frame in pictures.trimmed(frames, 0.02)] == [(13, 33, 4)] * 2
    content = pictures.webp(pictures.trimmed(frames))
    with Image.open(io.BytesIO(content)) as film:
        assert film.n_frames == 2  # type: ignore[attr-defined]


def test_error_scale_is_round_and_covers_nearly_everything() -> None:
    assert error_limit([torch.zeros(4, 4)]) == pytest.approx(0.05)
    assert error_limit([torch.full((9, 9), 0.32)]) == pytest.approx(0.35)


def test_viewpoint_of_a_capture_finds_its_up_axis_and_distance() -> None:
    view = viewpoint.of_capture(make_capture(12, 1, 16))
    assert view.up[2] > 0.999 and view.inward and view.distance == pytest.approx(4.0, rel=0.05)
    assert viewpoint.Viewpoint(**view.notes()) == view


@pytest.mark.parametrize("path", viewpoint.PATHS)
def test_path_cameras_look_at_the_centre_with_the_horizon_level(path: str) -> None:
    view = viewpoint.Viewpoint([1.0, 2.0, 3.0], [0.0, 0.0, 1.0], 4.0, 0.5, [1.2, 1.2])
    cameras = viewpoint.PATHS[path](view, 7, (40, 30))
    centre = torch.tensor(view.centre)
    forward = -cameras.camera_to_world[:, :, 2]
    assert torch.allclose(cameras.origins + 4.0 * forward, centre.expand(7, 3), atol=1e-4)
    assert cameras.camera_to_world[:, 2, 0].abs().max() < 1e-5 and bool((cameras.camera_to_world[:, 2, 1] > 0).all())
    assert torch.allclose(cameras.focal, torch.tensor(36.0))


def test_outward_and_forward_facing_captures_have_paths_too() -> None:
    outward = viewpoint.Viewpoint([0.0] * 3, [0.0, 1.0, 0.0], 2.0, 0.0, [0.8, 0.8], inward=False)
    assert viewpoint.orbit(outward, 5, (8, 8)).origins.abs().max() < 1e-6
    facing = viewpoint.Viewpoint([0.0] * 3, [0.0, 1.0, 0.0], 2.0, 0.0, [0.8, 0.9], ndc_near=1.0)
    rays = viewpoint.orbit(facing, 5, (8, 6)).view(3)
    assert torch.isfinite(rays.directions).all() and bool((rays.directions[:, 2] > 0).all())


def test_field_without_notes_is_seen_whole() -> None:
    field = Field.create("mlp", Space(torch.tensor([[0.0] * 3, [2.0] * 3])), preset="tiny")
    view = viewpoint.of_field(field, {"viewpoint": {"unknown": 1}})
    assert view.centre == [1.0] * 3 and view.distance > 2.0


@pytest.mark.parametrize("text", [
    "{}", '{"frames": []}', '{"frames": [{"transform_matrix": 3}]}', '{"frames": [7]}',
    '{"frames": [{"transform_matrix": [[2,0,0,0],[0,1,0,0],[0,0,1,0]]}]}', "[]", '{"camera_path": [{}]}',
])  # fmt: skip
def test_bad_camera_path_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "path.json").write_text(text)
    view = viewpoint.Viewpoint([0.0] * 3, [0.0, 1.0, 0.0], 2.0, 0.0, [0.8, 0.8])
    with pytest.raises(UserError, match=r"error\[E-PATH-"):
        read_path(tmp_path / "path.json", view, (8, 8))


def test_viewer_camera_path_is_read(tmp_path: Path) -> None:
    (tmp_path / "path.json").write_text(
        '{"camera_path": [{"camera_to_world": [1,0,0,5, 0,1,0,6, 0,0,1,7, 0,0,0,1], "fov": 90}]}'
    )
    view = viewpoint.Viewpoint([0.0] * 3, [0.0, 1.0, 0.0], 2.0, 0.0, [0.8, 0.8])
    cameras = read_path(tmp_path / "path.json", view, (8, 6))
    assert cameras.origins.tolist() == [[5, 6, 7]] and cameras.focal[0, 0] == pytest.approx(3.0)


def test_mesh_in_ndc_comes_back_to_the_capture_facing_outward() -> None:
    pose = look_at(torch.zeros(1, 3), torch.tensor([0.0, 0.0, -1.0]), torch.tensor([0.0, 1.0, 0.0]))
    cameras = Cameras.pinhole(pose, 12.0, 20, 16, ndc_near=1.0)
    x = torch.tensor([[0.3, -0.2, -1.5], [-0.4, 0.1, -3.0], [0.2, 0.3, -2.0], [0.1, -0.3, -2.5]])
    scale = 2 * cameras.focal[0] / cameras.size[0]
    warped = torch.cat([-scale * x[:, :2] / x[:, 2:], 1 + 2 / x[:, 2:]], dim=1)
    faces = np.array([[0, 1, 2], [0, 3, 1], [1, 3, 2], [0, 2, 3]])
    mesh = Mesh(warped.numpy(), faces)
    mesh = Mesh(mesh.vertices, faces if mesh.volume() > 0 else faces[:, ::-1])
    field = Field.create("mlp", Space(torch.tensor([[-1.0] * 3, [1.0] * 3]), "ndc"), preset="tiny")
    lens = (cameras.focal[0] / cameras.size[0]).tolist()
    found = _unwarped(mesh, field, {"viewpoint": {"ndc_near": 1.0, "lens": lens}})
    assert np.allclose(found.vertices, x.numpy(), atol=1e-4) and found.volume() > 0


def test_report_escapes_text_and_needs_nothing_from_outside() -> None:
    evil = "<script>alert(1)</script>"
    parts = [
        report.section(evil, report.table([evil], [[evil, evil]]), text=evil),
        report.cards([(evil, evil)]),
        report.figure(torch.zeros(2, 2, 3), evil),
        report.commands([(evil, evil)]),
        report.bars([(evil, 1.0)], "s"),
        report.legend("heat", evil, evil, evil),
        report.row(["x"], evil),
    ]
    page = report.page(evil, evil, parts).decode()
    assert "<script" not in page and "://" not in page and "prefers-color-scheme: dark" in page
    assert "default-src 'none'" in page


def test_timing_takes_turns_and_reports_one_part() -> None:
    order: list[str] = []
    contest = Contest("sum", "n=1", lambda: order.append("ours"), "python", lambda: order.append("theirs"), 1, 4)
    row = measure(contest, 3)
    assert order == ["ours", "theirs"] * 4
    assert row.ratio > 0 and row.spread >= 0 and row.baseline == "python"


def test_timing_that_has_no_time_left_still_gives_a_row() -> None:
    order: list[str] = []
    contest = Contest("sum", "n=1", lambda: order.append("ours"), "python", lambda: order.append("theirs"))
    assert measure(contest, 100, seconds=0.0).ratio > 0
    assert order == ["ours", "theirs"]


def test_check_that_fails_is_a_finding() -> None:
    def _broken() -> None:
        raise OSError("no such device")

    found = _guarded(_broken)  # type: ignore[arg-type]
    assert found.verdict == PROBLEM and "no such device" in found.line() and found.name == "broken"
