"""glTF 2.0 containers: the JSON document and its buffers, from .glb or .gltf, checked before use.

Khronos, "glTF 2.0 Specification", sections 3.6 (buffers) and 4 (GLB). The errors follow those of
the Khronos validator (GLB_INVALID_MAGIC, GLB_CHUNK_TOO_BIG, ...).
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fields.errors import UserError
from fields.safeio import parse_json

_JSON_CHUNK, _BIN_CHUNK = 0x4E4F534A, 0x004E4942
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")
_FIX = "export the model again"


def glb_error(code: str, what: str, where: object, got: object = "", expected: str = "") -> UserError:
    """A defect of a glTF file; `code` is one of the `E-GLB-*`."""
    return UserError(code, what, where=where, got=got, expected=expected, fix=_FIX)


def read_glb(content: bytes, where: object) -> tuple[Any, bytes]:
    """The JSON document and the binary chunk of a .glb file.

    Raises:
        UserError: `E-GLB-MAGIC`, `-VERSION`, `-LENGTH`, `-CHUNK`, `-JSON`, or one of `E-JSON-*`.
    """
    if len(content) < 12:
        raise glb_error("E-GLB-LENGTH", "GLB file is shorter than its header", where,
                        f"{len(content)} bytes", "at least 12")
    magic, version, length = struct.unpack_from("<4sII", content)
    if magic != b"glTF":
        raise glb_error("E-GLB-MAGIC", "not a GLB file", where, repr(magic), "'glTF'")
    if version != 2:
        raise glb_error("E-GLB-VERSION", "GLB version is not supported", where, version, "2")
    if length != len(content):
        raise glb_error("E-GLB-LENGTH", "GLB length differs from the file", where, f"{length} in the header",
                        f"{len(content)} bytes")
    chunks = _chunks(content, where)
    if not chunks or chunks[0][0] != _JSON_CHUNK or not chunks[0][1].strip():
        raise glb_error("E-GLB-JSON", "GLB file has no JSON chunk", where, expected="JSON as the first chunk")
    binary = chunks[1][1] if len(chunks) > 1 and chunks[1][0] == _BIN_CHUNK else b""
    return parse_json(chunks[0][1].rstrip(b"\0"), where), binary


def _chunks(content: bytes, where: object) -> list[tuple[int, bytes]]:
    found, offset = [], 12
    while offset < len(content):
        if offset + 8 > len(content):
            raise glb_error("E-GLB-CHUNK", "GLB chunk header is cut short", where, f"offset {offset}")
        size, kind = struct.unpack_from("<II", content, offset)
        if offset + 8 + size > len(content):
            raise glb_error("E-GLB-CHUNK", "GLB chunk reaches past the end of the file", where,
                            f"{size} bytes", f"at most {len(content) - offset - 8}")
        found.append((kind, content[offset + 8 : offset + 8 + size]))
        offset += 8 + size
    return found


def load_buffers(document: dict, binary: bytes, path: Path, limit: int) -> list[bytes]:
    """Every buffer of the document: the binary chunk, data: URIs and files beside `path`.

    Raises:
        UserError: `E-PATH-ESCAPE`, `E-URI-SCHEME`, `E-GLB-BUFFER`, `E-LIMIT-MESH`.
    """
    buffers = []
    for number, entry in enumerate(document.get("buffers", [])):
        size = entry.get("byteLength") if isinstance(entry, dict) else None
        if not isinstance(size, int) or size < 0:
            raise glb_error("E-GLB-BUFFER", "buffer has no length", f"{path.name}:buffers[{number}]", size)
        uri = entry.get("uri")
        content = binary if uri is None else _read_uri(uri, path, limit)
        if len(content) < size:
            raise glb_error("E-GLB-BUFFER", "buffer is shorter than it says",
                            f"{path.name}:buffers[{number}]", f"{len(content)} bytes", f"{size}")
        buffers.append(content[:size])
    return buffers


def _read_uri(uri: Any, path: Path, limit: int) -> bytes:
    if not isinstance(uri, str):
        raise glb_error("E-GLB-BUFFER", "buffer uri is not text", path, uri)
    if uri.startswith("data:"):
        return _read_data_uri(uri, path)
    if _SCHEME.match(uri):
        raise UserError("E-URI-SCHEME", "buffer is not a file beside the model", where=path, got=uri,
                        expected="a relative path or a data: URI", fix="export with embedded buffers (.glb)")
    file = inside(path.parent, unquote(uri), path)
    if not file.is_file():
        raise glb_error("E-GLB-BUFFER", "buffer file is missing", path, uri, "a file beside the model")
    if file.stat().st_size > limit:
        raise UserError("E-LIMIT-MESH", "buffer file is too large", where=file,
                        got=f"{file.stat().st_size} bytes", expected=f"at most {limit}",
                        fix="simplify the mesh first")
    return file.read_bytes()


def inside(folder: Path, name: str, where: object) -> Path:
    """The file `name` in `folder`, links resolved; `E-PATH-ESCAPE` when it lies elsewhere."""
    root = folder.resolve()
    try:
        file = (root / name).resolve()
        escaped = "\\" in name or not file.is_relative_to(root)
    except (OSError, ValueError, RuntimeError):
        escaped = True
    if escaped:
        raise UserError("E-PATH-ESCAPE", "path leads out of the model's folder", where=where, got=name,
                        expected="a file beside the model", fix="export with embedded buffers (.glb)")
    return file


def _read_data_uri(uri: str, path: Path) -> bytes:
    head, _, text = uri.partition(",")
    if not head.endswith(";base64"):
        raise glb_error("E-GLB-BUFFER", "data: URI is not base64", path, head)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise glb_error("E-GLB-BUFFER", "data: URI cannot be decoded", path, str(error)) from None
