"""Damage done to captures, and what loading them must then do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from capture_builders import (
    SIZE,
    save,
    write_json,
)

from data import load_views
from fields.errors import UserError

Json = dict[str, Any]
Damage = Callable[[Path], object]


def files_of(root: Path) -> dict[str, float]:
    return {str(path): path.lstat().st_mtime_ns for path in root.rglob("*")}


def refused(root: Path, **options: Any) -> UserError:
    """The error of loading `root`, after checking that nothing was written and that it is one for people."""
    before = files_of(root.parent)
    with pytest.raises(UserError) as caught:
        load_views(root, **options)
    assert files_of(root.parent) == before
    for line in str(caught.value).splitlines():
        assert (line.startswith("error[E-") and "Fix:" in line) or line.startswith("and ")
        assert len(line) <= 700
    return caught.value


def edit(change: Callable[[Json], object]) -> Damage:
    """Damage done to the content of transforms.json."""

    def damage(root: Path) -> None:
        content = json.loads((root / "transforms.json").read_text())
        change(content)
        write_json(root / "transforms.json", content)

    return damage


def pose(index: int, change: Callable[[np.ndarray], Any]) -> Damage:
    """Damage done to one transform_matrix."""

    def damage(content: Json) -> None:
        changed = change(np.array(content["frames"][index]["transform_matrix"]))
        content["frames"][index]["transform_matrix"] = changed.tolist() if isinstance(changed, np.ndarray) else changed

    return edit(damage)


def frame(index: int, **values: Any) -> Damage:
    """Keys of one frame set; None removes."""

    def damage(content: Json) -> None:
        content["frames"][index] |= values
        for key in [key for key, value in values.items() if value is None]:
            del content["frames"][index][key]

    return edit(damage)


def setting(**values: Any) -> Damage:
    """Global keys set; None removes."""

    def damage(content: Json) -> None:
        content.update(values)
        for key in [key for key, value in values.items() if value is None]:
            del content[key]

    return edit(damage)


def text(content: str | bytes) -> Damage:
    """transforms.json replaced."""
    raw = content.encode() if isinstance(content, str) else content
    return lambda root: (root / "transforms.json").write_bytes(raw)


def cut(root: Path) -> None:
    content = (root / "transforms.json").read_bytes()
    (root / "transforms.json").write_bytes(content[: len(content) // 2])


def link_out(root: Path) -> None:
    secret = root.parent / "outside.png"
    save(secret, np.zeros((SIZE, SIZE, 3), np.uint8))
    (root / "images" / "002.png").unlink()
    (root / "images" / "002.png").symlink_to(secret)


def mirrored(matrix: np.ndarray) -> np.ndarray:
    matrix[:3, 0] *= -1
    return matrix


def at(row: int, column: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(matrix: np.ndarray) -> np.ndarray:
        matrix[row, column] = value
        return matrix

    return change


def every_pose(change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    def damage(root: Path) -> None:
        for index in range(9):
            pose(index, change)(root)

    return damage


def moved_to_one_place(matrix: np.ndarray) -> np.ndarray:
    matrix[:3, 3] = [1, 2, 3]
    return matrix


def write(name: str, content: str) -> Damage:
    return lambda root: (root / name).write_text(content)


def remove(name: str) -> Damage:
    return lambda root: (root / name).unlink()
