"""Where tensors live, and where networks are trained in bfloat16."""

from __future__ import annotations

import pytest
import torch

from app.devices import pick_bfloat16, pick_device
from fields.errors import UserError


def test_a_device_that_is_not_known_is_refused() -> None:
    with pytest.raises(UserError, match="E-USAGE-DEVICE"):
        pick_device("tpu")
    with pytest.raises(UserError, match="E-USAGE-DEVICE"):
        pick_device("cuda:x")


def test_a_gpu_is_taken_where_one_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert pick_device("auto") == "cuda" and pick_device("cpu") == "cpu"
    with pytest.raises(UserError, match="E-ENV-CUDA"):
        pick_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == "cpu"


@pytest.mark.parametrize("able", [False, True])
def test_bfloat16_is_trained_in_where_hardware_multiplies_it(able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": able, "avx512_bf16": True})
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: able)
    for device in ("cpu", "cuda"):
        assert pick_bfloat16(None, device) is able
        assert pick_bfloat16(True, device) and not pick_bfloat16(False, device)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)  # an architecture that tells nothing
    assert not pick_bfloat16(None, "cpu")
