"""Round trips, damage and disk faults of the field file."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from fields import safeio
from fields.checkpoint import expect, is_finite, load_tensors, match_tensors, read_header, save_tensors
from fields.checkpoint_layout import DTYPES
from fields.errors import ExitCode, UserError

HEADER = {
    "type": "field",
    "backend": "hash",
    "kind": "density",
    "bounds": [[-1.0, -1, -1], [1, 1, 1]],
    "config": {"levels": 8, "name": "Küche"},
    "notes": {},
}

# The first release's format: this file has to load for ever.
FORMAT_1 = bytes.fromhex(
    "38010000000000007b225f5f6d657461646174615f5f223a7b226669656c647363617065223a227b5c226261636b656e"
    "645c223a5c22686173685c222c5c22626f756e64735c223a5b5b2d312c2d312c2d315d2c5b312c312c315d5d2c5c2263"
    "6f6e6669675c223a7b5c226c6576656c735c223a327d2c5c22666f726d61745c223a312c5c226b696e645c223a5c2264"
    "656e736974795c222c5c227368613235365c223a5c223165666562336332376635353834653337336466303962623331"
    "33356561333365316232656636333463663230616539313562366261616438333564653566615c222c5c22747970655c"
    "223a5c226669656c645c227d227d2c227461626c65223a7b22646174615f6f666673657473223a5b302c31365d2c2264"
    "74797065223a22463332222c227368617065223a5b322c325d7d7d20202020200000003f000080bf0000004000008040"
)


def _tensors(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "features.table": torch.randn(3, 4, generator=generator),
        "features.half": torch.randn(5, generator=generator).half(),
        "mask": torch.tensor([True, False, True]),
        "step": torch.tensor(7),
        "empty": torch.zeros(0, 3),
    }


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "field.safetensors"
    save_tensors(path, _tensors(), HEADER)
    return path


def _assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert tensor.dtype == right[name].dtype
        assert torch.equal(tensor, right[name]), name


def test_tensors_and_header_come_back(saved: Path) -> None:
    tensors, header = load_tensors(saved)
    _assert_same(tensors, _tensors())
    assert {key: header[key] for key in HEADER} == HEADER
    assert header["format"] == 1
    assert read_header(saved) == header


def test_loaded_tensors_are_private_and_writable(saved: Path) -> None:
    tensors, _ = load_tensors(saved)
    tensors["features.table"].zero_()
    assert load_tensors(saved)[0]["features.table"].abs().sum() > 0


def test_file_is_plain_safetensors(saved: Path) -> None:
    _assert_same(load_file(saved), _tensors())
    with safe_open(saved, "pt") as file:
        assert set(file.metadata()) == {"fieldscape"}


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a", _tensors(), HEADER)
    save_tensors(tmp_path / "b", dict(reversed(_tensors().items())), dict(reversed(HEADER.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_file_of_the_first_format_loads(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    path.write_bytes(FORMAT_1)
    tensors, header = load_tensors(path)
    assert torch.equal(tensors["table"], torch.tensor([[0.5, -1.0], [2.0, 4.0]]))
    assert header["backend"] == "hash"


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_][a-z0-9_.]{0,8}[a-z]", fullmatch=True),
        st.tuples(st.sampled_from(sorted(DTYPES)), st.lists(st.integers(0, 4), max_size=4)),
        max_size=5,
    ).filter(lambda d: not any(".." in name for name in d))
)
def test_any_shape_and_number_type_round_trips(
    tmp_path: Path, spec: dict[str, tuple[str, list[int]]]
) -> None:
    tensors = {name: (torch.ones(shape) * 3).to(DTYPES[code]) for name, (code, shape) in spec.items()}
    save_tensors(tmp_path / "f", tensors, {"type": "field"})
    _assert_same(load_tensors(tmp_path / "f")[0], tensors)


def test_non_contiguous_and_grad_tensors_are_saved_by_value(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.arange(6.0).view(2, 3))
    save_tensors(tmp_path / "f", {"t": weight.t(), "e": torch.ones(1).expand(4)}, {"type": "state"})
    _assert_same(load_tensors(tmp_path / "f")[0], {"t": weight.detach().t(), "e": torch.ones(4)})


def _accepted_flips(path: Path, every: int) -> list[int]:
    """Bits of the file that can be flipped unnoticed, among each `every`-th."""
    content, accepted = bytearray(path.read_bytes()), []
    for bit in range(0, 8 * len(content), every):
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        content[bit // 8] ^= 1 << bit % 8
        try:
            load_tensors(path)
        except UserError as error:
            assert error.code.startswith(("E-CKPT", "E-LIMIT")), error
        else:
            accepted.append(bit)
    return accepted


def test_a_flipped_bit_in_any_byte_is_refused(saved: Path) -> None:
    assert saved.stat().st_size * 8 // 5 >= 1000
    assert _accepted_flips(saved, every=5) == []


@pytest.mark.slow
def test_every_flipped_bit_is_refused(saved: Path) -> None:
    assert _accepted_flips(saved, every=1) == []


def test_every_truncation_is_refused(saved: Path) -> None:
    content = saved.read_bytes()
    for length in range(len(content)):
        saved.write_bytes(content[:length])
        with pytest.raises(UserError, match="E-CKPT-TRUNCATED"):
            load_tensors(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_number_that_is_not_finite_is_never_saved(saved: Path, value: float) -> None:
    before = saved.read_bytes()
    bad = {**_tensors(), "features.table": torch.tensor([1.0, value])}
    with pytest.raises(UserError, match=r"E-NAN-SAVE.*features.table") as caught:
        save_tensors(saved, bad, HEADER)
    assert caught.value.exit_code == ExitCode.NAN
    with pytest.raises(UserError, match="E-NAN-SAVE"):
        save_tensors(saved, {}, {**HEADER, "notes": {"loss": value}})
    assert saved.read_bytes() == before


def test_finite_check_sees_cancelling_infinities_and_accepts_huge_numbers() -> None:
    assert not is_finite(torch.tensor([float("inf"), -float("inf")]))
    assert is_finite(torch.full((8,), 3e38))
    assert is_finite(torch.full((8,), 1.7e308, dtype=torch.float64))
    assert is_finite(torch.zeros(0))


@pytest.mark.parametrize(
    "header",
    [{}, {"type": 3}, {"type": "field", "bounds": [[0, 0, 0], [0, 1, 1]]}, {"type": "field", "config": []},
     {"type": "field", "backend": 1}, {"type": "field", "bounds": [[0, 0], [1, 1]]}],
)  # fmt: skip
def test_header_that_could_not_be_loaded_is_not_saved(tmp_path: Path, header: dict[str, object]) -> None:
    with pytest.raises(UserError, match="E-CKPT-HEADER"):
        save_tensors(tmp_path / "f", {}, header)
    assert list(tmp_path.iterdir()) == []


def test_complex_sparse_and_too_many_tensors_are_programming_errors(tmp_path: Path) -> None:
    too_many = {f"t{i}": torch.zeros(1) for i in range(4097)}
    complex_numbers = {"c": torch.zeros(1, dtype=torch.complex64)}
    for tensors in (complex_numbers, {"s": torch.zeros(2).to_sparse()}, too_many):
        with pytest.raises(ValueError):
            save_tensors(tmp_path / "f", tensors, HEADER)


def test_expect_names_both_sides() -> None:
    expect(HEADER, "f", type="field", backend="hash")
    with pytest.raises(UserError, match=r"E-CKPT-TYPE.*got field, expected state"):
        expect(HEADER, "f", type="state")
    with pytest.raises(UserError, match=r"E-CKPT-BACKEND.*got hash, expected vm.*convert FIELD --to vm"):
        expect(HEADER, "f", type="field", backend="vm")


def test_missing_extra_and_misshaped_tensors_are_all_listed() -> None:
    found = {"a": torch.zeros(2), "b": torch.zeros(2, 3), "c": torch.zeros(())}
    match_tensors({"a": (2,), "b": (2, 3), "c": ()}, found, "f")
    with pytest.raises(UserError) as caught:
        match_tensors({"a": (2,), "b": (3, 2), "d": (1,)}, found, "f")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "f:b: got [2, 3], expected [3, 2]" in lines[0]
    assert "f:c: got [], expected no such tensor" in lines[1]
    assert "f:d: got nothing, expected [1]" in lines[2]


class _FailingDisk:
    """Counts write, fsync and replace calls of a save and fails the chosen one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int, code: int) -> None:
        self.calls, self.fail_at, self.code = 0, fail_at, code
        fdopen = os.fdopen

        def open_counted(*args: object) -> object:
            file = fdopen(*args)
            return _CountedFile(file, self.guard(file.write))

        monkeypatch.setattr(safeio.os, "fdopen", open_counted)
        monkeypatch.setattr(safeio.os, "fsync", self.guard(os.fsync))
        monkeypatch.setattr(safeio.os, "replace", self.guard(os.replace))

    def guard(self, call: Callable[..., object]) -> Callable[..., object]:
        def counted(*args: object) -> object:
            self.calls += 1
            if self.calls - 1 == self.fail_at:
                raise OSError(self.code, os.strerror(self.code))
            return call(*args)

        return counted


class _CountedFile:
    def __init__(self, file: object, write: Callable[..., object]) -> None:
        self._file, self.write = file, write

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def __enter__(self) -> _CountedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@pytest.mark.parametrize(("code", "expected"), [(errno.ENOSPC, "E-ENV-DISK"), (errno.EIO, "E-ENV-WRITE")])
def test_disk_fault_at_any_call_leaves_a_whole_file(saved: Path, code: int, expected: str) -> None:
    before = saved.read_bytes()
    fail_at = 0
    while True:
        with pytest.MonkeyPatch.context() as monkeypatch:
            disk = _FailingDisk(monkeypatch, fail_at, code)
            try:
                save_tensors(saved, _tensors(seed=1), HEADER)
            except UserError as error:
                assert error.code == expected
                assert error.exit_code == ExitCode.ENVIRONMENT
            else:
                break
        replaced = disk.calls == disk.fail_at + 1 and saved.read_bytes() != before
        _assert_same(load_tensors(saved)[0], _tensors(seed=int(replaced)))
        assert [p.name for p in saved.parent.iterdir()] == [saved.name]
        fail_at += 1
    assert fail_at >= 7  # front, four non-empty tensors, fsync, replace, and the folder's fsync
    _assert_same(load_tensors(saved)[0], _tensors(seed=1))


def test_file_size_limit_of_the_system_leaves_the_old_file(saved: Path) -> None:
    resource = pytest.importorskip("resource")
    before, limits = saved.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(UserError, match="E-ENV-DISK"):
            save_tensors(saved, {"x": torch.zeros(100_000)}, HEADER)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]
