"""A tiny untrained model and painted ground, for tests of scenes that grow."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from scene_blocks import woken
from torch import Tensor

from data.class_map import ClassMap
from data.palette import class_named
from scenegen.blocks import BlockFrame
from scenegen.decoder import TriplaneDecoder
from scenegen.model_folder import save_models
from scenegen.models import ConvDenoiser, TriplaneVAE, build_denoiser
from scenegen.world.extrapolate import GrowOptions
from scenegen.world.grounds import PaintedGround
from scenegen.world.labour import scene_head
from scenegen.world.neighbours import Index
from scenegen.world.plan import Plan
from scenegen.world.plan_files import encode_ground, load_plan
from scenegen.world.store import SceneStore, create_scene

CLASSES = ("floor", "wall", "bed")
FRAME = BlockFrame()
QUICK = GrowOptions(steps=4, resamples=2, jump=2)
SHAPE, SHAPE_OF_PLANES = (3, 2, 4, 4), (3, 2, 8, 8)


def tiny_denoiser() -> ConvDenoiser:
    """An untrained network in which everything does something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_denoiser(
            "conv", latent_channels=2, resolution=4, classes=len(CLASSES), widths=(16, 32), condition_width=8
        )
    network.normalise_to(torch.tensor([0.3, -0.2]), torch.tensor([1.5, 0.7]))
    return woken(network).eval()


def tiny_model(folder: Path) -> str:
    """A model folder with three untrained networks."""
    notes = {"world": "room", "frame": asdict(FRAME), "classes": list(CLASSES), "prediction": "sample"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        vae = woken(TriplaneVAE(2, 8, latent_channels=2, latent_resolution=4, widths=(8, 16), heads=2))
        decoder = TriplaneDecoder(2, 8, 8, 1)
    networks = {"decoder": decoder, "vae": vae, "denoiser": tiny_denoiser()}
    return str(save_models(folder, networks, card="# Tiny\n", notes=notes))


def ground(first: Index, blocks: tuple[int, int], seed: int = 0) -> PaintedGround:
    """A rug of random patches that covers `blocks` (along i, along k) from block `first` on, and no other."""
    width, depth = (round((n * FRAME.stride + FRAME.size - FRAME.stride) / 0.1) for n in blocks)
    patches = np.random.default_rng(seed).choice([class_named(name).index for name in CLASSES], (depth, width))
    origin = first[0] * FRAME.stride, first[1] * FRAME.stride
    return PaintedGround(ClassMap(patches.astype(np.uint8), origin, 0.1))


def new_scene(
    folder: Path, model: str, piece: PaintedGround, seed: int = 7, options: GrowOptions = QUICK
) -> tuple[SceneStore, Plan]:
    """A scene without blocks yet, and its plan."""
    store = create_scene(folder, scene_head(model, seed, options), encode_ground(piece))
    return store, plan_of(store)


def plan_of(store: SceneStore) -> Plan:
    """The plan as the scene's files have it."""
    return load_plan(store.folder, store.plans, store.head.classes)


def latents(store: SceneStore) -> dict[Index, Tensor]:
    """All blocks."""
    return {index: store.latent(index) for index in store.finished()}


def difference(one: dict[Index, Tensor], other: dict[Index, Tensor]) -> float:
    """The largest one between the same blocks of two scenes, which must have the same ones."""
    assert one.keys() == other.keys()
    return max(float((one[index] - other[index]).abs().max()) for index in one)
