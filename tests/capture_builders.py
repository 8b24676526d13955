"""Tiny captures of a sphere in every layout, for tests."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fields.cameras import Cameras, look_at

Array = NDArray[np.float64]

SIZE = 24
FOCAL = 36.0
RADIUS = 0.6  # of the sphere, at `CENTRE`
CENTRE = np.array([0.3, -0.2, 0.1])
DISTANCE = 3.0
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


def orbit(count: int, distance: float = DISTANCE) -> Array:
    """Camera-to-world matrices [N, 4, 4] around `CENTRE`, OpenGL axes."""
    turn = np.arange(count) * 2.4
    height = 0.8 * np.sin(np.arange(count) * 1.7)
    flat = np.sqrt(1 - height**2)
    eye = CENTRE + distance * np.stack([flat * np.cos(turn), height, flat * np.sin(turn)], axis=1)
    poses = look_at(torch.from_numpy(eye), torch.from_numpy(CENTRE), torch.tensor([0.0, 1.0, 0.0]).double())
    last = np.tile([[[0.0, 0.0, 0.0, 1.0]]], (count, 1, 1))
    return np.concatenate([poses.numpy(), last], axis=1)


def photo(pose: Array, size: int = SIZE, focal: float = FOCAL) -> NDArray[np.uint8]:
    """The sphere, shaded, with alpha, [H, W, 4]."""
    rays = Cameras.pinhole(torch.from_numpy(pose[None]), focal, size, size).view(0)
    offset = rays.origins.double().numpy() - CENTRE
    direction = rays.directions.double().numpy()
    along = -(offset * direction).sum(axis=1)
    nearest = np.linalg.norm(offset + along[:, None] * direction, axis=1)
    inside = nearest < RADIUS
    rgb = np.clip(200 * (1 - nearest / RADIUS), 20, 200)
    image = np.zeros((size * size, 4), np.uint8)
    image[inside] = np.stack([rgb, 0.5 * rgb + 20, 180 - 0.5 * rgb, np.full_like(rgb, 255)], axis=1)[inside]
    return image.reshape(size, size, 4)


def over(rgba: NDArray[np.uint8], grey: int) -> NDArray[np.uint8]:
    """The photo over a grey background, [H, W, 3]."""
    return np.where(rgba[..., 3:] > 0, rgba[..., :3], np.uint8(grey))


def textured(pose: Array) -> NDArray[np.uint8]:
    """The photo before a patterned background that fills the frame, [H, W, 3]."""
    rgba = photo(pose)
    row, column = np.mgrid[:SIZE, :SIZE]
    behind = np.stack([40 + 5 * row, 60 + 4 * column, 90 + 0 * row], axis=-1).astype(np.uint8)
    return np.where(rgba[..., 3:] > 0, rgba[..., :3], behind)


def save(path: Path, pixels: NDArray[Any]) -> None:
    """Write an image, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON as other programs do (NaN allowed)."""
    path.write_text(json.dumps(value))


def synthetic(root: Path, count: int = 6) -> dict[str, Any]:
    """NeRF-Synthetic with train and test; returns the train file's content."""
    contents = {}
    for split, poses in (("train", orbit(count)), ("test", orbit(count + 2)[count:])):
        frames = []
        for index, pose in enumerate(poses):
            save(root / split / f"r_{index}.png", photo(pose))
            frames.append({"file_path": f"./{split}/r_{index}", "transform_matrix": pose.tolist()})
        contents[split] = {"camera_angle_x": 2 * np.arctan(SIZE / (2 * FOCAL)), "frames": frames}
        write_json(root / f"transforms_{split}.json", contents[split])
    return contents["train"]


def transforms(root: Path, count: int = 9) -> dict[str, Any]:
    """instant-ngp transforms.json with opaque photos that fill the frame; returns its content."""
    frames = []
    for index, pose in enumerate(orbit(count)):
        save(root / "images" / f"{index:03}.png", textured(pose))
        frames.append({"file_path": f"images/{index:03}.png", "transform_matrix": pose.tolist()})
    content = {
        "fl_x": FOCAL,
        "fl_y": FOCAL,
        "cx": SIZE / 2,
        "cy": SIZE / 2,
        "w": SIZE,
        "h": SIZE,
        "k1": 0.01,
        "aabb_scale": 4,
        "frames": frames,
    }
    write_json(root / "transforms.json", content)
    return content


def llff_table(poses: Array, near: float = 2.0, far: float = 4.0, reduce: int = 1) -> Array:
    """poses_bounds rows [N, 17] with LLFF's axes (down, right, back)."""
    right, up, back, position = (poses[:, :3, k] for k in range(4))
    hwf = np.tile(np.array([SIZE, SIZE, FOCAL]) * reduce, (len(poses), 1))
    table = np.stack([-up, right, back, position, hwf], axis=2).reshape(len(poses), 15)
    return np.concatenate([table, np.full((len(poses), 1), near), np.full((len(poses), 1), far)], axis=1)


def llff(root: Path, count: int = 9, poses: Array | None = None, masks: bool = False) -> Array:
    """LLFF with images at a quarter of the stated size; returns the table."""
    poses = orbit(count) if poses is None else poses
    for index, pose in enumerate(poses):
        save(root / "images_4" / f"img_{index:02}.png", textured(pose))
        if masks:
            save(root / "masks_4" / f"img_{index:02}.png", photo(pose)[..., 3])
    table = llff_table(poses, reduce=4)
    np.save(root / "poses_bounds.npy", table)
    return table


def forward_poses(count: int = 9) -> Array:
    """Cameras side by side that look along -z, [N, 4, 4]."""
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, 0, 3] = np.linspace(-0.3, 0.3, count)
    poses[:, 1, 3] = 0.1 * np.cos(np.arange(count))
    return poses


def nsvf(root: Path, matrix: bool = True, count: int = 6) -> None:
    """Tanks&Temples (4x4 intrinsics) or NSVF (`f cx cy`) with photos on white."""
    for index, pose in enumerate(orbit(count)):
        name = f"{int(index >= count - 2)}_{index:04}"
        save(root / "rgb" / f"{name}.png", over(photo(pose), 255))
        (root / "pose").mkdir(exist_ok=True)
        np.savetxt(root / "pose" / f"{name}.txt", pose @ FLIP)
    half = SIZE / 2
    rows = f"{FOCAL} 0 {half} 0\n0 {FOCAL} {half} 0\n0 0 1 0\n0 0 0 1\n"
    (root / "intrinsics.txt").write_text(
        rows if matrix else f"{FOCAL} {half} {half} 0.\n0. 0. 0.\n0.\n1.\n{SIZE} {SIZE}\n"
    )
    low, high = CENTRE - 0.7, CENTRE + 0.7
    (root / "bbox.txt").write_text(" ".join(f"{value}" for value in (*low, *high, 0.1)) + "\n")


def quaternion(rotation: Array) -> Array:
    """w x y z of a rotation matrix (largest eigenvector of Bar-Itzhack's symmetric matrix)."""
    (a, b, c), (d, e, f), (g, h, i) = rotation
    symmetric = np.array(
        [
            [a + e + i, h - f, c - g, d - b],
            [h - f, a - e - i, b + d, c + g],
            [c - g, b + d, e - a - i, f + h],
            [d - b, c + g, f + h, i - a - e],
        ]
    )
    return np.linalg.eigh(symmetric)[1][:, -1]


def surface_points(count: int = 200) -> Array:
    """Points on the sphere, [P, 3]."""
    z = np.linspace(-0.98, 0.98, count)
    turn = np.arange(count) * 2.399963
    flat = np.sqrt(1 - z**2)
    return CENTRE + RADIUS * np.stack([flat * np.cos(turn), flat * np.sin(turn), z], axis=1)


def colmap(
    root: Path, text: bool = False, count: int = 9, masks: bool = True, model: str = "sparse/0"
) -> None:
    """COLMAP with one SIMPLE_RADIAL camera."""
    folder = root / model
    folder.mkdir(parents=True)
    poses = orbit(count)
    for index, pose in enumerate(poses):
        save(root / "images" / f"p{index}.png", textured(pose))
        if masks:
            save(root / "masks" / f"p{index}.png.png", photo(pose)[..., 3])
    images = []
    for index, pose in enumerate(poses):
        rotation = (pose @ FLIP)[:3, :3].T
        images.append((index + 1, quaternion(rotation), -rotation @ pose[:3, 3], f"p{index}.png"))
    (_colmap_text if text else _colmap_binary)(folder, images, surface_points())


def _colmap_binary(folder: Path, images: list[tuple[int, Array, Array, str]], points: Array) -> None:
    camera = struct.pack("<QiiQQ4d", 1, 1, 2, SIZE, SIZE, FOCAL, SIZE / 2, SIZE / 2, 0.0)
    (folder / "cameras.bin").write_bytes(camera)
    rows = [
        struct.pack("<I7dI", number, *q, *t, 1) + name.encode() + b"\0" + struct.pack("<Q2dq", 1, 3.0, 4.0, 1)
        for number, q, t, name in images
    ]
    (folder / "images.bin").write_bytes(struct.pack("<Q", len(rows)) + b"".join(rows))
    rows = [struct.pack("<Q3d3BdQ2i", k, *point, 9, 9, 9, 0.1, 1, 1, 0) for k, point in enumerate(points)]
    (folder / "points3D.bin").write_bytes(struct.pack("<Q", len(rows)) + b"".join(rows))


def _colmap_text(folder: Path, images: list[tuple[int, Array, Array, str]], points: Array) -> None:
    camera = f"# Camera list\n1 SIMPLE_RADIAL {SIZE} {SIZE} {FOCAL} {SIZE / 2} {SIZE / 2} 0\n"
    (folder / "cameras.txt").write_text(camera)
    lines = [
        f"{number} {' '.join(map(repr, map(float, (*q, *t))))} 1 {name}\n\n" for number, q, t, name in images
    ]
    (folder / "images.txt").write_text("# Image list\n" + "".join(lines))
    lines = [
        f"{k} {' '.join(map(repr, map(float, point)))} 9 9 9 0.1 1 0\n" for k, point in enumerate(points)
    ]
    (folder / "points3D.txt").write_text("".join(lines))
