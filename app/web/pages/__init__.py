"""The pages, in the order of the navigation: one module each, one line here."""

from __future__ import annotations

from collections.abc import Callable

from . import benchmarks, convert, export, fields, library, worlds
from .menus import Menus

PAGES: dict[str, tuple[str, Callable[[Menus], str]]] = {
    "worlds": ("Worlds", worlds.build),
    "fields": ("Fields", fields.build),
    "convert": ("Convert", convert.build),
    "export": ("Export", export.build),
    "library": ("Library", library.build),
    "benchmarks": ("Benchmarks", benchmarks.build),
}
