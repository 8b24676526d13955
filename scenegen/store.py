"""Blocks on disk in shards: resumable, and verified by checksum whenever one is read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from data.palette import WORLDS, World
from fields import checkpoint
from fields.errors import UserError
from fields.folder_lock import FolderLock
from fields.safeio import read_json, remove_stale, write_json

from .blocks import BlockFrame, Centre

Kind = Literal["samples", "fitted"]
Split = Literal["train", "held-out"]
MANIFEST = "store.json"
FORMAT, VERSION = "fieldscape-blocks", 1
MAX_SHARDS = 1_000_000


@dataclass(frozen=True)
class StoreHead:
    """What holds for the whole store; equal heads mean equal contents.

    tensors: shape of every tensor of one block. settings: JSON values that the contents follow from.
    """

    kind: Kind
    world: World
    frame: BlockFrame
    classes: tuple[str, ...]
    shards: int
    tensors: dict[str, tuple[int, ...]]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Block:
    """One block: the scene that it was cut out of, its split and centre in metres, figures, and its place."""

    scene: str
    split: Split
    centre: Centre
    shard: int
    row: int
    quality: dict[str, float] = field(default_factory=dict)


class BlockStore:
    """A folder with `store.json` and one checksummed file of stacked tensors for each shard."""

    def __init__(self, folder: Path, head: StoreHead) -> None:
        """Use `begin_store` or `open_store`."""
        self.folder, self.head = folder, head

    def path(self, shard: int) -> Path:
        """The file of a shard."""
        return self.folder / f"shard-{shard:06}.safetensors"

    def missing(self) -> list[int]:
        """Shards that are not there whole: to be made, or made again."""
        return [shard for shard in range(self.head.shards) if not self._verifies(shard)]

    def write(self, shard: int, tensors: Mapping[str, Tensor], blocks: Sequence[Block], notes: Any = None) -> None:
        """Store one shard, whole or not at all: tensors [B, ...], one row for each of `blocks`.

        Raises:
            UserError: `E-ENV-WRITE`, `E-ENV-DISK`, `E-NAN-SAVE`.
        """
        checkpoint.match_tensors(self._shapes(len(blocks)), tensors, self.path(shard))
        rows = [{"scene": b.scene, "split": b.split, "centre": list(b.centre), "quality": b.quality} for b in blocks]
        header = {"type": self._type, "notes": {"blocks": rows, "more": notes}}
        checkpoint.save_tensors(self.path(shard), tensors, header)

    def read(self, shard: int) -> dict[str, Tensor]:
        """All tensors [B, ...] of a shard.

        Raises:
            UserError: `E-CKPT-…` for a file that is missing, damaged or not of this store.
        """
        tensors, header = checkpoint.load_tensors(self.path(shard))
        self._blocks(shard, header)
        checkpoint.match_tensors(self._shapes(len(header["notes"]["blocks"])), tensors, self.path(shard))
        return tensors

    def notes(self, shard: int) -> Any:
        """What `write` was given besides."""
        return checkpoint.read_header(self.path(shard))["notes"]["more"]

    def blocks(self, split: Split | None = None) -> list[Block]:
        """All blocks in order, or those of one split.

        Raises:
            UserError: `E-BLOCKS-INCOMPLETE`, `E-CKPT-…`.
        """
        absent = [shard for shard in range(self.head.shards) if not self.path(shard).exists()]
        if absent:
            raise UserError("E-BLOCKS-INCOMPLETE", "store is not complete", where=self.folder,
                            got=f"{len(absent)} of {self.head.shards} shards missing", expected="all shards",
                            fix="go on with the command that makes it, with --resume")  # fmt: skip
        found = [
            block
            for shard in range(self.head.shards)
            for block in self._blocks(shard, checkpoint.read_header(self.path(shard)))
        ]
        return [block for block in found if split in (None, block.split)]

    def gather(self, blocks: Iterable[Block], names: Sequence[str] | None = None) -> dict[str, Tensor]:
        """The tensors `names` (all by default) of some blocks, stacked [B, ...] in the order given.

        Raises:
            UserError: `E-CKPT-…`.
        """
        wanted = list(blocks)
        names = list(self.head.tensors) if names is None else names
        found: dict[tuple[int, int], dict[str, Tensor]] = {}
        for shard in sorted({block.shard for block in wanted}):
            tensors = self.read(shard)
            for row in {block.row for block in wanted if block.shard == shard}:
                found[shard, row] = {name: tensors[name][row].clone() for name in names}
        return {name: torch.stack([found[b.shard, b.row][name] for b in wanted]) for name in names}

    @property
    def _type(self) -> str:
        return f"blocks-{self.head.kind}"

    def _shapes(self, count: int) -> dict[str, tuple[int, ...]]:
        return {name: (count, *shape) for name, shape in self.head.tensors.items()}

    def _verifies(self, shard: int) -> bool:
        try:
            self.read(shard)
        except UserError:
            return False
        return True

    def _blocks(self, shard: int, header: checkpoint.Header) -> list[Block]:
        checkpoint.expect(header, self.path(shard), type=self._type)
        return [
            Block(row["scene"], row["split"], tuple(row["centre"]), shard, index, row["quality"])
            for index, row in enumerate(header["notes"]["blocks"])
        ]


def begin_store(folder: str | os.PathLike[str], head: StoreHead, *, resume: bool, force: bool) -> BlockStore:
    """A store to be filled: new, or with `resume` one that was begun with the same head.

    force: throw away what another run left.

    Raises:
        UserError: `E-USAGE-EXISTS`, `E-BLOCKS-SETTINGS`, `E-BLOCKS-STORE`, `E-ENV-WRITE`, `E-ENV-LOCK`.
    """
    folder = Path(folder)
    if (folder / MANIFEST).exists():
        if resume:
            return _resumed(folder, head)
        if not force:
            raise UserError("E-USAGE-EXISTS", "store exists already", where=folder, expected="a new folder",
                            fix="go on by --resume, replace it by --force, or choose another --out")  # fmt: skip
        with FolderLock(folder):
            for path in folder.glob("shard-*.safetensors"):
                path.unlink()
    document = {"format": FORMAT, "version": VERSION, **asdict(head)}
    write_json(folder / MANIFEST, document)
    return BlockStore(folder, head)


def _resumed(folder: Path, head: StoreHead) -> BlockStore:
    store = open_store(folder, head.kind)
    theirs, ours = asdict(store.head), asdict(head)
    differing = [name for name in ours if theirs[name] != ours[name]]
    if "settings" in differing:
        old, new = theirs["settings"], ours["settings"]
        differing += [f"settings.{k}" for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
    if differing:
        raise UserError("E-BLOCKS-SETTINGS", "store was begun with other settings", where=folder,
                        got=f"different {' '.join(differing)}", expected="the settings it was begun with",
                        fix="repeat the first command with --resume, or start anew with --force")  # fmt: skip
    remove_stale(folder)
    return store


def open_store(folder: str | os.PathLike[str], kind: Kind) -> BlockStore:
    """A store that is there.

    Raises:
        UserError: `E-BLOCKS-STORE`, `E-JSON-…`.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    command = "prepare" if kind == "samples" else "fit"
    if not path.is_file():
        raise UserError("E-BLOCKS-STORE", "no block store", where=folder, got=f"no {MANIFEST}",
                        expected=f"a folder made by fieldscape scene {command}", fix="check the path")  # fmt: skip
    document = read_json(path)
    try:
        head = _head(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError("E-BLOCKS-STORE", "manifest cannot be understood", where=path, got=f"{error!r}",
                        expected=f'"format": "{FORMAT}", "version": {VERSION}',
                        fix=f"make the store again: fieldscape scene {command}") from None  # fmt: skip
    if head.kind != kind:
        raise UserError("E-BLOCKS-STORE", "store holds something else", where=folder, got=head.kind, expected=kind,
                        fix=f"name the folder made by fieldscape scene {command}")  # fmt: skip
    return BlockStore(folder, head)


def _head(document: dict[str, Any]) -> StoreHead:
    """The manifest's head; anything that does not fit raises KeyError, TypeError or ValueError."""
    if document["format"] != FORMAT or document["version"] != VERSION:
        raise ValueError(document["version"])
    frame = BlockFrame(float(document["frame"]["size"]), float(document["frame"]["floor"]))
    shards = int(document["shards"])
    tensors = {str(name): tuple(int(n) for n in shape) for name, shape in document["tensors"].items()}
    if document["kind"] not in ("samples", "fitted") or document["world"] not in WORLDS:
        raise ValueError(document["kind"], document["world"])
    if not (frame.size > 0 and 0 <= shards <= MAX_SHARDS and all(n >= 0 for s in tensors.values() for n in s)):
        raise ValueError(frame.size, shards)
    classes = tuple(str(name) for name in document["classes"])
    return StoreHead(document["kind"], document["world"], frame, classes, shards, tensors, dict(document["settings"]))
