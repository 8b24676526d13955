"""The table of backends. A new one is one file here and one line in `BACKENDS`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import UserError
from .base import Backend
from .composition import Composition
from .cp import CPBackend
from .hash import HashBackend
from .mlp import MLPBackend
from .sparse import SparseBackend
from .triplane import TriplaneBackend
from .vm import VMBackend

BACKENDS: dict[str, type[Backend]] = {
    "mlp": MLPBackend,
    "hash": HashBackend,
    "vm": VMBackend,
    "cp": CPBackend,
    "triplane": TriplaneBackend,
    "sparse": SparseBackend,
}


def build_backend(name: str, preset: str = "small", settings: dict[str, Any] | None = None) -> Backend:
    """A new backend; `hash+vm` adds the features of two. `settings` override fields of the preset.

    Raises:
        UserError: `E-USAGE-BACKEND`, `E-USAGE-PRESET`, `E-USAGE-SET`.
    """
    settings = settings or {}
    if "+" in name:
        return Composition([build_backend(part, preset, settings.get(part)) for part in name.split("+")])
    if name not in BACKENDS:
        raise UserError(
            "E-USAGE-BACKEND",
            "unknown backend",
            got=name,
            expected=" ".join(BACKENDS),
            fix="choose one, or several joined by +",
        )
    kind = BACKENDS[name]
    if preset not in kind.PRESETS:
        raise UserError(
            "E-USAGE-PRESET",
            f"backend {name} has no such preset",
            got=preset,
            expected=" ".join(kind.PRESETS),
            fix="choose one of them",
        )
    try:
        return kind(with_settings(kind.PRESETS[preset], settings))
    except ValueError as error:
        raise UserError(
            "E-USAGE-SET",
            "settings do not fit together",
            got=error,
            expected="a valid configuration",
            fix="change the values of --set",
        ) from None


def backend_from_configs(name: str, configs: Sequence[Mapping[str, Any]]) -> Backend:
    """A backend from the configs in a file, one for each part of a composition.

    Raises:
        KeyError, TypeError, ValueError: the file names something this version does not know.
    """
    parts = [_from_config(part, config) for part, config in zip(name.split("+"), configs, strict=True)]
    return parts[0] if len(parts) == 1 else Composition(parts)


def _from_config(name: str, config: Mapping[str, Any]) -> Backend:
    kind = BACKENDS[name]
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
    return kind(kind.Config(**values))


def with_settings(config: Any, settings: dict[str, Any]) -> Any:
    """A copy of a frozen config with some fields changed; strings are read as the field's own type."""
    known = {field.name: type(getattr(config, field.name)) for field in dataclasses.fields(config)}
    changed: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in known:
            raise UserError(
                "E-USAGE-SET",
                "unknown setting",
                got=key,
                expected=" ".join(known),
                fix="use --set key=value with one of them",
            )
        try:
            changed[key] = _read(value, known[key])
        except ValueError:
            raise UserError(
                "E-USAGE-SET",
                f"setting {key} has a wrong value",
                got=value,
                expected=known[key].__name__,
                fix=f"give a {known[key].__name__}",
            ) from None
    return dataclasses.replace(config, **changed)


def _read(value: Any, kind: type) -> Any:
    if kind is bool and isinstance(value, str):
        if value.lower() not in ("true", "false"):
            raise ValueError(value)
        return value.lower() == "true"
    if kind is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        return tuple(int(part) for part in parts)
    return kind(value)


__all__ = ["BACKENDS", "Backend", "backend_from_configs", "build_backend", "with_settings"]
