"""Captures of every layout load to the same cameras, pixels and boxes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from capture_builders import (
    CENTRE,
    FOCAL,
    RADIUS,
    SIZE,
    colmap,
    forward_poses,
    llff,
    nsvf,
    orbit,
    over,
    photo,
    save,
    synthetic,
    transforms,
    write_json,
)
from capture_views import everything, misses
from PIL import Image

from data import load_views
from data.layouts.base import from_opencv
from data.projection import project

LAYOUT_MAKERS = {
    "nerf-synthetic": synthetic,
    "transforms": transforms,
    "llff": llff,
    "tanks": nsvf,
    "colmap": colmap,
}


@pytest.mark.parametrize("layout", LAYOUT_MAKERS)
def test_layout_is_recognised_by_content_and_gives_the_true_cameras(tmp_path: Path, layout: str) -> None:
    LAYOUT_MAKERS[layout](tmp_path)
    capture = load_views(tmp_path)
    assert capture.layout == layout
    views = everything(capture)
    truth = orbit(8 if layout == "nerf-synthetic" else len(views))[:, :3]
    found = views.cameras.camera_to_world.double().numpy()
    order = [int(np.abs(truth - pose).max(axis=(1, 2)).argmin()) for pose in found]
    assert sorted(order) == list(range(len(views)))
    np.testing.assert_allclose(found, truth[order], atol=1e-5)
    np.testing.assert_allclose(views.cameras.focal, FOCAL, rtol=1e-5)
    np.testing.assert_allclose(views.cameras.centre, SIZE / 2)


@pytest.mark.parametrize("layout", LAYOUT_MAKERS)
def test_photo_of_a_sphere_shows_it_where_its_camera_projects_it(tmp_path: Path, layout: str) -> None:
    LAYOUT_MAKERS[layout](tmp_path)
    views = everything(load_views(tmp_path))
    for index in range(len(views)):
        pixel, visible = project(views.cameras, index, CENTRE[None])
        assert visible[0]
        column, row = pixel[0].astype(int)
        rgb = views.image(index)[row, column] * 255
        assert rgb[0] > 150 and rgb[2] < 110, "the middle of the sphere is the reddest part of the photo"


def test_split_files_make_train_and_test(tmp_path: Path) -> None:
    synthetic(tmp_path)
    capture = load_views(tmp_path)
    assert (len(capture.train), len(capture.test), capture.val) == (6, 2, None)
    assert capture.background == "random" and capture.contraction == "none"
    np.testing.assert_allclose(capture.bounds, [[-1.5] * 3, [1.5] * 3])
    assert 0 < capture.near < 0.2
    assert capture.train.pixels.dtype == torch.uint8
    np.testing.assert_array_equal(capture.train.pixels[: SIZE * SIZE].reshape(SIZE, SIZE, 4), photo(orbit(6)[0]))


def test_without_test_names_every_eighth_image_is_held_out(tmp_path: Path) -> None:
    transforms(tmp_path, count=17)
    capture = load_views(tmp_path)
    assert capture.test.names == ("images/000.png", "images/008.png", "images/016.png")
    assert len(capture.train) == 14


def test_named_splits_are_kept(tmp_path: Path) -> None:
    content = transforms(tmp_path)
    names = [frame["file_path"] for frame in content["frames"]]
    content |= {"train_filenames": names[:5], "val_filenames": names[5:7], "test_filenames": names[7:]}
    write_json(tmp_path / "transforms.json", content)
    capture = load_views(tmp_path)
    assert capture.train.names == tuple(names[:5]) and capture.test.names == tuple(names[7:])
    assert capture.val is not None and capture.val.names == tuple(names[5:7])


def test_opaque_photos_that_fill_the_frame_are_an_unbounded_scene(tmp_path: Path) -> None:
    transforms(tmp_path)
    capture = load_views(tmp_path)
    assert (capture.contraction, capture.background) == ("unbounded", "none")
    middle = capture.bounds.mean(dim=0).numpy()
    np.testing.assert_allclose(middle, CENTRE, atol=1e-3)
    assert float(capture.train.cameras.distortion[0, 0]) == pytest.approx(0.01)


def test_settings_of_one_frame_override_the_global_ones(tmp_path: Path) -> None:
    content = transforms(tmp_path)
    content["frames"][0] |= {"fl_x": 50.0, "fl_y": 51.0, "cx": 11.0, "cy": 13.0, "w": 20, "h": 26}
    save(tmp_path / "images" / "000.png", np.full((26, 20, 3), 90, np.uint8))
    write_json(tmp_path / "transforms.json", content)
    cameras = load_views(tmp_path).test.cameras
    assert cameras.size[0].tolist() == [20, 26]
    assert cameras.focal[0].tolist() == [50, 51] and cameras.centre[0].tolist() == [11, 13]


def test_images_without_extension_or_in_another_case_are_found(tmp_path: Path) -> None:
    content = transforms(tmp_path)
    (tmp_path / "images" / "000.png").rename(tmp_path / "images" / "000.PNG")
    content["frames"][1]["file_path"] = "./images/001"
    write_json(tmp_path / "transforms.json", content)
    capture = load_views(tmp_path)
    assert "images/000.PNG" in capture.test.names and "images/001.png" in capture.train.names
    assert any("2 images found under another case or extension" in note for note in capture.notes)


def test_missing_images_can_be_left_out(tmp_path: Path) -> None:
    transforms(tmp_path)
    (tmp_path / "images" / "003.png").unlink()
    capture = load_views(tmp_path, allow_missing=True)
    assert len(capture.train) + len(capture.test) == 8
    assert any(warning.startswith("W-TF-MISSING") and "images/003.png" in warning for warning in capture.warnings)


def test_turntable_llff_with_masks_is_a_bounded_object(tmp_path: Path) -> None:
    llff(tmp_path, masks=True)
    capture = load_views(tmp_path)
    assert (capture.contraction, capture.background) == ("none", "random")
    low, high = capture.bounds.numpy()
    assert (low < CENTRE - 0.9 * RADIUS).all() and (high > CENTRE + 0.9 * RADIUS).all()
    assert (low > CENTRE - 2 * RADIUS).all() and (high < CENTRE + 2 * RADIUS).all()
    assert misses(capture) == 0


def test_forward_facing_llff_uses_ndc_of_its_mean_camera(tmp_path: Path) -> None:
    turn = np.array([[0.6, 0, 0.8], [0, 1, 0], [-0.8, 0, 0.6]])
    poses = forward_poses()
    poses[:, :3] = turn @ poses[:, :3]
    poses[:, :3, 3] += [5, 6, 7]
    llff(tmp_path, poses=poses)
    capture = load_views(tmp_path)
    cameras = everything(capture).cameras
    assert capture.contraction == "ndc" and capture.near == 0
    assert cameras.ndc_near == pytest.approx(1.5)
    np.testing.assert_allclose(cameras.origins.mean(dim=0), 0, atol=1e-6)
    np.testing.assert_allclose(cameras.camera_to_world[:, :, :3], np.tile(np.eye(3), (9, 1, 1)), atol=1e-6)
    for index in range(len(cameras)):
        rays = cameras.view(index)
        for t in (0.0, 0.5, 1.0):
            x = rays.origins + t * rays.directions
            assert bool(((x >= capture.bounds[0]) & (x <= capture.bounds[1])).all())


def test_nsvf_intrinsics_of_both_dialects_agree(tmp_path: Path) -> None:
    captures = []
    for matrix in (True, False):
        root = tmp_path / str(matrix)
        root.mkdir()
        nsvf(root, matrix)
        captures.append(load_views(root))
    first, second = captures
    assert (first.layout, second.layout) == ("tanks", "nsvf")
    assert torch.equal(first.train.cameras.focal, second.train.cameras.focal)
    assert torch.equal(first.bounds, second.bounds)
    np.testing.assert_allclose(first.bounds, np.stack([CENTRE - 0.75, CENTRE + 0.75]), rtol=1e-5)
    assert first.background == "white" and first.contraction == "none"


def test_nsvf_prefix_two_is_the_test_split(tmp_path: Path) -> None:
    nsvf(tmp_path)
    for folder, suffix in (("rgb", ".png"), ("pose", ".txt")):
        (tmp_path / folder / f"1_0005{suffix}").rename(tmp_path / folder / f"2_0005{suffix}")
    capture = load_views(tmp_path)
    assert capture.test.names == ("2_0005.png",)
    assert capture.val is not None and capture.val.names == ("1_0004.png",)


def test_nsvf_names_without_prefix_hold_out_every_eighth_and_say_so(tmp_path: Path) -> None:
    nsvf(tmp_path)
    for folder, suffix in (("rgb", ".png"), ("pose", ".txt")):
        for index, path in enumerate(sorted((tmp_path / folder).iterdir())):
            path.rename(path.with_name(f"view{3 * index}{suffix}"))
    capture = load_views(tmp_path)
    assert capture.test.names == ("view0.png",)
    assert any("0_ (train)" in note for note in capture.notes)


def test_nsvf_files_with_windows_line_ends_load(tmp_path: Path) -> None:
    nsvf(tmp_path)
    for path in (*(tmp_path / "pose").iterdir(), tmp_path / "bbox.txt", tmp_path / "intrinsics.txt"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(load_views(tmp_path).train) == 4


@pytest.mark.parametrize("text", [False, True])
def test_colmap_object_is_bounded_by_masks_and_points(tmp_path: Path, text: bool) -> None:
    colmap(tmp_path, text=text)
    capture = load_views(tmp_path)
    low, high = capture.bounds.numpy()
    assert (low < CENTRE - 0.95 * RADIUS).all() and (high > CENTRE + 0.95 * RADIUS).all()
    assert (low > CENTRE - 1.6 * RADIUS).all() and (high < CENTRE + 1.6 * RADIUS).all()
    assert (capture.background, capture.contraction) == ("random", "none")


def test_colmap_scene_without_masks_is_bounded_by_its_points(tmp_path: Path) -> None:
    colmap(tmp_path, masks=False)
    capture = load_views(tmp_path)
    assert (capture.background, capture.contraction) == ("none", "unbounded")
    assert (capture.bounds[0].numpy() < CENTRE).all() and (capture.bounds[1].numpy() > CENTRE).all()
    assert float((capture.bounds[1] - capture.bounds[0]).max()) < 2.2 * RADIUS


def test_colmap_takes_the_largest_of_several_models(tmp_path: Path) -> None:
    colmap(tmp_path / "other", count=4)
    colmap(tmp_path, model="sparse/1")
    shutil.copytree(tmp_path / "other" / "sparse" / "0", tmp_path / "sparse" / "0")
    capture = load_views(tmp_path)
    assert len(capture.train) + len(capture.test) == 9
    assert any("sparse/0: 4" in note and "sparse/1: 9" in note for note in capture.notes)


def test_white_and_black_backgrounds_are_recognised(tmp_path: Path) -> None:
    for grey, name in ((255, "white"), (0, "black")):
        root = tmp_path / name
        root.mkdir()
        synthetic(root)
        for path in root.glob("*/*.png"):
            with Image.open(path) as image:
                pixels = np.asarray(image)
            save(path, over(pixels, grey))
        capture = load_views(root)
        assert (capture.background, capture.contraction) == (name, "none")


def test_chosen_background_is_composited_into_photos_with_alpha(tmp_path: Path) -> None:
    synthetic(tmp_path)
    capture = load_views(tmp_path, background="white")
    assert capture.background == "white"
    assert bool((capture.train.pixels[:, 3] == 255).all())
    assert capture.train.pixels[0].tolist() == [255, 255, 255, 255]


def test_chosen_bounds_replace_the_found_ones(tmp_path: Path) -> None:
    synthetic(tmp_path)
    capture = load_views(tmp_path, bounds=[[-1, -1, -2], [1, 2, 1]])
    assert capture.bounds.tolist() == [[-1, -1, -2], [1, 2, 1]]


def test_downscale_keeps_the_geometry(tmp_path: Path) -> None:
    synthetic(tmp_path)
    full, half = load_views(tmp_path), load_views(tmp_path, downscale=2)
    assert half.train.cameras.size[0].tolist() == [SIZE // 2, SIZE // 2]
    x = CENTRE + 0.3 * np.random.default_rng(0).normal(size=(20, 3))
    for index in range(3):
        fine, coarse = (project(capture.train.cameras, index, x)[0] for capture in (full, half))
        np.testing.assert_allclose(fine / 2, coarse, rtol=1e-5)


def test_box_that_no_camera_sees_is_warned_about_with_a_better_one(tmp_path: Path) -> None:
    synthetic(tmp_path)
    capture = load_views(tmp_path, bounds=[[0, 500, 0], [1, 501, 1]])
    (warning,) = capture.warnings
    assert warning.startswith("W-TF-OUTSIDE") and "0 of 8" in warning
    numbers = np.array([float(word) for word in warning.split("--bounds ")[1].split()]).reshape(2, 3)
    assert (numbers[0] < CENTRE).all() and (numbers[1] > CENTRE).all()


def test_nearest_rotation_mends_a_pose_when_asked(tmp_path: Path) -> None:
    content = transforms(tmp_path)
    matrix = np.array(content["frames"][0]["transform_matrix"])
    content["frames"][0]["transform_matrix"][0][0] += 0.01
    write_json(tmp_path / "transforms.json", content)
    pose = load_views(tmp_path, fix_poses=True).test.cameras.camera_to_world[0].numpy()
    np.testing.assert_allclose(pose[:, :3].T @ pose[:, :3], np.eye(3), atol=1e-6)
    np.testing.assert_allclose(pose, matrix[:3], atol=0.02)


def test_projection_inverts_the_rays_of_a_distorted_lens(tmp_path: Path) -> None:
    content = transforms(tmp_path)
    write_json(tmp_path / "transforms.json", content | {"k1": 0.08, "k2": -0.02, "p1": 0.003, "p2": -0.002})
    cameras = load_views(tmp_path).train.cameras
    rays = cameras.view(2)
    pixel, visible = project(cameras, 2, (rays.origins + 2.5 * rays.directions).double().numpy())
    row, column = np.mgrid[:SIZE, :SIZE].reshape(2, -1) + 0.5
    assert visible.all()
    np.testing.assert_allclose(pixel, np.stack([column, row], axis=1), atol=1e-3)


def test_opencv_axes_turn_to_opengl_axes() -> None:
    pose = from_opencv(np.concatenate([np.eye(3), [[1.0], [2], [3]]], axis=1))
    assert pose.tolist() == [[1, 0, 0, 1], [0, -1, 0, 2], [0, 0, -1, 3]]
