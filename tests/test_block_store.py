"""Block stores: whole or missing, verified, resumed with equal settings only. Model folders likewise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fields.errors import UserError
from scenegen.blocks import BlockFrame
from scenegen.decoder import TriplaneDecoder
from scenegen.model_files import CONFIG, WEIGHTS, load_model, save_model
from scenegen.store import MANIFEST, Block, BlockStore, StoreHead, begin_store, open_store

HEAD = StoreHead("fitted", "room", BlockFrame(), ("wall", "floor"), 2, {"planes": (3, 2, 4, 4)}, {"seed": 1})


def _planes(count: int, seed: int = 0) -> dict[str, torch.Tensor]:
    return {"planes": torch.randn(count, 3, 2, 4, 4, generator=torch.Generator().manual_seed(seed))}


def _blocks(shard: int, count: int) -> list[Block]:
    return [Block(f"s{row}", "held-out" if row else "train", (1.0, 1.45, 2.0), shard, row, {"q": 0.5})
            for row in range(count)]  # fmt: skip


def _filled(folder: Path) -> BlockStore:
    store = begin_store(folder, HEAD, resume=False, force=False)
    for shard in range(2):
        store.write(shard, _planes(3, shard), _blocks(shard, 3), notes=["x"])
    return store


def test_a_store_gives_back_what_was_written(tmp_path: Path) -> None:
    _filled(tmp_path / "store")
    store = open_store(tmp_path / "store", "fitted")
    assert store.head == HEAD and store.missing() == [] and store.notes(1) == ["x"]
    assert store.blocks() == _blocks(0, 3) + _blocks(1, 3)
    held = store.blocks("held-out")
    assert [b.row for b in held] == [1, 2, 1, 2]
    picked = store.gather([held[3], held[0]], ["planes"])["planes"]
    assert torch.equal(picked, torch.stack([_planes(3, 1)["planes"][2], _planes(3, 0)["planes"][1]]))


def test_damaged_and_absent_shards_are_missing(tmp_path: Path) -> None:
    store = _filled(tmp_path)
    content = bytearray(store.path(0).read_bytes())
    content[-5] ^= 1
    store.path(0).write_bytes(content)
    store.path(1).unlink()
    assert store.missing() == [0, 1]
    with pytest.raises(UserError, match="E-BLOCKS-INCOMPLETE"):
        store.blocks()
    with pytest.raises(UserError, match="E-CKPT-HASH"):
        store.read(0)


def test_resuming_needs_equal_settings_and_force_starts_anew(tmp_path: Path) -> None:
    _filled(tmp_path)
    with pytest.raises(UserError, match="E-USAGE-EXISTS"):
        begin_store(tmp_path, HEAD, resume=False, force=False)
    assert begin_store(tmp_path, HEAD, resume=True, force=False).missing() == []
    other = replace(HEAD, settings={"seed": 2})
    with pytest.raises(UserError, match=r"E-BLOCKS-SETTINGS.*settings\.seed"):
        begin_store(tmp_path, other, resume=True, force=False)
    assert begin_store(tmp_path, other, resume=False, force=True).missing() == [0, 1]


def test_tensors_of_another_shape_are_not_stored(tmp_path: Path) -> None:
    store = begin_store(tmp_path, HEAD, resume=False, force=False)
    with pytest.raises(UserError, match="E-CKPT-TENSORS"):
        store.write(0, _planes(2), _blocks(0, 3))


@pytest.mark.parametrize(
    "change", [{"format": "other"}, {"shards": -1}, {"kind": "thing"}, {"frame": None}, {"tensors": {"x": ["a"]}}]
)
def test_manifests_that_make_no_sense_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    _filled(tmp_path)
    document = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**document, **change}))
    with pytest.raises(UserError, match="E-BLOCKS-STORE"):
        open_store(tmp_path, "fitted")


def test_the_other_kind_of_store_is_refused(tmp_path: Path) -> None:
    _filled(tmp_path)
    with pytest.raises(UserError, match="E-BLOCKS-STORE"):
        open_store(tmp_path, "samples")
    with pytest.raises(UserError, match="E-BLOCKS-STORE"):
        open_store(tmp_path / "nothing", "samples")


def test_model_folders_are_diffusers_folders(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = TriplaneDecoder(channels=2, resolution=4, width=8, layers=1)
    save_model(model, tmp_path, "# card\n")
    planes, x = torch.randn(1, 3, 2, 4, 4), torch.rand(1, 5, 3) * 2 - 1
    for loaded in (load_model(TriplaneDecoder, tmp_path), TriplaneDecoder.from_pretrained(tmp_path)):
        assert torch.equal(loaded(planes, x), model(planes, x))
    assert (tmp_path / "README.md").read_text() == "# card\n"


def test_broken_model_folders_are_refused(tmp_path: Path) -> None:
    save_model(TriplaneDecoder(channels=2, resolution=4, width=8, layers=1), tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())

    def refused(code: str, **change: object) -> None:
        (tmp_path / CONFIG).write_text(json.dumps({**config, **change}))
        with pytest.raises(UserError, match=code):
            load_model(TriplaneDecoder, tmp_path)

    refused("E-CKPT-TYPE", _class_name="UNet")
    refused("E-CKPT-CONFIG", colour="red")
    refused("E-CKPT-TENSORS", width=9)
    weights = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(weights[:-1] + b"\x01")
    refused("E-CKPT-HASH")
    (tmp_path / WEIGHTS).unlink()
    refused("E-CKPT-MISSING")
