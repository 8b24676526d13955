"""Run folders: refusing, locking, resuming, and what is left when the process is killed."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import random
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from fields.checkpoint import load_tensors
from fields.errors import ExitCode, UserError
from fields.folder_lock import FolderLock
from fields.run_folder import RunFolder, resolve_field

HEADER = {"type": "field", "backend": "hash", "kind": "density"}


def _weights(value: float, count: int = 4) -> dict[str, torch.Tensor]:
    return {"w": torch.full((count,), value)}


def _run(path: Path, steps: int = 3, finished: bool = True) -> None:
    with RunFolder(path) as run:
        run.write_record({"steps": steps})
        for step in range(1, steps + 1):
            run.save_state(step, _weights(step), HEADER)
        if finished:
            run.save_field(_weights(steps), HEADER)


def _flip_last_byte(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def _names(path: Path) -> list[str]:
    return sorted(p.name for p in path.iterdir() if p.name != ".lock")


def test_run_keeps_its_two_newest_states(tmp_path: Path) -> None:
    _run(tmp_path / "run", steps=5, finished=False)
    assert _names(tmp_path / "run") == ["run.json", *(f"state-{step:09d}.safetensors" for step in (4, 5))]


def test_finished_run_leaves_record_field_and_its_last_state(tmp_path: Path) -> None:
    _run(tmp_path / "run", steps=5)
    assert _names(tmp_path / "run") == ["field.safetensors", "run.json", "state-000000005.safetensors"]
    field = resolve_field(tmp_path / "run")
    assert load_tensors(field)[1]["type"] == "field"
    assert resolve_field(field) == field


def test_resume_takes_the_newest_state(tmp_path: Path) -> None:
    _run(tmp_path)
    with RunFolder(tmp_path, resume=True) as run:
        state = run.load_state()
        assert run.read_record() == {"steps": 3}
    assert state is not None
    assert (state.step, state.header["type"], state.skipped) == (3, "state", ())
    assert torch.equal(state.tensors["w"], torch.full((4,), 3.0))


def test_damaged_newest_state_is_passed_over_and_told(tmp_path: Path) -> None:
    _run(tmp_path, finished=False)
    _flip_last_byte(tmp_path / "state-000000003.safetensors")
    with RunFolder(tmp_path, resume=True) as run:
        state = run.load_state()
        assert state is not None
        assert state.step == 2
        assert "E-CKPT-HASH" in state.skipped[0]
        run.save_state(2, _weights(2), HEADER)
    assert "state-000000003.safetensors" not in _names(tmp_path)


def test_resume_is_refused_when_no_state_verifies(tmp_path: Path) -> None:
    _run(tmp_path)
    for path in tmp_path.glob("state-*"):
        _flip_last_byte(path)
    refused = pytest.raises(UserError, match=r"E-CKPT-HASH.*state-000000003")
    with RunFolder(tmp_path, resume=True) as run, refused:
        run.load_state()


def test_field_renamed_to_a_state_is_not_resumed(tmp_path: Path) -> None:
    _run(tmp_path, steps=1)
    os.replace(tmp_path / "field.safetensors", tmp_path / "state-000000001.safetensors")
    with RunFolder(tmp_path, resume=True) as run, pytest.raises(UserError, match="E-CKPT-TYPE"):
        run.load_state()


def test_resume_of_a_new_folder_starts_fresh(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "new", resume=True) as run:
        assert run.load_state() is None
        assert run.read_record() is None


@pytest.mark.parametrize("resume", [False, True])
def test_folder_with_other_content_is_refused_and_untouched(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"E-USAGE-EXISTS.*--force") as caught:
        RunFolder(tmp_path, resume=resume)
    assert caught.value.exit_code == ExitCode.USAGE
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_finished_run_is_not_overwritten_by_chance(tmp_path: Path) -> None:
    _run(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(UserError, match="E-USAGE-EXISTS"):
        RunFolder(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_force_discards_the_run_and_nothing_else(tmp_path: Path) -> None:
    _run(tmp_path)
    (tmp_path / "thesis.txt").write_text("mine")
    RunFolder(tmp_path, force=True).close()
    assert _names(tmp_path) == ["thesis.txt"]


def test_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match="E-USAGE-EXISTS"):
        RunFolder(tmp_path / "out")
    with pytest.raises(UserError, match="E-ENV-WRITE"):
        RunFolder(tmp_path / "out", force=True)
    assert (tmp_path / "out").read_text() == "mine"


def test_second_writer_is_refused_with_the_pid(tmp_path: Path) -> None:
    with RunFolder(tmp_path), pytest.raises(UserError, match=f"E-ENV-LOCK.*pid {os.getpid()}") as caught:
        RunFolder(tmp_path, resume=True)
    assert caught.value.exit_code == ExitCode.ENVIRONMENT
    RunFolder(tmp_path).close()


def test_lock_file_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("999999999999\n")
    RunFolder(tmp_path).close()


def test_releasing_twice_does_no_harm(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    lock.release()
    lock.release()
    with FolderLock(tmp_path):
        pass


def test_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(UserError, match=r"E-ENV-WRITE.*No locks available"):
        FolderLock(tmp_path)
    with pytest.raises(UserError, match="E-ENV-WRITE"):
        FolderLock(tmp_path / "absent")


def test_temporary_files_of_dead_processes_are_removed_on_start(tmp_path: Path) -> None:
    dead, living = tmp_path / ".tmp-999999999-x", tmp_path / f".tmp-{os.getpid()}-x"
    dead.write_bytes(b"half")
    living.write_bytes(b"half")
    RunFolder(tmp_path).close()
    assert not dead.exists()
    assert living.exists()


def test_damaged_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("[]")
    with RunFolder(tmp_path, resume=True) as run, pytest.raises(UserError, match="E-JSON-SYNTAX"):
        run.read_record()


def test_absent_field_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"E-CKPT-MISSING.*fit SOURCE"):
        resolve_field(tmp_path / "nothing")


def _save_for_ever(path: Path, ready: Connection) -> None:
    with RunFolder(path, resume=True) as run:
        state = run.load_state()
        step = state.step if state else 0
        ready.send(step)
        while True:
            step += 1
            run.save_state(step, _weights(step, 500_000), HEADER)
            run.save_field(_weights(step, 500_000), HEADER)


def _kill_while_saving(path: Path, kills: int) -> int:
    """SIGKILL a saving process `kills` times; returns how many kills left a half-written file."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fields.run_folder"])
    chance, interrupted, last_step = random.Random(0), 0, 0
    for _ in range(kills):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_save_for_ever, args=(path, sender), daemon=True)
        process.start()
        assert receiver.poll(60), "the saving process did not start"
        step = receiver.recv()
        assert step >= last_step
        time.sleep(0.02 + chance.uniform(0.0, 0.08))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        interrupted += bool(list(path.glob(".tmp-*")))
        files = [p for p in path.iterdir() if p.suffix == ".safetensors"]
        last_step = max((int(load_tensors(p)[0]["w"][0]) for p in files), default=0)
    return interrupted


def test_killed_run_is_always_readable_and_resumable(tmp_path: Path) -> None:
    path = tmp_path / "run"
    _kill_while_saving(path, kills=10)
    with RunFolder(path, resume=True) as run:
        state = run.load_state()
    assert state is not None
    assert state.skipped == ()
    assert not list(path.glob(".tmp-*"))


@pytest.mark.slow
def test_two_hundred_kills_leave_no_unreadable_file(tmp_path: Path) -> None:
    assert _kill_while_saving(tmp_path / "run", kills=200) >= 20
