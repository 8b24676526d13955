"""Checks of camera-to-world matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fields.errors import UserError

from .layouts.base import Array

ROTATION_TOLERANCE = 1e-3
MAX_COORDINATE = 1e6
COINCIDENT = 1e-6


def check_pose(value: Any, prefix: str, where: str, fix_poses: bool = False) -> Array:
    """A rigid camera-to-world matrix [3, 4] from nested lists or an array, 3x4 or 4x4.

    With `fix_poses` a matrix that is not quite a rotation is replaced by the nearest one
    (polar decomposition), unless it mirrors.

    Raises:
        UserError: `E-<prefix>-SHAPE`, `-NONFINITE`, `-ROT`.
    """
    matrix = _numbers(value, prefix, where)
    if not np.isfinite(matrix).all() or np.abs(matrix).max() > MAX_COORDINATE:
        raise UserError(
            f"E-{prefix}-NONFINITE",
            "camera pose is not finite",
            where=where,
            got=f"{np.abs(matrix).max():g}",
            expected=f"numbers below {MAX_COORDINATE:g}",
            fix="remove this frame or estimate its pose again",
        )
    if len(matrix) == 4 and np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-4:
        raise _not_rigid(
            prefix,
            where,
            f"last row {_row(matrix[3])}",
            "last row 0 0 0 1",
            "transpose the matrix if it is stored by columns",
        )
    return np.concatenate([_rotation(matrix[:3, :3], prefix, where, fix_poses), matrix[:3, 3:]], axis=1)


def _numbers(value: Any, prefix: str, where: str) -> Array:
    rows = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise _bad_shape(prefix, where, type(value).__name__)
    lengths = [len(row) for row in rows]
    if lengths not in ([4] * 3, [4] * 4):
        ragged = len(set(lengths)) > 1
        raise _bad_shape(
            prefix, where, f"rows of {lengths[:5]}" if ragged or not rows else f"{len(rows)}x{lengths[0]}"
        )
    for row in rows:
        for entry in row:
            if isinstance(entry, bool) or not isinstance(entry, int | float):
                raise _bad_shape(prefix, where, f"an entry {ascii(entry)[:30]}")
    return np.array([[_to_float(entry) for entry in row] for row in rows], dtype=np.float64)


def _to_float(entry: float) -> float:
    try:
        return float(entry)
    except OverflowError:
        return math.inf


def _bad_shape(prefix: str, where: str, got: str) -> UserError:
    return UserError(
        f"E-{prefix}-SHAPE",
        "camera pose is not a matrix of numbers",
        where=where,
        got=got,
        expected="4x4 or 3x4 numbers",
        fix="write one camera-to-world matrix for each frame",
    )


def _rotation(matrix: Array, prefix: str, where: str, fix_poses: bool) -> Array:
    determinant = float(np.linalg.det(matrix))
    error = float(np.abs(matrix.T @ matrix - np.eye(3)).max())
    if determinant < 0:
        raise _not_rigid(
            prefix,
            where,
            f"determinant {determinant:.4g}",
            "a rotation (determinant 1)",
            "undo the mirrored axis: swap or negate one column",
        )
    if error <= ROTATION_TOLERANCE:
        return matrix
    if fix_poses and determinant > COINCIDENT:
        left, _, right = np.linalg.svd(matrix)
        return np.asarray(left @ right)
    raise _not_rigid(
        prefix,
        where,
        f"determinant {determinant:.4g}, orthonormal within {error:.2g}",
        f"orthonormal columns within {ROTATION_TOLERANCE:g}",
        "take scale and shear out of the matrix, or pass --fix-poses",
    )


def _not_rigid(prefix: str, where: str, got: str, expected: str, fix: str) -> UserError:
    return UserError(
        f"E-{prefix}-ROT",
        "camera pose is not a rotation with a position",
        where=where,
        got=got,
        expected=expected,
        fix=fix,
    )


def _row(values: Array) -> str:
    return " ".join(f"{value:.4g}" for value in values)
