"""A strict reading of a binary glTF 2.0 file: every rule of the specification that geometry can break."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_COMPONENTS = {5123: np.dtype("<u2"), 5125: np.dtype("<u4"), 5126: np.dtype("<f4")}
_WIDTHS = {"SCALAR": 1, "VEC3": 3}


@dataclass(frozen=True)
class ReadGlb:
    """A file that broke no rule."""

    document: dict[str, Any]
    arrays: list[np.ndarray]  # of each accessor, [count, width]

    def primitives(self) -> list[dict[str, Any]]:
        return [part for mesh in self.document["meshes"] for part in mesh["primitives"]]


def read_glb(path: Path) -> ReadGlb:
    """Read and check; any broken rule is an AssertionError (glTF 2.0, sections 3.5 to 3.9 and 4.4)."""
    document, binary = _chunks(path.read_bytes())
    assert document["asset"]["version"] == "2.0"
    assert [buffer["byteLength"] for buffer in document["buffers"]] == [len(binary)]
    _check_views(document["bufferViews"], len(binary))
    arrays = [_array(accessor, document["bufferViews"], binary) for accessor in document["accessors"]]
    _check_nodes(document)
    for mesh in document["meshes"]:
        assert mesh["primitives"] and mesh["name"]
        for primitive in mesh["primitives"]:
            _check_primitive(primitive, document, arrays)
    _check_used(document)
    for material in document["materials"]:
        surface = material["pbrMetallicRoughness"]
        numbers = [*surface["baseColorFactor"], surface["metallicFactor"], surface["roughnessFactor"]]
        assert len(surface["baseColorFactor"]) == 4 and all(0 <= n <= 1 for n in numbers)
    return ReadGlb(document, arrays)


def _chunks(content: bytes) -> tuple[dict[str, Any], bytes]:
    magic, version, size = struct.unpack_from("<4sII", content)
    assert (magic, version, size) == (b"glTF", 2, len(content))
    found, at = [], 12
    while at < len(content):
        length, kind = struct.unpack_from("<I4s", content, at)
        assert length % 4 == 0 and at + 8 + length <= len(content)
        found.append((kind, content[at + 8 : at + 8 + length]))
        at += 8 + length
    assert [kind for kind, _ in found] == [b"JSON", b"BIN\0"]
    text = found[0][1].decode()
    return json.loads(text.rstrip(" "), object_pairs_hook=_unique), found[1][1]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({key for key, _ in pairs}) == len(pairs)
    return dict(pairs)


def _check_views(views: list[dict[str, Any]], size: int) -> None:
    end = 0
    for view in views:
        assert view["buffer"] == 0 and view["byteOffset"] % 4 == 0 and view["byteLength"] > 0
        assert end <= view["byteOffset"] < end + 4 and view["target"] in (34962, 34963)
        end = view["byteOffset"] + view["byteLength"]
    assert end <= size < end + 4


def _array(accessor: dict[str, Any], views: list[dict[str, Any]], binary: bytes) -> np.ndarray:
    view, component = views[accessor["bufferView"]], _COMPONENTS[accessor["componentType"]]
    width, offset = _WIDTHS[accessor["type"]], accessor["byteOffset"]
    assert (view["byteOffset"] + offset) % component.itemsize == 0 and accessor["count"] > 0
    assert offset + accessor["count"] * width * component.itemsize <= view["byteLength"]
    values = np.frombuffer(binary, component, accessor["count"] * width, view["byteOffset"] + offset)
    values = values.reshape(-1, width)
    assert np.isfinite(values).all()
    if "min" in accessor:
        assert accessor["min"] == values.min(0).tolist() and accessor["max"] == values.max(0).tolist()
    return values


def _check_nodes(document: dict[str, Any]) -> None:
    """A tree: every node hangs at one other, or in the scene."""
    nodes, scene = document["nodes"], document["scenes"][document["scene"]]
    below = [child for node in nodes for child in node.get("children", [])] + scene["nodes"]
    assert sorted(below) == list(range(len(nodes)))
    assert all("mesh" in node or node["children"] for node in nodes)
    assert len({node["name"] for node in nodes}) == len(nodes)


def _check_primitive(primitive: dict[str, Any], document: dict[str, Any], arrays: list[np.ndarray]) -> None:
    attributes, accessors = primitive["attributes"], document["accessors"]
    positions, normals, indices = (
        arrays[n] for n in (attributes["POSITION"], attributes["NORMAL"], primitive["indices"])
    )
    assert primitive["mode"] == 4 and len(positions) == len(normals) and "min" in accessors[attributes["POSITION"]]
    targets = [document["bufferViews"][accessors[n]["bufferView"]]["target"] for n in attributes.values()]
    assert set(targets) == {34962}
    assert document["bufferViews"][accessors[primitive["indices"]]["bufferView"]]["target"] == 34963
    assert np.abs(np.linalg.norm(normals, axis=1) - 1).max() < 1e-4
    highest = np.iinfo(indices.dtype).max
    assert len(indices) % 3 == 0 and indices.max() < min(len(positions), highest)
    corners = indices.reshape(-1, 3)
    assert ((corners != np.roll(corners, 1, axis=1)).all(axis=1)).all()


def _check_used(document: dict[str, Any]) -> None:
    primitives = [part for mesh in document["meshes"] for part in mesh["primitives"]]
    accessors = {n for part in primitives for n in (*part["attributes"].values(), part["indices"])}
    assert accessors == set(range(len(document["accessors"])))
    assert {a["bufferView"] for a in document["accessors"]} == set(range(len(document["bufferViews"])))
    assert {part["material"] for part in primitives} == set(range(len(document["materials"])))
    assert sorted(n["mesh"] for n in document["nodes"] if "mesh" in n) == list(range(len(document["meshes"])))
