"""Small networks in bfloat16 on the CPU, whatever its instruction set."""

from __future__ import annotations

import sys

import pytest
import torch
from half_parity import HalfParity
from kernel_parity import CPU, needs_native, run_with


@needs_native
class TestNativeHalves(HalfParity):
    """The network in bfloat16, on the CPU."""

    dtype = torch.bfloat16

    @pytest.fixture
    def device(self) -> torch.device:
        return CPU

    @pytest.mark.parametrize("widths", [(64, 256, 256, 16), (320, 256, 160, 48)])
    def test_half_mlp_of_any_width(
        self, device: torch.device, widths: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys.modules["cuda_ext.mlp"], "halves_are_faster", lambda: True)
        self.test_half_mlp_agrees_with_rounded_arithmetic(device, widths, 161)


@needs_native
@pytest.mark.parametrize("simd", ["baseline", "avx2", "avx512", "avx512bf16"])
def test_halves_are_the_same_with_every_instruction_set(simd: str) -> None:
    code = (
        "import half_parity as h, torch\n"
        "case = h.problem(torch.device('cpu'), (31, 32, 20, 3), 100)\n"
        "for values in h.halves(*case[:2], (31, 32, 20, 3), case[2]): print(float(values.double().square().sum()))\n"
    )
    lower, highest = ([float(line) for line in run_with(limit, code).split()] for limit in (simd, "amx"))
    assert lower == pytest.approx(highest, rel=1e-3)
