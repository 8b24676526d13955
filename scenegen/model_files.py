"""Models as diffusers folders: config.json and safetensors, written whole, verified when read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
from diffusers.models.modeling_utils import ModelMixin

from fields.checkpoint import is_finite, match_tensors
from fields.errors import UserError, raise_all
from fields.safeio import read_json, write_bytes, write_json

CONFIG, WEIGHTS, CARD = "config.json", "diffusion_pytorch_model.safetensors", "README.md"

Model = TypeVar("Model", bound=ModelMixin)


def save_model(model: ModelMixin, folder: str | os.PathLike[str], card: str = "") -> None:
    """Write what `from_pretrained` reads, with the weights' SHA-256 in the config; `card` becomes README.md.

    The config comes last: a folder whose writing was cut off does not verify.

    Raises:
        UserError: `E-NAN-SAVE`, `E-ENV-WRITE`, `E-ENV-DISK`.
    """
    folder = Path(folder)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    raise_all(
        UserError("E-NAN-SAVE", "refused to save numbers that are not finite", where=f"{folder}:{name}",
                  fix="train again with a lower learning rate")
        for name, tensor in state.items() if not is_finite(tensor)
    )  # fmt: skip
    weights = safetensors.torch.save(state, {"format": "pt"})
    write_bytes(folder / WEIGHTS, weights)
    if card:
        write_bytes(folder / CARD, card.encode())
    config = {key: value for key, value in dict(model.config).items() if not key.startswith("_")}
    digest = hashlib.sha256(weights).hexdigest()
    write_json(folder / CONFIG, {"_class_name": type(model).__name__, "_sha256": digest, **config})


def load_model(kind: type[Model], folder: str | os.PathLike[str], device: str = "cpu") -> Model:
    """The model in a folder, in evaluation mode.

    Raises:
        UserError: `E-CKPT-MISSING`, `-TYPE`, `-HASH`, `-CONFIG`, `-TENSORS`, `E-JSON-…`.
    """
    folder = Path(folder)
    absent = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if absent:
        raise _broken("MISSING", "no model here", folder, f"no {' '.join(absent)}")
    config, weights = read_json(folder / CONFIG), (folder / WEIGHTS).read_bytes()
    if not isinstance(config, dict) or config.get("_class_name") != kind.__name__:
        got = config.get("_class_name") if isinstance(config, dict) else type(config).__name__
        raise _broken("TYPE", "folder holds another model", folder, got, kind.__name__)
    digest = hashlib.sha256(weights).hexdigest()
    if config.get("_sha256", digest) != digest:  # folders that diffusers wrote have none
        raise _broken("HASH", "checksum does not agree, the weights were damaged or edited", folder / WEIGHTS)
    try:
        model = kind(**{key: value for key, value in config.items() if not key.startswith("_")})
        state = safetensors.torch.load(weights)
    except (TypeError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise _broken("CONFIG", "model cannot be built", folder, error) from None
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    match_tensors(shapes, state, folder / WEIGHTS)
    model.load_state_dict(state)
    return model.to(device).eval()  # type: ignore[arg-type]


def _broken(code: str, what: str, where: Path, got: Any = "", expected: str = "") -> UserError:
    fix = "restore the folder from a copy, or train it again"
    return UserError(f"E-CKPT-{code}", what, where=where, got=got, expected=expected, fix=fix)
