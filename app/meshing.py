"""From a field to a mesh that other programs take: level, colours, crop, fewer faces, capture coordinates."""

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
from fields.field import Field
from fields.mesh import (
    Mesh,
    automatic_level,
    extract_mesh_steps,
    largest_components,
    paint_texture,
    simplify,
    smooth,
    vertex_colors,
)
from fields.progress import Progress

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
    field: Field, options: MeshOptions, notes: dict[str, Any] | None = None
) -> Generator[Progress, None, Mesh]:
    """The field's surface in the capture's own coordinates, as a generator's return value.

    Raises:
        UserError: `E-MC-…`, `E-LIMIT-GRID`, `E-USAGE-BOUNDS`, `E-NAN-…`.
    """
    notes = notes or {}
    bounds, color = _cropped(field, options.crop), _plain_color(field)
    robust = options.level is None and field.kind == "density"
    seen = (yield from _seen_surface(field, bounds, options.resolution, notes)) if robust else None
    if seen is None:
        mesh = yield from _level_set(field, bounds, options)
    else:
        mesh = yield from extract_mesh_steps(seen.surface, bounds, options.resolution, inside="negative")
        yield Progress(0, 1, "smooth")
        mesh, color = smooth(mesh), seen.color
    keep = max(options.keep, _KEEP) if seen is not None else options.keep
    if keep > 0:
        mesh = largest_components(mesh, keep)
    if options.faces is not None:
        mesh = simplify(mesh, options.faces)
    if notes.get("colors", True):
        mesh = yield from _colored(mesh, color, options.color, field)
    return _in_frame(mesh, field, notes, options.frame)


def _colored(mesh: Mesh, color: Color, how: str, field: Field) -> Generator[Progress, None, Mesh]:
    if how == "texture":
        return (yield from paint_texture(mesh, color, field.device))
    yield Progress(0, 1, "color")
    with quiet_torch():
        return vertex_colors(mesh, color, device=field.device) if how == "vertex" else mesh


def _in_frame(mesh: Mesh, field: Field, notes: dict[str, Any], frame: str) -> Mesh:
    """In the capture's coordinates, or with the field's box brought to [0, 1] along its longest side."""
    if frame == "source":
        return _unwarped(mesh, field, notes)
    low = field.space.bounds[0].cpu().numpy()
    return replace(mesh, vertices=((mesh.vertices - low) / field.space.extent).astype("float32"))


@dataclass(frozen=True)
class _Seen:
    """A radiance field's surface as cameras see it."""

    field: Field
    grid: DensityGrid
    surface: FusedSurface

    def color(self, x: Tensor, directions: Tensor) -> Tensor:
        """The field's colour [N, 3] where a ray through x [N, 3] ends, if that is near: sRGB.

        Off its own surface a radiance field has never learned a colour.
        """
        back = _COLOR_REACH * self.grid.spacing
        reached = self.grid.first_surface(Rays(x - back * directions, directions, directions))
        ahead = torch.where(reached < 2 * back, reached - back, 0.0)
        return self.field.evaluate(x + ahead[:, None] * directions, directions).rgb


def _seen_surface(
    field: Field, bounds: Tensor, resolution: int, notes: dict[str, Any]
) -> Generator[Progress, None, _Seen | None]:
    """The surface that cameras around or inside a radiance field see, None where they see through everything.

    The whole box is looked at, also when only `bounds` is meshed: what a crop cuts open stays solid.
    """
    whole = _cropped(field, None)
    share = float((whole[1] - whole[0]).max() / (bounds[1] - bounds[0]).max())
    cells = max(_LEAST_LOOK, min(_MOST_LOOK, math.ceil(resolution * share)))
    grid = yield from bake_density(field.evaluate_geometry, whole, cells, field.occupancy.occupied)
    maps = yield from render_depth(grid, survey(field, notes, grid.spacing))
    surface = yield from fuse_depth(maps, whole, grid.spacing)
    return None if surface is None else _Seen(field, grid, surface)


def _level_set(field: Field, bounds: Tensor, options: MeshOptions) -> Generator[Progress, None, Mesh]:
    is_sdf = field.kind == "sdf"
    return (
        yield from extract_mesh_steps(
            field.evaluate_geometry,
            bounds,
            options.resolution,
            level=options.level if options.level is not None else level_of(field, bounds),
            inside="negative" if is_sdf else "positive",
            occupied=None if is_sdf else field.occupancy.occupied,
        )
    )


def _plain_color(field: Field) -> Color:
    return lambda x, directions: field.evaluate(x, directions).rgb


def level_of(field: Field, bounds: Tensor) -> float:
    """Zero of a distance; of a density, where a marching step is half opaque or the field's own threshold."""
    if field.kind == "sdf":
        return 0.0
    generator = torch.Generator().manual_seed(0)
    low, high = bounds.cpu()
    x = low + (high - low) * torch.rand(_LEVEL_SAMPLES, 3, generator=generator)
    return automatic_level(field.evaluate_geometry(x.to(field.device)), field.space.step)


def _cropped(field: Field, crop: list[list[float]] | None) -> Tensor:
    bounds = field.space.bounds.clone()
    if field.space.contraction == "ndc":
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


def _unwarped(mesh: Mesh, field: Field, notes: dict[str, Any]) -> Mesh:
    """From NDC back to the capture's coordinates (NeRF, appendix C, solved for the position)."""
    view = notes.get("viewpoint") or {}
    near, lens = view.get("ndc_near"), view.get("lens")
    if field.space.contraction != "ndc" or not near or not lens:
        return mesh
    vertices = torch.from_numpy(mesh.vertices)
    z = 2 * near / (vertices[:, 2] - 1)
    across = -vertices[:, :2] * z[:, None] / (2 * torch.tensor(lens))
    # NDC depth grows away from the camera, as -z: the warp mirrors, and corners must run the other way round.
    return replace(mesh, vertices=torch.cat([across, z[:, None]], dim=1).float().numpy(), faces=mesh.faces[:, ::-1])
