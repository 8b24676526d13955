"""Edits as people type them, `--edit WHAT:VALUE` once for each, applied in the order given."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from fields.composite import CompositeVolume, Placed
from fields.errors import UserError
from fields.similarity import IDENTITY, Similarity
from fields.volume import Volume

from . import parsing

What = Literal["crop", "delete", "duplicate", "transform", "merge"]

EDIT_HELP = (
    "Change the field first; may be repeated, in order. "
    "crop:BOX keeps a box, delete:BOX empties one (BOX = x0,y0,z0,x1,y1,z1); "
    "duplicate:BOX@PLACE puts a copy of a box elsewhere; transform:PLACE moves everything; "
    "merge:FIELD[@PLACE] adds another field. "
    "PLACE = dx,dy,dz or scale=S,rotate=AX,AY,AZ,move=DX,DY,DZ,about=X,Y,Z: "
    "scaled and turned (degrees about x, then y, then z) about the middle of its box, then moved."
)
_EXAMPLES: dict[str, str] = {
    "crop": "crop:-1,-1,-1,1,1,1",
    "delete": "delete:-1,-1,-1,1,1,0",
    "duplicate": "duplicate:-1,-1,-1,1,1,1@2,0,0",
    "transform": "transform:scale=2,rotate=0,90,0,move=1,0,0",
    "merge": "merge:other.safetensors@move=2,0,0",
}
_KEY = re.compile(r"(?:^|[,;\s]+)(?=[a-z]+\s*=)")
_COUNTS = {"scale": 1, "rotate": 3, "move": 3, "about": 3}


@dataclass(frozen=True)
class Place:
    """A placement as typed; `about` None is the middle of the box of what is placed."""

    scale: float = 1.0
    rotate: tuple[float, ...] = (0.0, 0.0, 0.0)
    move: tuple[float, ...] = (0.0, 0.0, 0.0)
    about: tuple[float, ...] | None = None

    def similarity(self, box: Tensor) -> Similarity:
        """The transform of something that lies in `box` [2, 3]."""
        about = box.float().mean(dim=0) if self.about is None else self.about
        return Similarity.create(scale=self.scale, degrees=self.rotate, move=self.move, about=about)


@dataclass(frozen=True)
class Edit:
    """One edit: what it needs of `box`, `place` and `field` depends on `what`."""

    what: What
    box: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    place: Place | None = None
    field: str = ""  # of a merge: as typed, the key of `others` in `apply_edits`


def parse_edits(texts: Iterable[str]) -> list[Edit]:
    """Edits of texts such as `crop:-1,-1,-1,1,1,1` (see `EDIT_HELP`), in their order.

    Raises:
        UserError: `E-USAGE-EDIT`.
    """
    return [_parse(text.strip()) for text in texts]


def merged_fields(edits: Sequence[Edit]) -> list[str]:
    """The fields that merges name, each once: what the caller opens for `apply_edits`."""
    return list(dict.fromkeys(edit.field for edit in edits if edit.what == "merge"))


def apply_edits(volume: Volume, others: Mapping[str, Volume], edits: Sequence[Edit]) -> Volume:
    """`volume` after all edits, ready to be rendered, meshed and taught from; without edits, itself.

    Args:
        others: the opened fields of `merged_fields(edits)`.

    Raises:
        UserError: `E-USAGE-EDIT` when a box misses what there is, or nothing is left at the end;
            `E-EDIT-NDC` for moves of forward-facing fields.
    """
    if not edits:
        return volume
    edited = volume
    for edit in edits:
        try:
            edited = CompositeVolume(_placed(edited, others, edit))
        except UserError as error:
            if error.code != "E-EDIT-EMPTY":
                raise
            raise _error(edit.what, error.what, error.got, error.expected, "correct the box") from None
    edited = edited.to(volume.device)
    edited.occupancy.rebuild(edited, torch.Generator().manual_seed(0))
    if edited.occupancy.occupied_fraction == 0:
        raise _error(edits[-1].what, "the edits leave nothing", "an empty field", "something", "remove an edit")
    return edited


def _placed(volume: Volume, others: Mapping[str, Volume], edit: Edit) -> list[Placed]:
    whole = Placed(volume)
    box = torch.tensor(edit.box) if edit.box is not None else None
    place = edit.place or Place()
    if edit.what == "crop":
        return [replace(whole, within=box)]
    if edit.what == "delete":
        assert box is not None
        return [replace(whole, without=(box,))]
    if edit.what == "duplicate":
        part = replace(whole, within=box)
        return [whole, replace(part, place=place.similarity(part.box))]
    added = Placed(others[edit.field]) if edit.what == "merge" else whole
    moved = IDENTITY if edit.place is None else place.similarity(added.box)
    added = replace(added, place=moved)
    return [whole, added] if edit.what == "merge" else [added]


def _parse(text: str) -> Edit:
    what, colon, value = text.partition(":")
    if not colon or what not in _EXAMPLES:
        raise _error("", "--edit is not WHAT:VALUE", repr(text), " ".join(_EXAMPLES), f"write {_EXAMPLES['crop']}")
    try:
        return _PARSERS[what](value.strip())
    except (UserError, ValueError) as error:
        got = error.got if isinstance(error, UserError) else str(error)
        raise _error(what, f"--edit {what} cannot be read", got, f"like {_EXAMPLES[what]}", "correct it") from None


def _parse_duplicate(value: str) -> Edit:
    box, at, place = value.partition("@")
    if not at:
        raise ValueError(f"no @ in {value!r}")
    return Edit("duplicate", box=_box(box), place=_place(place))


def _parse_merge(value: str) -> Edit:
    """A path may hold an @: only one before a placement counts."""
    path, at, place = value.rpartition("@")
    if at and (_KEY.match(place.strip()) or re.fullmatch(r"[-+.,\deE\s]+", place)):
        found = Edit("merge", place=_place(place), field=path.strip())
    else:
        found = Edit("merge", field=value)
    if not found.field:
        raise ValueError("no field")
    return found


_PARSERS = {
    "crop": lambda value: Edit("crop", box=_box(value)),
    "delete": lambda value: Edit("delete", box=_box(value)),
    "duplicate": _parse_duplicate,
    "transform": lambda value: Edit("transform", place=_place(value)),
    "merge": _parse_merge,
}


def _box(text: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    low, high = parsing.box(text, "--edit")
    return tuple(low), tuple(high)


def _place(text: str) -> Place:
    """`dx,dy,dz`, or `key=numbers` pairs in any order.

    Raises:
        ValueError, UserError: what is wrong with it.
    """
    text = text.strip()
    if "=" not in text:
        return Place(move=tuple(parsing.numbers(text, 3, "--edit")))
    found: dict[str, tuple[float, ...]] = {}
    for pair in filter(None, _KEY.split(text)):
        key, _, value = (part.strip() for part in pair.partition("="))
        if key not in _COUNTS or key in found:
            raise ValueError(f"{'twice ' if key in found else 'unknown '}{key!r}")
        found[key] = tuple(parsing.numbers(value, _COUNTS[key], "--edit"))
    scale = found.get("scale", (1.0,))[0]
    if not scale > 0:
        raise ValueError(f"scale {scale:g}")
    known = {key: value for key, value in found.items() if key != "scale"}
    return Place(scale, **known)


def _error(what: str, problem: str, got: str, expected: str, fix: str) -> UserError:
    where = f"--edit {what}" if what else "--edit"
    return UserError("E-USAGE-EDIT", problem, where=where, got=got, expected=expected, fix=fix)
