"""Intrinsics in a transforms.json, global or of one frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from fields.errors import UserError

from .base import Lens

_CAMERA_MODELS = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "RADIAL", "SIMPLE_RADIAL", "PERSPECTIVE")
_DISTORTION_KEYS = ("k1", "k2", "p1", "p2", "k3", "k4")
_ANGLE_KEYS = ("camera_angle_x", "camera_angle_y")
LENS_KEYS = ("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_model", *_ANGLE_KEYS, *_DISTORTION_KEYS)
_MAX_NUMBER = 1e9


def lens_of(values: Mapping[str, Any], where: str) -> Lens:
    """The lens that the keys of a file (or of a file overlaid by one frame) describe.

    Raises:
        UserError: `E-TF-INTRINSICS`, `E-TF-FOV`.
    """
    model = values.get("camera_model", "PINHOLE")
    if model not in _CAMERA_MODELS:
        raise UserError(
            "E-TF-INTRINSICS",
            "camera model is not supported",
            where=f"{where}/camera_model",
            got=ascii(model),
            expected=" or ".join(_CAMERA_MODELS),
            fix="undistort the images first",
        )

    def number(
        key: str, good: Callable[[float], bool] = lambda _: True, expected: str = "a number"
    ) -> float | None:
        return _number(values, key, where, good, expected)

    focal_x = number("fl_x", lambda value: value > 0, "more than 0")
    focal_y = number("fl_y", lambda value: value > 0, "more than 0")
    angles = (
        (None, None)
        if focal_x
        else (_angle(values, "camera_angle_x", where), _angle(values, "camera_angle_y", where))
    )
    if focal_x is None and angles == (None, None):
        raise UserError(
            "E-TF-FOV",
            "no field of view",
            where=where,
            got="neither fl_x nor camera_angle_x",
            expected="one of them",
            fix="add camera_angle_x in radians",
        )
    width, height = (
        number("w", _whole, "a whole number above 0"),
        number("h", _whole, "a whole number above 0"),
    )
    return Lens(
        (focal_x, focal_y or focal_x),
        angles,
        (number("cx"), number("cy")),
        (int(width), int(height)) if width and height else None,
        tuple(number(key) or 0.0 for key in _DISTORTION_KEYS),
        where=where,
    )


def _whole(value: float) -> bool:
    return value > 0 and value == int(value)


def _angle(values: Mapping[str, Any], key: str, where: str) -> float | None:
    angle = _number(values, key, where, lambda _: True, "radians", "E-TF-FOV")
    if angle is None or 0 < angle < math.pi:
        return angle
    fix = f"{angle:g} degrees are {math.radians(angle):.6g} radians" if 3.2 < angle < 180 else "write radians"
    raise UserError(
        "E-TF-FOV",
        "field of view is out of range",
        where=f"{where}/{key}",
        got=f"{angle:g}",
        expected="radians between 0 and pi",
        fix=fix,
    )


def _number(
    values: Mapping[str, Any],
    key: str,
    where: str,
    good: Callable[[float], bool],
    expected: str,
    code: str = "E-TF-INTRINSICS",
) -> float | None:
    value = values.get(key)
    if value is None:
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or abs(value) > _MAX_NUMBER
        or not good(value)
    ):
        raise UserError(
            code,
            "camera setting is not usable",
            where=f"{where}/{key}",
            got=ascii(value)[:40],
            expected=expected,
            fix="correct the number",
        )
    return float(value)
