"""A camera path from a JSON file: transforms.json frames, or the camera_path of a viewer's export."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fields.cameras import Cameras
from fields.errors import UserError
from fields.safeio import read_json

from .viewpoint import Viewpoint

_MAX_FRAMES = 5000
_FIX = 'give "frames" with "transform_matrix", or "camera_path" with "camera_to_world", OpenGL axes'


def read_path(path: Path, view: Viewpoint, size: tuple[int, int]) -> Cameras:
    """Cameras of `{"frames": [{"transform_matrix": 4x4}, …], "camera_angle_x": rad}` or of
    `{"camera_path": [{"camera_to_world": 16 numbers, "fov": vertical degrees}, …]}`.

    Without an angle the field's own lens is taken.

    Raises:
        UserError: `E-JSON-…`, `E-PATH-FRAMES`, `E-PATH-POSE`, `E-DATA-NOTFOUND`.
    """
    if not path.is_file():
        raise UserError("E-DATA-NOTFOUND", "no such camera path", where=path, fix="check the name given to --path")
    found = read_json(path)
    frames, key = _frames(found, path)
    poses = np.stack(
        [
            _pose(frame.get(key) if isinstance(frame, dict) else None, f"{path}:{index}")
            for index, frame in enumerate(frames)
        ]
    )
    width, height = size
    focal = view.lens[1] * height if height <= width else view.lens[0] * width
    angle, fov = found.get("camera_angle_x"), frames[0].get("fov")
    if _usable(angle, math.pi):
        focal = width / (2 * math.tan(angle / 2))
    elif _usable(fov, 180):
        focal = height / (2 * math.tan(math.radians(fov) / 2))
    return Cameras.pinhole(torch.from_numpy(poses).float(), focal, width, height, view.ndc_near)


def _frames(found: Any, path: Path) -> tuple[list[Any], str]:
    for name, key in (("frames", "transform_matrix"), ("camera_path", "camera_to_world")):
        frames = found.get(name) if isinstance(found, dict) else None
        if isinstance(frames, list) and 1 <= len(frames) <= _MAX_FRAMES:
            return frames, key
    raise UserError(
        "E-PATH-FRAMES", "no cameras in the file", where=path, expected=f"1 to {_MAX_FRAMES} frames", fix=_FIX
    )


def _pose(value: Any, where: str) -> np.ndarray:
    """One camera-to-world matrix [3, 4], a rotation within 1e-2."""
    try:
        matrix = np.asarray(value, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        matrix = np.zeros(0)
    if matrix.size not in (12, 16) or not np.isfinite(matrix).all():
        raise UserError(
            "E-PATH-POSE",
            "not a camera matrix",
            where=where,
            got=type(value).__name__,
            expected="3x4 or 4x4 finite numbers",
            fix=_FIX,
        )
    pose = matrix.reshape(-1, 4)[:3]
    if np.abs(pose[:, :3].T @ pose[:, :3] - np.eye(3)).max() > 1e-2:
        raise UserError(
            "E-PATH-POSE",
            "camera matrix is not a rotation",
            where=where,
            expected="orthonormal columns",
            fix=_FIX,
        )
    return pose


def _usable(value: Any, limit: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < limit
