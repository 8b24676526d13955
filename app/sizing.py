"""The largest configuration of a backend whose field file stays below a number of bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from fields.backends import BACKENDS, with_settings
from fields.errors import UserError
from fields.field import Field
from fields.occupancy import RESOLUTION
from fields.space import Space
from fields.volume import Kind

# What is made smaller, in turn and in this order: a factor, or a difference for settings that count levels.
_STEPS: dict[str, float | int] = {
    "log2_entries": -1,
    "resolution": 0.84,
    "limit": 0.6,
    "channels": 0.75,
    "color": 0.75,
    "density": 0.75,
    "hidden": 0.75,
    "levels": -1,
    "layers": -1,
}
_LEAST = {"log2_entries": 8, "resolution": 16, "limit": 1000, "channels": 4, "color": 2, "density": 2, "hidden": 8}
_MULTIPLES = {"resolution": 8, "hidden": 8}
_INDEX_BYTES = 128  # of a sparse grid, for each vertex: blocks of 8^3 places are a sixteenth full or more
_LEAST_LEVELS = 2
_HEADER_BYTES = 8192  # header, names and notes
_TRIES = 200


@dataclasses.dataclass(frozen=True)
class Choice:
    """Settings that keep a file small enough, and what they differ in from the preset."""

    settings: dict[str, Any]
    bytes: int  # of the file, at most
    changed: dict[str, str]  # setting: "from → to"

    @property
    def text(self) -> str:
        """For people."""
        if not self.changed:
            return "the whole preset fits"
        return ", ".join(f"{name} {change}" for name, change in self.changed.items())


def fitting_settings(
    backend: str, preset: str, settings: dict[str, Any], space: Space, limit: int, kind: Kind
) -> Choice:
    """The largest configuration below `limit` bytes: the preset's sizes are lowered in turn until it fits.

    What `settings` gives explicitly stays as it is.

    Raises:
        UserError: `E-USAGE-BACKEND`, `E-USAGE-PRESET`, `E-USAGE-SET`; `E-LIMIT-SIZE` when even the smallest is
            too large.
    """
    Field.create(backend, space, kind, preset=preset, settings=settings)
    if "+" in backend:
        raise UserError(
            "E-LIMIT-SIZE",
            "--max-size chooses the size of one representation only",
            got=backend,
            expected=" ".join(BACKENDS),
            fix="choose one of them, or give sizes by --set",
        )
    base = with_settings(BACKENDS[backend].PRESETS[preset], settings)
    smallest = 0
    for config in _ladder(base, set(settings)):
        smallest = largest_bytes(backend, config, space, kind)
        if smallest < limit:
            return _choice(base, config, settings, smallest)
    raise UserError(
        "E-LIMIT-SIZE",
        f"no {backend} field is this small",
        got=f"--max-size {limit} bytes",
        expected=f"more than {smallest} bytes",
        fix="allow a larger file, or choose another representation",
    )


def _choice(base: Any, config: Any, settings: dict[str, Any], size: int) -> Choice:
    before, after = dataclasses.asdict(base), dataclasses.asdict(config)
    changed = {name: value for name, value in after.items() if value != before[name]}
    texts = {name: f"{before[name]} → {value}" for name, value in changed.items()}
    return Choice({**settings, **changed}, size, texts)


def largest_bytes(backend: str, config: Any, space: Space, kind: Kind) -> int:
    """Size of a field's file when its representation has grown as far as `config` lets it."""
    values = dataclasses.asdict(config)
    grown = {"start": values["resolution"]} if "start" in values and "limit" not in values else {}
    made = Field(backend, BACKENDS[backend](dataclasses.replace(config, **grown)), space, kind)
    sparse = "limit" in values
    sizes = {name: tensor.numel() * tensor.element_size() for name, tensor in made.state_dict().items()}
    total = sum(size for name, size in sizes.items() if not (sparse and name.startswith("backend.")))
    if sparse:
        total += _sparse_bytes(made.backend.width, values["resolution"], values["limit"])
    return total + _HEADER_BYTES


def _sparse_bytes(width: int, resolution: int, limit: int) -> int:
    """Vertices at most, and the index that finds them."""
    vertices = min(limit, (resolution + 1) ** 3)
    return 4 * width * vertices + min(_INDEX_BYTES * vertices, 4 * (resolution + 8) ** 3)


def grid_bytes() -> int:
    """Bytes of the occupancy grid in every field file."""
    return RESOLUTION**3 // 8


def _ladder(base: Any, fixed: set[str]) -> Iterator[Any]:
    """Ever smaller configurations that are valid, `base` first."""
    values = dataclasses.asdict(base)
    names = [name for name in _STEPS if name in values and name not in fixed]
    if "limit" in names:  # by itself it keeps the grid as coarse as need be
        names = ["limit"]
    yield base
    for turn in range(_TRIES):
        before = dict(values)
        place = turn % max(1, len(names))
        for name in names[place:] + names[:place]:
            values[name] = _lowered(name, values[name])
            if values != before:
                break
        else:
            return
        try:
            yield dataclasses.replace(base, **_consistent(values, fixed))
        except ValueError:
            continue


def _lowered(name: str, value: int) -> int:
    step = _STEPS[name]
    least = _LEAST.get(name, _LEAST_LEVELS)
    lower = value + step if isinstance(step, int) else int(value * step)
    multiple = _MULTIPLES.get(name, 1)
    return min(value, max(least, int(lower) // multiple * multiple))


def _consistent(values: dict[str, Any], fixed: set[str]) -> dict[str, Any]:
    """Settings that must not exceed others follow them."""
    found = dict(values)
    if "start" in found and "start" not in fixed:
        found["start"] = min(found["start"], found["resolution"])
        while "limit" in found and (found["start"] + 1) ** 3 > found["limit"] and found["start"] > 8:
            found["start"] -= 8
    if "skip" in found and "skip" not in fixed and found["skip"] >= found["layers"]:
        found["skip"] = 0
    return found
