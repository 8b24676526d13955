"""Every known defect of a capture gives its own error, names its place and writes nothing."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from capture_builders import (
    SIZE,
    colmap,
    llff,
    llff_table,
    nsvf,
    orbit,
    photo,
    save,
    synthetic,
    transforms,
    write_json,
)
from PIL import Image

from data import load_views
from fields.errors import ExitCode, UserError

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
        content["frames"][index]["transform_matrix"] = (
            changed.tolist() if isinstance(changed, np.ndarray) else changed
        )

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
        lambda root: (root / "images" / "001.png").write_bytes(
            (root / "images" / "001.png").read_bytes()[:90]
        ),
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


@pytest.mark.parametrize(
    ("damage", "code", "part"), [case[1:] for case in TRANSFORMS], ids=[c[0] for c in TRANSFORMS]
)
def test_defect_of_transforms_json_is_named(tmp_path: Path, damage: Damage, code: str, part: str) -> None:
    root = tmp_path / "capture"
    root.mkdir()
    transforms(root)
    damage(root)
    error = refused(root)
    assert error.code == code
    assert part in str(error)


def change_table(change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    return lambda root: np.save(root / "poses_bounds.npy", change(np.load(root / "poses_bounds.npy")))


def put(row: int, column: int, value: float) -> Damage:
    return change_table(at(row, column, value))


def claims_much(root: Path) -> None:
    content = (root / "poses_bounds.npy").read_bytes()
    (root / "poses_bounds.npy").write_bytes(
        content.replace(b"(9, 17), }           ", b"(999999999, 17), }   ")
    )
    assert b"999999999" in (root / "poses_bounds.npy").read_bytes()


def holds_objects(root: Path) -> None:
    np.save(root / "poses_bounds.npy", np.array([Trap(), Trap()], dtype=object), allow_pickle=True)


class Trap:
    """Would make itself known if anything unpickled it."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.putenv, ("UNPICKLED", "1")


LLFF = [
    ("L01 missing", lambda root: (root / "poses_bounds.npy").unlink(), "E-LLFF-MISSING", "poses_bounds.npy"),
    ("L02 empty", lambda root: (root / "poses_bounds.npy").write_bytes(b""), "E-NPY-FORMAT", "0 bytes"),
    ("L03 objects", holds_objects, "E-NPY-PICKLE", "never loaded"),
    ("L04 claims much", claims_much, "E-NPY-SIZE", "999999999"),
    ("L05 14 columns", change_table(lambda t: t[:, :14]), "E-LLFF-SHAPE", "(9, 14)"),
    ("L05 three axes", change_table(lambda t: t[None]), "E-LLFF-SHAPE", "(1, 9, 17)"),
    ("L06 integers", change_table(lambda t: t.astype(int)), "E-LLFF-DTYPE", "int64"),
    ("L06 complex", change_table(lambda t: t.astype(complex)), "E-LLFF-DTYPE", "complex128"),
    ("L06 strings", change_table(lambda t: t.astype("U8")), "E-LLFF-DTYPE", "<U8"),
    ("L07 NaN", put(4, 2, float("nan")), "E-LLFF-NONFINITE", "row 4: got column 2"),
    ("L08 fewer poses", change_table(lambda t: t[:-1]), "E-LLFF-COUNT", "img_08.png"),
    ("L08 more poses", change_table(lambda t: np.concatenate([t, t[:2]])), "E-LLFF-COUNT", "11 rows"),
    ("L09 near zero", put(3, 15, 0.0), "E-LLFF-BOUNDS", "row 3"),
    ("L09 near beyond far", put(3, 15, 9.0), "E-LLFF-BOUNDS", "near 9, far 4"),
    ("L10 focal zero", put(1, 14, 0.0), "E-LLFF-INTRINSICS", "row 1"),
    ("L10 different focal", put(1, 14, 11.0), "E-LLFF-INTRINSICS", "row 1"),
    (
        "L10 other shape",
        change_table(lambda t: t * np.where(np.arange(17) == 9, 2, 1)),
        "E-LLFF-INTRINSICS",
        "reduced copy",
    ),
    ("L11 no images", lambda root: shutil.rmtree(root / "images_4"), "E-LLFF-IMAGES", "images_4"),
    (
        "mirrored pose",
        change_table(lambda t: t * np.where(np.isin(np.arange(17), (0, 5, 10)), -1, 1)),
        "E-LLFF-ROT",
        "row 0",
    ),
]


@pytest.mark.parametrize(("damage", "code", "part"), [case[1:] for case in LLFF], ids=[c[0] for c in LLFF])
def test_defect_of_llff_is_named(tmp_path: Path, damage: Damage, code: str, part: str) -> None:
    root = tmp_path / "capture"
    root.mkdir()
    llff(root)
    damage(root)
    error = refused(root, layout="llff")
    assert error.code == code
    assert part in str(error)
    assert "UNPICKLED" not in os.environ


def test_llff_in_fortran_order_and_big_endian_loads(tmp_path: Path) -> None:
    llff(tmp_path)
    np.save(tmp_path / "poses_bounds.npy", np.asfortranarray(llff_table(orbit(9), reduce=4)).astype(">f8"))
    assert len(load_views(tmp_path).train) == 7


def test_llff_without_full_images_says_which_factor_it_took(tmp_path: Path) -> None:
    llff(tmp_path)
    assert any("images_4" in note for note in load_views(tmp_path).notes)


def write(name: str, content: str) -> Damage:
    return lambda root: (root / name).write_text(content)


def remove(name: str) -> Damage:
    return lambda root: (root / name).unlink()


def cut_rows(root: Path) -> None:
    path = root / "pose" / "0_0001.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))


def decimal_commas(root: Path) -> None:
    path = root / "pose" / "0_0001.txt"
    path.write_text(path.read_text().replace(".", ","))


NSVF = [
    ("N01 no intrinsics", remove("intrinsics.txt"), "E-NSVF-INTRINSICS", "intrinsics.txt"),
    ("N01 one number", write("intrinsics.txt", "36.0\n"), "E-NSVF-INTRINSICS", "rows of [1]"),
    ("N01 words", write("intrinsics.txt", "a b c d\n" * 4), "E-NSVF-NUMBER", "intrinsics.txt:1"),
    ("N01 focal zero", write("intrinsics.txt", "0. 12. 12. 0.\n"), "E-NSVF-INTRINSICS", "focal length 0"),
    ("N01 empty", write("intrinsics.txt", ""), "E-NSVF-INTRINSICS", "intrinsics.txt"),
    ("N02 pose missing", remove("pose/0_0002.txt"), "E-NSVF-COUNT", "0_0002"),
    ("N02 image missing", remove("rgb/0_0002.png"), "E-NSVF-COUNT", "0_0002"),
    ("N03 three rows", cut_rows, "E-NSVF-POSE", "0_0001.txt: got rows of [4, 4, 4]"),
    ("N04 box inside out", write("bbox.txt", "1 1 1 -1 2 2 0.1"), "E-NSVF-BBOX", "1 1 1 -1 2 2"),
    ("N04 five numbers", write("bbox.txt", "1 1 1 2 2"), "E-NSVF-BBOX", "1 1 1 2 2"),
    ("N05 box NaN", write("bbox.txt", "0 0 nan 1 1 1 0.1"), "E-NSVF-BBOX-NUMBER", "bbox.txt:1"),
    ("N08 decimal commas", decimal_commas, "E-NSVF-NUMBER", "decimal points, not commas"),
    (
        "one image",
        lambda root: [
            path.unlink() for folder in ("rgb", "pose") for path in sorted((root / folder).iterdir())[1:]
        ],
        "E-NSVF-FRAMES",
        "1 frame",
    ),
]


@pytest.mark.parametrize(("damage", "code", "part"), [case[1:] for case in NSVF], ids=[c[0] for c in NSVF])
def test_defect_of_nsvf_is_named(tmp_path: Path, damage: Damage, code: str, part: str) -> None:
    root = tmp_path / "capture"
    root.mkdir()
    nsvf(root)
    damage(root)
    error = refused(root)
    assert error.code == code
    assert part in str(error)


def test_nsvf_numbers_with_gaps_are_matched_by_name(tmp_path: Path) -> None:
    nsvf(tmp_path)
    for folder, suffix in (("rgb", ".png"), ("pose", ".txt")):
        (tmp_path / folder / f"0_0000{suffix}").rename(tmp_path / folder / f"0_9{suffix}")
        (tmp_path / folder / f"0_0001{suffix}").rename(tmp_path / folder / f"0_10{suffix}")
    views = load_views(tmp_path).train
    at_nine = views.cameras.camera_to_world[views.names.index("0_9.png")].numpy()
    np.testing.assert_allclose(at_nine, orbit(1)[0, :3], atol=1e-6)


def patch(name: str, offset: int, layout: str, value: float) -> Damage:
    def damage(root: Path) -> None:
        path = root / "sparse" / "0" / name
        content = bytearray(path.read_bytes())
        struct.pack_into(layout, content, offset, value)
        path.write_bytes(bytes(content))

    return damage


def cut_model(name: str) -> Damage:
    def damage(root: Path) -> None:
        path = root / "sparse" / "0" / name
        path.write_bytes(path.read_bytes()[:-11])

    return damage


def rename_first(name: bytes) -> Damage:
    def damage(root: Path) -> None:
        path = root / "sparse" / "0" / "images.bin"
        path.write_bytes(path.read_bytes().replace(b"p0.png", name, 1))

    return damage


def two_descriptions(root: Path) -> None:
    colmap(root.parent / "other", text=True, count=4)
    for path in (root.parent / "other" / "sparse" / "0").iterdir():
        shutil.copy(path, root / "sparse" / "0")


def more_photos(root: Path) -> None:
    for index in range(10):
        save(root / "images" / f"extra{index}.png", np.zeros((SIZE, SIZE, 3), np.uint8))


COLMAP = [
    ("C03 cut cameras", cut_model("cameras.bin"), "E-COLMAP-TRUNCATED", "cameras.bin"),
    ("C03 cut images", cut_model("images.bin"), "E-COLMAP-TRUNCATED", "images.bin"),
    ("C03 cut points", cut_model("points3D.bin"), "E-COLMAP-TRUNCATED", "points3D.bin"),
    ("C04 count 2^60", patch("images.bin", 0, "<Q", 2**60), "E-COLMAP-TRUNCATED", f"{2**60} entries"),
    ("C04 points 2^60", patch("points3D.bin", 0, "<Q", 2**60), "E-COLMAP-TRUNCATED", f"{2**60} entries"),
    ("C05 unknown model", patch("cameras.bin", 12, "<i", 77), "E-COLMAP-MODEL", "77"),
    ("fisheye", patch("cameras.bin", 12, "<i", 8), "E-COLMAP-MODEL", "SIMPLE_RADIAL_FISHEYE"),
    ("C06 climbing name", rename_first(b"../p0.png"), "E-PATH-ESCAPE", "../p0.png"),
    ("C07 image absent", remove("images/p3.png"), "E-COLMAP-MISSING", "p3.png"),
    (
        "C09 zero quaternion",
        lambda root: [patch("images.bin", 12 + 8 * k, "<d", 0.0)(root) for k in range(4)],
        "E-COLMAP-QUAT",
        "length 0",
    ),
    ("NaN quaternion", patch("images.bin", 12, "<d", float("nan")), "E-COLMAP-QUAT", "p0.png"),
    ("NaN position", patch("images.bin", 44, "<d", float("nan")), "E-COLMAP-NONFINITE", "p0.png"),
    ("focal zero", patch("cameras.bin", 32, "<d", 0.0), "E-COLMAP-INTRINSICS", "camera 1"),
    ("C10 disagreement", two_descriptions, "E-COLMAP-DISAGREE", "9 photos in images.bin, 4 in images.txt"),
    ("C11 few registered", more_photos, "E-COLMAP-FEW", "9 of 19 images have poses"),
    ("C12 camera absent", patch("images.bin", 68, "<I", 9), "E-COLMAP-CAMERA", "camera 9"),
    ("no images", lambda root: shutil.rmtree(root / "images"), "E-COLMAP-IMAGES", "images"),
    (
        "mask of other size",
        lambda root: save(root / "masks" / "p1.png.png", np.zeros((5, 6), np.uint8)),
        "E-MASK-SIZE",
        "6x5",
    ),
    ("mask missing", remove("masks/p1.png.png"), "E-MASK-MISSING", "p1.png"),
]


@pytest.mark.parametrize(
    ("damage", "code", "part"), [case[1:] for case in COLMAP], ids=[c[0] for c in COLMAP]
)
def test_defect_of_colmap_is_named(tmp_path: Path, damage: Damage, code: str, part: str) -> None:
    root = tmp_path / "capture"
    root.mkdir()
    colmap(root)
    damage(root)
    error = refused(root)
    assert error.code == code
    assert part in str(error)


def test_colmap_without_points_loads_with_a_warning(tmp_path: Path) -> None:
    colmap(tmp_path)
    (tmp_path / "sparse" / "0" / "points3D.bin").write_bytes(struct.pack("<Q", 0))
    assert any(warning.startswith("W-COLMAP-POINTS") for warning in load_views(tmp_path).warnings)


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
    assert (
        error.code == "E-DATA-KIND" and "poses_bounds.npy" in str(error) and "transforms.json" in str(error)
    )


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


def test_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    transforms(tmp_path)
    path = tmp_path / "transforms.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(load_views(tmp_path).train) == 7


def test_equal_poses_load_when_forced(tmp_path: Path) -> None:
    transforms(tmp_path)
    every_pose(moved_to_one_place)(tmp_path)
    assert any(warning.startswith("W-TF-DEGENERATE") for warning in load_views(tmp_path, force=True).warnings)


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
