"""Fields as files: weights, occupancy and everything needed to build the field again."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import torch
from torch import Tensor

from .backends import backend_from_configs
from .backends.composition import Composition
from .checkpoint import Header, expect, load_tensors, match_tensors, save_tensors
from .errors import UserError
from .field import Field
from .run_folder import resolve_field
from .space import Space


def field_header(field: Field, notes: dict[str, Any] | None = None) -> Header:
    """The JSON header of a field's file."""
    backend = field.backend
    configs = backend.config if isinstance(backend, Composition) else (backend.config,)
    return {
        "type": "field",
        "backend": field.name,
        "kind": field.kind,
        "bounds": field.space.bounds.tolist(),
        "contraction": field.space.contraction,
        "config": {"parts": [dataclasses.asdict(config) for config in configs]},
        "notes": notes or {},
    }


def save_field(field: Field, path: str | os.PathLike[str], notes: dict[str, Any] | None = None) -> None:
    """Write a field to one file; `notes` are JSON values for people and programs."""
    save_tensors(path, dict(field.state_dict()), field_header(field, notes))


def load_field(path: str | os.PathLike[str], device: str = "cpu") -> Field:
    """The field in a file or run folder.

    Raises:
        UserError: `E-CKPT-…`.
    """
    return load_field_with_notes(path, device)[0]


def load_field_with_notes(path: str | os.PathLike[str], device: str = "cpu") -> tuple[Field, dict[str, Any]]:
    """The field and the notes saved with it."""
    file = resolve_field(path)
    tensors, header = load_tensors(file)
    return build_field(tensors, header, file).to(device), header.get("notes", {})


def build_field(tensors: dict[str, Tensor], header: Header, where: object) -> Field:
    """A field from the contents of its file."""
    expect(header, where, type="field")
    field = empty_field(header, where)
    wide = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    field.resize_like({name: tuple(t.shape) for name, t in wide.items()})
    match_tensors({name: tuple(t.shape) for name, t in field.state_dict().items()}, wide, where)
    field.load_state_dict(wide)
    return field


def empty_field(header: Header, where: object) -> Field:
    """A field of the header's shape, with fresh weights."""
    try:
        space = Space(torch.tensor(header["bounds"], dtype=torch.float32), header["contraction"])
        backend = backend_from_configs(header["backend"], header["config"]["parts"])
        return Field(header["backend"], backend, space, header["kind"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            "E-CKPT-HEADER",
            "header does not describe a field",
            where=where,
            got=error,
            expected="backend, kind, bounds, contraction, config",
            fix="use a file written by this program",
        ) from None
