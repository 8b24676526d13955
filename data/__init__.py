"""Captures, meshes and scenes as Fieldscape reads and makes them. Public names are imported when first used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = {
    "LAYOUTS": "layouts",
    "ClassMap": "class_map",
    "Layout": "layout",
    "MeshSDF": "mesh_sdf",
    "compare_meshes": "mesh_metrics",
    "compare_sdf": "mesh_metrics",
    "load_kit": "kits",
    "load_mesh": "meshes",
    "load_views": "capture",
    "make_capture": "procedural",
    "make_city_scene": "settlement",
    "make_room_scene": "rooms",
    "make_village_scene": "settlement",
    "read_layout": "layout_files",
    "save_layout": "layout_files",
    "write_capture": "procedural",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
