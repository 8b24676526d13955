"""Photos of the built-in analytic scene: a capture that needs no download."""

from __future__ import annotations

import io
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from fields.cameras import Cameras, look_at
from fields.safeio import write_bytes, write_json
from fields.views import Capture, Views

from .analytic_scene import AnalyticScene

__all__ = ["AnalyticScene", "analytic_scene", "make_capture", "orbit_cameras", "render", "write_capture"]

_FIELD_OF_VIEW = 0.6911112  # radians across the image, as in the NeRF-Synthetic captures
_DISTANCE = 4.0
_SUPERSAMPLING = 2
_TARGET = torch.tensor([0.0, 0.0, -0.24])


def analytic_scene() -> AnalyticScene:
    """The built-in scene: a still life on a chess board."""
    return AnalyticScene()


def make_capture(views: int = 60, test_views: int = 12, size: int = 160, seed: int = 0) -> Capture:
    """Photograph the scene from `views` + `test_views` places on the upper hemisphere, `size` pixels square.

    Equal arguments give equal photos. The default takes a few seconds on two cores.
    """
    scene = analytic_scene()
    generator = torch.Generator().manual_seed(seed)
    train = _photos(scene, _hemisphere(views, generator), size, "train")
    test = _photos(scene, _hemisphere(test_views, generator), size, "test")
    return Capture(train, test, scene.bounds, "none", "random", "procedural")


def orbit_cameras(count: int, size: int, elevation: float = 0.5) -> Cameras:
    """`count` cameras on a circle around the scene, `elevation` radians above its horizon."""
    turn = torch.arange(count) * (2 * math.pi / count)
    return _cameras(turn, torch.full((count,), elevation), size)


def render(scene: AnalyticScene, cameras: Cameras, index: int) -> Tensor:
    """Anti-aliased photo [H, W, 4] uint8 of one camera: straight-alpha RGBA, 2 x 2 samples a pixel."""
    width, height = cameras.size[index].tolist()
    fine = cameras[[index]].resized(_SUPERSAMPLING * width, _SUPERSAMPLING * height)
    rgba = scene.shade(fine.view(0))  # colour is 0 where alpha is 0, so it is premultiplied
    blocks = rgba.view(height, _SUPERSAMPLING, width, _SUPERSAMPLING, 4).mean(dim=(1, 3))
    blocks[..., :3] /= blocks[..., 3:].clamp(min=1e-6)
    return (blocks * 255).round().to(torch.uint8)


def write_capture(capture: Capture, folder: str | os.PathLike[str]) -> None:
    """Write `capture` (one pinhole lens, square photos) as PNG files in the NeRF-Synthetic layout.

    Raises:
        UserError: `E-ENV-DISK`, `E-ENV-WRITE`.
    """
    folder = Path(folder)
    for split in ("train", "test"):
        views = capture.split(split)
        frames = []
        for index, name in enumerate(views.names):
            write_bytes(folder / split / f"{name}.png", _png(_pixels(views, index)))
            pose = [*views.cameras.camera_to_world[index].tolist(), [0.0, 0.0, 0.0, 1.0]]
            frames.append({"file_path": f"./{split}/{name}", "transform_matrix": pose})
        width, focal = float(views.cameras.size[0, 0]), float(views.cameras.focal[0, 0])
        angle = 2 * math.atan(width / (2 * focal))
        write_json(folder / f"transforms_{split}.json", {"camera_angle_x": angle, "frames": frames})


def _photos(scene: AnalyticScene, directions: tuple[Tensor, Tensor], size: int, split: str) -> Views:
    cameras = _cameras(*directions, size)
    threads, workers = torch.get_num_threads(), min(4, os.cpu_count() or 1)
    # One photo per thread: tracing is many short operations, which torch's own threads only slow down.
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        pixels = list(pool.map(lambda index: render(scene, cameras, index).view(-1, 4), range(len(cameras))))
    torch.set_num_threads(threads)
    return Views(cameras, torch.cat(pixels), tuple(f"r_{index}" for index in range(len(cameras))))


def _hemisphere(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Azimuth and elevation [count] spread evenly over the dome (golden-angle spiral, random start)."""
    turn, shift = torch.rand(2, generator=generator).tolist()
    order = torch.arange(count)
    azimuth = 2 * math.pi * turn + order * math.pi * (3 - math.sqrt(5))
    height = 0.06 + 0.88 * ((order + shift) / count)
    return azimuth, torch.asin(height)


def _cameras(azimuth: Tensor, elevation: Tensor, size: int) -> Cameras:
    flat = torch.cos(elevation)
    outward = torch.stack([flat * torch.cos(azimuth), flat * torch.sin(azimuth), torch.sin(elevation)], -1)
    poses = look_at(_TARGET + _DISTANCE * outward, _TARGET, torch.tensor([0.0, 0.0, 1.0]))
    return Cameras.pinhole(poses, size / 2 / math.tan(_FIELD_OF_VIEW / 2), size, size)


def _pixels(views: Views, index: int) -> Tensor:
    width, height = views.cameras.size[index].tolist()
    start = int(views.starts[index])
    return views.pixels[start : start + width * height].view(height, width, 4)


def _png(rgba: Tensor) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(rgba.numpy()).save(stream, format="PNG")
    return stream.getvalue()
