"""Backends compose: the features of several are added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from cuda_ext import Adam, ParameterGroup

from .base import Backend, Target


class Composition(Backend):
    """Sum of backends with one feature space, a coarse and a fine one, say."""

    def __init__(self, parts: Sequence[Backend]) -> None:
        super().__init__()
        spaces = {(part.feature_space, part.appearance, part.width) for part in parts}
        if len(spaces) != 1:
            raise ValueError(f"composition: feature spaces differ: {sorted(spaces)}")
        self.parts = nn.ModuleList(parts)
        self.config = tuple(part.config for part in parts)
        self.width = parts[0].width
        self.appearance = parts[0].appearance  # type: ignore[misc]
        self.feature_space = parts[0].feature_space  # type: ignore[misc]

    def features(self, u: Tensor) -> Tensor:
        """Sum of the parts' features [N, 1 + A]."""
        return torch.stack([part.features(u) for part in self._backends()]).sum(dim=0)

    def _backends(self) -> list[Backend]:
        return [part for part in self.parts if isinstance(part, Backend)]

    def parameter_groups(self) -> list[ParameterGroup]:
        return [group for part in self._backends() for group in part.parameter_groups()]

    def begin_as_distance(self) -> None:
        for part in self._backends():
            part.begin_as_distance()

    def begin_from(self, target: Target, cells: Tensor) -> str:
        """The first part that can takes the target; the others add nothing yet."""
        for part in self._backends():
            if how := part.begin_from(target, cells):
                for other in self._backends():
                    if other is not part:
                        other.begin_at_zero()
                return how
        return ""

    def begin_at_zero(self) -> None:
        for part in self._backends():
            part.begin_at_zero()

    def attach(self, optimiser: Adam | None) -> None:
        for part in self._backends():
            part.attach(optimiser)

    def grow(self, fraction: float) -> bool:
        grown = [part.grow(fraction) for part in self._backends()]  # every part must grow, not just the first
        return any(grown)

    def penalty(self) -> Tensor | None:
        found = [p for part in self._backends() if (p := part.penalty()) is not None]
        return torch.stack(found).sum() if found else None

    def resize_like(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        for k, part in enumerate(self._backends()):
            prefix = f"parts.{k}."
            part.resize_like(
                {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
            )
