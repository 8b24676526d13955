"""Models by name: those shipped with the package, and folders made by training."""

from __future__ import annotations

import os
from pathlib import Path

from fields.errors import UserError

from .model_folder import MANIFEST

SHIPPED = Path(__file__).parent / "weights"
_RUN = "model"  # folder of a run in which its model lies


def shipped_models() -> list[str]:
    """Names of the models that came with the package."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{MANIFEST}"))


def find_model(name: str | os.PathLike[str]) -> Path:
    """The model folder of a shipped name, a model folder or a training run's folder.

    A name without a slash is looked for among the shipped models first.

    Raises:
        UserError: `E-CKPT-MISSING`.
    """
    text = os.fspath(name)
    plain = Path(text).name == text and text not in ("", ".", "..")
    candidates = [SHIPPED / text] if plain else []
    candidates += [Path(text) / _RUN, Path(text)]
    for folder in candidates:
        if (folder / MANIFEST).is_file():
            return folder
    raise UserError("E-CKPT-MISSING", "no such model", got=text or "an empty name",
                    expected=f"{' '.join([*shipped_models(), ''])}or a folder made by fieldscape scene train-diffusion",
                    fix="check the name or path")  # fmt: skip
