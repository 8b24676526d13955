"""Photos with their cameras, as fitting and evaluation use them; `data.load_views` makes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from .cameras import Cameras

Background = Literal["random", "white", "black", "none"]
Contraction = Literal["none", "unbounded", "ndc"]


@dataclass(frozen=True)
class Views:
    """N photos as one flat uint8 store: images may differ in size, and nothing is kept as float."""

    cameras: Cameras
    pixels: Tensor  # [P, 4] uint8 RGBA, straight alpha, row-major, images one after another
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.cameras)

    @property
    def starts(self) -> Tensor:
        """Index of each image's first pixel, [N]."""
        count = self.cameras.size.prod(dim=1)
        return torch.cumsum(count, 0) - count

    def image(self, index: int, background: float = 1.0) -> Tensor:
        """One photo over a plain background, [H, W, 3] float32 in [0, 1]."""
        width, height = self.cameras.size[index].tolist()
        start = int(self.starts[index])
        rgba = self.pixels[start : start + width * height].view(height, width, 4).float() / 255
        return rgba[..., :3] * rgba[..., 3:] + background * (1 - rgba[..., 3:])

    def subset(self, index: list[int]) -> Views:
        """The chosen photos, in the order given."""
        starts, sizes = self.starts, self.cameras.size.prod(dim=1)
        parts = [self.pixels[int(starts[i]) : int(starts[i] + sizes[i])] for i in index]
        return Views(self.cameras[index], torch.cat(parts), tuple(self.names[i] for i in index))


@dataclass(frozen=True)
class Capture:
    """A posed photo set, ready to fit.

    `background`: what lies behind the object. `random`: the photos carry alpha, so training
    composites both sides over random colours; `white`/`black`: photos were composited already;
    `none`: real photos that fill the frame.
    """

    train: Views
    test: Views
    bounds: Tensor  # [2, 3] low, high, scene units
    contraction: Contraction
    background: Background
    layout: str  # "nerf-synthetic", "transforms", "llff", "nsvf", "tanks", "colmap"
    near: float = 0.0  # scene units: nothing is sampled closer to a camera
    val: Views | None = None
    warnings: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())

    def split(self, name: str) -> Views:
        """`train`, `test` or `val`."""
        found = {"train": self.train, "test": self.test, "val": self.val}[name]
        if found is None:
            raise KeyError(name)
        return found

    @property
    def background_value(self) -> float:
        """Grey level behind evaluation renders: white, unless the photos were made on black."""
        return 0.0 if self.background in ("black", "none") else 1.0
