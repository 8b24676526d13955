"""How close a mesh or a field comes to the mesh it was made from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import trimesh
from torch import Tensor

from .mesh_sdf import MeshSDF

FSCORE_SHARE = 0.005
_NEAR_SHARE = 0.02

Metrics = dict[str, float | bool]


def compare_meshes(
    candidate: trimesh.Trimesh, source: MeshSDF | trimesh.Trimesh, samples: int = 100_000, seed: int = 0
) -> Metrics:
    """Figures of `candidate` against `source`; lengths are shares of the source's diagonal.

    chamfer: mean of the two directed mean distances between the surfaces. fscore: harmonic mean of
    precision and recall at 0.5 % of the diagonal (Knapitsch et al. 2017). sign_iou: overlap of
    the two insides. watertight: whether the candidate is closed.

    Raises:
        UserError: `E-MESH-DEGENERATE` when either mesh has no face with an area.
    """
    reference = source if isinstance(source, MeshSDF) else MeshSDF(source)
    ours = MeshSDF(candidate)
    generator = torch.Generator().manual_seed(seed)
    to_source = reference.distance(ours.surface_points(samples, generator)[0].numpy()) / reference.diagonal
    to_ours = ours.distance(reference.surface_points(samples, generator)[0].numpy()) / reference.diagonal
    x = _probes(reference, samples, generator).double().numpy()
    return {
        "chamfer": float((to_source.mean() + to_ours.mean()) / 2),
        "fscore": _harmonic(float((to_source < FSCORE_SHARE).mean()), float((to_ours < FSCORE_SHARE).mean())),
        "sign_iou": _iou(ours.contains(x), reference.contains(x)),
        "watertight": ours.report.watertight,
    }


@torch.no_grad()
def compare_sdf(
    sdf: Callable[[Tensor], Tensor], source: MeshSDF, samples: int = 100_000, seed: int = 0
) -> dict[str, float]:
    """`sign_iou` of a field, and `sdf_error`, its mean absolute error as a share of the diagonal.

    `sdf` takes positions [N, 3] and gives distances [N], negative inside.
    """
    x = _probes(source, samples, torch.Generator().manual_seed(seed))
    found = torch.cat([sdf(part).reshape(-1).float().cpu() for part in x.split(2**16)])
    wanted = source.sdf(x)
    return {
        "sign_iou": _iou((found < 0).numpy(), (wanted < 0).numpy()),
        "sdf_error": float((found - wanted).abs().mean()) / source.diagonal,
    }


def _probes(source: MeshSDF, count: int, generator: torch.Generator) -> Tensor:
    """Points [N, 3]: half uniform in the source's box, half near its surface."""
    low, high = source.bounds
    uniform = low + (high - low) * torch.rand(count - count // 2, 3, generator=generator)
    near, _ = source.surface_points(count // 2, generator)
    near = near + _NEAR_SHARE * source.diagonal * torch.randn(near.shape, generator=generator)
    return torch.cat([uniform, near])


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two sets of points; 1 when both are empty."""
    union = int((a | b).sum())
    return float((a & b).sum()) / union if union else 1.0


def _harmonic(precision: float, recall: float) -> float:
    total = precision + recall
    return 2 * precision * recall / total if total > 0 else 0.0
