"""What a backend is: one function from the unit cube to features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from cuda_ext import Adam, ParameterGroup


class Target(Protocol):
    """What a backend's features should be: see `fields.distill.target.Target`."""

    appearance: bool  # False: only channel 0 is known, the others are zero
    empty: float  # channel 0 of empty space, where that is a log-density

    def __call__(self, u: Tensor) -> Tensor:
        """Wanted features [N, 1 + A] at u [N, 3] in [0, 1]."""
        ...


class Backend(nn.Module, ABC):
    """A representation. Subclasses write a frozen `Config`, `PRESETS`, `__init__(config)` and `features`.

    `feature_space` names the basis of the appearance channels: two fields whose backends share it (and
    whose appearance modules are equal) can be compared feature by feature.
    """

    Config: ClassVar[type]
    PRESETS: ClassVar[Mapping[str, Any]]
    appearance: ClassVar[str] = "view_mlp"
    feature_space: ClassVar[str] = "log_density+15"
    step_samples: ClassVar[int] = 1 << 14  # of rays, in one step of a fit, at which time is spent best
    taught_rate: ClassVar[float] = 1.0  # of the rates for photos, where densities at points are told: less can go wrong
    taught_distance_rate: ClassVar[float] = 1.0  # the same, where distances are told
    values_outright: ClassVar[bool] = False  # `begin_from` solves for them: what steps add is closeness of pixels
    wide: bool = False  # most time goes into torch's own matrix products, which then get every thread

    config: Any
    width: int  # 1 + A

    @abstractmethod
    def features(self, u: Tensor) -> Tensor:
        """Features [N, 1 + A] at u [N, 3] in [0, 1]; channel 0 is geometry, the rest appearance."""

    def parameter_groups(self) -> list[ParameterGroup]:
        """Parameters with their learning rates, for `fit`."""
        return [ParameterGroup(list(self.parameters()), 5e-3)]

    def begin_as_distance(self) -> None:
        """Called once on a new backend whose channel 0 will be a signed distance (less that of a sphere)."""

    def begin_from(self, target: Target, cells: Tensor) -> str:
        """Come as close to `target` as can be computed outright, on a new backend; says how, "" if not at all.

        `cells` [G, G, G] bool (z, y, x) of the unit cube are those that matter: all others are never looked at.
        """
        return ""

    def begin_at_zero(self) -> None:
        """Called on a new backend that adds to another which is right already: zero everywhere, but able to learn.

        Left out, it begins with whatever it has drawn, which steps then correct.
        """

    def resample_from(self, other: Backend) -> bool:
        """Take over `other`, of the same class, at this backend's own resolution and width; False where it cannot."""
        return False

    def attach(self, optimiser: Adam | None) -> None:
        """Offer the optimiser's gradient buffers to operators that can add to them in place."""

    def grow(self, fraction: float) -> bool:
        """Refine the representation at this fraction of the run; True when parameters were replaced."""
        return False

    def penalty(self) -> Tensor | None:
        """The representation's own regulariser (total variation, sparsity), already weighted."""
        return None

    def resize_like(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Make room for a state whose shapes came from training; called before it is loaded."""
