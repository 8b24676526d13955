"""Captures and meshes as Fieldscape reads them. Public names are imported when first used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = {
    "LAYOUTS": "layouts",
    "MeshSDF": "mesh_sdf",
    "compare_meshes": "mesh_metrics",
    "compare_sdf": "mesh_metrics",
    "load_mesh": "meshes",
    "load_views": "capture",
    "make_capture": "procedural",
    "write_capture": "procedural",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
