"""The GPU benchmark runs from end to end without a GPU when it is told to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import gpu, gpu_jobs
from benchmarks.gpu_plan import Plan
from fields.errors import ExitCode
from fields.safeio import read_json, write_json


def test_dry_run_writes_one_file_for_all_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for step in ("kernels", "fit", "engines", "frames"):
        assert gpu.main([step, "--dry-run", "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.iterdir()
    content = read_json(path)
    assert path.name.startswith("gpu-dry-run-") and set(content["steps"]) == {"kernels", "fit", "engines", "frames"}
    rows = content["steps"]["kernels"]["rows"]
    assert {row["name"] for row in rows} >= {"hash_grid forward", "mlp forward+backward", "planes forward+backward",
                                             "hash_grid+mlp forward", "march", "adam"}
    assert all(row["ours_s"] > 0 and row["baseline"] and row["of_copy"] > 0 for row in rows)
    assert all(row["of_matrix"] > 0 for row in rows if "mlp" in row["name"])
    assert content["steps"]["fit"]["procedural tiny"]["psnr"][-1] > 0
    with_each = content["steps"]["engines"]
    assert all(with_each[f"procedural {name}"]["psnr"][-1] > 0 for name in ("native", "half"))
    assert all("refused" in with_each[f"procedural {name}"] for name in ("tinycudann", "half+nerfacc"))
    assert content["steps"]["frames"]["native"]["frames_per_s"] > 0
    assert content["versions"]["torch"] == torch.__version__
    assert "us" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_step_runs_dry_from_end_to_end(tmp_path: Path) -> None:
    assert gpu.main([*gpu.STEPS, "--dry-run", "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]) == 0
    (path,) = (tmp_path / "out").iterdir()
    steps = read_json(path)["steps"]
    assert set(steps) == set(gpu.STEPS) and set(steps["chain"]) == {"fit", "eval", "convert", "mesh", "render"}
    assert (tmp_path / "work" / "rooms-tiny").is_dir() and "hash:mlp" in steps["pairs"]


def test_a_command_that_is_out_of_time_is_unfinished_and_no_failure(monkeypatch: pytest.MonkeyPatch,
                                                                    tmp_path: Path) -> None:
    plan = Plan(torch.device("cpu"), True, 1.0, 1.0, tmp_path, tmp_path)
    monkeypatch.setattr(gpu_jobs, "run", lambda words, seconds: {"rc": 124, "tail": []})
    found = gpu_jobs.rooms(plan)
    assert found["train"]["unfinished"] and set(found) == {"train"} and not gpu.failed(found)
    monkeypatch.setattr(gpu_jobs, "run", lambda words, seconds: {"rc": 1, "tail": []})
    assert gpu.failed(gpu_jobs.rooms(plan))


def test_a_finished_generator_stands_beside_the_shipped_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    figures = {"generation": {"nna": 0.5, "cov": 0.6}, "layout": {"iou": 0.7}}
    (tmp_path / "rooms-tiny").mkdir()
    write_json(tmp_path / "rooms-tiny" / "figures.json", figures)
    given: list[list[str]] = []
    monkeypatch.setattr(gpu_jobs, "run", lambda words, seconds: given.append(words) or {"rc": 0, "tail": []})
    found = gpu_jobs.rooms(Plan(torch.device("cpu"), True, 1.0, 1.0, tmp_path, tmp_path))
    assert found["figures"]["ours"] == {"nna": 0.5, "cov": 0.6, "iou": 0.7}
    assert set(found["figures"]["rooms-tiny"]) == {"nna", "cov", "iou"}
    assert "--resume" in given[0] and given[1][3:5] == ["scene", "pack"]


def test_without_a_gpu_a_real_run_is_refused_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    assert gpu.main(["kernels"]) == ExitCode.ENVIRONMENT
    out = capsys.readouterr().out
    assert out.startswith("error[E-ENV-GPU]") and out.count("\n") == 1


def test_a_failed_command_fails_the_run() -> None:
    assert gpu.failed({"pytest": {"rc": 1, "tail": []}}) and not gpu.failed({"pytest": {"rc": 0}, "rows": []})
