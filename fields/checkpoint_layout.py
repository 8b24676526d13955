"""What lies at the front of a field file, read with suspicion: nothing is believed before it is checked.

The file is safetensors: 8 bytes little-endian header length, a JSON header that gives every tensor's
dtype, shape and byte range, then the raw tensors. Our own header is one more strict JSON text under
`__metadata__` / `fieldscape`. Reading it executes nothing and allocates nothing that the file merely claims.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from .errors import UserError
from .safeio import parse_json

FORMAT = 1
HEADER_LIMIT_BYTES = 16 * 2**20
TENSOR_LIMIT = 4096
METADATA_KEY = "fieldscape"
BLANK_DIGEST = "0" * 64

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

_ELEMENT_LIMIT = 2**48
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]*")
_LFS = b"version https://git-lfs"
_FOREIGN = {
    b"PK\x03\x04": "a zip archive (torch.save, .npz)",
    b"PK\x05\x06": "a zip archive (torch.save, .npz)",
    b"\x1f\x8b": "a gzip archive",
    b"\x93NUMPY": "a NumPy file",
}
_PICKLE_START = re.compile(rb"\x80[\x02-\x05]")
_PICKLE_SUFFIXES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin", ".npz", ".npy", ".joblib")


@dataclass(frozen=True)
class Entry:
    """One tensor of the file: `begin` and `end` count bytes from the start of the tensor data."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Layout:
    """The checked front of a file. `front` holds its exact bytes, length prefix included."""

    header: dict[str, Any]
    entries: dict[str, Entry]
    front: bytes

    def digest(self, payload: Iterable[memoryview]) -> str:
        """SHA-256 of the whole file, the digest's own 64 digits taken as zeros."""
        blank = self.front.replace(self.header["sha256"].encode(), BLANK_DIGEST.encode())
        return digest_of(blank, payload)


def digest_of(front: bytes, payload: Iterable[memoryview]) -> str:
    """Hex SHA-256 of `front` followed by the pieces of `payload`."""
    total = hashlib.sha256(front)
    for piece in payload:
        total.update(piece)
    return total.hexdigest()


def encode_front(entries: dict[str, Entry], header: dict[str, Any]) -> bytes:
    """Length prefix and header bytes; keys are sorted, so equal content gives equal files."""
    codes = {dtype: code for code, dtype in DTYPES.items()}
    table: dict[str, Any] = {"__metadata__": {METADATA_KEY: _dump(header)}}
    for name, entry in entries.items():
        offsets = [entry.begin, entry.end]
        table[name] = {"dtype": codes[entry.dtype], "shape": list(entry.shape), "data_offsets": offsets}
    text = _dump(table).encode()
    text += b" " * (-len(text) % 8)  # tensor data starts 8-byte aligned
    return len(text).to_bytes(8, "little") + text


def read_layout(file: BinaryIO, size: int, where: Path) -> Layout:
    """Read and check the front of a file of `size` bytes, leaving `file` at the tensor data.

    Raises:
        UserError: `E-CKPT-TRUNCATED`, `-TRAILING`, `-HEADER`, `-DTYPE`, `-PICKLE`, `-LFS`, `-VERSION`,
            or `E-LIMIT-CKPT`.
    """
    start = file.read(64)
    _refuse_foreign(start, where)
    if len(start) < 8:
        raise _truncated(where, f"{size} bytes", "at least 8")
    length = int.from_bytes(start[:8], "little")
    if length > HEADER_LIMIT_BYTES and length > size:
        raise malformed(where, f"file starting {start[:8]!r}", "a .safetensors field file")
    if length > HEADER_LIMIT_BYTES:
        raise UserError(
            "E-LIMIT-CKPT",
            "header length is beyond the limit",
            where=where,
            got=f"{length} bytes",
            expected=f"at most {HEADER_LIMIT_BYTES}",
            fix="use a field file written by fieldscape",
        )
    if 8 + length > size:
        raise _truncated(where, f"{size} bytes", f"a header of {length} bytes")
    file.seek(0)
    front = file.read(8 + length)
    table = _strict_json(front[8:], where)
    header = _own_header(table.pop("__metadata__", None), where)
    entries = _entries(table, where)
    _check_size(entries, size - len(front), where)
    if front.count(header["sha256"].encode()) != 1:
        raise malformed(where, "sha256 appears more than once", "exactly one checksum")
    return Layout(header, entries, front)


def malformed(where: object, got: object, expected: str) -> UserError:
    """The error for a header that no version of this program wrote."""
    return UserError(
        "E-CKPT-HEADER",
        "not a readable field file",
        where=where,
        got=got,
        expected=expected,
        fix="copy or download the file again",
    )


def check_name(name: str, where: object) -> None:
    """Refuse tensor names that could be mistaken for a path out of a folder, or that do not print."""
    if len(name) > 512 or not _NAME.fullmatch(name) or ".." in name:
        raise malformed(where, f"tensor name {name!r}", "letters, digits and _ . : / - only")


def check_header(header: dict[str, Any], where: object) -> None:
    """Types of the header entries that every reader relies on."""
    for key in ("type", "backend", "kind"):
        if key in header and not isinstance(header[key], str):
            raise malformed(f"{where}:{key}", repr(header[key]), "a string")
    if "type" not in header:
        raise malformed(f"{where}:type", "nothing", 'a type such as "field"')
    if not isinstance(header.get("config", {}), dict):
        raise malformed(f"{where}:config", repr(header["config"]), "an object")
    if "bounds" in header and not _is_box(header["bounds"]):
        raise malformed(f"{where}:bounds", repr(header["bounds"]), "[[x, y, z], [x, y, z]], low < high")


def _dump(value: Any) -> str:
    return json.dumps(value, allow_nan=False, sort_keys=True, separators=(",", ":"))


def _refuse_foreign(start: bytes, where: Path) -> None:
    """Name what people hand over by mistake. Pickle in any wrapping is never opened."""
    if start.startswith(_LFS):
        raise UserError(
            "E-CKPT-LFS",
            "this is a git-lfs pointer, not the file itself",
            where=where,
            fix="run `git lfs pull` in the repository it came from",
        )
    if start[8:9] == b"{":
        return  # a header length may start with the same two bytes as a pickle
    kind = next((name for magic, name in _FOREIGN.items() if start.startswith(magic)), "")
    if not kind and (_PICKLE_START.match(start) or where.suffix.lower() in _PICKLE_SUFFIXES):
        kind = "a pickle"
    if kind:
        raise UserError(
            "E-CKPT-PICKLE",
            "refused unopened, it may hold code",
            where=where,
            got=kind,
            expected="a .safetensors field file",
            fix="fit the field anew, or convert it where it was made",
        )


def _truncated(where: Path, got: str, expected: str) -> UserError:
    return UserError(
        "E-CKPT-TRUNCATED",
        "file is cut off",
        where=where,
        got=got,
        expected=expected,
        fix="copy or download the file again",
    )


def _strict_json(content: bytes, where: object) -> dict[str, Any]:
    try:
        value = parse_json(content, where)
    except UserError as error:
        raise malformed(where, f"{error.what} {error.got}", "strict JSON") from None
    if not isinstance(value, dict):
        raise malformed(where, type(value).__name__, "a JSON object")
    return value


def _own_header(metadata: object, where: Path) -> dict[str, Any]:
    text = metadata.get(METADATA_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise malformed(where, "safetensors of another program", "a fieldscape header")
    header = _strict_json(text.encode(errors="replace"), where)
    version = header.get("format")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise malformed(f"{where}:format", repr(version), "a format version")
    if version > FORMAT:
        raise UserError(
            "E-CKPT-VERSION",
            f"written in format {version}, this program reads up to format {FORMAT}",
            where=where,
            fix="update fieldscape",
        )
    if not re.fullmatch("[0-9a-f]{64}", str(header.get("sha256"))):
        raise malformed(f"{where}:sha256", repr(header.get("sha256")), "64 hex digits")
    check_header(header, where)
    return header


def _entries(table: dict[str, Any], where: Path) -> dict[str, Entry]:
    if len(table) > TENSOR_LIMIT:
        raise UserError(
            "E-LIMIT-CKPT",
            "too many tensors",
            where=where,
            got=len(table),
            expected=f"at most {TENSOR_LIMIT}",
            fix="use a field file written by fieldscape",
        )
    return {name: _entry(name, value, where) for name, value in table.items()}


def _entry(name: str, value: object, where: Path) -> Entry:
    check_name(name, where)
    place = f"{where}:{name}"
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise malformed(place, repr(value), "dtype, shape and data_offsets")
    if not isinstance(value["dtype"], str) or value["dtype"] not in DTYPES:
        raise UserError(
            "E-CKPT-DTYPE",
            "number type is unknown",
            where=place,
            got=repr(value["dtype"]),
            expected="one of " + " ".join(DTYPES),
            fix="update fieldscape",
        )
    shape, offsets = value["shape"], value["data_offsets"]
    if not _are_sizes(shape) or len(shape) > 16 or math.prod(max(d, 1) for d in shape) > _ELEMENT_LIMIT:
        raise malformed(place, f"shape {shape}", "a list of sizes")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise malformed(place, f"data_offsets {offsets}", "[begin, end]")
    dtype = DTYPES[value["dtype"]]
    if offsets[1] - offsets[0] != math.prod(shape) * dtype.itemsize:
        raise malformed(place, f"{offsets[1] - offsets[0]} bytes for shape {shape}", "shape x number size")
    return Entry(dtype, tuple(shape), offsets[0], offsets[1])


def _check_size(entries: dict[str, Entry], payload: int, where: Path) -> None:
    """The tensors follow one another without gap or overlap and fill the file exactly."""
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != position:
            raise malformed(f"{where}:{name}", f"data at {entry.begin}", f"{position}, no gap, no overlap")
        position = entry.end
    if payload < position:
        raise _truncated(where, f"{payload} bytes of tensor data", f"{position}")
    if payload > position:
        raise UserError(
            "E-CKPT-TRAILING",
            "bytes follow the last tensor",
            where=where,
            got=f"{payload - position} bytes",
            expected="none",
            fix="copy or download the file again",
        )


def _are_sizes(value: object) -> bool:
    """A list of non-negative integers; JSON's true is not a number."""
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _is_box(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 2:
        return False
    rows = [row for row in value if isinstance(row, list) and len(row) == 3]
    numbers = [n for row in rows for n in row if type(n) in (int, float) and math.isfinite(n)]
    return len(numbers) == 6 and all(low < high for low, high in zip(*rows, strict=True))
