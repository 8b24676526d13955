"""From world positions to pixels, the inverse of `Cameras.rays`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fields.cameras import Cameras

Array = NDArray[np.float64]

_GUARD = 0.3  # of the image size: beyond it a lens polynomial may fold back into the image


def distort(plane: Array, distortion: Array) -> Array:
    """OpenCV's radial-tangential model on image-plane positions [..., 2]; k1 k2 p1 p2 k3 k4."""
    k1, k2, p1, p2, k3, k4 = distortion
    x, y = plane[..., 0], plane[..., 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k4)))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        axis=-1,
    )


def project(cameras: Cameras, index: int, x: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Pixels (column, row) of world positions [P, 3] in one camera, and which lie in its image.

    Returns:
        positions [P, 2] (pixel centres at halves), visible [P] (in front and inside the frame).
    """
    pose = cameras.camera_to_world[index].double().numpy()
    local = (x - pose[:, 3]) @ pose[:, :3]
    depth = -local[:, 2]
    ahead = depth > 1e-9
    plane = np.stack([local[:, 0], -local[:, 1]], axis=1) / np.where(ahead, depth, 1.0)[:, None]
    focal, centre = cameras.focal[index].double().numpy(), cameras.centre[index].double().numpy()
    size = cameras.size[index].numpy()
    rough = plane * focal + centre
    near_frame = ((rough > -_GUARD * size) & (rough < (1 + _GUARD) * size)).all(axis=1)
    lens = cameras.distortion[index].double().numpy()
    pixel = distort(np.where(near_frame[:, None], plane, 0.0), lens) * focal + centre if lens.any() else rough
    return pixel, ahead & near_frame & ((pixel >= 0) & (pixel < size)).all(axis=1)
