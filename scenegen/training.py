"""The loop that both trainings share: states that resume bit-equally, guarded steps, one or several processes."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
import torch.distributed
from accelerate import Accelerator
from torch import Tensor, nn

from cuda_ext import Adam, Muon, ParameterGroup
from cuda_ext.muon import rows
from fields.budget import Budget
from fields.errors import UserError
from fields.guard import NaNGuard
from fields.progress import Progress

from .average import Average, averaged

REPORT_STEPS = 10
_WARM_STEPS = 100
_LAST_RATE = 0.02
_BETAS, _EPSILON = (0.9, 0.99), 1e-8
_MEMORY = 0.98  # of the reported loss

Network = TypeVar("Network", bound=nn.Module)
Losses = dict[str, Tensor]


@dataclass(frozen=True)
class TrainOptions:
    """What both trainings have: blocks in a step (of all processes together), learning rate, EMA, bf16."""

    batch: int = 16
    rate: float = 2e-4
    decay: float = 0.999
    seed: int = 0
    bfloat16: bool = False  # networks in bf16, losses in fp32; pays on GPUs and on CPUs with AMX


class TrainState(Generic[Network]):
    """Everything a training continues from: its tensors make a resumed run equal to an unbroken one."""

    def __init__(self, model: Network, options: TrainOptions, device: str = "cpu") -> None:
        """`model` is moved to the device; those of its parameters that want a gradient are trained in place."""
        self.model = model.to(device)
        self.generator = torch.Generator().manual_seed(options.seed)
        self.optimiser = _optimiser(model, options.rate)
        self.guard = NaNGuard(model, self.optimiser)
        self.average = Average(model, options.decay)
        self.step, self.elapsed, self.loss = 0, 0.0, 0.0

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def averaged(self) -> Network:
        """A copy of the model with averaged weights."""
        return averaged(self.model, self.average)

    def tensors(self) -> dict[str, Tensor]:
        """Flat tensors for a checkpoint."""
        numbers = [float(self.step), self.elapsed, self.loss, self.guard.rate]
        found = {"numbers": torch.tensor(numbers, dtype=torch.float64), "generator": self.generator.get_state()}
        parts = {"model": self.model.state_dict(), "adam": self.optimiser.state(), "average": self.average.state()}
        for prefix, part in parts.items():
            found |= {f"{prefix}.{name}": tensor for name, tensor in part.items()}
        return found

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Continue from `tensors()` of a state with the same model configuration."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {name[len(prefix) + 1 :]: t for name, t in tensors.items() if name.startswith(prefix + ".")}

        self.model.load_state_dict(part("model"))
        self.optimiser.load_state(part("adam"))
        self.average.load_state(part("average"))
        self.generator.set_state(tensors["generator"].cpu())
        step, self.elapsed, self.loss, self.guard.rate = tensors["numbers"].tolist()
        self.step = int(step)


@dataclass(frozen=True)
class Share:
    """This process's part of every batch, and the network that sums gradients over processes."""

    network: nn.Module
    rank: int
    count: int

    @property
    def part(self) -> slice:
        """Entries of a whole batch that are this process's."""
        return slice(self.rank, None, self.count)


def share_of(state: TrainState[Network], options: TrainOptions, budget: Budget) -> Share:
    """Join the other processes that torchrun started, if any; every one gets the first one's state.

    Raises:
        UserError: `E-USAGE-BATCH` for a batch that processes cannot share evenly, `E-USAGE-BUDGET` for a
            budget in seconds, which processes would not end at the same step.
    """
    accelerator = Accelerator(cpu=state.device.type == "cpu")
    count = accelerator.num_processes
    if options.batch % count:
        raise UserError("E-USAGE-BATCH", "batch cannot be shared evenly", got=f"{options.batch} blocks for {count}",
                        expected="a multiple of the number of processes", fix="change --batch")  # fmt: skip
    if count > 1 and budget.seconds is not None:
        raise UserError("E-USAGE-BUDGET", "several processes need a budget in steps", got=f"{budget.seconds:g} s",
                        expected="steps", fix="use --steps")  # fmt: skip
    if count > 1:
        _same_state(state, accelerator)
    return Share(accelerator.prepare(state.model), accelerator.process_index, count)


def train(
    state: TrainState[Network],
    losses_of: Callable[[float], Losses],
    budget: Budget,
    phase: str,
) -> Generator[Progress, None, None]:
    """Steps until the budget is spent; yields every ten. A state that has spent it already is left as it is.

    `losses_of(fraction)` draws a batch with the state's generator and gives named losses; the first, "loss", is
    the one that is minimised.

    Raises:
        UserError: `E-NAN-FIT` when gradients keep being no numbers.
    """
    started = time.perf_counter() - state.elapsed
    parts: Losses = {}
    while not budget.done(state.step, state.elapsed):
        fraction = budget.fraction(state.step, state.elapsed)
        parts = losses_of(fraction)
        parts["loss"].backward()
        if state.guard.admits(state.step, state.optimiser.collect()):
            state.optimiser.step(rate_at(state.step, fraction) * state.guard.rate)
            state.average.update(state.step)
            value = float(parts["loss"].detach())
            state.loss = _MEMORY * state.loss + (1 - _MEMORY) * value if state.step else value
        state.step += 1
        state.elapsed = time.perf_counter() - started
        if state.step % REPORT_STEPS == 0 and not budget.done(state.step, state.elapsed):
            yield _report(state, budget, phase, parts)
            started = time.perf_counter() - state.elapsed  # time outside the generator does not count
    yield _report(state, budget, phase, parts)


def rate_at(step: int, fraction: float) -> float:
    """Learning-rate factor: a linear start over 100 steps, then a cosine down to a fiftieth."""
    falling = _LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * fraction))
    return falling * min(1.0, (step + 1) / _WARM_STEPS)


def _optimiser(model: nn.Module, rate: float) -> Adam:
    """Muon for the weights of layers, by which a VAE learns far faster; Adam for biases, scales, embeddings."""
    layers = (layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    weights: list[Tensor] = [layer.weight for layer in layers if layer.weight.requires_grad]
    known = {id(weight) for weight in weights}
    others: list[Tensor] = [p for p in model.parameters() if p.requires_grad and id(p) not in known]
    return Muon([ParameterGroup(others, rate), ParameterGroup(weights, rate, matrices=rows)], _BETAS, _EPSILON)


def precision(device: torch.device, bfloat16: bool) -> contextlib.AbstractContextManager[None]:
    """bf16 where asked for, inside the block."""
    return torch.autocast(device.type, torch.bfloat16) if bfloat16 else contextlib.nullcontext()


def _same_state(state: TrainState[Network], accelerator: Accelerator) -> None:
    tensors = state.tensors()
    for name in sorted(tensors):
        held = tensors[name].to(accelerator.device).contiguous()
        torch.distributed.broadcast(held, 0)
        tensors[name] = held
    tensors["numbers"] = tensors["numbers"].cpu()
    state.load(tensors)


def _report(state: TrainState[Network], budget: Budget, phase: str, parts: Losses) -> Progress:
    metrics = {name: float(value.detach()) for name, value in parts.items() if name != "loss"}
    remaining = budget.remaining(state.step, state.elapsed)
    return Progress(state.step, budget.steps or 0, phase, state.elapsed, remaining, state.loss, metrics)
