"""How large the steps of the GPU benchmark are, and where they find and leave things."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .commands import ROOT

_PLACES = (ROOT / "shared" / "data", ROOT.parent / "shared" / "data")
DATA = next((place for place in _PLACES if place.is_dir()), _PLACES[-1])


@dataclass(frozen=True)
class Plan:
    """Seconds of each fit, and the limit of each long command; photos in `data`; `work` keeps what is begun."""

    device: torch.device
    dry: bool
    seconds: float
    limit: float
    data: Path
    work: Path

    def choose(self, real: Any, dry: Any) -> Any:
        return dry if self.dry else real
