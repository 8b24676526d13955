"""Choosing an engine: found, refused with a reason, and told by doctor."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from command_line import refused, run, tiny_capture, tiny_run

from app.doctor import examine
from cuda_ext import accelerators, reference_only, using
from cuda_ext.accelerators import accelerator, find_accelerator
from fields import engines
from fields.engines import engine_names, engines_for
from fields.errors import UserError
from fields.field import Field
from fields.space import Space

BOX = Space(torch.tensor([[-1.0, -1, -1], [1, 1, 1]]))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which torch sees a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def install(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package whose import runs `text`."""
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_package_that_is_absent_is_not_installed(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerators.importlib.util, "find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "tinycudann", raising=False)
    assert find_accelerator("tinycudann") == (None, "not installed")


def test_without_a_gpu_an_installed_package_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    install(tmp_path, "tinycudann", "raise SystemExit('imported')", monkeypatch)
    assert find_accelerator("tinycudann") == (None, "installed, but no GPU answers")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise EnvironmentError('Unknown compute capability.')", "OSError: Unknown compute capability."),
        ("raise ImportError('libcudart.so.12')", "ImportError: libcudart.so.12"),
        ("_C", "NameError"),
    ],
)
def test_a_package_that_fails_to_import_says_why(
    text: str, reason: str, gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "tinycudann", text, monkeypatch)
    found, why = find_accelerator("tinycudann")
    assert found is None and "does not import" in why and reason in why
    with pytest.raises(RuntimeError, match="tinycudann: does not import"), using("tinycudann"):
        pytest.fail("the block ran")
    with pytest.raises(UserError) as caught:
        engine_names("tinycudann", "cuda")
    assert caught.value.code == "E-ENV-ENGINE" and reason in caught.value.line()
    lines = {check.name: check.line() for check in examine()}
    assert reason in lines["tinycudann"] and "engine not usable" in lines["tinycudann"]


def test_a_usable_engine_is_chosen_for_the_block_only(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = ModuleType("nerfacc")
    monkeypatch.setitem(sys.modules, "nerfacc", fake)
    monkeypatch.setattr(accelerators, "_DEVICES", ("cpu",))
    some = torch.zeros(1, 3)
    with using("nerfacc"):
        assert accelerator("nerfacc", some) is fake
        assert accelerator("tinycudann", some) is None and accelerator("nerfacc", some[:0]) is None
        with reference_only():
            assert accelerator("nerfacc", some) is None
        with using():
            assert accelerator("nerfacc", some) is None
        assert accelerator("nerfacc", some) is fake
    assert accelerator("nerfacc", some) is None


def test_an_engine_serves_no_tensor_on_the_cpu(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nerfacc", ModuleType("nerfacc"))
    with using("nerfacc"):
        assert accelerator("nerfacc", torch.zeros(1, 3)) is None


def test_words_stand_for_engines(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nerfacc", "tinycudann"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    assert engine_names("native", "cpu") == () and engine_names("nerfacc", "cuda:1") == ("nerfacc",)
    assert engine_names("tinycudann+nerfacc", "cuda") == ("tinycudann", "nerfacc")
    with pytest.raises(UserError, match="--device cpu"):
        engine_names("nerfacc", "cpu")


def test_auto_is_half_for_densities_where_that_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    density, distance = (Field.create("mlp", BOX, kind, preset="tiny") for kind in ("density", "sdf"))
    for faster in (True, False):
        monkeypatch.setattr(engines, "halves_are_faster", lambda faster=faster: faster)
        assert engines_for("auto", density) == (("half",) if faster else ())
        assert engines_for("auto", distance) == engines_for("auto", distance, density) == ()
        assert engines_for("native", density) == ()
    with pytest.raises(UserError, match="signed distance"):
        engines_for("half", distance, density)


@pytest.mark.parametrize("text", ["cuda", "", "native+nerfacc", "nerfacc+nerfacc", "nerfacc+", "Nerfacc"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UserError) as caught:
        engine_names(text, "cuda")
    assert caught.value.code == "E-USAGE-ENGINE" and "tinycudann+nerfacc" in caught.value.line()


@pytest.mark.parametrize("engine", ["tinycudann", "nerfacc", "tinycudann+nerfacc"])
def test_commands_refuse_an_engine_that_is_not_there(engine: str, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    words = ("--engine", engine, "--device", "cpu")
    fitted = tiny_run() / "field.safetensors"
    for outcome in (
        run("fit", tiny_capture(), "--out", tmp_path / "run", *words),
        run("eval", fitted, tiny_capture(), *words),
        run("render", fitted, "--out", tmp_path / "pictures", *words),
        run("convert", fitted, "--to", "vm", "--out", tmp_path / "vm.safetensors", *words),
    ):
        refused(outcome, 4, "E-ENV-ENGINE", engine.split("+")[0], "fieldscape doctor")
    assert not list(tmp_path.iterdir())


def test_commands_take_the_native_engine_by_name(tmp_path: Path) -> None:
    fitted = tiny_run() / "field.safetensors"
    outcome = run("eval", fitted, tiny_capture(), "--engine", "native", "--json")
    assert outcome.code == 0 and outcome.json["mean"]["psnr"] > 0
    refused(run("eval", fitted, tiny_capture(), "--engine", "cuda"), 2, "E-USAGE-ENGINE")
