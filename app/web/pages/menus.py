"""What the menus of all pages offer, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .markup import Option

_BACKENDS = {
    "hash": "Hash grid: the fastest, good at everything",
    "vm": "Vector-matrix planes: small, smooth",
    "triplane": "Three planes: what generators use",
    "sparse": "Sparse voxels: no network to ask",
    "cp": "Line products: the smallest files",
    "mlp": "One network: the classic NeRF",
}
_PRESETS = {"tiny": "Small", "small": "Medium", "paper": "Large"}
_MODELS = {"rooms-tiny": "Rooms"}
_QUALITIES = (("quick", "Quick"), ("good", "Good"), ("best", "Best"))


@dataclass(frozen=True)
class Menus:
    """(value, words) of each menu."""

    backends: tuple[Option, ...]
    presets: tuple[Option, ...]
    models: tuple[Option, ...]
    qualities: tuple[Option, ...] = _QUALITIES


def menus_of(choices: Mapping[str, Any]) -> Menus:
    """Menus from the server's `/api/choices`; what has no words yet is offered by its name."""
    return Menus(
        _worded(choices.get("backends"), _BACKENDS),
        _worded(choices.get("presets"), _PRESETS),
        _worded(choices.get("models"), _MODELS),
    )


def _worded(names: Sequence[str] | Mapping[str, Any] | None, words: Mapping[str, str]) -> tuple[Option, ...]:
    known = list(names) if names else list(words)
    order = sorted(known, key=lambda name: list(words).index(name) if name in words else len(words))
    return tuple((name, words.get(name, name)) for name in order)
