"""A trained generator on disk: decoder, VAE and denoiser as diffusers folders, a model card, and a manifest.

What a folder holds was written together: it is replaced as a whole, and every byte is checked when it is read.
"""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from diffusers.models.modeling_utils import ModelMixin

from fields.errors import UserError
from fields.safeio import read_json, remove_stale, sync_folder, write_bytes, write_json

from . import model_files

MANIFEST, CARD = "model.json", "README.md"
_FORMAT, _VERSION = "fieldscape-model", 1

Model = TypeVar("Model", bound=ModelMixin)


def save_models(
    path: str | os.PathLike[str],
    models: Mapping[str, ModelMixin],
    *,
    card: str,
    notes: Mapping[str, Any],
    half: bool = False,
) -> Path:
    """Write a folder with one sub-folder for each of `models`; an older folder is replaced when all is written.

    Args:
        card: text of README.md: data, seed, figures, licence.
        notes: JSON values that `read_notes` gives back.
        half: store weights in fp16, half the bytes.

    Raises:
        UserError: `E-NAN-SAVE`, `E-ENV-WRITE`, `E-ENV-DISK`.
    """
    path = Path(path).absolute()
    made = _temporary(path)
    try:
        for name, model in models.items():
            model_files.save_model(copy.deepcopy(model).half() if half else model, made / name)
        write_bytes(made / CARD, card.encode())
        files = {file.relative_to(made).as_posix(): _digest(file) for file in sorted(made.rglob("*")) if file.is_file()}
        write_json(made / MANIFEST, {"format": _FORMAT, "version": _VERSION, "notes": dict(notes), "files": files})
        _swap(made, path)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return path


def load_model(kind: type[Model], path: str | os.PathLike[str], name: str, device: str = "cpu") -> Model:
    """The network `name` of a folder, frozen and in fp32, when its files are as they were written.

    Raises:
        UserError: `E-CKPT-MISSING`, `-TYPE`, `-HASH`, `-CONFIG`, `-TENSORS`, `E-JSON-…`.
    """
    folder = Path(path)
    listed = {file: digest for file, digest in _manifest(folder)["files"].items() if file.startswith(f"{name}/")}
    if not listed:
        raise UserError("E-CKPT-MISSING", "model folder lacks a network", where=folder, expected=name,
                        fix=f"name a folder that has {name}, or train it")  # fmt: skip
    for file, digest in listed.items():
        if not (folder / file).is_file() or _digest(folder / file) != digest:
            raise UserError("E-CKPT-HASH", "file is missing, damaged or edited", where=folder / file,
                            fix="copy or download the folder again")  # fmt: skip
    return model_files.load_model(kind, folder / name, device).requires_grad_(False)


def read_notes(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The notes of a folder; weights are not read.

    Raises:
        UserError: `E-CKPT-MISSING`, `E-CKPT-MODEL`, `E-JSON-…`.
    """
    return _manifest(Path(path))["notes"]


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError("E-CKPT-MISSING", "no model folder", where=folder, got=f"no {MANIFEST}",
                        expected="a folder made by fieldscape scene train-vae or train-diffusion",
                        fix="check the path")  # fmt: skip
    found = read_json(path)
    whole = isinstance(found, dict) and all(isinstance(found.get(key), dict) for key in ("files", "notes"))
    if not whole or (found.get("format"), found.get("version")) != (_FORMAT, _VERSION):
        raise UserError("E-CKPT-MODEL", "manifest cannot be understood", where=path,
                        expected=f'"format": "{_FORMAT}", "version": {_VERSION}',
                        fix="copy or download the folder again")  # fmt: skip
    return found


def _temporary(path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(path.parent)
        return Path(tempfile.mkdtemp(prefix=f".tmp-{os.getpid()}-", dir=path.parent))
    except OSError as error:
        raise _unwritable(path, error) from error


def _swap(made: Path, path: Path) -> None:
    """Put `made` in the place of `path`; what was there goes when the new folder stands."""
    old = made.with_name(f"{made.name}-old")
    try:
        made.chmod(0o755)
        if path.exists():
            os.replace(path, old)
        os.replace(made, path)
        sync_folder(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    shutil.rmtree(old, ignore_errors=True)


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError("E-ENV-WRITE", "cannot write", where=path, got=error.strerror, expected="a writable folder",
                     fix="choose another --out")  # fmt: skip


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
