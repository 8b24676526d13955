"""What fitted planes are judged by, in training and after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from .blocks import CLAMP, BlockFrame
from .decoder import TriplaneDecoder

_SIDE_WIDTH = 0.01  # block units: 16 mm in a block of 3.2 m


@dataclass(frozen=True)
class LossWeights:
    """Shares of the terms; planes of 32 x 32 cannot follow every normal, and are rougher if they have to try.

    BlockFusion has 100 : 50 : 5 : 2 for surface, distance, normal and eikonal, at 128 x 128.
    """

    surface: float = 4.0
    distance: float = 1.0
    near: float = 0.1  # block units: how far from a surface an error counts half
    side: float = 0.1  # of the inside and outside that distances off the surface mean
    normal: float = 0.003
    eikonal: float = 0.002
    smooth: float = 2e-2
    size: float = 1e-4


def distance_error(f: Tensor, sdf: Tensor) -> Tensor:
    """|f - sdf|, and nothing where a clamped target only says "far" and f is farther still."""
    far = sdf.abs() >= CLAMP - 1e-3
    return torch.where(far, torch.relu(CLAMP - f * sdf.sign()), (f - sdf).abs())


def nearness(sdf: Tensor, width: float) -> Tensor:
    """Weight of an error in (0, 1]: 1 on the surface, a half `width` away. What is far off shows no surface."""
    return width / (width + sdf.abs())


def side_error(f: Tensor, sdf: Tensor) -> Tensor:
    """Cross-entropy of being inside, with sides as soft as logistic noise of `_SIDE_WIDTH` in the distance."""
    return binary_cross_entropy_with_logits(-f / _SIDE_WIDTH, torch.sigmoid(-sdf / _SIDE_WIDTH), reduction="none")


def fit_loss(decoder: TriplaneDecoder, planes: Tensor, batch: Mapping[str, Tensor], weights: LossWeights) -> Tensor:
    """Loss [B] of each block for samples drawn by `draw`."""
    f, gradient = decoder.with_gradient(planes, batch["steep_points"])
    on = batch["normals"].shape[1]
    f = torch.cat([f, decoder(planes, batch["points"])], 1)  # [B, P]
    error, side = distance_error(f, batch["sdf"]), side_error(f, batch["sdf"])
    weight = torch.where(batch["surface"], weights.surface, weights.distance * nearness(batch["sdf"], weights.near))
    off_normal = (gradient[:, :on] - batch["normals"]).norm(dim=-1).mean(1)
    off_unit = (gradient[:, on:].norm(dim=-1) - 1).square().mean(1)
    data = (error * weight + side * (weights.side * ~batch["surface"])).mean(1)
    data = data + weights.normal * off_normal + weights.eikonal * off_unit
    return data + weights.smooth * _roughness(planes) + weights.size * planes.square().mean((1, 2, 3, 4))


def draw(samples: Mapping[str, Tensor], points: int, generator: torch.Generator) -> dict[str, Tensor]:
    """A batch of `points` samples of every block, the same numbers in each, a quarter from each kind.

    Gradients are looked at in a quarter of them, `steep_points` [B, S, 3]: first those on the surface that
    `normals` go with, then some near it. `points` [B, P - S, 3] follow; `sdf` and `surface` are of both together.
    """
    kind = samples["normals"].shape[1]
    steep = points // 8
    on, fine, broad, anywhere = (
        torch.randint(kind, (4, points // 4), generator=generator) + kind * torch.arange(4)[:, None]
    )
    first = torch.cat([on[:steep], broad[:steep]])
    rest = torch.cat([on[steep:], fine, broad[steep:], anywhere])
    order = torch.cat([first, rest])
    device = samples["points"].device
    return {
        "steep_points": samples["points"][:, first].float(),
        "points": samples["points"][:, rest].float(),
        "sdf": samples["sdf"][:, order].float(),
        "surface": (order < kind).to(device),
        "normals": samples["normals"][:, on[:steep]].float(),
    }


def _roughness(planes: Tensor) -> Tensor:
    """Mean squared difference of neighbouring vertices, [B]."""
    return planes.diff(dim=-1).square().mean((1, 2, 3, 4)) + planes.diff(dim=-2).square().mean((1, 2, 3, 4))


@torch.no_grad()
def block_quality(
    decoder: TriplaneDecoder, planes: Tensor, samples: Mapping[str, Tensor], frame: BlockFrame
) -> list[dict[str, float]]:
    """How well planes [B, 3, C, R, R] give back the check points of their blocks, which no fit has seen.

    surface_mm: mean |f - sdf| on the surface; sign_iou: of the insides, at uniform points; thin_mm, thin_iou:
    the same on and within some centimetres of thin parts; thin: how many points these two are taken from.
    """
    f = decoder(planes, samples["check_points"].float())
    return [
        _figures(*rows, frame) for rows in zip(f, samples["check_sdf"].float(), samples["check_thin"] > 0, strict=True)
    ]


def _figures(f: Tensor, sdf: Tensor, thin: Tensor, frame: BlockFrame) -> dict[str, float]:
    q = len(thin)
    error = (f - sdf).abs() * frame.half * 1000
    found = {
        "surface_mm": float(error[:q].mean()),
        "sign_iou": sign_iou(f[2 * q :], sdf[2 * q :]),
        "thin": float(thin.sum()),
    }
    if bool(thin.any()):
        found["thin_mm"] = float(error[:q][thin].mean())
        found["thin_iou"] = sign_iou(f[q : 2 * q][thin], sdf[q : 2 * q][thin])
    return found


def sign_iou(f: Tensor, sdf: Tensor) -> float:
    """Intersection over union of the insides; 1 where both are empty."""
    a, b = f < 0, sdf < 0
    union = int((a | b).sum())
    return float((a & b).sum()) / union if union else 1.0


def mean_quality(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over blocks; those of thin parts weighted by their points."""
    if not rows:
        return {}
    found = {name: sum(row[name] for row in rows) / len(rows) for name in ("surface_mm", "sign_iou")}
    points = sum(row["thin"] for row in rows)
    for name in ("thin_mm", "thin_iou"):
        if points:
            found[name] = sum(row.get(name, 0.0) * row["thin"] for row in rows) / points
    return {**found, "blocks": float(len(rows)), "thin": points}
