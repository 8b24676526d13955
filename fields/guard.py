"""Nothing that is not a number reaches the parameters: steps are checked, and bad stretches rolled back."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cuda_ext import Adam

from .errors import UserError

_SNAPSHOT_STEPS = 500
_MAX_ROLLBACKS = 3
_ROLLBACK_WINDOW = 1000


class NaNGuard:
    """Skips steps whose gradient is not finite; repeated ones go back to the last good state at half rate."""

    def __init__(self, module: nn.Module, optimiser: Adam) -> None:
        self.module, self.optimiser = module, optimiser
        self.rate = 1.0
        self._skipped = 0
        self._rollbacks: list[int] = []
        self._snapshot: tuple[dict[str, Tensor], dict[str, Tensor]] | None = None
        self._taken = -_SNAPSHOT_STEPS

    def admits(self, step: int, gradient_norm: Tensor) -> bool:
        """Whether this step may be taken; otherwise its gradients are dropped already.

        Raises:
            UserError: `E-NAN` after three rollbacks within a thousand steps.
        """
        if math.isfinite(float(gradient_norm)):
            self._skipped = 0
            if step - self._taken >= _SNAPSHOT_STEPS:
                self._remember(step)
            return True
        self.optimiser.discard()
        self._skipped += 1
        if self._skipped >= 3:
            self._roll_back(step)
        return False

    def _remember(self, step: int) -> None:
        values = {name: t.detach().clone() for name, t in self.module.state_dict().items()}
        if all(bool(torch.isfinite(t).all()) for t in values.values() if t.is_floating_point()):
            moments = {name: t.clone() for name, t in self.optimiser.state().items()}
            self._snapshot, self._taken = (values, moments), step

    def _roll_back(self, step: int) -> None:
        self._rollbacks = [s for s in self._rollbacks if step - s < _ROLLBACK_WINDOW] + [step]
        if len(self._rollbacks) > _MAX_ROLLBACKS or self._snapshot is None:
            raise UserError(
                "E-NAN-FIT",
                "training keeps producing numbers that are not finite",
                where=f"step {step}",
                got=f"{len(self._rollbacks)} rollbacks",
                expected="a finite gradient",
                fix="check the photos and poses, or lower the rates",
            )
        self.module.load_state_dict(self._snapshot[0])
        self.optimiser.load_state(self._snapshot[1])
        self.rate *= 0.5
        self._skipped = 0
