"""Figures of a trained generator as a job, with a contact sheet."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

from fields.progress import Progress
from scenegen.decoder import TriplaneDecoder
from scenegen.evaluate import EvaluateOptions, Gallery, Networks, evaluate
from scenegen.model_folder import load_model, read_notes
from scenegen.models import ConvDenoiser, TriplaneVAE
from scenegen.pictures import block_picture, plan_picture, save_sheet
from scenegen.store import BlockStore

from .hardware import peak_memory

_SHOWN = 12


def open_networks(path: str | os.PathLike[str], device: str) -> tuple[Networks, dict[str, Any]]:
    """The networks of a model folder and its notes; without a denoiser after `train-vae`.

    Raises:
        UserError: `E-CKPT-…`.
    """
    notes = read_notes(path)
    denoiser = load_model(ConvDenoiser, path, "denoiser", device) if "prediction" in notes else None
    decoder, vae = load_model(TriplaneDecoder, path, "decoder"), load_model(TriplaneVAE, path, "vae", device)
    return Networks(decoder, vae, denoiser), notes


def evaluation_run(
    networks: Networks, samples: BlockStore, fitted: BlockStore, options: EvaluateOptions, sheet: Path | None
) -> Generator[Progress, None, dict[str, Any]]:
    """The figures, section by section; the sheet shows generated block | nearest training block | plan."""
    document, gallery = yield from evaluate(networks, samples, fitted, options)
    if gallery is not None and sheet is not None:
        save_sheet(_rows(networks, gallery, fitted.head.classes), sheet)
    return {**document, "peak_bytes": peak_memory()}


def _rows(networks: Networks, gallery: Gallery, classes: tuple[str, ...]) -> list[list[Any]]:
    shown = slice(0, _SHOWN)
    return [
        [block_picture(networks.decoder, block) for block in gallery.planes[shown]],
        [block_picture(networks.decoder, block) for block in gallery.nearest[shown]],
        [plan_picture(plan, classes) for plan in gallery.layout[shown]],
    ]
