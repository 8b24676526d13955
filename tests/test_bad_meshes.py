"""Every broken mesh file gives one line with its own code, and nothing else."""

from __future__ import annotations

import base64
import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from data.meshes import MeshLimits, load_mesh
from fields.errors import ExitCode, UserError, UserErrors

_PLY = "ply\nformat {format} 1.0\nelement vertex {vertices}\n"
_PLY += "property float x\nproperty float y\nproperty float z\n"
_PLY += "element face {faces}\nproperty list uchar int vertex_indices\nend_header\n"
_TETRA = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n"
_FACES = "f 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"


def _box(kind: str) -> bytes:
    exported = trimesh.creation.box().export(file_type=kind)
    return exported if isinstance(exported, bytes) else exported.encode()


def _ply(format: str, vertices: object, faces: object, data: bytes = b"") -> bytes:
    return _PLY.format(format=format, vertices=vertices, faces=faces).encode() + data


def _glb(document: object, binary: bytes = b"") -> bytes:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text
    if binary:
        binary += bytes(-len(binary) % 4)
        body += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


_POSITIONS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], "<f4")
_INDICES = np.array([0, 2, 1, 0, 1, 3, 0, 3, 2, 1, 2, 3], "<u4")
_BINARY = _POSITIONS.tobytes() + _INDICES.tobytes()


def _document(**changes: object) -> dict:
    """A valid glTF of one tetrahedron in `_BINARY`, with some of its tables replaced."""
    document: dict = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5125, "count": 12, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteLength": 48},
            {"buffer": 0, "byteOffset": 48, "byteLength": 48},
        ],
        "buffers": [{"byteLength": 96}],
    }
    return {**document, **changes}


def _with_first(table: str, **changes: object) -> bytes:
    """The tetrahedron as GLB with the first entry of `table` changed; None removes a key."""
    document = _document()
    entry = {**document[table][0], **changes}
    rows = [{k: v for k, v in entry.items() if v is not None}, *document[table][1:]]
    return _glb(_document(**{table: rows}), _BINARY)


def _gltf(uri: str) -> bytes:
    return json.dumps(_document(buffers=[{"byteLength": 96, "uri": uri}])).encode()


def _chain(depth: int) -> bytes:
    nodes: list[dict] = [{"children": [i + 1]} for i in range(depth - 1)]
    return _glb(_document(nodes=[*nodes, {"mesh": 0}]), _BINARY)


_TWINS = [{"children": [1, 1]}, {"mesh": 0}]
_LOOP = [{"children": [1]}, {"children": [2]}, {"children": [0]}]
_SHORT_URI = "data:application/octet-stream;base64," + base64.b64encode(_BINARY[:50]).decode()
_NOT_BASE64 = "data:application/octet-stream;base64,***"

CASES: dict[str, tuple[str, bytes, str]] = {
    "empty obj": ("a.obj", b"", "E-MESH-EMPTY"),
    "empty stl": ("a.stl", b"", "E-MESH-EMPTY"),
    "empty off": ("a.off", b"", "E-MESH-EMPTY"),
    "obj of words": ("a.obj", b"the quick brown fox\njumps over\n", "E-MESH-EMPTY"),
    "obj cut in half": ("a.obj", (_TETRA + _FACES)[: len(_TETRA) - 3].encode(), "E-MESH-NOFACES"),
    "obj index 0": ("a.obj", (_TETRA + "f 0 1 2\n").encode(), "E-MESH-INDEX"),
    "obj index 99": ("a.obj", (_TETRA + "f 1 2 99\n").encode(), "E-MESH-INDEX"),
    "obj index -30": ("a.obj", (_TETRA + "f 1 2 -30\n").encode(), "E-MESH-INDEX"),
    "obj face of words": ("a.obj", (_TETRA + "f one two three\n").encode(), "E-MESH-PARSE"),
    "obj nan": ("a.obj", (_TETRA + "v nan 0 0\nf 1 2 5\n").encode(), "E-MESH-NONFINITE"),
    "obj inf": ("a.obj", (_TETRA + "v 0 inf 0\nf 1 2 5\n").encode(), "E-MESH-NONFINITE"),
    "obj short vertex": ("a.obj", (_TETRA + "v 1 2\nf 1 2 5\n").encode(), "E-MESH-NONFINITE"),
    "obj 1e300": ("a.obj", (_TETRA + "v 0 0 1e300\nf 1 2 5\n").encode(), "E-MESH-RANGE"),
    "obj 2e6": ("a.obj", (_TETRA + "v 0 0 2e6\nf 1 2 5\n").encode(), "E-MESH-RANGE"),
    "obj flat": ("a.obj", (_TETRA + "f 1 2 3\n").encode(), "E-MESH-DEGENERATE"),
    "obj 1e-12": ("a.obj", _TETRA.replace("1", "1e-12").encode() + _FACES.encode(), "E-MESH-DEGENERATE"),
    "obj of bytes": ("a.obj", bytes(range(256)) * 8, "E-MESH-PARSE"),
    "stl of bytes": ("a.stl", bytes(range(256)), "E-MESH-PARSE"),
    "ply of bytes": ("a.ply", bytes(range(256)), "E-MESH-PARSE"),
    "off of bytes": ("a.off", bytes(range(256)), "E-MESH-PARSE"),
    "glb of bytes": ("a.glb", bytes(range(256)), "E-GLB-MAGIC"),
    "gltf of bytes": ("a.gltf", bytes(range(256)), "E-JSON-SYNTAX"),
    "ply ascii huge": ("a.ply", _ply("ascii", 2 * 10**9, 1, b"0 0 0\n"), "E-MESH-PARSE"),
    "ply negative": ("a.ply", _ply("ascii", -4, 1, b"0 0 0\n"), "E-MESH-PARSE"),
    "ply binary huge": ("a.ply", _ply("binary_little_endian", 2 * 10**9, 1, bytes(64)), "E-MESH-PARSE"),
    "ply binary cut": ("a.ply", _box("ply")[:-20], "E-MESH-PARSE"),
    "ply header cut": ("a.ply", _box("ply")[:60], "E-MESH-PARSE"),
    "ply format": ("a.ply", _ply("middle_endian", 1, 1), "E-MESH-PARSE"),
    "ply points": ("a.ply", _ply("ascii", 2, 0, b"0 0 0\n1 1 1\n"), "E-MESH-NOFACES"),
    "ply index": ("a.ply", _ply("ascii", 3, 1, b"0 0 0\n1 0 0\n0 1 1\n3 0 1 7\n"), "E-MESH-INDEX"),
    "ply negative index": ("a.ply", _ply("ascii", 3, 1, b"0 0 0\n1 0 0\n0 1 1\n3 0 1 -1\n"), "E-MESH-INDEX"),
    "ply word": ("a.ply", _ply("ascii", 1, 0, b"zero 0 0\n"), "E-MESH-PARSE"),
    "stl huge count": ("a.stl", bytes(80) + b"\xff\xff\xff\xff" + bytes(100), "E-MESH-PARSE"),
    "stl cut": ("a.stl", _box("stl")[:-30], "E-MESH-PARSE"),
    "stl ascii cut": ("a.stl", b"solid a\nvertex 0 0 0\nvertex 1 0 0\n", "E-MESH-PARSE"),
    "stl nan": ("a.stl", _box("stl")[:96] + b"\0\0\xc0\x7f" + _box("stl")[100:], "E-MESH-NONFINITE"),
    "off huge": ("a.off", b"OFF\n353535235358 6 0\n0 0 0\n", "E-MESH-PARSE"),
    "off counts": ("a.off", b"OFF\nmany some few\n", "E-MESH-PARSE"),
    "off index": ("a.off", b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 1\n3 0 1 3\n", "E-MESH-INDEX"),
    "glb empty": ("a.glb", b"", "E-GLB-LENGTH"),
    "glb cut": ("a.glb", _glb(_document(), _BINARY)[:-10], "E-GLB-LENGTH"),
    "glb magic": ("a.glb", b"glTX" + _glb(_document(), _BINARY)[4:], "E-GLB-MAGIC"),
    "glb version": ("a.glb", b"glTF\x01" + _glb(_document(), _BINARY)[5:], "E-GLB-VERSION"),
    "glb chunk too big": ("a.glb", _glb(b"{}")[:12] + b"\xff\xff\0\0" + _glb(b"{}")[16:], "E-GLB-CHUNK"),
    "glb no json": ("a.glb", struct.pack("<4sII", b"glTF", 2, 12), "E-GLB-JSON"),
    "glb list": ("a.glb", _glb([]), "E-GLB-JSON"),
    "glb broken json": ("a.glb", _glb(b"{]"), "E-JSON-SYNTAX"),
    "glb no version": ("a.glb", _glb({}), "E-GLB-VERSION"),
    "glb draco": ("a.glb", _glb(_document(extensionsRequired=["KHR_draco_mesh_compression"]), _BINARY),
                  "E-GLB-EXTENSION"),
    "accessor count": ("a.glb", _with_first("accessors", count=10**9), "E-GLB-ACCESSOR"),
    "accessor type": ("a.glb", _with_first("accessors", type="VEC9"), "E-GLB-ACCESSOR"),
    "accessor of zeros": ("a.glb", _with_first("accessors", bufferView=None, count=10**9), "E-LIMIT-MESH"),
    "view too long": ("a.glb", _with_first("bufferViews", byteLength=10**12), "E-GLB-BUFFER"),
    "view of nothing": ("a.glb", _with_first("bufferViews", buffer=7), "E-GLB-BUFFER"),
    "buffer too long": ("a.glb", _with_first("buffers", byteLength=10**12), "E-GLB-BUFFER"),
    "accessor missing": ("a.glb", _glb(_document(accessors=[]), _BINARY), "E-GLB-ACCESSOR"),
    "index past vertices": ("a.glb", _with_first("accessors", count=3), "E-MESH-INDEX"),
    "node loop": ("a.glb", _glb(_document(nodes=_LOOP), _BINARY), "E-GLB-NODES"),
    "node depth": ("a.glb", _chain(100), "E-GLB-NODES"),
    "too many nodes": ("a.glb", _chain(5000), "E-LIMIT-MESH"),
    "node with two parents": ("a.glb", _glb(_document(nodes=_TWINS), _BINARY), "E-GLB-NODES"),
    "node of words": ("a.glb", _glb(_document(nodes=["mesh"]), _BINARY), "E-GLB-NODES"),
    "node scale": ("a.glb", _glb(_document(nodes=[{"mesh": 0, "scale": "big"}]), _BINARY), "E-GLB-NODES"),
    "no mesh in scene": ("a.glb", _glb(_document(nodes=[{}]), _BINARY), "E-MESH-EMPTY"),
    "uri parent": ("a.gltf", _gltf("../secret.bin"), "E-PATH-ESCAPE"),
    "uri parent, escaped": ("a.gltf", _gltf("%2e%2e/secret.bin"), "E-PATH-ESCAPE"),
    "uri absolute": ("a.gltf", _gltf("/etc/passwd"), "E-PATH-ESCAPE"),
    "uri file": ("a.gltf", _gltf("file:///etc/passwd"), "E-URI-SCHEME"),
    "uri http": ("a.gltf", _gltf("http://127.0.0.1:9/a.bin"), "E-URI-SCHEME"),
    "uri missing": ("a.gltf", _gltf("missing.bin"), "E-GLB-BUFFER"),
    "base64 too short": ("a.gltf", _gltf(_SHORT_URI), "E-GLB-BUFFER"),
    "base64 broken": ("a.gltf", _gltf(_NOT_BASE64), "E-GLB-BUFFER"),
    "unknown suffix": ("a.blend", b"BLENDER", "E-MESH-FORMAT"),
    "no suffix": ("mesh", b"v 0 0 0", "E-MESH-FORMAT"),
}


def _code_of(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    assert len(caught.value.line().splitlines()[0]) <= 600
    return caught.value.code


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.replace(" ", "-"))
def test_broken_file_gives_its_own_code(case: str, tmp_path: Path) -> None:
    name, content, code = CASES[case]
    (tmp_path / name).write_bytes(content)
    assert _code_of(lambda: load_mesh(tmp_path / name)) == code


def test_the_changed_tetrahedron_itself_is_valid(tmp_path: Path) -> None:
    (tmp_path / "a.glb").write_bytes(_glb(_document(), _BINARY))
    assert load_mesh(tmp_path / "a.glb").is_volume


def test_bad_indices_are_all_reported_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(_TETRA + "f 1 2 3\nf 0 1 2\nf 1 2 9\n")
    with pytest.raises(UserErrors) as caught:
        load_mesh(tmp_path / "a.obj")
    assert [problem.where.rsplit(":", 1)[1] for problem in caught.value.problems] == ["6", "7"]


def test_broken_number_in_a_vertex_that_no_face_uses_is_harmless(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(_TETRA + "v nan 3.1+e2 1e30\n" + _FACES)
    assert len(load_mesh(tmp_path / "a.obj").vertices) == 4


def test_limits_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(_TETRA + _FACES)
    for limits in (MeshLimits(faces=3), MeshLimits(vertices=3), MeshLimits(file_bytes=10)):
        with pytest.raises(UserError) as caught:
            load_mesh(tmp_path / "a.obj", limits)
        assert (caught.value.code, caught.value.exit_code) == ("E-LIMIT-MESH", ExitCode.LIMIT)


def test_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(_BINARY)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.bin").symlink_to(tmp_path / "secret.bin")
    (tmp_path / "model" / "a.gltf").write_bytes(_gltf("a.bin"))
    assert _code_of(lambda: load_mesh(tmp_path / "model" / "a.gltf")) == "E-PATH-ESCAPE"


def test_material_files_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mtl")  # opening it would wait for ever
    (tmp_path / "a.obj").write_text("mtllib a.mtl\nmtllib ../../etc/passwd\n" + _TETRA + _FACES)
    assert len(load_mesh(tmp_path / "a.obj").faces) == 4


@pytest.mark.parametrize("name", ["a.zip", "a.obj", "a.glb"])
def test_archive_is_refused_unopened(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../escape.obj", b"\0" * 10_000_000)
    assert _code_of(lambda: load_mesh(tmp_path / name)) == "E-LIMIT-ARCHIVE"


def test_missing_file_folder_and_pipe_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.obj").mkdir()
    os.mkfifo(tmp_path / "pipe.obj")
    for name in ("missing.obj", "folder.obj", "pipe.obj"):
        assert _code_of(lambda name=name: load_mesh(tmp_path / name)) == "E-MESH-MISSING"


_SEEDS = [("a.obj", (_TETRA + _FACES).encode()), ("a.off", _box("off")), ("a.stl", _box("stl")),
          ("a.stl", trimesh.creation.box().export(file_type="stl_ascii").encode()), ("a.ply", _box("ply")),
          ("a.ply", _ply("ascii", 3, 1, b"0 0 0\n1 0 0\n0 1 1\n3 0 1 2\n")),
          ("a.glb", _glb(_document(), _BINARY)),
          ("a.gltf", _gltf("data:;base64," + base64.b64encode(_BINARY).decode()))]  # fmt: skip


@pytest.mark.parametrize("name, seed", _SEEDS, ids=lambda value: value if isinstance(value, str) else "")
@given(data=st.data())
def test_mutated_file_loads_or_is_refused(
    name: str, seed: bytes, data: st.DataObject, tmp_path: Path
) -> None:
    content = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, max(len(content) - 1, 0)))
        change = data.draw(st.binary(max_size=4))
        content[place : place + data.draw(st.integers(0, 8))] = change
    (tmp_path / name).write_bytes(content)
    try:
        mesh = load_mesh(tmp_path / name)
    except UserError:
        return
    assert np.isfinite(mesh.vertices).all() and mesh.faces.max() < len(mesh.vertices)


_VALID = {
    "cube_binary_header_with_RN_newline.ply", "box_longline.obj", "number_formats.obj", "sphereWithHole.stl",
    "cube_with_fold.ply", "degenerated.obj", "halftunnel.off", "truck.obj", "model.obj", "busted.STL",
    "comments.off", "counter.unitsmm.STL", "jacked.obj", "multibody.stl", "nancolor.obj",
    "negative_indices.obj", "not_convex.obj", "obj_with_no_face_in_chunk.obj", "polygonfaces.obj",
    "rabbit.obj", "soup.stl", "two_objects.obj", "wallhole.obj",
}  # fmt: skip
_REFUSED = {
    "BoxTextured.gltf": "E-GLB-BUFFER", "BoxWithInfinites.glb": "E-MESH-NONFINITE",
    "AllIndicesOutOfRange.gltf": "E-MESH-INDEX", "IndexOutOfRange.gltf": "E-MESH-INDEX",
    "OutOfMemory.off": "E-MESH-PARSE", "empty.off": "E-MESH-EMPTY", "invalid.off": "E-MESH-PARSE",
    "issue623.ply": "E-MESH-PARSE", "malformed.obj": "E-MESH-INDEX", "point_cloud.obj": "E-MESH-NOFACES",
    "triangle_with_empty_solid.stl": "E-MESH-DEGENERATE", "chunk_too_big.glb": "E-GLB-LENGTH",
    "empty_json_chunk.glb": "E-GLB-JSON", "index_buffer_oob.gltf": "E-MESH-INDEX",
    "invalid_magic.glb": "E-GLB-MAGIC", "invalid_syntax.gltf": "E-JSON-SYNTAX",
    "length_mismatch.glb": "E-GLB-LENGTH", "node_loop.gltf": "E-GLB-NODES", "only_header.glb": "E-GLB-JSON",
    "truncated_chunk_data.glb": "E-GLB-LENGTH", "zero_length.glb": "E-GLB-LENGTH",
    "empty.obj": "E-MESH-EMPTY", "empty.ply": "E-MESH-EMPTY", "empty.stl": "E-MESH-EMPTY",
    "empty_nodes.glb": "E-MESH-EMPTY",
    "notenoughindices.obj": "E-MESH-DEGENERATE", "obj_points.obj": "E-MESH-NOFACES",
    "ply_empty_header.ply": "E-MESH-EMPTY", "points_ascii.ply": "E-MESH-NOFACES",
}  # fmt: skip


def test_collected_files_load_or_give_their_code(shared_data: Path) -> None:
    files = [file for file in (shared_data / "meshes_bad").rglob("*.*") if file.suffix not in (".bin", ".md")]
    assert {file.name for file in files} == _VALID | _REFUSED.keys()
    for file in files:
        if file.name in _VALID:
            assert len(load_mesh(file).faces), file
        else:
            assert _code_of(lambda file=file: load_mesh(file)) == _REFUSED[file.name], file
