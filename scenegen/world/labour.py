"""Who makes blocks, and the one task that is done for each batch of them, here, in another process or far away."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fields.errors import UserError

from ..blocks import BlockFrame
from ..decoder import TriplaneDecoder
from ..executors import Executor
from ..model_folder import MANIFEST, load_model, read_notes
from ..models import ConvDenoiser, TriplaneVAE
from ..sampling import decode_latents
from .extrapolate import GrowOptions, extrapolate
from .history import SceneHead, check_seed
from .neighbours import Index, Known
from .noise import CellNoise
from .settle import settled


@dataclass(frozen=True)
class Labour:
    """A model folder whose denoiser works on a device, in processes or on a cluster, on `batch` blocks at a time.

    The machines of a Ray cluster find the folder at the same path.
    """

    model: str
    device: str = "cpu"
    executor: Executor = "local"
    processes: int = 1
    batch: int = 16


@dataclass(frozen=True, eq=False)
class Batch:
    """Blocks of one wave, with all that they follow from."""

    indices: tuple[Index, ...]
    seed: int
    plans: NDArray[np.uint8]  # [B, K, S, S]
    neighbours: tuple[dict[Index, NDArray[np.float16]], ...]  # planes [3, C, R, R] by offset, for each block
    known: NDArray[np.float32]  # [B, 3, c, r, r]
    mask: NDArray[np.bool_]  # [B, 3, 1, r, r]


# blocks, their latents [B, 3, c, r, r], and their planes [B, 3, C, R, R]
Made = tuple[tuple[Index, ...], NDArray[np.float32], NDArray[np.float16]]


@dataclass(frozen=True, eq=False)
class Held:
    """The networks of a model folder."""

    denoiser: ConvDenoiser
    vae: TriplaneVAE
    decoder: TriplaneDecoder


def scene_head(model: str | os.PathLike[str], seed: int, options: GrowOptions, name: str = "") -> SceneHead:
    """The head of a scene to be made by a model folder, which also says what its denoiser predicts.

    name: what the scene is to call the model, its path by default.

    Raises:
        UserError: `E-USAGE-SEED`, `E-CKPT-…`, `E-JSON-…`.
    """
    notes = read_notes(model)
    try:
        frame = BlockFrame(float(notes["frame"]["size"]), float(notes["frame"]["floor"]))
        classes, world, prediction = tuple(notes["classes"]), notes["world"], str(notes["prediction"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError("E-CKPT-MODEL", "model does not say what it was trained on", where=model, got=f"{error!r}",
                        expected="notes on frame, classes, world and prediction",
                        fix="train it by fieldscape scene train-diffusion") from None  # fmt: skip
    held = held_networks(str(model), model_digest(model), "cpu")
    planes = (3, held.decoder.config["channels"], *[held.decoder.config["resolution"]] * 2)
    return SceneHead(
        name or str(model), model_digest(model), world, frame, classes, tuple(held.denoiser.latent_shape), planes,
        check_seed(seed), replace(options, prediction=prediction),
    )  # fmt: skip


def model_digest(model: str | os.PathLike[str]) -> str:
    """SHA-256 of a model folder's manifest, which names the digests of all its files.

    Raises:
        UserError: `E-CKPT-MISSING`, `E-CKPT-MODEL`, `E-JSON-…`.
    """
    read_notes(model)
    return hashlib.sha256((Path(model) / MANIFEST).read_bytes()).hexdigest()


def check_model(head: SceneHead, model: str | os.PathLike[str]) -> None:
    """Refuse to go on with a scene by another model than it was begun with.

    Raises:
        UserError: `E-SCENE-MODEL`, and those of `model_digest`.
    """
    found = model_digest(model)
    if found != head.model_digest:
        raise UserError("E-SCENE-MODEL", "scene was begun with another model", where=model, got=found[:12],
                        expected=f"{head.model} ({head.model_digest[:12]})",
                        fix="name the folder that the scene was made with")  # fmt: skip


def make_batch(model: str, digest: str, device: str, options: GrowOptions, task: Batch) -> Made:
    """The blocks of one batch: a pure function of its arguments (`digest` is that of the model).

    Latents are drawn for all of them at once. Planes are settled one block at a time: a sum that is rounded otherwise
    in another company would grow over the steps.
    """
    held = held_networks(model, digest, device)
    known = [Known(torch.from_numpy(a), torch.from_numpy(m)) for a, m in zip(task.known, task.mask, strict=True)]
    noise = CellNoise(task.indices, tuple(held.denoiser.latent_shape), task.seed)
    latents = extrapolate(held.denoiser, torch.from_numpy(task.plans), known, noise, options)
    planes = [_planes(held, *each) for each in zip(task.indices, latents, task.neighbours, strict=True)]
    return task.indices, latents.numpy(), np.stack(planes)


def _planes(
    held: Held, index: Index, latent: Tensor, neighbours: dict[Index, NDArray[np.float16]]
) -> NDArray[np.float16]:
    """Decoded latents [3, c, r, r], made to fit the neighbours' planes."""
    beside = {offset: torch.from_numpy(planes).float() for offset, planes in neighbours.items()}
    return settled(held.decoder, decode_latents(held.vae, latent[None])[0], beside, index).half().numpy()


@lru_cache(maxsize=1)
def held_networks(model: str, digest: str, device: str) -> Held:
    """The networks of a folder with this digest: a process holds them once, however many tasks it does.

    The decoder, which only sees some points at a time, is on the CPU.

    Raises:
        UserError: `E-CKPT-…`; `E-SCENE-MODEL` when the folder holds another model meanwhile.
    """
    if model_digest(model) != digest:
        raise UserError("E-SCENE-MODEL", "model folder was replaced meanwhile", where=model, expected=digest[:12],
                        fix="restore the model that the scene was begun with")  # fmt: skip
    denoiser = load_model(ConvDenoiser, model, "denoiser", device).eval()
    vae = load_model(TriplaneVAE, model, "vae", device).eval()
    return Held(denoiser, vae, load_model(TriplaneDecoder, model, "decoder"))
