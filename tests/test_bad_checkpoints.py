"""Catalogue of field files that must be refused: each gives its code, on one line, and runs nothing."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fields.checkpoint import load_tensors, read_header, save_tensors
from fields.errors import ExitCode, UserError
from fields.run_folder import resolve_field

HEADER = {"type": "field", "backend": "hash", "kind": "density"}
OWN = json.dumps({**HEADER, "format": 1, "sha256": "ab" * 32})


def _good(folder: Path) -> bytes:
    save_tensors(folder / "good", {"a": torch.arange(4.0), "b": torch.ones(2)}, HEADER)
    return (folder / "good").read_bytes()


def _raw(table: object, payload: bytes = b"", own: str | None = OWN) -> bytes:
    """A file with the given tensor table; text tables are used as they are."""
    if isinstance(table, dict):
        metadata = {} if own is None else {"__metadata__": {"fieldscape": own}}
        table = json.dumps({**metadata, **table})
    text = str(table).encode()
    return len(text).to_bytes(8, "little") + text + payload


def _tensor(begin: int, end: int, shape: object, dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def _one(name: str = "a", **change: object) -> bytes:
    return _raw({name: {**_tensor(0, 8, [2]), **change}}, bytes(8))


def _own(**change: object) -> bytes:
    return _raw({}, own=json.dumps({**json.loads(OWN), **change}))


class _Bomb:
    """Unpickling this makes the canary file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.canary),)


def _npz(bomb: _Bomb) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, x=np.array([bomb], dtype=object))
    return stream.getvalue()


def _torch_zip(bomb: _Bomb) -> bytes:
    stream = io.BytesIO()
    torch.save({"x": bomb}, stream)
    return stream.getvalue()


def _deflated(bomb: _Bomb) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(bomb))
        archive.writestr("archive/data/0", bytes(2**22))
    return stream.getvalue()


DAMAGED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "empty file": ("E-CKPT-TRUNCATED", lambda good: b""),
    "seven bytes": ("E-CKPT-TRUNCATED", lambda good: good[:7]),
    "cut inside the header": ("E-CKPT-TRUNCATED", lambda good: good[:100]),
    "cut inside the data": ("E-CKPT-TRUNCATED", lambda good: good[:-1]),
    "trailing byte": ("E-CKPT-TRAILING", lambda good: good + b"\0"),
    "flipped data bit": ("E-CKPT-HASH", lambda good: good[:-1] + bytes([good[-1] ^ 1])),
    "edited setting": ("E-CKPT-HASH", lambda good: good.replace(b"density", b"distant")),
    "text": ("E-CKPT-HEADER", lambda good: b"just some notes about my field"),
    "header length 2^63": ("E-CKPT-HEADER", lambda good: (2**63).to_bytes(8, "little") + good[8:]),
    "header of 17 MB": ("E-LIMIT-CKPT", lambda good: (17 * 2**20).to_bytes(8, "little") + bytes(17 * 2**20)),
    "git-lfs pointer": (
        "E-CKPT-LFS",
        lambda good: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    ),
}

MALFORMED: dict[str, tuple[str, bytes]] = {
    "header is no JSON": ("E-CKPT-HEADER", _raw("{")),
    "header is a list": ("E-CKPT-HEADER", _raw("[1]")),
    "header is not UTF-8": ("E-CKPT-HEADER", (2).to_bytes(8, "little") + b"\xff{"),
    "header nested 100 deep": ("E-CKPT-HEADER", _raw("[" * 100 + "]" * 100)),
    "duplicate tensor": ("E-CKPT-HEADER", _raw('{"a":{},"a":{}}')),
    "file of another program": ("E-CKPT-HEADER", _raw({"a": _tensor(0, 8, [2])}, bytes(8), own=None)),
    "own header is no JSON": ("E-CKPT-HEADER", _raw({}, own="{")),
    "own header holds NaN": ("E-CKPT-HEADER", _raw({}, own='{"format": NaN}')),
    "own header without format": ("E-CKPT-HEADER", _raw({}, own='{"type": "field"}')),
    "own header has a duplicate": ("E-CKPT-HEADER", _raw({}, own='{"format": 1, "format": 1}')),
    "format true": ("E-CKPT-HEADER", _own(format=True)),
    "format 0": ("E-CKPT-HEADER", _own(format=0)),
    "newer format": ("E-CKPT-VERSION", _own(format=2)),
    "type is a number": ("E-CKPT-HEADER", _own(type=4)),
    "checksum of wrong length": ("E-CKPT-HEADER", _own(sha256="ab")),
    "checksum twice": ("E-CKPT-HEADER", _own(notes="ab" * 32)),
    "checksum of other content": ("E-CKPT-HASH", _own()),
    "bounds inside out": ("E-CKPT-HEADER", _own(bounds=[[1, 1, 1], [0, 0, 0]])),
    "unknown number type": ("E-CKPT-DTYPE", _one(dtype="F8_E4M3")),
    "number type is a list": ("E-CKPT-DTYPE", _one(dtype=[])),
    "overlapping tensors": (
        "E-CKPT-HEADER",
        _raw({"a": _tensor(0, 8, [2]), "b": _tensor(4, 12, [2])}, bytes(12)),
    ),
    "gap between tensors": (
        "E-CKPT-HEADER",
        _raw({"a": _tensor(0, 8, [2]), "b": _tensor(12, 20, [2])}, bytes(20)),
    ),
    "data starts late": ("E-CKPT-HEADER", _raw({"a": _tensor(4, 12, [2])}, bytes(12))),
    "offsets reversed": ("E-CKPT-HEADER", _one(data_offsets=[8, 0])),
    "three offsets": ("E-CKPT-HEADER", _one(data_offsets=[0, 8, 8])),
    "offsets are fractions": ("E-CKPT-HEADER", _one(data_offsets=[0.0, 8.0])),
    "offsets are true": ("E-CKPT-HEADER", _one(data_offsets=[False, 8])),
    "offsets are words": ("E-CKPT-HEADER", _one(data_offsets="ab")),
    "shape larger than its data": ("E-CKPT-HEADER", _one(shape=[10**9])),
    "shape product beyond 2^64": ("E-CKPT-HEADER", _one(shape=[2**32, 2**32])),
    "empty shape beyond 2^64": ("E-CKPT-HEADER", _raw({"a": _tensor(0, 0, [0, 2**40, 2**40])})),
    "negative shape": ("E-CKPT-HEADER", _one(shape=[-1, -2])),
    "shape of 17 axes": ("E-CKPT-HEADER", _one(shape=[1] * 16 + [2])),
    "number of 5000 digits": ("E-CKPT-HEADER", _raw('{"a":' + "9" * 5000 + "}")),
    "tensor without dtype": ("E-CKPT-HEADER", _raw({"a": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8))),
    "tensor with an extra entry": ("E-CKPT-HEADER", _one(stride=[0])),
    "tensor is a number": ("E-CKPT-HEADER", _raw({"a": 3})),
    "tensor name climbs out": ("E-CKPT-HEADER", _one("weights/../../x")),
    "tensor name is absolute": ("E-CKPT-HEADER", _one("/x")),
    "tensor name has a control character": ("E-CKPT-HEADER", _one("a\x1b[31m")),
    "tensor name is empty": ("E-CKPT-HEADER", _one("")),
    "5000 tensors": ("E-LIMIT-CKPT", _raw({f"t{i}": _tensor(0, 0, [0]) for i in range(5000)})),
}

PICKLES: dict[str, tuple[str, Callable[[_Bomb], bytes]]] = {
    **{f"pickle protocol {p}": (".pkl", lambda bomb, p=p: pickle.dumps(bomb, p)) for p in range(6)},
    **{
        f"pickle protocol {p} renamed": (".safetensors", lambda bomb, p=p: pickle.dumps(bomb, p))
        for p in range(2, 6)
    },
    "torch file": (".pth", _torch_zip),
    "torch file renamed": (".safetensors", _torch_zip),
    "deflated archive": (".ckpt", _deflated),
    "object array": (".npz", _npz),
    "gzipped pickle": (".safetensors", lambda bomb: gzip.compress(pickle.dumps(bomb))),
    "empty zip": (".safetensors", lambda bomb: b"PK\x05\x06" + bytes(18)),
}


def _refused(path: Path, code: str, exit_code: ExitCode = ExitCode.INCOMPATIBLE) -> None:
    with pytest.raises(UserError) as caught:
        load_tensors(path)
    line = str(caught.value)
    assert caught.value.code == code, line
    assert line.startswith(f"error[{code}] ") and "\n" not in line and "Fix: " in line
    assert len(line) < 400 + len(str(path))
    assert caught.value.exit_code == (ExitCode.LIMIT if code.startswith("E-LIMIT") else exit_code)


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_file_is_refused(tmp_path: Path, name: str) -> None:
    code, damage = DAMAGED[name]
    path = tmp_path / "field.safetensors"
    path.write_bytes(damage(_good(tmp_path)))
    _refused(path, code)


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_header_is_refused(tmp_path: Path, name: str) -> None:
    code, content = MALFORMED[name]
    path = tmp_path / "field.safetensors"
    path.write_bytes(content)
    _refused(path, code)
    if code != "E-CKPT-HASH":
        with pytest.raises(UserError, match=code):
            read_header(path)


@pytest.mark.parametrize("name", PICKLES)
def test_pickle_is_refused_and_never_run(tmp_path: Path, name: str) -> None:
    suffix, make = PICKLES[name]
    canary, path = tmp_path / "canary", tmp_path / f"field{suffix}"
    path.write_bytes(make(_Bomb(canary)))
    _refused(path, "E-CKPT-PICKLE")
    assert not canary.exists()


def test_newer_format_names_both_versions(tmp_path: Path) -> None:
    path = tmp_path / "field.safetensors"
    path.write_bytes(_own(format=7))
    with pytest.raises(UserError, match="written in format 7, this program reads up to format 1"):
        load_tensors(path)


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7F800000, 0xFF800000])
def test_stored_number_that_is_not_finite_is_refused(tmp_path: Path, bits: int) -> None:
    numbers = torch.tensor([1, bits - (bits >> 31 << 32)], dtype=torch.int32)
    save_tensors(tmp_path / "f", {"w": numbers}, HEADER)
    content = (tmp_path / "f").read_bytes().replace(b"I32", b"F32")
    (tmp_path / "f").write_bytes(_resealed(content))
    with pytest.raises(UserError, match=r"E-CKPT-NAN.*:w"):
        load_tensors(tmp_path / "f")


def _resealed(content: bytes) -> bytes:
    """The file with the checksum that its content deserves, as a malicious writer would make it."""
    digest = re.search(rb"[0-9a-f]{64}", content).group()
    blank = content.replace(digest, b"0" * 64)
    return blank.replace(b"0" * 64, hashlib.sha256(blank).hexdigest().encode())


def test_half_precision_file_keeps_its_numbers(tmp_path: Path) -> None:
    for dtype in (torch.float16, torch.bfloat16):
        save_tensors(tmp_path / "f", {"w": torch.tensor([0.1, 2.0], dtype=dtype)}, HEADER)
        assert load_tensors(tmp_path / "f")[0]["w"].dtype == dtype


def test_missing_file_folder_and_device_are_named(tmp_path: Path) -> None:
    _refused(tmp_path / "absent.safetensors", "E-CKPT-MISSING")
    _refused(tmp_path, "E-CKPT-FOLDER")
    os.mkfifo(tmp_path / "pipe")
    _refused(tmp_path / "pipe", "E-CKPT-FOLDER")
    _refused(Path("nul\0byte"), "E-CKPT-READ")


def test_folder_without_a_finished_field_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": ["pipeline", "Mine"]}')
    (tmp_path / "pipeline.py").write_text("import os; os.mkdir('canary')")
    with pytest.raises(UserError, match=r"E-CKPT-MISSING.*not a run folder"):
        resolve_field(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match=r"E-CKPT-MISSING.*not finished a field.*--resume"):
        resolve_field(tmp_path)
