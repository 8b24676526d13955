"""What a page shows of a scene while it grows: a mesh for each block, and where work goes on."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fields.safeio import read_json, write_bytes, write_json
from scenegen.decoder import TriplaneDecoder
from scenegen.world.chunks import chunks_of
from scenegen.world.export import PaintedChunk, painted_chunks, surface_of, welded_mesh
from scenegen.world.neighbours import Index
from scenegen.world.plan import Plan
from scenegen.world.store import SceneStore
from scenegen.world.waves import wave_of

from ..block_mesh import block_mesh_bytes
from ..places import WORLD

BLOCKS = "blocks"
_CELLS = 32  # along a block's side
_SECONDS = 1.0  # between two renewals
_SCALE = 0.1  # metres a pixel of the plan that is sent along
_MOST_PIXELS = 512


class WorldView:
    """Keeps the files of one scene's view up to date, in the folder `out` of the job that made it."""

    def __init__(self, scene: SceneStore, plan: Plan, decoder: TriplaneDecoder, out: Path) -> None:
        self._scene, self._plan, self._decoder, self._out = scene, plan, decoder, out
        before = read_json(out / WORLD) if (out / WORLD).is_file() else {}
        self._revisions: dict[Index, int] = {(b["i"], b["k"]): b["revision"] for b in before.get("blocks", ())}
        self._count = int(before.get("count", 0))
        self._chunks = chunks_by_block(self._revisions)
        self._changed: set[Index] = set()
        self._expected: set[Index] = set()
        self._due = 0.0

    def expect(self, blocks: Iterable[Index]) -> None:
        """Show where blocks will come before the first of them is made."""
        self._expected = set(blocks)
        self._write()

    def made(self, block: Index, pause: bool) -> None:
        """A block was finished; it is drawn at a `pause`, or when the last time is long ago."""
        self._changed.add(block)
        if pause or time.monotonic() >= self._due:
            self.renew()

    def renew(self, changed: Iterable[Index] = ()) -> None:
        """Draw blocks that changed, and what of others they touch; forget those that are gone."""
        self._changed |= set(changed)
        finished = self._scene.finished()
        chunks = chunks_by_block(finished)
        dirty = set(chunks_of(self._changed | (set(self._revisions) - finished)))
        for block, own in chunks.items():
            if own != self._chunks.get(block) or dirty & own:
                self._draw(block, own)
        for block in set(self._revisions) - finished:
            self._file(block).unlink(missing_ok=True)
            del self._revisions[block]
        self._chunks, self._changed, self._expected = chunks, set(), set()
        self._write()
        self._due = time.monotonic() + _SECONDS

    def _draw(self, block: Index, chunks: set[Index]) -> None:
        surface = surface_of(self._scene, self._decoder, _CELLS)
        parts: list[PaintedChunk] = [p for _, p in painted_chunks(surface, self._plan, wanted=chunks) if p is not None]
        self._count += 1
        self._revisions[block] = self._count
        if parts:
            write_bytes(self._file(block), block_mesh_bytes(welded_mesh(parts, self._plan)))

    def _file(self, block: Index) -> Path:
        return self._out / BLOCKS / f"{block[0]}_{block[1]}.bin"

    def _write(self) -> None:
        frame = self._scene.frame
        pending = self._scene.pending() or self._expected
        wave = min((wave_of(block) for block in pending), default=0)
        document = {
            "frame": {"size": frame.size, "stride": frame.stride, "floor": frame.floor},
            "count": self._count,
            "blocks": [{"i": i, "k": k, "revision": r} for (i, k), r in sorted(self._revisions.items())],
            "busy": _named(block for block in pending if wave_of(block) == wave),
            "planned": _named(block for block in pending if wave_of(block) != wave),
            "plan": _painted(self._plan),
        }
        write_json(self._out / WORLD, document)


def chunks_by_block(finished: Iterable[Index]) -> dict[Index, set[Index]]:
    """Which chunks of the surface a block shows: its own, and those beyond it that no block has for its own."""
    blocks = set(finished)
    found: dict[Index, set[Index]] = {block: set() for block in blocks}
    for i, k in chunks_of(blocks):
        owner = next(b for b in ((i, k), (i - 1, k), (i, k - 1), (i - 1, k - 1)) if b in blocks)
        found[owner].add((i, k))
    return found


def _named(blocks: Iterable[Index]) -> list[dict[str, int]]:
    return [{"i": i, "k": k} for i, k in sorted(blocks)]


def _painted(plan: Plan) -> dict[str, Any] | None:
    """The plan as the page's painter takes it, unless it is too large for that."""
    x0, z0, x1, z1 = plan.window
    if max(x1 - x0, z1 - z0) / _SCALE > _MOST_PIXELS:
        return None
    seen = plan.seen(plan.window, _SCALE)
    height, width = seen.indices.shape
    return {"width": width, "height": height, "metresPerPixel": _SCALE, "origin": list(seen.origin),
            "indices": base64.b64encode(seen.indices.tobytes()).decode()}  # fmt: skip
