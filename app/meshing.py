"""From a volume to a mesh that other programs take: level, colours, crop, fewer faces, capture coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from cuda_ext import quiet_torch
from fields.cameras import Rays
from fields.density_grid import DensityGrid, bake_density
from fields.depth_fusion import FusedSurface, fuse_depth, render_depth
from fields.errors import UserError
from fields.mesh import (
    Mesh,
    automatic_level,
    components_where,
    extract_mesh_steps,
    largest_components,
    paint_texture,
    simplify,
    smooth_steps,
    vertex_colors,
)
from fields.progress import Progress
from fields.volume import Volume

from .survey import survey

COLORS = ("vertex", "texture", "none")
FRAMES = ("source", "model")
Color = Callable[[Tensor, Tensor], Tensor]
_LEVEL_SAMPLES = 1 << 17
_LEAST_LOOK, _MOST_LOOK = 128, 256  # cells along the box on which a radiance field is looked at
_COLOR_REACH = 3.0  # of those cells: how far from the mesh its colour may lie
_KEEP = 0.01  # parts of what cameras see that have a smaller share of the largest part's area are floaters
_NDC_FAR = 0.9  # beyond it lie distances of 20 times the near plane and more


@dataclass(frozen=True)
class MeshOptions:
    """What a mesh is made like; `level` None chooses it, `keep` is the smallest part kept, as a share."""

    resolution: int = 256
    level: float | None = None
    color: str = "vertex"
    faces: int | None = None
    crop: list[list[float]] | None = None
    keep: float = 0.0
    frame: str = "source"


def mesh_steps(
    volume: Volume, options: MeshOptions, notes: dict[str, Any] | None = None
) -> Generator[Progress, None, Mesh]:
    """The volume's surface in the capture's own coordinates, as a generator's return value.

    Raises:
        UserError: `E-MC-…`, `E-LIMIT-GRID`, `E-USAGE-BOUNDS`, `E-NAN-…`.
    """
    notes = notes or {}
    mesh, color = yield from surface_steps(volume, options, notes)
    if options.faces is not None:
        yield Progress(0, 1, "simplify")
        mesh = simplify(mesh, options.faces)
    if notes.get("colors", True):
        mesh = yield from _colored(mesh, color, options.color, volume)
    return _in_frame(mesh, volume, notes, options.frame)


def surface_steps(
    volume: Volume, options: MeshOptions, notes: dict[str, Any]
) -> Generator[Progress, None, tuple[Mesh, Color]]:
    """The surface in the volume's own coordinates, without floaters, and what tells its colour.

    Raises:
        UserError: as `mesh_steps`.
    """
    bounds = _cropped(volume, options.crop)
    robust = options.level is None and volume.kind == "density"
    seen = (yield from _seen_surface(volume, bounds, options.resolution, notes)) if robust else None
    if seen is None:
        mesh = yield from _level_set(volume, bounds, options)
        if volume.kind == "sdf" and options.level in (None, 0.0):  # bubbles, far from where its surface is known to be
            mesh = components_where(mesh, volume.occupancy.occupied, volume.device)
        return (largest_components(mesh, options.keep) if options.keep > 0 else mesh), _plain_color(volume)
    mesh = yield from extract_mesh_steps(seen.surface, bounds, options.resolution, inside="negative")
    mesh = yield from smooth_steps(mesh)
    return largest_components(mesh, max(options.keep, _KEEP)), seen.color


def _colored(mesh: Mesh, color: Color, how: str, volume: Volume) -> Generator[Progress, None, Mesh]:
    if how == "texture":
        return (yield from paint_texture(mesh, color, volume.device))
    yield Progress(0, 1, "color")
    with quiet_torch():
        return vertex_colors(mesh, color, device=volume.device) if how == "vertex" else mesh


def _in_frame(mesh: Mesh, volume: Volume, notes: dict[str, Any], frame: str) -> Mesh:
    """In the capture's coordinates, or with the field's box brought to [0, 1] along its longest side."""
    if frame == "source":
        return _unwarped(mesh, volume, notes)
    low = volume.space.bounds[0].cpu().numpy()
    return replace(mesh, vertices=((mesh.vertices - low) / volume.space.extent).astype("float32"))


@dataclass(frozen=True)
class _Seen:
    """A radiance field's surface as cameras see it."""

    volume: Volume
    grid: DensityGrid
    surface: FusedSurface

    def color(self, x: Tensor, directions: Tensor) -> Tensor:
        """The field's colour [N, 3] where a ray through x [N, 3] ends, if that is near: sRGB.

        Off its own surface a radiance field has never learned a colour.
        """
        back = _COLOR_REACH * self.grid.spacing
        reached = self.grid.depths(Rays(x - back * directions, directions, directions), (0.5,))[0]
        ahead = torch.where(reached < 2 * back, reached - back, 0.0)
        return self.volume.evaluate(x + ahead[:, None] * directions, directions).rgb


def _seen_surface(
    volume: Volume, bounds: Tensor, resolution: int, notes: dict[str, Any]
) -> Generator[Progress, None, _Seen | None]:
    """The surface that cameras around or inside a radiance field see, None where they see through everything.

    The whole box is looked at, also when only `bounds` is meshed: what a crop cuts open stays solid.
    """
    whole = _cropped(volume, None)
    share = float((whole[1] - whole[0]).max() / (bounds[1] - bounds[0]).max())
    cells = max(_LEAST_LOOK, min(_MOST_LOOK, math.ceil(resolution * share)))
    grid = yield from bake_density(volume.evaluate_geometry, whole, cells, volume.occupancy.occupied)
    maps = yield from render_depth(grid, survey(volume, notes, grid.spacing))
    surface = yield from fuse_depth(maps, whole, grid.spacing)
    return None if surface is None else _Seen(volume, grid, surface)


def _level_set(volume: Volume, bounds: Tensor, options: MeshOptions) -> Generator[Progress, None, Mesh]:
    is_sdf = volume.kind == "sdf"
    return (
        yield from extract_mesh_steps(
            volume.evaluate_geometry,
            bounds,
            options.resolution,
            level=options.level if options.level is not None else level_of(volume, bounds),
            inside="negative" if is_sdf else "positive",
            occupied=None if is_sdf else volume.occupancy.occupied,
        )
    )


def _plain_color(volume: Volume) -> Color:
    return lambda x, directions: volume.evaluate(x, directions).rgb


def level_of(volume: Volume, bounds: Tensor) -> float:
    """Zero of a distance; of a density, where a marching step is half opaque or the field's own threshold."""
    if volume.kind == "sdf":
        return 0.0
    generator = torch.Generator().manual_seed(0)
    low, high = bounds.cpu()
    x = low + (high - low) * torch.rand(_LEVEL_SAMPLES, 3, generator=generator)
    return automatic_level(volume.evaluate_geometry(x.to(volume.device)), volume.space.step)


def _cropped(volume: Volume, crop: list[list[float]] | None) -> Tensor:
    bounds = volume.space.bounds.clone()
    if volume.space.contraction == "ndc":
        bounds[1, 2] = min(float(bounds[1, 2]), _NDC_FAR)
    if crop is None:
        return bounds
    box = torch.tensor(crop, device=bounds.device)
    both = torch.stack([torch.maximum(bounds[0], box[0]), torch.minimum(bounds[1], box[1])])
    if not bool((both[0] < both[1]).all()):
        raise UserError(
            "E-USAGE-BOUNDS",
            "--crop leaves nothing of the field's box",
            got=crop,
            expected=f"a box that meets {bounds.tolist()}",
            fix="correct the crop box",
        )
    return both


def _unwarped(mesh: Mesh, volume: Volume, notes: dict[str, Any]) -> Mesh:
    """From NDC back to the capture's coordinates (NeRF, appendix C, solved for the position)."""
    view = notes.get("viewpoint") or {}
    near, lens = view.get("ndc_near"), view.get("lens")
    if volume.space.contraction != "ndc" or not near or not lens:
        return mesh
    vertices = torch.from_numpy(mesh.vertices)
    z = 2 * near / (vertices[:, 2] - 1)
    across = -vertices[:, :2] * z[:, None] / (2 * torch.tensor(lens))
    # NDC depth grows away from the camera, as -z: the warp mirrors, and corners must run the other way round.
    return replace(mesh, vertices=torch.cat([across, z[:, None]], dim=1).float().numpy(), faces=mesh.faces[:, ::-1])
