"""Bad command lines: each is refused by one line with its exit code, before anything is written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from command_line import refused, run, tiny_run

from fields.checkpoint import save_tensors
from fields.run_folder import RunFolder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Words of the command line, exit code, parts of the one line. FIELD is a field file, STATE a training state,
# RUN a run folder with a field, BOX a folder with a foreign file in it, FLAT a file.
CASES = {
    "A01 unknown command": ("fitt sample --out new", 2, "E-USAGE-COMMAND", "fit"),
    "A01 unknown flag": ("fit sample --out new --bakend hash", 2, "E-USAGE-OPTION", "--backend"),
    "A01 unknown backend": ("fit sample --out new --backend hsah", 2, "E-USAGE-BACKEND", "hash"),
    "A01 unknown preset": ("fit sample --out new --preset huge", 2, "E-USAGE-PRESET", "tiny"),
    "A01 unknown kind": ("fit sample --out new --kind voxel", 2, "E-USAGE-KIND", "density"),
    "A01 unknown picture": ("render FIELD --out new --what rgb,deep", 2, "E-USAGE-CHOICE", "depth"),
    "A01 unknown path": ("render FIELD --out new --path circle", 2, "E-USAGE-PATH", "orbit"),
    "A01 unknown subject": ("bench cernels", 2, "E-USAGE-CHOICE", "kernels"),
    "A01 unknown colour": ("mesh FIELD --out new.glb --color wood", 2, "E-USAGE-CHOICE", "vertex"),
    "A02 missing value": ("fit sample --out", 2, "E-USAGE", "--out"),
    "A02 missing argument": ("eval FIELD", 2, "E-USAGE-VALUE", "source"),
    "A02 missing option": ("fit sample", 2, "E-USAGE-VALUE", "--out"),
    "A03 resolution 0": ("mesh FIELD --out new.glb --resolution 0", 2, "--resolution"),
    "A03 resolution -1": ("mesh FIELD --out new.glb --resolution -1", 2, "--resolution"),
    "A03 resolution 1e9": ("mesh FIELD --out new.glb --resolution 1e9", 2, "--resolution"),
    "A03 resolution nan": ("mesh FIELD --out new.glb --resolution nan", 2, "--resolution"),
    "A03 level nan": ("mesh FIELD --out new.glb --level nan", 2, "E-USAGE-LEVEL"),
    "A03 size": ("render FIELD --out new --size 0x10", 2, "E-USAGE-SIZE", "640x480"),
    "A03 time": ("fit sample --out new --time soon", 2, "E-USAGE-TIME", "60s"),
    "A03 endless time": ("fit sample --out new --time 1e9", 2, "E-USAGE-TIME"),
    "A03 bounds": ("fit sample --out new --bounds 1,1,1,0,0,0", 2, "E-USAGE-BOUNDS"),
    "A03 crop": ("mesh FIELD --out new.glb --crop 1,2,3", 2, "E-USAGE-NUMBERS", "6 numbers"),
    "A05 run exists": ("fit sample --out RUN", 2, "E-USAGE-EXISTS", "--force"),
    "A05 folder in use": ("fit sample --out BOX", 2, "E-USAGE-EXISTS"),
    "A05 file exists": ("mesh FIELD --out FLAT.glb", 2, "E-USAGE-EXISTS", "--force"),
    "A05 pictures exist": ("render FIELD --out BOX", 2, "E-USAGE-EXISTS"),
    "A05 demo exists": ("demo --out BOX", 2, "E-USAGE-EXISTS"),
    "A06 converted onto itself": ("convert FIELD --to hash --out FIELD --force", 2, "E-USAGE-SAME"),
    "A06 run onto its capture": ("fit BOX --out BOX --force", 2, "E-USAGE-SAME"),
    "A06 figures onto the field": ("eval FIELD sample --json=FIELD", 2, "E-USAGE-SAME"),
    "A07 below a file": ("fit sample --out FLAT.glb/new", 4, "E-ENV-WRITE"),
    "A08 NUL": ("fit sample --out a\0b", 2, "E-USAGE-NAME", "NUL"),
    "A08 too long": (f"fit sample --out {'x' * 256}", 2, "E-USAGE-NAME", "255"),
    "A08 trailing slash": ("mesh FIELD --out new.glb/", 2, "E-USAGE-NAME", "folder"),
    "A08 no suffix": ("mesh FIELD --out new", 2, "E-USAGE-FORMAT", ".glb"),
    "A08 other suffix": ("convert FIELD --to hash --out new.pt", 2, "E-USAGE-FORMAT", ".safetensors"),
    "A09 no steps": ("fit sample --out new --steps 0", 2, "--steps"),
    "A09 no time": ("fit sample --out new --time 0s", 2, "E-USAGE-TIME"),
    "A10 expression in a number": (
        "fit sample --out new --steps __import__('os').mkdir('canary')",
        2,
        "--steps",
    ),
    "A10 expression in a setting": (
        "fit sample --out new --set levels=__import__('os').mkdir('canary')",
        2,
        "E-USAGE-SET",
    ),
    "A10 setting without value": ("fit sample --out new --set levels", 2, "E-USAGE-SET", "key=value"),
    "A10 unknown setting": ("fit sample --out new --set lvels=3", 2, "E-USAGE-SET", "levels"),
    "A11 there are no config files": ("fit sample --out new --config evil.yaml", 2, "E-USAGE-OPTION"),
    "A11 camera path that is YAML": ("render FIELD --out new --path evil.json", 3, "E-JSON-SYNTAX"),
    "A12 resume and force": ("fit sample --out RUN --resume --force", 2, "E-USAGE-CONFLICT"),
    "A12 cameras and path": ("render FIELD --out new --cameras sample --path orbit", 2, "E-USAGE-CONFLICT"),
    "A12 mesh as density": ("fit tetra.obj --out new --kind density", 2, "E-USAGE-KIND", "convert"),
    "A12 another backend on resume": ("fit sample --out RUN --resume --backend mlp", 2, "E-USAGE-RESUME"),
    "missing source": ("fit nowhere --out new", 3, "E-DATA-NOTFOUND"),
    "missing field": ("mesh nowhere --out new.glb", 6, "E-CKPT-MISSING", "fieldscape fit"),
    "run without a field": ("eval BOX sample", 6, "E-CKPT-MISSING"),
    "not a field": ("mesh FLAT.glb --out new.glb", 6, "E-CKPT"),
    "state for a field": ("mesh STATE --out new.glb", 6, "E-CKPT-TYPE"),
    "split that is not there": ("eval FIELD sample --split val --downscale 10", 2, "E-USAGE-SPLIT", "test"),
    "photos of a mesh": ("render FIELD --out new --cameras tetra.obj", 2, "E-USAGE-SOURCE"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_command_line_is_refused(name: str, place: Path) -> None:
    text, code, *parts = CASES[name]
    _furnish(place)
    before = _content(place)
    words = [_named(word) for word in str(text).split(" ")]
    refused(run(*words), int(code), *map(str, parts))
    assert _content(place) == before, "something was written"


def _named(word: str) -> str:
    names = {
        "FIELD": "run/field.safetensors",
        "RUN": "run",
        "BOX": "box",
        "FLAT": "flat",
        "STATE": "state.safetensors",
    }
    for name, path in names.items():
        word = word.replace(name, path)
    return word


def _furnish(place: Path) -> None:
    (place / "box").mkdir()
    (place / "box" / "letter.txt").write_text("dear reader")
    (place / "flat.glb").write_text("not a mesh")
    (place / "evil.json").write_text("!!python/object/apply:os.mkdir ['canary']")
    (place / "tetra.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 2 3 4\nf 1 4 3\n")
    save_tensors(place / "state.safetensors", {"x": torch.zeros(1)}, {"type": "state"})
    shutil.copytree(tiny_run(), place / "run", ignore=shutil.ignore_patterns("state-*"))


def _content(place: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes() if path.is_file() else b"" for path in sorted(place.rglob("*"))
    }


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_without_gpu_is_refused_with_a_hint(device: str, place: Path) -> None:
    refused(run("fit", "sample", "--out", "new", "--device", device), 4, "E-ENV-CUDA", "--device auto")
    assert not list(place.iterdir())


def test_unknown_device_is_a_usage_error(place: Path) -> None:
    refused(run("fit", "sample", "--out", "new", "--device", "tpu"), 2, "E-USAGE-DEVICE")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder_is_refused_before_work(place: Path) -> None:
    (place / "shut").mkdir(mode=0o555)
    refused(run("fit", "sample", "--out", "shut/new"), 4, "E-ENV-WRITE")


def test_second_writer_of_a_run_is_refused_with_the_first_ones_pid(place: Path) -> None:
    shutil.copytree(tiny_run(), place / "run")
    with RunFolder(place / "run", resume=True):
        words = ("fit", "sample", "--out", "run", "--resume", "--downscale", "10")
        refused(run(*words), 4, "E-ENV-LOCK", str(os.getpid()))


def test_refusal_is_json_too_when_asked(place: Path) -> None:
    outcome = run("mesh", "nowhere", "--out", "new.glb", "--json")
    error = outcome.json["error"]
    assert outcome.code == error["exit"] == 6
    assert error["code"] == "E-CKPT-MISSING" and error["line"] == outcome.err.strip()


def test_every_problem_of_a_source_is_listed(place: Path) -> None:
    folder = place / "capture"
    folder.mkdir()
    frame = '{"file_path": "%s", "transform_matrix": [[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]}'
    frames = ",".join(frame % name for name in ("../a.png", "../b.png"))
    (folder / "transforms.json").write_text(f'{{"camera_angle_x": 0.7, "frames": [{frames}]}}')
    outcome = run("fit", "capture", "--out", "new", "--json")
    assert outcome.code == 3 and len(outcome.json["error"]["problems"]) == 2
    assert len(outcome.err.strip().splitlines()) == 2
