"""Lookups in a table at positions as torch operators: what all of them share, to the second derivative."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .engine import LIBRARY


@dataclass(frozen=True)
class Lookup:
    """The kernels of an operator y [N, ...] = name(u [N, 3], table [V, C], sink, *key), where `key` says how.

    With a `sink` shaped like the table, the table's gradient is added to it in place, and autograd sees none.
    What is None is not wanted, and what kernels write has its size already:

        forward(u, table, y, *key)
        backward(u, table, gy, gtable, gu, *key): gtable is added to; no table where gu is None
        second(u, table, gy, ggu, ggy, gtable, gu, *key): of the gradient in u; gtable is added to
    """

    name: str
    key: str  # the schema of `key`
    row: Callable[..., tuple[int, ...]]  # (table, *key) to the shape of one position's features
    forward: Callable[..., None]
    backward: Callable[..., None]
    second: Callable[..., None]

    def register(self) -> None:
        """Define `name`, `name_backward` and `name_scatter_`, with shapes under tracing and derivatives."""
        self._define(self.name, "Tensor u, Tensor table, Tensor? sink", "Tensor", self._forward)
        gradients = "Tensor u, Tensor table, Tensor? sink, Tensor gy, bool for_table, bool for_u"
        self._define(f"{self.name}_backward", gradients, "(Tensor, Tensor)", self._backward)
        self._define(f"{self.name}_scatter_", "Tensor u, Tensor gy, Tensor(a!) sink", "()", self._scatter)
        names = [f"fieldscape::{self.name}", f"fieldscape::{self.name}_backward"]
        torch.library.register_fake(names[0], self._new_features, lib=LIBRARY)
        torch.library.register_fake(names[1], _new_gradients, lib=LIBRARY)
        torch.library.register_autograd(names[0], self._differentiate, setup_context=_remember, lib=LIBRARY)
        torch.library.register_autograd(
            names[1], self._differentiate_backward, setup_context=_remember_backward, lib=LIBRARY
        )

    def _define(self, name: str, arguments: str, result: str, function: Callable[..., Any]) -> None:
        LIBRARY.define(f"{name}({arguments}, {self.key}) -> {result}")
        for device in ("CPU", "CUDA"):
            LIBRARY.impl(name, function, device)

    def _new_features(self, u: Tensor, table: Tensor, sink: Tensor | None, *key: Any) -> Tensor:
        return u.new_empty(u.shape[0], *self.row(table, *key))

    def _forward(self, u: Tensor, table: Tensor, sink: Tensor | None, *key: Any) -> Tensor:
        y = self._new_features(u, table, sink, *key)
        self.forward(u, table, y, *key)
        return y

    def _backward(
        self, u: Tensor, table: Tensor, sink: Tensor | None, gy: Tensor, for_table: bool, for_u: bool, *key: Any
    ) -> tuple[Tensor, Tensor]:
        gtable, gu = _new_gradients(u, table, sink, gy, for_table, for_u)
        gtable.zero_()
        self.backward(u, table, gy.contiguous(), gtable if for_table else None, gu if for_u else None, *key)
        return gtable, gu

    def _scatter(self, u: Tensor, gy: Tensor, sink: Tensor, *key: Any) -> None:
        self.backward(u, None, gy.contiguous(), sink, None, *key)

    def _differentiate(self, ctx: Any, gy: Tensor) -> tuple[Any, ...]:
        u, table = ctx.saved_tensors
        for_u, for_table = ctx.needs_input_grad[:2]
        operators = torch.ops.fieldscape
        if ctx.sink is not None and for_table and not torch.is_grad_enabled():
            getattr(operators, f"{self.name}_scatter_")(u, gy, ctx.sink, *ctx.key)
            for_table = False
        gtable = gu = None
        if for_table or for_u:
            backward = getattr(operators, f"{self.name}_backward")
            gtable, gu = backward(u, table, ctx.sink, gy, for_table, for_u, *ctx.key)
        return gu if for_u else None, gtable if for_table else None, None, *[None] * len(ctx.key)

    def _differentiate_backward(self, ctx: Any, ggtable: Tensor | None, ggu: Tensor | None) -> tuple[Any, ...]:
        """Second order through the position gradient; the table gradient's own is linear and unused."""
        u, table, gy = ctx.saved_tensors
        rest = [None] * (2 + len(ctx.key))
        if not ctx.for_u or ggu is None:
            return None, None, None, None, *rest
        ggy, gu = torch.empty_like(gy, memory_format=torch.contiguous_format), torch.empty_like(u)
        gtable = torch.zeros_like(table) if ctx.sink is None else ctx.sink
        wanted = gtable if ctx.needs_input_grad[1] else None
        self.second(u, table, gy.contiguous(), ggu.contiguous(), ggy, wanted, gu, *ctx.key)
        return gu, None if ctx.sink is not None else gtable, None, ggy, *rest


def _new_gradients(
    u: Tensor, table: Tensor, sink: Tensor | None, gy: Tensor, for_table: bool, for_u: bool, *key: Any
) -> tuple[Tensor, Tensor]:
    return (
        torch.empty_like(table) if for_table else table.new_empty(0),
        torch.empty_like(u) if for_u else u.new_empty(0),
    )


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    u, table, ctx.sink, *ctx.key = inputs
    ctx.save_for_backward(u, table)


def _remember_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    u, table, ctx.sink, gy, _, ctx.for_u, *ctx.key = inputs
    ctx.save_for_backward(u, table, gy)
