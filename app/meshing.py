"""From a field to a mesh that other programs take: level, colours, crop, fewer faces, capture coordinates."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fields.errors import UserError
from fields.field import Field
from fields.mesh import Mesh, automatic_level, extract_mesh_steps, largest_components, simplify, vertex_colors
from fields.progress import Progress

COLORS = ("vertex", "none")
_LEVEL_SAMPLES = 1 << 17
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


def mesh_steps(
    field: Field, options: MeshOptions, notes: dict[str, Any] | None = None
) -> Generator[Progress, None, Mesh]:
    """The field's surface in the capture's own coordinates, as a generator's return value.

    Raises:
        UserError: `E-MC-…`, `E-LIMIT-GRID`, `E-USAGE-BOUNDS`, `E-NAN-…`.
    """
    bounds = _cropped(field, options.crop)
    level = options.level if options.level is not None else level_of(field, bounds)
    is_sdf = field.kind == "sdf"
    mesh = yield from extract_mesh_steps(
        field.evaluate_geometry,
        bounds,
        options.resolution,
        level=level,
        inside="negative" if is_sdf else "positive",
        occupied=None if is_sdf else field.occupancy.occupied,
    )
    if options.keep > 0:
        mesh = largest_components(mesh, options.keep)
    if options.faces is not None:
        mesh = simplify(mesh, options.faces)
    if options.color == "vertex" and (notes or {}).get("colors", True):
        mesh = vertex_colors(mesh, lambda x, directions: field.evaluate(x, directions).rgb, device=field.device)
    return _unwarped(mesh, field, notes or {})


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
