"""The node hierarchy of a glTF 2.0 document (section 3.5), walked without recursion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fields.errors import UserError

from .gltf_container import glb_error

MAX_NODES = 4096
MAX_DEPTH = 64


def world_matrices(document: dict, where: object) -> Iterator[tuple[Any, np.ndarray]]:
    """(mesh index, node-to-world matrix [4, 4]) of every mesh in the default scene.

    A document without scenes is taken whole: its roots are the nodes without a parent, and one
    without nodes gives each mesh once, in place.

    Raises:
        UserError: `E-GLB-NODES` (loops, two parents, unknown nodes, more than `MAX_DEPTH` levels).
    """
    nodes = document.get("nodes", [])
    _check_nodes(nodes, where)
    if not nodes:
        yield from ((mesh, np.eye(4)) for mesh in range(len(document.get("meshes", []))))
        return
    open_nodes = [(root, np.eye(4), 1) for root in _roots(document, nodes, where)]
    while open_nodes:
        index, parent, depth = open_nodes.pop()
        if depth > MAX_DEPTH:
            raise glb_error("E-GLB-NODES", "nodes are nested too deeply", where, depth,
                            f"at most {MAX_DEPTH}")
        node = nodes[index]
        matrix = parent @ _local(node, f"{where}:nodes[{index}]")
        open_nodes += [(child, matrix, depth + 1) for child in node.get("children", [])]
        if "mesh" in node:
            yield node["mesh"], matrix


def _check_nodes(nodes: list, where: object) -> None:
    """Every node a dictionary with at most one parent, and no loop: the nodes form trees."""
    if len(nodes) > MAX_NODES:
        raise UserError("E-LIMIT-MESH", "model has too many nodes", where=where, got=len(nodes),
                        expected=f"at most {MAX_NODES}", fix="join the objects before exporting")
    parents: dict[int, int] = {}
    for index, node in enumerate(nodes):
        children = node.get("children", []) if isinstance(node, dict) else None
        if not isinstance(children, list):
            raise glb_error("E-GLB-NODES", "node is not valid", f"{where}:nodes[{index}]")
        for child in children:
            if not _known(child, nodes):
                raise glb_error("E-GLB-NODES", "child node does not exist", f"{where}:nodes[{index}]", child)
            if child in parents:
                raise glb_error("E-GLB-NODES", "node has two parents", f"{where}:nodes[{child}]")
            parents[child] = index
    _check_loops(len(nodes), parents, where)


def _check_loops(count: int, parents: dict[int, int], where: object) -> None:
    clear: set[int] = set()
    for start in range(count):
        path, index = set(), start
        while index in parents and index not in clear:
            if index in path:
                raise glb_error("E-GLB-NODES", "nodes form a loop", f"{where}:nodes[{index}]")
            path.add(index)
            index = parents[index]
        clear |= path


def _known(index: Any, nodes: list) -> bool:
    return isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(nodes)


def _roots(document: dict, nodes: list, where: object) -> list[int]:
    scenes = document.get("scenes", [])
    if not scenes:
        children = {child for node in nodes for child in node.get("children", [])}
        return [index for index in range(len(nodes)) if index not in children]
    number = document.get("scene", 0)
    if not _known(number, scenes) or not isinstance(scenes[number], dict):
        raise glb_error("E-GLB-NODES", "default scene does not exist", where, number)
    roots = scenes[number].get("nodes", [])
    if not isinstance(roots, list) or not all(_known(root, nodes) for root in roots):
        raise glb_error("E-GLB-NODES", "scene names nodes that do not exist", where, roots)
    return roots


def _local(node: dict, place: str) -> np.ndarray:
    """The node's own matrix [4, 4], given whole (column-major) or as translation, rotation, scale."""
    if "matrix" in node:
        return _floats(node["matrix"], 16, place).reshape(4, 4).T
    x, y, z, w = _floats(node.get("rotation", [0, 0, 0, 1]), 4, place)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, :3] *= _floats(node.get("scale", [1, 1, 1]), 3, place)
    matrix[:3, 3] = _floats(node.get("translation", [0, 0, 0]), 3, place)
    return matrix


def _floats(values: Any, count: int, place: str) -> np.ndarray:
    valid = isinstance(values, list) and len(values) == count
    if not valid or not all(isinstance(v, int | float) for v in values):
        raise glb_error("E-GLB-NODES", "node transform is not valid", place, values, f"{count} numbers")
    return np.array(values, np.float64)
