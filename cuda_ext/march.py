"""Ray marching through an occupancy bit grid into packed samples (Instant-NGP, appendix E)."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from . import with_nerfacc
from .accelerators import accelerator
from .engine import expect, launch, native_for

BLOCK = 8  # cells along a block of the coarse skip grid


@dataclass(frozen=True)
class MarchSpace:
    """Where and how to step: cells of a bit grid in the unit cube of `bounds`."""

    bounds: Tensor  # [2, 3] low, high, scene units
    resolution: int  # cells along each axis, a multiple of 8
    unbounded: bool  # True: all space is contracted into the cube, the box keeps its middle half
    step: float  # shortest step, scene units
    cone: float  # step grows as t * cone

    @cached_property
    def box(self) -> np.ndarray:
        """low and 1 / extent, six float32."""
        low, high = self.bounds.cpu().float().numpy()
        return np.concatenate([low, 1 / (high - low)]).astype(np.float32)

    def to_unit(self, x: Tensor) -> Tensor:
        """Scene positions [..., 3] to the unit cube."""
        low, high = self.bounds.to(x.device)
        u = (x - low) / (high - low)
        return contract(u) if self.unbounded else u


def contract(u: Tensor) -> Tensor:
    """Box coordinates (the box is [0, 1]^3) to the unit cube: the box keeps the middle half.

    mip-NeRF 360 (Barron et al. 2022), equation 10, with the maximum norm, so that the cube is filled.
    """
    y = 2 * u - 1
    norm = y.abs().amax(dim=-1, keepdim=True).clamp_min(1.0)
    return 0.5 + 0.25 * y * ((2 - 1 / norm) / norm)


def uncontract(v: Tensor) -> Tensor:
    """Inverse of `contract`, for v inside the open unit cube."""
    y = 4 * v - 2
    norm = y.abs().amax(dim=-1, keepdim=True).clamp(1.0, 2 - 1e-6)
    return 0.5 * (y / (norm * (2 - norm)) + 1)


def coarsen(bits: Tensor, resolution: int) -> Tensor:
    """One byte for every block of 8^3 cells: whether any is occupied. bits [G^3 / 8] uint8 -> [(G/8)^3]."""
    bits = expect("coarsen", "bits", bits, (resolution**3 // 8,), dtype=torch.uint8)
    blocks = resolution // BLOCK
    if native_for(bits.device):
        coarse = bits.new_empty(blocks**3)
        launch("coarsen", bits.device, bits, resolution, coarse)
        return coarse
    view = bits.view(blocks, BLOCK, blocks, BLOCK, blocks)
    return (view != 0).amax(dim=3).amax(dim=1).to(torch.uint8).reshape(-1)


def march(
    origins: Tensor,
    directions: Tensor,
    t: Tensor,
    t_end: Tensor,
    bits: Tensor,
    coarse: Tensor,
    space: MarchSpace,
    limit: int,
    shares: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """At most `limit` steps of every ray through occupied cells, from t [R] to t_end [R].

    With `shares` [G^3], a ray ends early: when the shares of the cells of its steps have come to 1.

    Returns ray [S], start [S], end [S], offsets [R + 1], midpoints x [S, 3], and the t [R] to go on from.
    """
    origins = expect("march", "origins", origins, (-1, 3))
    count = origins.shape[0]
    directions = expect("march", "directions", directions, (count, 3), origins)
    t = expect("march", "t", t, (count,), origins).clone()
    t_end = expect("march", "t_end", t_end, (count,), origins)
    if space.resolution > 1024:
        raise ValueError(f"march: {space.resolution} cells along an axis, expected 1024 at most")
    bits = expect("march", "bits", bits, (space.resolution**3 // 8,), origins, torch.uint8)
    coarse = expect("march", "coarse", coarse, ((space.resolution // BLOCK) ** 3,), origins, torch.uint8)
    if shares is not None:
        shares = expect("march", "shares", shares, (space.resolution**3,), origins)
    if not 1 <= limit <= 2**20 or not space.step > 0:
        raise ValueError(f"march: limit {limit}, step {space.step}: expected 1 to 2^20 and a positive step")
    nerfacc = accelerator("nerfacc", origins)
    if nerfacc is not None:
        return with_nerfacc.march(nerfacc, origins, directions, t, t_end, unpack_bits(bits), space, limit)
    if not native_for(origins.device):
        return march_reference(origins, directions, t, t_end, bits, space, limit, shares)
    starts, ends = _scratch(count * limit, t.device)
    counts = torch.empty(count, dtype=torch.int32, device=t.device)
    box = space.box
    launch(
        "march",
        t.device,
        origins,
        directions,
        count,
        box.ctypes.data,
        int(space.unbounded),
        bits,
        coarse,
        shares,
        space.resolution,
        space.step,
        space.cone,
        limit,
        t,
        t_end,
        starts,
        ends,
        counts,
    )
    offsets = torch.zeros(count + 1, dtype=torch.int64, device=t.device)
    torch.cumsum(counts, 0, out=offsets[1:])
    total = int(offsets[-1])
    ray = torch.empty(total, dtype=torch.int64, device=t.device)
    start, end, x = t.new_empty(total), t.new_empty(total), t.new_empty(total, 3)
    launch("march_pack", t.device, origins, directions, count, limit, starts, ends, offsets, ray, start, end, x)
    return ray, start, end, offsets, x, t


_kept = threading.local()


def _scratch(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Two float buffers that outlive the call: fresh ones would cost more page faults than marching does.

    One pair for each thread and CUDA stream: kernels of two streams may run at the same time.
    """
    stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
    buffers: dict[tuple[torch.device, int], Tensor] = _kept.__dict__.setdefault("buffers", {})
    kept = buffers.get((device, stream))
    if kept is None or kept.shape[1] < size:
        kept = buffers[device, stream] = torch.empty(2, size, device=device)
    return kept[0], kept[1]


def march_reference(
    origins: Tensor,
    directions: Tensor,
    t: Tensor,
    t_end: Tensor,
    bits: Tensor,
    space: MarchSpace,
    limit: int,
    shares: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The specification of `march`: every step of the comb is looked at, occupied ones are kept."""
    occupied = unpack_bits(bits)
    count, resolution = len(t), space.resolution
    rays, starts, ends = [], [], []
    taken = torch.zeros(count, dtype=torch.int64, device=t.device)
    blocked, alive = torch.zeros_like(t), t < t_end
    while bool(alive.any()):
        dt = (t * space.cone).clamp_min(space.step)
        u = space.to_unit(origins + (t + 0.5 * dt)[:, None] * directions)
        cell = (u.nan_to_num(0).clamp(0, 1) * resolution).long().clamp(0, resolution - 1)
        index = (cell[:, 2] * resolution + cell[:, 1]) * resolution + cell[:, 0]
        hit = alive & occupied[index]
        ended = hit & (blocked >= 1)
        hit, alive, t = hit & ~ended, alive & ~ended, torch.where(ended, torch.maximum(t, t_end), t)
        if shares is not None:
            blocked = blocked + shares[index] * hit
        rays.append(hit.nonzero()[:, 0])
        starts.append(t[hit])
        ends.append((t + dt)[hit])
        taken += hit
        t = torch.where(alive, t + dt, t)
        alive = alive & (t < t_end) & (taken < limit)
    ray = torch.cat(rays) if rays else torch.zeros(0, dtype=torch.int64, device=t.device)
    start = torch.cat(starts) if starts else t.new_zeros(0)
    end = torch.cat(ends) if ends else t.new_zeros(0)
    order = torch.argsort(ray, stable=True)
    ray, start, end = ray[order], start[order], end[order]
    offsets = torch.searchsorted(ray, torch.arange(count + 1, device=t.device))
    x = origins[ray] + (0.5 * (start + end))[:, None] * directions[ray]
    return ray, start, end, offsets, x, t


def pack_bits(occupied: Tensor) -> Tensor:
    """Cells [G^3] bool -> bits [G^3 / 8] uint8, cell i at bit i % 8."""
    if occupied.device.type == "cpu":
        return torch.from_numpy(np.packbits(occupied.numpy(), bitorder="little"))
    powers = torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.uint8, device=occupied.device)
    return (occupied.view(-1, 8).to(torch.uint8) * powers).sum(dim=1, dtype=torch.uint8)


def unpack_bits(bits: Tensor) -> Tensor:
    """Inverse of `pack_bits`."""
    if bits.device.type == "cpu":
        return torch.from_numpy(np.unpackbits(bits.numpy(), bitorder="little")).bool()
    shifts = torch.arange(8, dtype=torch.uint8, device=bits.device)
    return ((bits[:, None] >> shifts) & 1).bool().reshape(-1)
