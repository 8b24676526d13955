"""A trained generator as a folder to be shared: half precision, and a card that tells data, figures and limits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fields.errors import UserError
from fields.safeio import read_json
from scenegen.model_folder import read_notes, save_models

from .scene_evaluation import open_networks

UNKNOWN = "the scenes given to `fieldscape scene prepare`"


def pack_model(
    model: str | os.PathLike[str], out: Path, figures: dict[str, Any], data: str = UNKNOWN, licence: str = ""
) -> dict[str, Any]:
    """Write the networks of `model` to `out` in fp16, half the bytes. Returns path and bytes.

    Args:
        figures: document of `fieldscape scene evaluate`.
        data: what it was trained on; licence: of the weights.

    Raises:
        UserError: `E-CKPT-…`, `E-ENV-WRITE`.
    """
    networks, notes = open_networks(model, "cpu")
    parts = {"decoder": networks.decoder, "vae": networks.vae}
    if networks.denoiser is not None:
        parts["denoiser"] = networks.denoiser
    count = sum(p.numel() for part in parts.values() for p in part.parameters())
    text = _card(out.name, notes, figures, data, licence, count)
    save_models(out, parts, card=text, notes=read_notes(model), half=True)
    return {"out": str(out), "parameters": count, "bytes": sum(f.stat().st_size for f in out.rglob("*") if f.is_file())}


def read_figures(path: str) -> dict[str, Any]:
    """A document of `fieldscape scene evaluate`.

    Raises:
        UserError: `E-JSON-…`.
    """
    found = read_json(path)
    sections = ("fit", "vae", "generation", "layout")
    if not isinstance(found, dict) or not all(isinstance(found.get(name), dict) for name in sections):
        raise UserError("E-JSON-KIND", "no figures of a generator", where=path, expected=", ".join(sections),
                        fix="name what fieldscape scene evaluate --json wrote")  # fmt: skip
    return found


def _card(name: str, notes: dict[str, Any], figures: dict[str, Any], data: str, licence: str, parameters: int) -> str:
    lines = [
        f"# {name}",
        "",
        f"Makes blocks of {notes['frame']['size']:g} m under floor plans, for `fieldscape scene generate`.",
        "",
        f"- {parameters / 1e6:.1f} million parameters, preset {notes['preset']}, seed {notes['seed']}, stored as fp16",
        f"- classes of plans: {', '.join(notes['classes'])}",
        f"- data: {data}",
        f"- licence: {licence or 'that of the data governs these weights'}",
        "- limits: thin parts (chair and table legs, lamp stands) are lost, plans say nothing of height or facing, and",
        "  blocks carry no colour: colours follow the classes of the plan",
        "",
        *_figures(figures),
    ]
    return "\n".join(lines) + "\n"


def _figures(figures: dict[str, Any]) -> list[str]:
    rows = [f"| {what} | {found} |" for what, found in _rows(figures)]
    return ["## Figures on held-out blocks", "", "| what | found |", "|---|---|", *rows] if rows else []


def figure(value: float | None, digits: int = 3) -> str:
    """A figure as text; models whose blocks have no surface have none in places."""
    return "none" if value is None else f"{value:.{digits}f}"


def _rows(figures: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for stage, name in (("fit", "planes as fitted"), ("vae", "after the VAE")):
        if found := figures.get(stage):
            rows.append(
                (name, f"surface error {figure(found['surface_mm'], 2)} mm, sign IoU {figure(found['sign_iou'])}")
            )
            if "thin_mm" in found:
                rows.append((f"{name}: thin parts", f"{figure(found['thin_mm'], 1)} mm, {figure(found['thin_iou'])}"))
    if found := figures.get("generation"):
        reference = found["reference"]
        rows.append(("generated against held-out: 1-NNA, COV", f"{figure(found['nna'])}, {figure(found['cov'])}"))
        rows.append(
            ("training against held-out: 1-NNA, COV", f"{figure(reference['nna'])}, {figure(reference['cov'])}")
        )
    if found := figures.get("layout"):
        rows.append(
            ("furniture IoU with the plan", f"{figure(found['iou'])} ({figure(found['shuffled'])} with another plan)")
        )
    return rows
