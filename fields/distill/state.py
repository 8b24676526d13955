"""Everything a distillation continues from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cuda_ext import Muon, ParameterGroup

from ..errors import UserError
from ..field import Field
from ..guard import NaNGuard
from ..volume import Volume
from .options import DistillOptions
from .rays import RaySource
from .schedule import Schedule

FIRST_RAYS = 64
_ADAPTER_RATE = 5e-3


class DistillState:
    """Its tensors make a resumed distillation equal to an unbroken one."""

    def __init__(self, teacher: Volume, student: Field, options: DistillOptions) -> None:
        self.student = student
        self.generator = torch.Generator().manual_seed(options.seed)
        self.source = RaySource(teacher, options.cameras, options.active, options.seed + 1)
        colors = options.colors or options.target_psnr is not None  # pixels are also what closeness is told by
        self.from_rays = colors or student.kind == "density"
        levels = options.levels if self.from_rays else ("values",)
        self.schedule = Schedule(levels)
        self.step, self.elapsed, self.rays = 0, 0.0, FIRST_RAYS
        self.loss, self.psnr = 0.0, 0.0
        self.start_method = ""
        self.seconds: dict[str, float] = {"start": 0.0, **dict.fromkeys(levels, 0.0)}
        self.shared = False  # features of the two can be compared as they are
        self.adapter: nn.Linear | None = None
        self.hard_points = torch.zeros(0, dtype=torch.int64)  # rows of a pool of distances
        self.renew_optimiser()

    def renew_optimiser(self, rate: float = 1.0) -> None:
        """Fresh moments, at the start and after the student has replaced its parameters; `rate` is the guard's."""
        groups = self.student.parameter_groups()
        if self.adapter is not None:
            groups.append(ParameterGroup(list(self.adapter.parameters()), _ADAPTER_RATE))
        self.optimiser = Muon(groups)
        if not self.from_rays:  # where nothing gives a gradient, Adam would make full steps of the decay
            for group in groups:
                group.decay = 0.0
        self.guard = NaNGuard(self.student, self.optimiser)
        self.guard.rate = rate
        self.student.backend.attach(self.optimiser)

    def begin_with(self, method: str) -> None:
        """Note how the student began: where that has solved for densities and colours, only pixels are left."""
        self.start_method = method
        student = self.student
        if method and student.kind == "density" and student.backend.values_outright and "pixels" in self.seconds:
            self.schedule = Schedule(("pixels",))

    def adapt(self, channels: int) -> None:
        """Compare features through a linear map from the student's appearance to `channels` of the teacher's."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.adapter = nn.Linear(self.student.backend.width - 1, channels).to(self.student.device)
        self.renew_optimiser()

    def tensors(self) -> dict[str, Tensor]:
        """Flat tensors for a checkpoint."""
        numbers = [self.step, self.elapsed, self.rays, self.loss, self.psnr, self.guard.rate, float(self.shared)]
        method = torch.frombuffer(bytearray(self.start_method.encode() or b" "), dtype=torch.uint8).clone()
        found = {
            "numbers": torch.tensor(numbers, dtype=torch.float64),
            "seconds": torch.tensor(list(self.seconds.values()), dtype=torch.float64),
            "generator": self.generator.get_state(),
            "start_method": method,
            "hard_points": self.hard_points,
        }
        for prefix, part in (
            ("field", self.student.state_dict()),
            ("adapter", self.adapter.state_dict() if self.adapter is not None else {}),
            ("adam", self.optimiser.state()),
            ("source", self.source.tensors()),
            ("schedule", self.schedule.tensors()),
        ):
            found |= {f"{prefix}.{name}": tensor for name, tensor in part.items()}
        return found

    @classmethod
    def restore(
        cls, teacher: Volume, student: Field, options: DistillOptions, tensors: dict[str, Tensor]
    ) -> DistillState:
        """Continue from `tensors()`; teacher, options and the student's configuration are the same.

        Raises:
            UserError: `E-CKPT-TENSORS` for a state with other levels, as those of other versions may have.
        """

        def part(prefix: str) -> dict[str, Tensor]:
            return {name[len(prefix) + 1 :]: t for name, t in tensors.items() if name.startswith(prefix + ".")}

        weights = part("field")
        student.resize_like({name: tuple(t.shape) for name, t in weights.items()})
        student.load_state_dict(weights)
        state = cls(teacher, student, options)
        if adapter := part("adapter"):
            state.adapt(len(adapter["bias"]))
            assert state.adapter is not None
            state.adapter.load_state_dict(adapter)
        state.optimiser.load_state(part("adam"))
        state.source.load(part("source"))
        state.begin_with(bytes(tensors["start_method"].tolist()).decode().strip())
        place = int(tensors["schedule.values"][0])
        if len(tensors["seconds"]) != len(state.seconds) or place >= len(state.schedule.levels):
            raise UserError(
                "E-CKPT-TENSORS",
                "this state cannot be gone on from",
                got="other levels",
                expected="a state saved by this version of the program",
                fix="convert anew with --force",
            )
        state.schedule.load(part("schedule"))
        state.generator.set_state(tensors["generator"])
        state.hard_points = tensors["hard_points"]
        state.seconds = dict(zip(state.seconds, tensors["seconds"].tolist(), strict=True))
        step, state.elapsed, rays, state.loss, state.psnr, state.guard.rate, shared = tensors["numbers"].tolist()
        state.step, state.rays, state.shared = int(step), int(rays), bool(shared)
        return state
