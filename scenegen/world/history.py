"""What a scene is besides its blocks: how they are made, and everything that was asked for, as one JSON file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from data.palette import WORLDS, World
from fields.errors import UserError
from fields.safeio import read_json, write_json

from ..blocks import BlockFrame
from .extrapolate import GrowOptions
from .neighbours import Index
from .plan import check_index

MANIFEST = "scene.json"
FORMAT, VERSION = "fieldscape-scene", 1
SEEDS = 2**64

Kind = Literal["generate", "extend", "redo"]
_PLAN = re.compile(r"plan(-[0-9]+)?\.(png|json)")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class SceneHead:
    """What all blocks have in common.

    model: name or folder as it was given; model_digest: SHA-256 of its manifest; classes: of the plan's maps;
    latent, planes: shapes of one block's.
    """

    model: str
    model_digest: str
    world: World
    frame: BlockFrame
    classes: tuple[str, ...]
    latent: tuple[int, ...]
    planes: tuple[int, ...]
    seed: int
    options: GrowOptions


@dataclass(frozen=True)
class Action:
    """One request: blocks to be made from a seed under a plan (a file of the scene); no revision comes twice."""

    kind: Kind
    revision: int
    blocks: tuple[Index, ...]
    seed: int
    plan: str
    done: bool = False


@dataclass(frozen=True)
class Document:
    """Everything in scene.json. `plan`: the file that the scene began with; `revisions`: given out so far."""

    head: SceneHead
    plan: str
    actions: tuple[Action, ...] = ()
    revisions: int = 0

    def begun(self, kind: Kind, blocks: Iterable[Index], seed: int, plan: str) -> Document:
        """With one more action."""
        action = Action(kind, self.revisions, tuple(blocks), seed, plan)
        return replace(self, actions=(*self.actions, action), revisions=self.revisions + 1)

    def sealed(self, done: bool = True) -> Document:
        """With the last action done, or not."""
        return replace(self, actions=(*self.actions[:-1], replace(self.actions[-1], done=done)))

    def undone(self) -> Document:
        """Without the last action; its revision is not given out again."""
        return replace(self, actions=self.actions[:-1])


def write_document(folder: Path, document: Document) -> None:
    """Write scene.json, whole or not at all.

    Raises:
        UserError: `E-ENV-WRITE`, `E-ENV-DISK`.
    """
    write_json(folder / MANIFEST, {"format": FORMAT, "version": VERSION, **asdict(document)})


def read_document(folder: Path) -> Document:
    """What scene.json says, with nothing taken on trust.

    Raises:
        UserError: `E-SCENE-MISSING`, `E-SCENE-MANIFEST`, `E-JSON-…`.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError("E-SCENE-MISSING", "no scene", where=folder, got=f"no {MANIFEST}",
                        expected="a folder made by fieldscape scene generate", fix="check the path")  # fmt: skip
    value = read_json(path)
    try:
        return _document(value)
    except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
        raise UserError("E-SCENE-MANIFEST", "scene cannot be understood", where=path, got=f"{error!r}",
                        expected=f'"format": "{FORMAT}", "version": {VERSION}',
                        fix="restore the file from a copy, or generate the scene anew") from None  # fmt: skip


def check_seed(seed: int) -> int:
    """The seed, when noise can be keyed by it.

    Raises:
        UserError: `E-USAGE-SEED`.
    """
    if not 0 <= seed < SEEDS:
        raise UserError("E-USAGE-SEED", "no such seed", got=seed, expected="0 to 2^64 - 1", fix="use 0")
    return seed


def check_blocks(blocks: Iterable[Index]) -> tuple[Index, ...]:
    """Blocks in order of rows, each once.

    Raises:
        UserError: `E-SCENE-EMPTY` without one, `E-LIMIT-BLOCKS` for one too far away.
    """
    found = tuple(sorted(set(blocks), key=lambda index: index[::-1]))
    if not found:
        raise UserError("E-SCENE-EMPTY", "there is no block to make", expected="a plan with something painted",
                        fix="paint floor or walls where blocks are to be")  # fmt: skip
    for index in found:
        check_index(index, "block")
    return found


def is_plan_name(name: str) -> bool:
    """Whether a file of a scene is one of its plans."""
    return _PLAN.fullmatch(name) is not None


def _document(value: dict[str, Any]) -> Document:
    if value["format"] != FORMAT or value["version"] != VERSION:
        raise ValueError(f"{value['format']} {value['version']}")
    actions = tuple(_action(entry) for entry in value["actions"])
    revisions = [action.revision for action in actions]
    given = _whole(value["revisions"])
    if revisions != sorted(set(revisions)) or (revisions and revisions[-1] >= given):
        raise ValueError("revisions out of order")
    if any(not action.done for action in actions[:-1]):
        raise ValueError("an action that is not done lies before the last one")
    return Document(_head(value["head"]), _plan(value["plan"]), actions, given)


def _head(value: dict[str, Any]) -> SceneHead:
    if value["world"] not in WORLDS or not _DIGEST.fullmatch(value["model_digest"]):
        raise ValueError("world or model digest")
    frame = BlockFrame(float(value["frame"]["size"]), float(value["frame"]["floor"]))
    latent, planes = (tuple(_whole(n) for n in value[name]) for name in ("latent", "planes"))
    if not frame.size > 0 or not all(_of_three_planes(shape) for shape in (latent, planes)):
        raise ValueError("frame or shapes")
    given = value["options"]
    options = GrowOptions(
        _whole(given["steps"]), _whole(given["resamples"]), _whole(given["jump"]),
        float(given["guidance"]), str(given["prediction"]),
    )  # fmt: skip
    return SceneHead(
        str(value["model"]), value["model_digest"], value["world"], frame,
        tuple(str(name) for name in value["classes"]), latent, planes, check_seed(_whole(value["seed"])), options,
    )  # fmt: skip


def _action(value: dict[str, Any]) -> Action:
    if value["kind"] not in get_args(Kind) or not isinstance(value["done"], bool):
        raise ValueError(value["kind"])
    blocks = check_blocks((_integer(i), _integer(k)) for i, k in value["blocks"])
    seed = check_seed(_whole(value["seed"]))
    return Action(value["kind"], _whole(value["revision"]), blocks, seed, _plan(value["plan"]), value["done"])


def _plan(name: str) -> str:
    if not is_plan_name(name):
        raise ValueError(f"plan {name!r}")
    return name


def _integer(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _of_three_planes(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[0] == 3 and shape[2] == shape[3] and min(shape) >= 1


def _whole(value: object) -> int:
    found = _integer(value)
    if found < 0:
        raise ValueError(f"{found} is negative")
    return found
