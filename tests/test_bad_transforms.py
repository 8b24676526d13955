"""Every known defect of a transforms.json gives its own error and names its place."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from capture_builders import (
    SIZE,
    save,
    transforms,
)
from capture_damage import (
    Damage,
    at,
    cut,
    edit,
    every_pose,
    frame,
    link_out,
    mirrored,
    moved_to_one_place,
    pose,
    refused,
    setting,
    text,
)
from PIL import Image

from data import load_views

# catalogue number, damage, code, part of the message
TRANSFORMS = [
    ("T03 empty file", text(""), "E-JSON-SYNTAX", "transforms.json:1:1"),
    ("T04 no JSON", text("{oops"), "E-JSON-SYNTAX", "transforms.json:1:2"),
    ("T04 cut", cut, "E-JSON-SYNTAX", "transforms.json:"),
    ("T05 list at the top", text("[1, 2]"), "E-JSON-SYNTAX", "list"),
    ("T06 UTF-16", text("{}".encode("utf-16")), "E-JSON-SYNTAX", "UTF-8"),
    ("T07 NaN", pose(2, at(0, 3, float("nan"))), "E-JSON-NONFINITE", "/frames/2/transform_matrix/0/3"),
    ("T07 1e999", text('{"fl_x": 1e999, "frames": []}'), "E-JSON-NONFINITE", "/fl_x"),
    ("T08 duplicate key", text('{"frames": [], "frames": []}'), "E-JSON-DUP", "frames"),
    ("T09 nesting", text("[" * 200_000), "E-JSON-DEPTH", "nested"),
    ("T10 long number", text('{"fl_x": ' + "9" * 5000 + "}"), "E-JSON-NUMBER", "5000 digits"),
    ("T11 no frames", setting(frames=None), "E-TF-FRAMES", "/frames"),
    ("T12 empty frames", setting(frames=[]), "E-TF-FRAMES", "0 frames"),
    (
        "T13 one frame",
        edit(lambda content: content.update(frames=content["frames"][:1])),
        "E-TF-FRAMES",
        "1 frame,",
    ),
    ("T14 no file_path", frame(3, file_path=None), "E-TF-PATH", "/frames/3"),
    ("T15 path no string", frame(3, file_path=7), "E-TF-PATH", "/frames/3/file_path"),
    ("T15 path with NUL", frame(3, file_path="a\0b"), "E-TF-PATH", "/frames/3/file_path"),
    ("T15 lone surrogate", frame(3, file_path="\ud800"), "E-TF-PATH", "/frames/3/file_path"),
    ("T16 climbing path", frame(1, file_path="../../etc/hostname"), "E-PATH-ESCAPE", "/frames/1/file_path"),
    ("T16 absolute path", frame(1, file_path="/etc/hostname"), "E-PATH-ESCAPE", "/frames/1/file_path"),
    ("T16 drive letter", frame(1, file_path="C:\\secret.png"), "E-PATH-ESCAPE", "/frames/1/file_path"),
    ("T17 link out", link_out, "E-PATH-ESCAPE", "/frames/2/file_path"),
    (
        "T18 missing image",
        frame(4, file_path="images/none.png"),
        "E-TF-MISSING",
        "1 of 9 images are missing: images/none",
    ),
    ("T18 very long name", frame(4, file_path="x" * 5000), "E-TF-MISSING", "1 of 9"),
    ("T20 3x3", pose(2, lambda m: m[:3, :3]), "E-TF-SHAPE", "/frames/2/transform_matrix: got 3x3"),
    ("T20 4x3", pose(2, lambda m: m[:, :3]), "E-TF-SHAPE", "4x3"),
    ("T20 ragged", pose(2, lambda m: [[1, 2], [3], [4, 5, 6, 7], [0]]), "E-TF-SHAPE", "rows of [2, 1, 4, 1]"),
    ("T20 strings", pose(2, lambda m: [["1", "0", "0", "0"]] * 4), "E-TF-SHAPE", "'1'"),
    ("T20 absent", frame(2, transform_matrix=None), "E-TF-SHAPE", "/frames/2"),
    ("T21 last row", pose(5, at(3, 0, 1.0)), "E-TF-ROT", "last row 1 0 0 1"),
    ("T22 mirrored", pose(5, mirrored), "E-TF-ROT", "determinant -1"),
    ("T23 skewed", pose(5, at(0, 0, 0.2)), "E-TF-ROT", "/frames/5/transform_matrix"),
    ("T24 scaled", pose(5, lambda m: np.diag([2, 2, 2, 1.0]) @ m), "E-TF-ROT", "determinant 8"),
    ("T24 huge", pose(5, at(0, 3, 1e30)), "E-TF-NONFINITE", "/frames/5"),
    ("T26 one place", every_pose(moved_to_one_place), "E-TF-DEGENERATE", "same place"),
    ("T27 no field of view", setting(fl_x=None, fl_y=None), "E-TF-FOV", "neither fl_x nor camera_angle_x"),
    ("T28 zero", setting(fl_x=None, fl_y=None, camera_angle_x=0), "E-TF-FOV", "/camera_angle_x"),
    ("T28 pi", setting(fl_x=None, fl_y=None, camera_angle_x=3.1416), "E-TF-FOV", "between 0 and pi"),
    (
        "T29 degrees",
        setting(fl_x=None, fl_y=None, camera_angle_x=40),
        "E-TF-FOV",
        "40 degrees are 0.698132 radians",
    ),
    ("T30 other size", setting(w=30), "E-TF-INTRINSICS", f"got {SIZE}x{SIZE}, expected 30x{SIZE}"),
    (
        "T31 mixed sizes",
        lambda root: (
            setting(w=None, h=None)(root),
            save(root / "images" / "003.png", np.zeros((9, 8, 3), np.uint8)),
        ),
        "E-TF-INTRINSICS",
        f"images/003.png: got 8x9, expected {SIZE}x{SIZE} as images/",
    ),
    ("T32 negative focal", setting(fl_x=-3), "E-TF-INTRINSICS", "/fl_x"),
    ("T32 word", setting(cx="left"), "E-TF-INTRINSICS", "/cx"),
    ("T32 broken lens", setting(k1=-9.0, k2=40.0), "E-TF-INTRINSICS", "cannot be undone"),
    ("T33 fisheye", setting(camera_model="OPENCV_FISHEYE"), "E-TF-INTRINSICS", "OPENCV_FISHEYE"),
    ("T33 model no string", setting(camera_model={}), "E-TF-INTRINSICS", "/camera_model"),
    ("T34 aabb_scale 3", setting(aabb_scale=3), "E-TF-AABB", "/aabb_scale: got 3"),
    ("T34 aabb_scale 256", setting(aabb_scale=256), "E-TF-AABB", "from 1 to 128"),
    ("T37 split names nothing", setting(test_filenames=["nothing.png"]), "E-TF-SPLIT", "0 of 9"),
    ("T38 many frames", edit(lambda c: c.update(frames=c["frames"] * 1200)), "E-LIMIT-FRAMES", "10800"),
    (
        "I01 empty image",
        lambda root: (root / "images" / "001.png").write_bytes(b""),
        "E-IMG-EMPTY",
        "001.png",
    ),
    ("I03 text", lambda root: (root / "images" / "001.png").write_text("hello"), "E-IMG-FORMAT", "001.png"),
    (
        "I02 cut image",
        lambda root: (root / "images" / "001.png").write_bytes((root / "images" / "001.png").read_bytes()[:90]),
        "E-IMG-CORRUPT",
        "001.png",
    ),
    (
        "I10 turned",
        lambda root: (setting(w=SIZE, h=20)(root), [turned(path) for path in (root / "images").iterdir()]),
        "E-IMG-ORIENT",
        "orientation 6",
    ),
    (
        "I14 folder",
        lambda root: ((root / "images" / "001.png").unlink(), (root / "images" / "001.png").mkdir()),
        "E-IMG-KIND",
        "a folder",
    ),
    (
        "I15 pipe",
        lambda root: ((root / "images" / "001.png").unlink(), os.mkfifo(root / "images" / "001.png")),
        "E-IMG-KIND",
        "pipe",
    ),
]


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.zeros((20, SIZE, 3), np.uint8)).save(path, exif=exif)


@pytest.mark.parametrize(("damage", "code", "part"), [case[1:] for case in TRANSFORMS], ids=[c[0] for c in TRANSFORMS])
def test_defect_of_transforms_json_is_named(tmp_path: Path, damage: Damage, code: str, part: str) -> None:
    root = tmp_path / "capture"
    root.mkdir()
    transforms(root)
    damage(root)
    error = refused(root)
    assert error.code == code
    assert part in str(error)


def test_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    transforms(tmp_path)
    path = tmp_path / "transforms.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(load_views(tmp_path).train) == 7


def test_equal_poses_load_when_forced(tmp_path: Path) -> None:
    transforms(tmp_path)
    every_pose(moved_to_one_place)(tmp_path)
    assert any(warning.startswith("W-TF-DEGENERATE") for warning in load_views(tmp_path, force=True).warnings)
