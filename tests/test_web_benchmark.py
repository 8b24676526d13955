"""The web app's benchmark runs from end to end, and finds nobody's things in another's hands."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import web
from fields.safeio import read_json


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_dry_run_writes_one_file_for_all_steps(tmp_path: Path) -> None:
    assert web.main(["--dry-run", "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.iterdir()
    steps = read_json(path)["steps"]
    assert set(steps) == set(web.STEPS) and all(step["goals"] for step in steps.values())
    assert steps["isolation"]["findings"] == [] and steps["pages"]["statuses"] == {"200": 15}
    assert 0 < steps["look"]["idle"]["coarse"]["scale"] <= 1
    assert len(steps["memory"]["bytes"]) == 21 and steps["memory"]["growth"] < 30e6


def test_unknown_steps_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        web.main(["pages", "clouds"])
    assert "unknown step clouds" in capsys.readouterr().err
