"""Captures that no layout can save, and what all layouts refuse: one line each, nothing written."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from capture_builders import (
    SIZE,
    colmap,
    orbit,
    photo,
    save,
    synthetic,
    transforms,
    write_json,
)
from capture_damage import (
    Json,
    frame,
    mirrored,
    pose,
    refused,
    setting,
)
from PIL import Image

from data import load_views
from fields.errors import ExitCode, UserError


def test_absent_folder_names_the_nearest_parent(tmp_path: Path) -> None:
    error = refused(tmp_path / "no" / "such")
    assert error.code == "E-DATA-NOTFOUND" and str(tmp_path) in str(error)
    assert error.exit_code == ExitCode.BAD_INPUT


def test_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    assert refused(tmp_path / "a.txt").code == "E-DATA-NOTFOUND"


def test_folder_of_another_layout_is_named(tmp_path: Path) -> None:
    colmap(tmp_path)
    error = refused(tmp_path, layout="transforms")
    assert error.code == "E-DATA-KIND" and "looks like colmap" in str(error) and "--layout auto" in str(error)


def test_photos_without_poses_are_refused_with_all_layouts_listed(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", photo(orbit(1)[0]))
    error = refused(tmp_path)
    assert error.code == "E-DATA-KIND" and "poses_bounds.npy" in str(error) and "transforms.json" in str(error)


@pytest.mark.parametrize(
    "options",
    [
        {"layout": "blender"},
        {"bounds": [[1, 1, 1], [0, 2, 2]]},
        {"bounds": "box"},
        {"bounds": [[0, 0, 0], [1, 1, np.inf]]},
        {"downscale": 0},
        {"downscale": 1.5},
        {"downscale": 60},
        {"background": "green"},
    ],
)
def test_unusable_option_is_a_usage_error(tmp_path: Path, options: Json) -> None:
    root = tmp_path / "capture"
    root.mkdir()
    synthetic(root)
    assert refused(root, **options).exit_code == ExitCode.USAGE


def test_repeated_and_shared_images_are_warned_about(tmp_path: Path) -> None:
    content = synthetic(tmp_path)
    twice = content | {"frames": [*content["frames"], content["frames"][0]]}
    write_json(tmp_path / "transforms_train.json", twice)
    write_json(tmp_path / "transforms_test.json", content | {"frames": content["frames"][:2]})
    codes = [warning.split()[0] for warning in load_views(tmp_path).warnings]
    assert codes == ["W-TF-DUP", "W-TF-LEAK"]


def test_transparent_image_is_warned_about(tmp_path: Path) -> None:
    synthetic(tmp_path)
    save(tmp_path / "train" / "r_3.png", np.zeros((SIZE, SIZE, 4), np.uint8))
    assert any("W-IMG-EMPTY" in warning and "r_3.png" in warning for warning in load_views(tmp_path).warnings)


def test_image_without_alpha_among_images_with_alpha_is_refused_unless_forced(tmp_path: Path) -> None:
    root = tmp_path / "capture"
    root.mkdir()
    synthetic(root)
    Image.fromarray(np.full((SIZE, SIZE), 40000, np.uint16)).save(root / "train" / "r_2.png")
    error = refused(root)
    assert error.code == "E-IMG-MIXED" and "r_2.png" in str(error)
    views = load_views(root, force=True).train
    assert views.image(2).mean() == pytest.approx(40000 / 65535, abs=2e-3)


def test_all_problems_of_a_capture_come_together(tmp_path: Path) -> None:
    root = tmp_path / "capture"
    root.mkdir()
    transforms(root)
    frame(1, file_path=7)(root)
    pose(2, mirrored)(root)
    setting(fl_x=-1)(root)
    lines = str(refused(root)).splitlines()
    assert [line.split("]")[0] for line in lines] == [
        "error[E-TF-INTRINSICS",
        "error[E-TF-PATH",
        "error[E-TF-ROT",
    ]


def test_long_lists_of_problems_are_cut_at_twenty(tmp_path: Path) -> None:
    root = tmp_path / "capture"
    root.mkdir()
    transforms(root, count=30)
    for index in range(30):
        frame(index, file_path=7)(root)
    lines = str(refused(root)).splitlines()
    assert len(lines) == 21 and lines[-1] == "and 10 more problems"


def test_terminal_codes_in_names_are_escaped(tmp_path: Path) -> None:
    root = tmp_path / "capture"
    root.mkdir()
    transforms(root)
    frame(0, file_path="../\x1b[31mred\nerror[E-FAKE]")(root)
    assert "\x1b" not in str(refused(root)) and len(str(refused(root)).splitlines()) == 1


FOLDERS = {
    "all_poses_equal": "E-TF-DEGENERATE",
    "empty_frames": "E-TF-FRAMES",
    "llff_14_columns": "E-LLFF-SHAPE",
    "llff_count_mismatch": "E-LLFF-COUNT",
    "llff_no_poses": "E-DATA-KIND",
    "missing_image": "E-TF-MISSING",
    "mixed_sizes": "E-TF-INTRINSICS",
    "nan_pose": "E-JSON-NONFINITE",
    "no_fov": "E-TF-FOV",
    "one_16bit_image": "E-IMG-MIXED",
    "path_escape": "E-PATH-ESCAPE",
    "truncated_png": "E-IMG-CORRUPT",
}


@pytest.mark.parametrize("name", FOLDERS)
def test_broken_folder_is_refused_with_its_code(shared_data: Path, name: str) -> None:
    with pytest.raises(UserError) as caught:
        load_views(shared_data / "captures_bad" / name)
    assert caught.value.code == FOLDERS[name]


def test_folder_whose_paths_carry_extensions_loads(shared_data: Path) -> None:
    assert len(load_views(shared_data / "captures_bad" / "paths_with_ext").train) == 8


def test_cut_json_of_a_real_folder_is_refused(shared_data: Path, tmp_path: Path) -> None:
    root = tmp_path / "capture"
    shutil.copytree(shared_data / "captures_bad" / "truncated_json", root)
    path = root / "transforms_train.json"
    root.chmod(0o755)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refused(root).code == "E-JSON-SYNTAX"
