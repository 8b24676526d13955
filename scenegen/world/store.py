"""A scene on disk: a folder to which blocks are added one by one, and from which actions can be taken back.

`scene.json` says what was asked for, `plan….png` or `.json` under which plans, `blocks/` holds latents and planes, and
`history/<revision>/` those that an action replaced. Every write leaves a scene that can be read and gone on with.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from torch import Tensor

from fields import checkpoint
from fields.errors import UserError
from fields.folder_lock import FolderLock
from fields.safeio import remove_stale, write_bytes

from ..blocks import BlockFrame
from .history import (
    MANIFEST,
    Action,
    Document,
    Kind,
    SceneHead,
    check_blocks,
    check_seed,
    is_plan_name,
    read_document,
    write_document,
)
from .neighbours import Index

PlanFile = tuple[str, bytes]  # suffix of its name, .png or .json, and content

_TYPE = "scene-block"
_BLOCK = re.compile(r"(-?[0-9]+)_(-?[0-9]+)\.safetensors")
_BLOCKS, _HISTORY = "blocks", "history"


class SceneStore:
    """An opened scene. Reading needs no lock; what changes it is done inside `with scene.writing():`."""

    def __init__(self, folder: Path) -> None:
        """Raises `UserError` as `read_document` does."""
        self.folder = folder
        self._read()

    @property
    def head(self) -> SceneHead:
        """What all blocks have in common."""
        return self._document.head

    @property
    def actions(self) -> tuple[Action, ...]:
        """Everything asked for and not undone, oldest first; the last one may be unfinished."""
        return self._document.actions

    @property
    def frame(self) -> BlockFrame:
        """Where its blocks lie."""
        return self.head.frame

    @property
    def plans(self) -> list[str]:
        """Names of the files that make up the plan, those of later actions last."""
        return list(dict.fromkeys((self._document.plan, *(action.plan for action in self.actions))))

    @property
    def revisions(self) -> int:
        """How many actions there have been, undone ones included."""
        return self._document.revisions

    @property
    def unfinished(self) -> Action | None:
        """The action that was begun and not brought to its end."""
        return self.actions[-1] if self.actions and not self.actions[-1].done else None

    def finished(self) -> set[Index]:
        """Blocks that are there."""
        return set(self._revisions)

    def pending(self) -> list[Index]:
        """Blocks of the unfinished action that are still to be made."""
        action = self.unfinished
        return [] if action is None else [b for b in action.blocks if self._revisions.get(b) != action.revision]

    def latent(self, index: Index) -> Tensor:
        """Latents [3, c, r, r] of a finished block, verified.

        Raises:
            UserError: `E-SCENE-BLOCK` when it was not made, `E-CKPT-…` for a damaged or foreign file.
        """
        return self._block(index)["latent"]

    def planes(self, index: Index) -> Tensor:
        """Planes [3, C, R, R] of a finished block, verified: decoded latents that were made to fit the neighbours.

        Raises:
            UserError: as `latent`.
        """
        return self._block(index)["planes"].float()

    def _block(self, index: Index) -> dict[str, Tensor]:
        self.expect(index)
        path = self._path(index)
        try:
            return _read_block(path, index, self._revisions[index], self.head)
        except UserError as error:
            remedy = f"fieldscape scene redo {self.folder} --block {index[0]},{index[1]}"
            raise UserError(error.code, error.what, where=path, got=error.got, expected=error.expected,
                            fix=f"restore the file from a copy, or make it anew: {remedy}") from None  # fmt: skip

    def expect(self, index: Index) -> None:
        """Refuse a block that is not there.

        Raises:
            UserError: `E-SCENE-BLOCK`.
        """
        if index not in self._revisions:
            raise UserError("E-SCENE-BLOCK", "scene has no such block", where=self.folder, got=f"{index[0]},{index[1]}",
                            expected=_extent(self._revisions), fix="name a finished block as i,k")  # fmt: skip

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder's lock; what a killed process left is put in order first.

        Raises:
            UserError: `E-ENV-LOCK`, `E-ENV-WRITE`.
        """
        with FolderLock(self.folder):
            for folder in (self.folder, self.folder / _BLOCKS, *(self.folder / _HISTORY).glob("*")):
                remove_stale(folder)
            self._read()
            self._tidy()
            yield

    def begin(self, kind: Kind, blocks: Iterable[Index], seed: int, plan: PlanFile | None = None) -> Action:
        """Record what is to be made; the blocks follow by `write`, and `seal` ends the action.

        plan: what the action adds to the scene's.

        Raises:
            UserError: `E-SCENE-UNFINISHED`, `E-SCENE-EMPTY`, `E-LIMIT-BLOCKS`, `E-USAGE-SEED`.
        """
        if self.unfinished is not None:
            raise UserError("E-SCENE-UNFINISHED", "the scene's last action is not finished", where=self.folder,
                            got=f"{len(self.pending())} blocks to be made", expected="a finished scene",
                            fix="finish it by fieldscape scene generate --resume, or take it back by "
                                "fieldscape scene undo")  # fmt: skip
        blocks, seed, name = check_blocks(blocks), check_seed(seed), self.plans[-1]
        if plan is not None:
            name = f"plan-{self._document.revisions}{plan[0]}"
            write_bytes(self.folder / name, plan[1])
        self._write(self._document.begun(kind, blocks, seed, name))
        return self.actions[-1]

    def write(self, index: Index, latent: Tensor, planes: Tensor) -> None:
        """Store a block of the unfinished action, planes in fp16; one that it replaces is kept for `undo`.

        Raises:
            UserError: `E-NAN-SAVE`, `E-ENV-WRITE`, `E-ENV-DISK`.
        """
        action, path = self.unfinished, self._path(index)
        if action is None or index not in action.blocks:
            raise ValueError(f"block {index} is not to be made")
        shapes, wanted = (tuple(latent.shape), tuple(planes.shape)), (self.head.latent, self.head.planes)
        if shapes != wanted:
            raise ValueError(f"latents and planes {shapes}, expected {wanted}")
        if self._revisions.get(index) not in (None, action.revision) and path.exists():
            write_bytes(self._kept(action.revision) / path.name, path.read_bytes())
        notes = {"index": list(index), "seed": action.seed, "revision": action.revision}
        tensors = {"latent": latent.float(), "planes": planes.half()}
        checkpoint.save_tensors(path, tensors, {"type": _TYPE, "notes": notes})
        self._revisions[index] = action.revision

    def seal(self) -> None:
        """End the unfinished action, when all its blocks are there."""
        if self.unfinished is not None and not self.pending():
            self._write(self._document.sealed())

    def undo(self) -> Action:
        """Take the last action back, finished or not, and return it; blocks that it replaced are there again.

        Raises:
            UserError: `E-SCENE-HISTORY` when only the first one is left.
        """
        with self.writing():
            if len(self.actions) < 2:
                raise UserError("E-SCENE-HISTORY", "there is nothing to undo", where=self.folder,
                                got="the scene as it was generated", expected="an extend or redo before",
                                fix="generate another scene with --force")  # fmt: skip
            undone = self.actions[-1]
            self._write(self._document.sealed(done=False))  # whatever happens, it can be finished again or undone
            for index in undone.blocks:
                self._bring_back(index, undone.revision)
            self._write(self._document.undone())
            self._tidy()
            self._read()
            return undone

    def _read(self) -> None:
        self._document = read_document(self.folder)
        self._revisions: dict[Index, int] = {}
        for action in self.actions:
            for index in action.blocks:
                if action.done or self._verifies(index, action.revision):
                    self._revisions[index] = action.revision

    def _write(self, document: Document) -> None:
        write_document(self.folder, document)
        self._document = document

    def _verifies(self, index: Index, revision: int) -> bool:
        try:
            _read_block(self._path(index), index, revision, self.head)
        except UserError:
            return False
        return True

    def _bring_back(self, index: Index, revision: int) -> None:
        """Give a block that an action replaced its place again, or remove one that was not there before."""
        path = self._path(index)
        kept = self._kept(revision) / path.name
        if kept.exists():
            write_bytes(path, kept.read_bytes())
            kept.unlink()
        elif self._verifies(index, revision):
            path.unlink()

    def _tidy(self) -> None:
        """Remove what no action names."""
        revisions = {str(action.revision) for action in self.actions}
        for folder in (self.folder / _HISTORY).glob("*"):
            if folder.name.isdecimal() and folder.name not in revisions:
                shutil.rmtree(folder, ignore_errors=True)
        there = {index for action in self.actions for index in action.blocks}
        for path in (self.folder / _BLOCKS).glob("*.safetensors"):
            index = _index_of(path)
            if index is not None and index not in there:
                path.unlink()
        for path in self.folder.glob("plan-*"):
            if is_plan_name(path.name) and path.name not in self.plans:
                path.unlink()

    def _path(self, index: Index) -> Path:
        return self.folder / _BLOCKS / f"{index[0]}_{index[1]}.safetensors"

    def _kept(self, revision: int) -> Path:
        return self.folder / _HISTORY / str(revision)


def create_scene(folder: str | os.PathLike[str], head: SceneHead, plan: PlanFile, *, force: bool = False) -> SceneStore:
    """A new scene without blocks.

    force: throw away a scene that lies there.

    Raises:
        UserError: `E-USAGE-EXISTS`, `E-USAGE-SEED`, `E-ENV-WRITE`, `E-ENV-DISK`, `E-ENV-LOCK`.
    """
    folder = Path(folder)
    check_seed(head.seed)
    if (folder / MANIFEST).exists():
        if not force:
            raise UserError("E-USAGE-EXISTS", "scene exists already", where=folder, expected="a new folder",
                            fix="go on by --resume, replace it by --force, or choose another --out")  # fmt: skip
        with FolderLock(folder):
            (folder / MANIFEST).unlink()
    _remove_remains(folder)
    write_bytes(folder / f"plan{plan[0]}", plan[1])
    write_document(folder, Document(head, f"plan{plan[0]}"))
    return SceneStore(folder)


def open_scene(folder: str | os.PathLike[str]) -> SceneStore:
    """A scene that is there.

    Raises:
        UserError: `E-SCENE-MISSING`, `E-SCENE-MANIFEST`, `E-JSON-…`.
    """
    return SceneStore(Path(folder))


def _remove_remains(folder: Path) -> None:
    """Remove what a scene without its manifest left, and nothing else: it may not pass for blocks of a new one."""
    for path in (*folder.glob("plan.*"), *folder.glob("plan-*"), *(folder / _BLOCKS).glob("*.safetensors")):
        if is_plan_name(path.name) or _index_of(path) is not None:
            path.unlink()
    for kept in (folder / _HISTORY).glob("*"):
        if kept.name.isdecimal():
            shutil.rmtree(kept, ignore_errors=True)


def _read_block(path: Path, index: Index, revision: int, head: SceneHead) -> dict[str, Tensor]:
    tensors, header = checkpoint.load_tensors(path)
    checkpoint.expect(header, path, type=_TYPE)
    checkpoint.match_tensors({"latent": head.latent, "planes": head.planes}, tensors, path)
    notes = header.get("notes")
    found = (notes.get("index"), notes.get("revision")) if isinstance(notes, dict) else (None, None)
    if found != (list(index), revision):
        raise UserError("E-CKPT-BLOCK", "file is of another block or an older one", where=path,
                        got=f"block {found[0]} of revision {found[1]}",
                        expected=f"block {list(index)} of revision {revision}")  # fmt: skip
    return tensors


def _index_of(path: Path) -> Index | None:
    found = _BLOCK.fullmatch(path.name)
    return None if found is None else (int(found[1]), int(found[2]))


def _extent(blocks: Iterable[Index]) -> str:
    """A line about which blocks there are."""
    found = list(blocks)
    if not found:
        return "a scene with blocks"
    (i0, i1), (k0, k1) = ((min(side), max(side)) for side in zip(*found, strict=True))
    return f"one of {len(found)} blocks, i {i0} to {i1}, k {k0} to {k1}"
