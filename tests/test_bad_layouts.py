"""Every known defect of a LLFF, NSVF or COLMAP folder gives its own error and names its place."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from capture_builders import (
    SIZE,
    colmap,
    llff,
    llff_table,
    nsvf,
    orbit,
    save,
)
from capture_damage import (
    Damage,
    at,
    refused,
    remove,
    write,
)

from data import load_views


def change_table(change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    return lambda root: np.save(root / "poses_bounds.npy", change(np.load(root / "poses_bounds.npy")))


def put(row: int, column: int, value: float) -> Damage:
    return change_table(at(row, column, value))


def claims_much(root: Path) -> None:
    content = (root / "poses_bounds.npy").read_bytes()
    (root / "poses_bounds.npy").write_bytes(content.replace(b"(9, 17), }           ", b"(999999999, 17), }   "))
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
        lambda root: [path.unlink() for folder in ("rgb", "pose") for path in sorted((root / folder).iterdir())[1:]],
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


@pytest.mark.parametrize(("damage", "code", "part"), [case[1:] for case in COLMAP], ids=[c[0] for c in COLMAP])
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
