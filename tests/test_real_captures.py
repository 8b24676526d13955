"""Captures of real objects and places load as what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from capture_views import everything, misses

from data import load_views
from data.layouts.colmap_model import read_model

REAL = ("chair_400", "lego_400", "lego_nsvf_200", "maryrose_llff", "maryrose_tnt", "maryrose_colmap")


@pytest.mark.parametrize("name", REAL)
def test_real_object_capture_has_all_its_foreground_in_the_box(shared_data: Path, name: str) -> None:
    capture = load_views(shared_data / "nerf" / name)
    assert capture.contraction == "none" and capture.background in ("random", "white")
    assert not capture.warnings
    assert misses(capture, step=7) < 0.002
    extent = capture.bounds[1] - capture.bounds[0]
    assert float(extent.max()) < 3.5


def test_real_phone_capture_is_an_unbounded_scene(shared_data: Path) -> None:
    capture = load_views(shared_data / "nerf" / "fox_quarter")
    assert (len(capture.train), len(capture.test)) == (43, 7)
    assert (capture.contraction, capture.background) == ("unbounded", "none")
    assert bool((capture.train.cameras.distortion[:, :4] != 0).all())
    low, high = capture.bounds
    centre, half = (low + high) / 2, float((high - low).max()) / 2
    away = (capture.train.cameras.origins - centre).norm(dim=1)
    assert 1.2 * half < float(away.median()) < 3 * half  # the box ends between the head and the cameras


def test_three_layouts_of_one_capture_agree_on_its_cameras(shared_data: Path) -> None:
    by_name = {}
    for layout in ("llff", "colmap", "tnt"):
        views = everything(load_views(shared_data / "nerf" / f"maryrose_{layout}"))
        order = sorted(range(len(views)), key=lambda index: views.names[index].split("_", 1)[1])
        by_name[layout] = views.cameras.camera_to_world[order].double().numpy()
    np.testing.assert_allclose(by_name["llff"], by_name["tnt"], atol=2e-5)
    rotation, residual = _similarity(by_name["colmap"][:, :, 3], by_name["llff"][:, :, 3])
    assert residual < 5e-3
    turned = rotation @ by_name["colmap"][:, :, :3]
    cosines = (np.einsum("nij,nij->n", turned, by_name["llff"][:, :, :3]) - 1) / 2
    assert cosines.min() > np.cos(np.radians(0.5))


def _similarity(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, float]:
    """Best rotation between centred point sets, and the worst distance left over the spread (Umeyama)."""
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    left, values, right = np.linalg.svd(b.T @ a)
    sign = np.diag([1, 1, np.linalg.det(left @ right)])
    rotation = left @ sign @ right
    scale = (values * np.diag(sign)).sum() / (a**2).sum()
    distance = np.linalg.norm(scale * a @ rotation.T - b, axis=1).max()
    return rotation, float(distance / np.linalg.norm(b, axis=1).max())


def test_real_colmap_text_and_binary_agree(shared_data: Path) -> None:
    root = shared_data / "nerf" / "maryrose_colmap"
    binary, text = read_model(root / "sparse" / "0"), read_model(root / "sparse_text")
    assert binary.cameras == text.cameras
    assert [image.name for image in binary.images] == [image.name for image in text.images]
    for ours, theirs in zip(binary.images, text.images, strict=True):
        np.testing.assert_allclose(
            ours.quaternion + ours.translation, theirs.quaternion + theirs.translation, rtol=1e-12
        )
    order = np.lexsort(binary.points.T), np.lexsort(text.points.T)
    np.testing.assert_allclose(binary.points[order[0]], text.points[order[1]], rtol=1e-9)


def test_real_list_with_missing_images_is_refused_and_can_be_forced(shared_data: Path) -> None:
    file = shared_data / "nerf" / "fox_quarter" / "transforms_as_source_67_frames.json"
    capture = load_views(file, allow_missing=True)
    assert len(capture.train) + len(capture.test) == 50
