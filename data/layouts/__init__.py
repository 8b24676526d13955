"""Folder layouts of captures: each has `looks_like(root)` and `read(path, options)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import colmap, llff, nerf_synthetic, nsvf, transforms
from .base import LoadOptions, Source


@dataclass(frozen=True)
class Layout:
    """How a layout is recognised and read, and what it looks like to a person."""

    looks_like: Callable[[Path], bool]
    read: Callable[[Path, LoadOptions], Source]
    files: str


# In the order in which they are tried: a folder may hold the traces of several.
LAYOUTS: dict[str, Layout] = {
    "nerf-synthetic": Layout(nerf_synthetic.looks_like, nerf_synthetic.read, "transforms_train.json"),
    "transforms": Layout(transforms.looks_like, transforms.read, "transforms.json"),
    "llff": Layout(llff.looks_like, llff.read, "poses_bounds.npy"),
    "nsvf": Layout(nsvf.looks_like, nsvf.read, "intrinsics.txt with pose/ and rgb/"),
    "tanks": Layout(nsvf.looks_like, nsvf.read, "intrinsics.txt with pose/ and rgb/"),
    "colmap": Layout(colmap.looks_like, colmap.read, "sparse/0/cameras.bin"),
}
