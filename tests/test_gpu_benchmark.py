"""The GPU benchmark runs from end to end without a GPU when it is told to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from fields.errors import ExitCode
from fields.safeio import read_json


def test_dry_run_writes_one_file_for_all_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for step in ("kernels", "fit", "engines"):
        assert gpu.main([step, "--dry-run", "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.iterdir()
    content = read_json(path)
    assert path.name.startswith("gpu-dry-run-") and set(content["steps"]) == {"kernels", "fit", "engines"}
    rows = content["steps"]["kernels"]["rows"]
    assert {row["name"] for row in rows} >= {"hash_grid forward", "mlp forward+backward", "march", "adam"}
    assert all(row["ours_s"] > 0 and row["baseline"] and row["of_copy"] > 0 for row in rows)
    assert content["steps"]["fit"]["tiny"]["psnr"][-1] > 0
    with_each = content["steps"]["engines"]
    assert with_each["native"]["psnr"][-1] > 0
    assert all("refused" in with_each[name] for name in ("tinycudann", "nerfacc", "tinycudann+nerfacc"))
    assert content["versions"]["torch"] == torch.__version__
    assert "us" in capsys.readouterr().out


def test_without_a_gpu_a_real_run_is_refused_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    assert gpu.main(["kernels"]) == ExitCode.ENVIRONMENT
    out = capsys.readouterr().out
    assert out.startswith("error[E-ENV-GPU]") and out.count("\n") == 1


def test_a_failed_command_fails_the_run() -> None:
    assert gpu.failed({"pytest": {"rc": 1, "tail": []}}) and not gpu.failed({"pytest": {"rc": 0}, "rows": []})
