"""The command line as a process: start-up, signals, streams, bugs."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import run, tiny_capture, tiny_run

from fields.errors import UserError
from fields.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
COMMAND = (sys.executable, "-m", "app")


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def test_help_is_shown_within_a_second_of_work() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*COMMAND, "--help"], env=_environment(), capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "convert" in done.stdout and "demo" in done.stdout
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 1.0


def test_importing_the_command_line_loads_no_torch() -> None:
    code = "import app.cli, sys; app.cli.build(); sys.exit('torch' in sys.modules or 'trimesh' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env=_environment(), check=True)


def test_reader_that_goes_away_and_closed_stdin_leave_no_traceback() -> None:
    with subprocess.Popen(
        [*COMMAND, "--help"],
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        error = process.stderr.read()
    assert error == b"" and process.returncode == 0


def test_closed_streams_do_not_stop_a_command(tmp_path: Path) -> None:
    words = f"mesh {tiny_run()} --out {tmp_path}/m.ply --resolution 16 --level 1"
    line = f"{sys.executable} -m app {words} <&- >&- 2>&-"
    done = subprocess.run(["/bin/sh", "-c", line], env=_environment(), check=False)
    assert done.returncode == 0 and (tmp_path / "m.ply").stat().st_size > 0


def test_plain_locale_and_foreign_letters_in_a_path_work(tmp_path: Path) -> None:
    out = tmp_path / "Gebäude 建物" / "Straße.ply"
    environment = _environment(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    done = subprocess.run(
        [*COMMAND, "mesh", str(tiny_run()), "--out", str(out), "--resolution", "16", "--level", "1"],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert out.stat().st_size > 0


def test_interrupted_fit_leaves_a_state_to_go_on_from(tmp_path: Path) -> None:
    words = [
        *COMMAND,
        "fit",
        str(tiny_capture()),
        "--out",
        str(tmp_path / "run"),
        "--preset",
        "tiny",
        "--time",
        "10m",
    ]
    with subprocess.Popen(words, env=_environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        process.stderr.readline()  # the first report of the fit
        process.send_signal(signal.SIGINT)
        error = process.stderr.read().decode()
    assert process.returncode == 130 and "Traceback" not in error
    with RunFolder(tmp_path / "run", resume=True) as folder:
        state, record = folder.load_state(), folder.read_record()
    assert state is not None and record is not None and record["status"] == "interrupted"
    resumed = run("fit", tiny_capture(), "--out", tmp_path / "run", "--resume", "--steps", state.step + 8, "--json")
    assert resumed.code == 0 and resumed.json["steps"] == state.step + 8


def test_damaged_newest_state_is_passed_over_on_resume(tmp_path: Path) -> None:
    shutil.copytree(tiny_run(), tmp_path / "run")
    newest = tmp_path / "run" / "state-000000096.safetensors"
    shutil.copy(newest, tmp_path / "run" / "state-000000200.safetensors")
    content = bytearray(newest.read_bytes())
    content[-5] ^= 1
    (tmp_path / "run" / "state-000000200.safetensors").write_bytes(content)
    outcome = run("fit", tiny_capture(), "--out", tmp_path / "run", "--resume", "--steps", 104, "--json")
    assert outcome.code == 0 and outcome.json["steps"] == 104
    assert "state" in outcome.err, "passing a state over is told"


def _failing(error: BaseException) -> object:
    def examine() -> None:
        raise error

    return examine


@pytest.mark.parametrize("error", [RuntimeError("boom\nsecond line"), KeyError("lost"), ZeroDivisionError()])
def test_bug_is_one_line_and_a_traceback_only_on_demand(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.doctor.examine", _failing(error))
    plain, debug = run("doctor"), run("doctor", "--debug")
    assert plain.code == debug.code == 70
    assert plain.err.startswith("error[E-BUG]") and plain.err.count("\n") == 1 and "--debug" in plain.err
    assert "Traceback" in debug.err


@pytest.mark.parametrize(("error", "code"), [
    (KeyboardInterrupt(), 130), (UserError("E-NAN-FIT", "diverged"), 7),
    (UserError("E-LIMIT-GRID", "too large"), 5), (MemoryError(), 5), (BrokenPipeError(), 0),
])  # fmt: skip
def test_every_end_has_its_exit_code(error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.doctor.examine", _failing(error))
    monkeypatch.setattr("app.cli.silence", lambda stream: None)
    outcome = run("doctor")
    assert outcome.code == code and "Traceback" not in outcome.err
