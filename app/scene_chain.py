"""From scenes to a judged generator in one job: prepare, fit, VAE, its way back once more, diffusion, figures."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fields.folder_lock import FolderLock
from fields.progress import Progress
from fields.safeio import read_json, write_json
from scenegen.crops import CropSettings
from scenegen.evaluate import EvaluateOptions
from scenegen.fit import FitSettings, fit_blocks
from scenegen.prepare import PrepareSettings, prepare_blocks
from scenegen.presets import preset_named
from scenegen.sampling import SamplingOptions
from scenegen.scenes import SceneSource
from scenegen.store import open_store

from .console import finite
from .record import Record
from .scene_evaluation import evaluation_run, open_networks
from .scene_training import MODEL, Place, TrainSettings, diffusion_run, vae_run

BLOCKS, PLANES, VAE, IMPROVED, DIFFUSION = "blocks", "planes", "vae", "vae-improved", "diffusion"
FIGURES, GALLERY, RECORD = "figures.json", "gallery.png", "run.json"


@dataclass(frozen=True)
class ChainSettings:
    """Sizes by preset, block crops, seed and device; blocks to judge by; bf16 to train in.

    processes: for preparing and fitting.
    """

    crop: CropSettings
    preset: str = "tiny"
    seed: int = 0
    device: str = "cpu"
    processes: int = 1
    count: int = 200
    bfloat16: bool = False


def train_chain(
    sources: Sequence[SceneSource], settings: ChainSettings, out: Path
) -> Generator[Progress, None, dict[str, Any]]:
    """Everything into the folder `out`: what is finished there already is kept, what was begun goes on.

    OUT/diffusion/model is the generator, OUT/figures.json what it is worth, OUT/gallery.png pictures of it.

    Returns:
        the record, with seconds by stage.

    Raises:
        UserError: as the stages do.
    """
    out.mkdir(parents=True, exist_ok=True)
    with FolderLock(out):
        before = read_json(out / RECORD) if (out / RECORD).is_file() else None
        told = {"preset": settings.preset, "seed": settings.seed, "scenes": len(sources), "count": settings.count}
        record = Record("scene train-all", told, settings.device, before)
        try:
            figures = yield from _stages(sources, settings, out, record)
        finally:  # a run that is stopped has spent its seconds too
            write_json(out / RECORD, record.document())
        write_json(out / FIGURES, figures)
        document = record.document(status="done", metrics=figures)
        write_json(out / RECORD, document)
        return document


def clear_chain(out: Path) -> None:
    """Remove what an earlier run made in `out`, and nothing else."""
    for name in (BLOCKS, PLANES, VAE, IMPROVED, DIFFUSION):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in (FIGURES, GALLERY, RECORD):
        (out / name).unlink(missing_ok=True)


def _stages(
    sources: Sequence[SceneSource], settings: ChainSettings, out: Path, record: Record
) -> Generator[Progress, None, dict[str, Any]]:
    def kept(name: str) -> None:
        write_json(out / RECORD, record.document(stage=name))

    preset = preset_named(settings.preset)
    training = TrainSettings(settings.preset, seed=settings.seed, device=settings.device, bfloat16=settings.bfloat16)
    with record.phase("prepare"):
        cut = PrepareSettings(settings.crop, preset.data.crops, preset.data.held_out, settings.seed)
        yield from prepare_blocks(
            sources, cut, out / BLOCKS, resume=(out / BLOCKS).exists(), processes=settings.processes
        )
    kept("fit")
    samples = open_store(out / BLOCKS, "samples")
    with record.phase("fit"):
        fitting = FitSettings(preset.fit, settings.seed, settings.device)
        yield from fit_blocks(
            samples, fitting, out / PLANES, resume=(out / PLANES).exists(), processes=settings.processes
        )
    kept("vae")
    fitted = open_store(out / PLANES, "fitted")
    with record.phase("vae"):
        yield from vae_run(samples, fitted, training, _place(out / VAE))
    kept("improve")
    with record.phase("improve"):
        yield from vae_run(samples, fitted, training, _place(out / IMPROVED), out / VAE / MODEL)
    kept("diffusion")
    with record.phase("diffusion"):
        yield from diffusion_run(out / IMPROVED / MODEL, fitted, training, _place(out / DIFFUSION))
    kept("evaluate")
    with record.phase("evaluate"):
        networks, notes = open_networks(out / DIFFUSION / MODEL, settings.device)
        sampling = SamplingOptions(steps=preset.diffusion.sampling_steps, prediction=str(notes["prediction"]))
        options = EvaluateOptions(settings.count, settings.seed, sampling)
        found = yield from evaluation_run(networks, samples, fitted, options, out / GALLERY)
    return finite(found)


def _place(folder: Path) -> Place:
    return Place(folder, resume=folder.exists())
