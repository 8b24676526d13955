"""The one file format of fields and training states: named tensors and one JSON header, checksummed.

A file is read without executing anything, and any change to any of its bits is noticed.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checkpoint_layout import (
    BLANK_DIGEST,
    DTYPES,
    FORMAT,
    TENSOR_LIMIT,
    Entry,
    Layout,
    check_header,
    check_name,
    digest_of,
    encode_front,
    read_layout,
)
from .errors import UserError, raise_all
from .safeio import atomic_writer

Header = dict[str, Any]


def save_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], header: Header) -> None:
    """Write `tensors` and `header` to `path`, whole or not at all.

    `header` holds JSON values; `type` ("field", "state", …) is required, `backend`, `kind`, `bounds`
    ([2, 3] as lists), `config` and `notes` are customary, and `format` and `sha256` are added here.

    Raises:
        UserError: `E-NAN-SAVE` for a number that is not finite, `E-ENV-DISK`/`E-ENV-WRITE` from the disk.
        ValueError: more tensors, or other number types, than the format holds.
    """
    path = Path(path)
    check_header(header, path)
    plain = {name: _plain(name, tensor, path) for name, tensor in tensors.items()}
    if len(plain) > TENSOR_LIMIT:
        raise ValueError(f"{len(plain)} tensors, the format holds {TENSOR_LIMIT}")
    # Wide numbers first, so that every tensor starts at a multiple of its own number size.
    order = sorted(plain, key=lambda name: (-plain[name].dtype.itemsize, name))
    payload = [_bytes_of(plain[name]) for name in order]
    front = _front({name: plain[name] for name in order}, header, path)
    sealed = front.replace(BLANK_DIGEST.encode(), digest_of(front, payload).encode())
    with atomic_writer(path) as file:
        file.write(sealed)
        for piece in payload:
            file.write(piece)


def load_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], Header]:
    """Tensors (CPU, in their stored number type) and header of a file whose checksum agrees.

    Raises:
        UserError: `E-CKPT-…` or `E-LIMIT-CKPT`, naming what is wrong with the file.
    """
    path = Path(path)
    layout, payload = _read(path, with_payload=True)
    if layout.digest([memoryview(payload)]) != layout.header["sha256"]:
        raise UserError(
            "E-CKPT-HASH",
            "checksum does not agree, the file was damaged or edited",
            where=path,
            fix="restore it from a copy, or resume the run from its last state",
        )
    tensors = {name: _tensor(payload, entry) for name, entry in layout.entries.items()}
    broken = [name for name, tensor in tensors.items() if not is_finite(tensor)]
    raise_all(
        UserError("E-CKPT-NAN", "number is not finite", where=f"{path}:{name}", fix="fit the field anew")
        for name in broken
    )
    return tensors, layout.header


def read_header(path: str | os.PathLike[str]) -> Header:
    """The header alone: structure and sizes are checked, tensor data is neither read nor verified."""
    return _read(Path(path), with_payload=False)[0].header


def expect(header: Header, where: object, *, type: str, backend: str | None = None) -> None:
    """Refuse a file of another type or backend.

    Raises:
        UserError: `E-CKPT-TYPE`, `E-CKPT-BACKEND`.
    """
    if header["type"] != type:
        raise UserError("E-CKPT-TYPE", "file holds something else", where=where, got=header["type"],
                        expected=type, fix=f"name a {type} file")  # fmt: skip
    if backend is not None and header.get("backend") != backend:
        raise UserError(
            "E-CKPT-BACKEND",
            "field has another representation",
            where=where,
            got=header.get("backend"),
            expected=backend,
            fix=f"convert it: fieldscape convert FIELD --to {backend} --out NEW",
        )


def match_tensors(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, Tensor], where: object) -> None:
    """Compare tensor names and shapes, and report every difference at once.

    Raises:
        UserError: `E-CKPT-TENSORS`.
    """
    problems = []
    for name in sorted({*expected, *found}):
        want = "no such tensor" if name not in expected else str(list(expected[name]))
        have = "nothing" if name not in found else str(list(found[name].shape))
        if want != have:
            problems.append(_unfitting(f"{where}:{name}", have, want))
    raise_all(problems)


def _unfitting(where: str, got: str, expected: str) -> UserError:
    return UserError(
        "E-CKPT-TENSORS",
        "tensors do not fit the model",
        where=where,
        got=got,
        expected=expected,
        fix="use the model settings stored in the file",
    )


def is_finite(tensor: Tensor) -> bool:
    """Whether no number is NaN or infinite; a sum in float64 is ten times faster than looking at each."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    return math.isfinite(float(tensor.sum(dtype=torch.float64))) or bool(torch.isfinite(tensor).all())


def _plain(name: str, tensor: Tensor, path: Path) -> Tensor:
    check_name(name, path)
    if tensor.dtype not in DTYPES.values() or tensor.layout != torch.strided:
        raise ValueError(f"{name}: {tensor.layout} tensor of {tensor.dtype} cannot be stored")
    if not is_finite(tensor.detach()):
        raise UserError("E-NAN-SAVE", "refused to save numbers that are not finite", where=f"{path}:{name}",
                        fix="resume from the last state with a lower learning rate")  # fmt: skip
    return tensor.detach().cpu().contiguous()


def _front(tensors: dict[str, Tensor], header: Header, path: Path) -> bytes:
    entries, position = {}, 0
    for name, tensor in tensors.items():
        end = position + tensor.numel() * tensor.element_size()
        entries[name] = Entry(tensor.dtype, tuple(tensor.shape), position, end)
        position = end
    try:
        front = encode_front(entries, {**header, "format": FORMAT, "sha256": BLANK_DIGEST})
    except ValueError as error:
        raise UserError("E-NAN-SAVE", "header number is not finite", where=path, got=error,
                        fix="check the run's settings") from None  # fmt: skip
    if front.count(BLANK_DIGEST.encode()) != 1:
        raise ValueError("the header may not hold 64 zeros in a row, the checksum's place is found by them")
    return front


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _read(path: Path, with_payload: bool) -> tuple[Layout, bytearray]:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UserError("E-CKPT-FOLDER", "not a file", where=path, got="a folder or device",
                            expected="a field file", fix="name the .safetensors file inside")  # fmt: skip
        with path.open("rb") as file:
            layout = read_layout(file, status.st_size, path)
            payload = bytearray(status.st_size - len(layout.front) if with_payload else 0)
            if file.readinto(payload) != len(payload):
                raise OSError("file became shorter while it was read")
            return layout, payload
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        raise UserError(
            "E-CKPT-MISSING" if missing else "E-CKPT-READ",
            "no such file" if missing else "cannot be read",
            where=path,
            got="" if missing else error,
            fix="check the path and its permissions",
        ) from None


def _tensor(payload: bytearray, entry: Entry) -> Tensor:
    """A view into the private buffer; the file is not needed any more."""
    count = math.prod(entry.shape)
    if count == 0:
        return torch.empty(entry.shape, dtype=entry.dtype)
    return torch.frombuffer(payload, dtype=entry.dtype, count=count, offset=entry.begin).view(entry.shape)
