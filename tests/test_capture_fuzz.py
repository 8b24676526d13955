"""Random damage to capture files ends in a loaded capture or a `UserError`, and in nothing else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from capture_builders import colmap, transforms, write_json
from hypothesis import given
from hypothesis import strategies as st

from data import load_views
from data.layouts.colmap_model import read_model
from data.layouts.nsvf import read_intrinsics
from fields.errors import UserError
from fields.views import Capture

Json = dict[str, Any]

WILD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -1, 0]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["../x", "/etc/passwd", "images", "images/001", ""]),
    st.lists(st.integers(), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def loads_or_refuses(root: Path) -> Capture | None:
    """Nothing but a `UserError` may come out."""
    try:
        return load_views(root)
    except UserError as error:
        assert str(error)
        return None


@pytest.fixture(scope="module")
def good_transforms(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json]:
    root = tmp_path_factory.mktemp("transforms")
    return root, transforms(root, count=4)


@given(data=st.data())
def test_mutated_transforms_load_or_are_refused(
    good_transforms: tuple[Path, Json], data: st.DataObject
) -> None:
    root, content = good_transforms
    content = copy.deepcopy(content)
    for _ in range(data.draw(st.integers(1, 3))):
        node: Any = (
            data.draw(st.sampled_from([content, *content["frames"]])) if content["frames"] else content
        )
        while isinstance(node, dict | list) and node:
            key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
            if not isinstance(node[key], dict | list) or not node[key] or data.draw(st.integers(0, 2)) == 0:
                node[key] = data.draw(WILD)
                break
            node = node[key]
        if not isinstance(content.get("frames"), list) or not all(
            isinstance(f, dict) for f in content["frames"]
        ):
            break
    write_json(root / "transforms.json", content)
    loads_or_refuses(root)


@given(
    content=st.one_of(
        st.text(max_size=60),
        st.lists(st.lists(st.floats(), max_size=5), max_size=5).map(
            lambda rows: "\n".join(" ".join(map(str, row)) for row in rows)
        ),
    )
)
def test_mutated_intrinsics_load_or_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "intrinsics.txt"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    try:
        lens, _ = read_intrinsics(path)
    except UserError:
        return
    assert lens.focal[0] is not None and lens.focal[0] > 0


@pytest.fixture(scope="module")
def good_colmap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("colmap")
    colmap(root, count=4)
    return root


@given(data=st.data())
def test_mutated_colmap_models_load_or_are_refused(good_colmap: Path, data: st.DataObject) -> None:
    folder = good_colmap / "sparse" / "0"
    path = folder / data.draw(st.sampled_from(["cameras.bin", "images.bin", "points3D.bin"]))
    original = path.read_bytes()
    content = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(
        bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    )
    try:
        loads_or_refuses(good_colmap)
    finally:
        path.write_bytes(original)


@given(lines=st.lists(st.text(max_size=40), max_size=6))
def test_text_models_of_any_lines_load_or_are_refused(tmp_path: Path, lines: list[str]) -> None:
    for name in ("cameras.txt", "images.txt", "points3D.txt"):
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8", errors="replace")
    try:
        read_model(tmp_path)
    except UserError as error:
        assert error.code.startswith("E-COLMAP")
