"""Cameras and the rays they shoot. OpenGL axes: x right, y up, the camera looks along -z."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

_UNDISTORT_STEPS = 20


@dataclass(frozen=True)
class Rays:
    """Rays in scene units, or in NDC units for a forward-facing capture; directions have unit length."""

    origins: Tensor  # [R, 3]
    directions: Tensor  # [R, 3]
    view_directions: Tensor  # [R, 3] unit, what appearance sees; equals `directions` outside NDC

    def __len__(self) -> int:
        return self.origins.shape[0]

    def __getitem__(self, index: slice | Tensor) -> Rays:
        """Some of the rays: a slice, or those of an int64 index."""

        def some(values: Tensor) -> Tensor:
            return values.index_select(0, index) if isinstance(index, Tensor) else values[index]

        directions = some(self.directions)
        same = self.view_directions is self.directions
        return Rays(some(self.origins), directions, directions if same else some(self.view_directions))

    def to(self, device: torch.device | str) -> Rays:
        directions = self.directions.to(device)
        same = self.view_directions is self.directions
        return Rays(self.origins.to(device), directions, directions if same else self.view_directions.to(device))


@dataclass(frozen=True)
class Cameras:
    """N pinhole cameras, with OpenCV radial-tangential distortion where a lens has it.

    Pixel (column i, row j) has its centre at (i + 0.5, j + 0.5).
    """

    camera_to_world: Tensor  # [N, 3, 4] float32
    focal: Tensor  # [N, 2] pixels (fx, fy)
    centre: Tensor  # [N, 2] pixels (cx, cy)
    size: Tensor  # [N, 2] int64 (width, height)
    distortion: Tensor  # [N, 6] k1 k2 p1 p2 k3 k4, zeros for a pinhole
    ndc_near: float | None = None  # set: rays are warped to NDC of a forward-facing capture

    def __len__(self) -> int:
        return self.camera_to_world.shape[0]

    def __getitem__(self, index: Tensor | slice | list[int]) -> Cameras:
        return replace(
            self,
            camera_to_world=self.camera_to_world[index],
            focal=self.focal[index],
            centre=self.centre[index],
            size=self.size[index],
            distortion=self.distortion[index],
        )

    @classmethod
    def pinhole(
        cls, camera_to_world: Tensor, focal: float, width: int, height: int, ndc_near: float | None = None
    ) -> Cameras:
        """The same undistorted lens for every pose [N, 3, 4]."""
        count = camera_to_world.shape[0]
        return cls(
            camera_to_world[:, :3].float().contiguous(),
            torch.full((count, 2), float(focal)),
            torch.tensor([width / 2, height / 2]).expand(count, 2).clone(),
            torch.tensor([width, height]).expand(count, 2).clone(),
            torch.zeros(count, 6),
            ndc_near,
        )

    @cached_property
    def _columns(self) -> Tensor:
        """Right, up, back, position, focal and centre of every camera, [16, N]: quicker to look up than rows."""
        axes = self.camera_to_world.permute(2, 1, 0).reshape(12, -1)
        return torch.cat([axes, self.focal.T, self.centre.T]).contiguous()

    @property
    def origins(self) -> Tensor:
        """Camera centres, [N, 3]."""
        return self.camera_to_world[:, :, 3]

    def resized(self, width: int, height: int) -> Cameras:
        """The same views at another resolution."""
        scale = torch.tensor([width, height]) / self.size
        size = torch.tensor([width, height]).expand_as(self.size).clone()
        return replace(self, focal=self.focal * scale, centre=self.centre * scale, size=size)

    @cached_property
    def _lens_of(self) -> tuple[Tensor, Tensor]:
        """Distinct lenses: (index of each camera's lens [N], one camera for each lens [K])."""
        lens = torch.cat([self.focal, self.centre, self.size.float(), self.distortion], dim=1)
        _, inverse = torch.unique(lens, dim=0, return_inverse=True)
        first = torch.stack([(inverse == k).nonzero()[0, 0] for k in range(int(inverse.max()) + 1)])
        return inverse, first

    @cached_property
    def _lens_tables(self) -> tuple[Tensor, Tensor] | None:
        """Undistorted image-plane positions of every pixel of every distinct lens, or None.

        Returns (positions [P, 2], start of each camera's table [N]).
        """
        if not bool((self.distortion != 0).any()):
            return None
        inverse, first = self._lens_of
        tables, starts, total = [], [], 0
        for camera in first.tolist():
            width, height = self.size[camera].tolist()
            row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            pixel = torch.stack([column, row], -1).reshape(-1, 2) + 0.5
            plane = (pixel - self.centre[camera]) / self.focal[camera]
            tables.append(undistort(plane.double(), self.distortion[camera].double()).float())
            starts.append(total)
            total += len(pixel)
        return torch.cat(tables), torch.tensor(starts)[inverse]

    def rays(self, camera: Tensor, column: Tensor, row: Tensor) -> Rays:
        """Rays through the centres of pixels (column [R], row [R]) of cameras [R], all int64."""
        looked_up = self._columns.index_select(1, camera)
        right, up, back, position, focal, centre = looked_up.split([3, 3, 3, 3, 2, 2])
        if self._lens_tables is None:
            across, down = (torch.stack([column, row]) + 0.5).sub_(centre).div_(focal)
        else:
            positions, starts = self._lens_tables
            across, down = positions[starts[camera] + row * self.size[camera, 0] + column].T
        directions = right.mul_(across).sub_(up.mul_(down)).sub_(back)
        unit = (directions / directions.square().sum(dim=0).sqrt_().clamp_min_(1e-12)).T.contiguous()
        origins, directions = position.T.contiguous(), directions.T
        if self.ndc_near is None:
            return Rays(origins, unit, unit)
        origins, warped = self._to_ndc(camera, origins, directions)
        return Rays(origins, warped, unit)

    def view(self, index: int) -> Rays:
        """All rays of one camera in row-major order, R = height * width."""
        width, height = self.size[index].tolist()
        row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        camera = torch.full((width * height,), index)
        return self.rays(camera, column.reshape(-1), row.reshape(-1))

    def _to_ndc(self, camera: Tensor, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Projective warp of a forward-facing capture to the cube [-1, 1]^3 (NeRF, appendix C)."""
        near = float(self.ndc_near or 1.0)
        origins = origins - ((near + origins[:, 2]) / directions[:, 2])[:, None] * directions
        scale = 2 * self.focal[camera] / self.size[camera]  # [R, 2]
        o_over = origins[:, :2] / origins[:, 2:]
        d_over = directions[:, :2] / directions[:, 2:]
        warped_origins = torch.cat([-scale * o_over, 1 + 2 * near / origins[:, 2:]], dim=1)
        warped = torch.cat([-scale * (d_over - o_over), -2 * near / origins[:, 2:]], dim=1)
        return warped_origins, torch.nn.functional.normalize(warped, dim=-1)

    def to(self, device: torch.device | str) -> Cameras:
        return replace(
            self,
            camera_to_world=self.camera_to_world.to(device),
            focal=self.focal.to(device),
            centre=self.centre.to(device),
            size=self.size.to(device),
            distortion=self.distortion.to(device),
        )


def undistort(plane: Tensor, distortion: Tensor) -> Tensor:
    """Image-plane positions [..., 2] with the lens distortion k1 k2 p1 p2 k3 k4 taken out.

    Fixed-point iteration of OpenCV's radial-tangential model.
    """
    k1, k2, p1, p2, k3, k4 = distortion.unbind(-1)
    x, y = plane.unbind(-1)
    u, v = x, y
    for _ in range(_UNDISTORT_STEPS):
        r2 = u * u + v * v
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k4)))
        du = 2 * p1 * u * v + p2 * (r2 + 2 * u * u)
        dv = p1 * (r2 + 2 * v * v) + 2 * p2 * u * v
        u, v = (x - du) / radial, (y - dv) / radial
    return torch.stack([u, v], -1)


def look_at(eye: Tensor, target: Tensor, up: Tensor) -> Tensor:
    """Camera-to-world matrices [N, 3, 4] at `eye` [N, 3] looking at `target` [N, 3] or [3]."""
    back = torch.nn.functional.normalize(eye - target, dim=-1)
    right = torch.nn.functional.normalize(torch.linalg.cross(up.expand_as(back), back), dim=-1)
    return torch.stack([right, torch.linalg.cross(back, right), back, eye], dim=-1)
