"""Layers over three planes folded into the batch: weights are shared, and an embedding tells planes apart.

A stack of planes is [B * 3, C, H, W], plane index running fastest. Every sublayer adds to its input and can be
left out by name, so that shorter networks can be cut from longer ones.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Container

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from fields.planes import PLANE_AXES

PLANES = 3
_GROUPS = 8

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def fold(planes: Tensor) -> Tensor:
    """[B, 3, C, H, W] -> [B * 3, C, H, W]."""
    return planes.flatten(0, 1)


def unfold(stack: Tensor) -> Tensor:
    """[B * 3, C, H, W] -> [B, 3, C, H, W]."""
    return stack.unflatten(0, (-1, PLANES))


def softmax_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention over [B, heads, T, D] (Vaswani et al. 2017, equation 1).

    A block has 48 to 192 tokens: too few for the tiled kernel that PyTorch takes on a CPU, whose gradient is slow.
    """
    plain = sdpa_kernel(SDPBackend.MATH) if q.device.type == "cpu" else contextlib.nullcontext()
    with plain:
        return functional.scaled_dot_product_attention(q, k, v)


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention with the kernel elu + 1, linear in T (Katharopoulos et al. 2020, equation 5)."""
    q, k = functional.elu(q) + 1, functional.elu(k) + 1
    total = torch.einsum("bhtd,bhd->bht", q, k.sum(-2)).unsqueeze(-1)
    return torch.einsum("bhtd,bhde->bhte", q, torch.einsum("bhtd,bhte->bhde", k, v)) / total


ATTENTIONS: dict[str, Attend] = {"softmax": softmax_attention, "linear": linear_attention}
ACTIVATIONS: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "gelu": nn.GELU, "relu": nn.ReLU}


def chosen(table: dict[str, Attend] | dict[str, type[nn.Module]], name: str, what: str) -> object:
    """The entry `name` of a registry; raises `ValueError` that lists what there is."""
    if name not in table:
        raise ValueError(f"{what} {name!r}, expected one of {' '.join(table)}")
    return table[name]


def activation_of(name: str) -> nn.Module:
    """A new activation layer by name."""
    made = chosen(ACTIVATIONS, name, "activation")
    assert isinstance(made, type)
    return made()


class _Norm(nn.GroupNorm):
    """In fp32 whatever comes: what autocast does on GPUs, and far faster on CPUs than their kernel for bf16."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float())


def norm(width: int) -> nn.GroupNorm:
    """GroupNorm with at most eight groups: batches are too small for statistics over them."""
    return _Norm(math.gcd(_GROUPS, width), width)


def silent(layer: nn.Conv2d | nn.Linear) -> nn.Conv2d | nn.Linear:
    """The layer with zero weights: a sublayer that ends in it adds nothing at first."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class PlaneEmbedding(nn.Module):
    """What tells the three planes apart, one learned vector each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(PLANES, width) * 0.5)

    def forward(self, added: Tensor | None = None, batch: int = 1) -> Tensor:
        """Vectors [B * 3, E] of a stack; `added` [B, E] (of a time, say) is the same for a block's planes."""
        vectors = self.vectors.expand(batch, -1, -1) if added is None else self.vectors + added.unsqueeze(1)
        return vectors.flatten(0, 1)


class ConvBlock(nn.Module):
    """Two 3 x 3 convolutions, scaled and shifted by an embedding: shortcut(x) + branch(x, e)."""

    def __init__(self, name: str, width: int, out: int, embedding: int, activation: str) -> None:
        super().__init__()
        self.name = name
        self.before, self.after = norm(width), norm(out)
        self.first = nn.Conv2d(width, out, 3, padding=1)
        self.second = silent(nn.Conv2d(out, out, 3, padding=1))
        self.modulation = nn.Linear(embedding, 2 * out)
        self.activation = activation_of(activation)
        self.shortcut = nn.Identity() if width == out else nn.Conv2d(width, out, 1)

    def forward(self, x: Tensor, embedding: Tensor, skip: Container[str] = ()) -> Tensor:
        """x [B * 3, C, H, W], embedding [B * 3, E] -> [B * 3, out, H, W]."""
        if self.name in skip:
            return self.shortcut(x)
        hidden = self.first(self.activation(self.before(x)))
        scale, shift = self.modulation(self.activation(embedding))[..., None, None].chunk(2, dim=1)
        hidden = self.after(hidden) * (1 + scale) + shift
        return self.shortcut(x) + self.second(self.activation(hidden))


class AxisEmbedding(nn.Module):
    """Positions of the tokens of three planes: one table per axis, so that tokens of two planes that share a
    coordinate share its vector."""

    def __init__(self, resolution: int, width: int) -> None:
        super().__init__()
        self.axes = nn.Parameter(torch.randn(3, resolution, width) * 0.1)
        self.planes = nn.Parameter(torch.randn(PLANES, width) * 0.1)

    def forward(self) -> Tensor:
        """Vectors [3 * R * R, width] in token order."""
        grids = [
            self.axes[rows].unsqueeze(1) + self.axes[columns].unsqueeze(0) + self.planes[plane]
            for plane, (columns, rows) in enumerate(PLANE_AXES)
        ]
        return torch.stack(grids).flatten(0, 2)


class PlaneAttention(nn.Module):
    """Attention among all tokens of a block's three planes: the only path between planes."""

    def __init__(self, name: str, width: int, resolution: int, heads: int, kind: str) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads do not divide {width} channels")
        chosen(ATTENTIONS, kind, "attention")
        self.name, self.heads, self.kind = name, heads, kind
        self.norm = norm(width)
        self.position = AxisEmbedding(resolution, width)
        self.queries = nn.Linear(width, 3 * width, bias=False)
        self.out = silent(nn.Linear(width, width))

    def forward(self, x: Tensor, skip: Container[str] = ()) -> Tensor:
        """[B * 3, C, R, R] -> the same shape."""
        if self.name in skip:
            return x
        tokens = unfold(self.norm(x)).permute(0, 1, 3, 4, 2).flatten(1, 3) + self.position()  # [B, T, C]
        q, k, v = self.queries(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        found = self.out(ATTENTIONS[self.kind](q, k, v).transpose(1, 2).flatten(2))
        return x + found.unflatten(1, (PLANES, *x.shape[-2:])).permute(0, 1, 4, 2, 3).flatten(0, 1)


class FeedForward(nn.Module):
    """Two 1 x 1 convolutions, twice as wide between them."""

    def __init__(self, name: str, width: int, activation: str) -> None:
        super().__init__()
        self.name = name
        self.branch = nn.Sequential(
            norm(width),
            nn.Conv2d(width, 2 * width, 1),
            activation_of(activation),
            silent(nn.Conv2d(2 * width, width, 1)),
        )

    def forward(self, x: Tensor, skip: Container[str] = ()) -> Tensor:
        """[B * 3, C, H, W] -> the same shape."""
        return x if self.name in skip else x + self.branch(x)


class MixingLayer(nn.Module):
    """Attention among the planes, feed-forward, convolutions: sublayers NAME.attention, .feedforward, .conv."""

    def __init__(
        self, name: str, width: int, resolution: int, heads: int, embedding: int, attention: str, activation: str
    ) -> None:
        super().__init__()
        self.attention = PlaneAttention(f"{name}.attention", width, resolution, heads, attention)
        self.feedforward = FeedForward(f"{name}.feedforward", width, activation)
        self.conv = ConvBlock(f"{name}.conv", width, width, embedding, activation)

    def forward(self, x: Tensor, embedding: Tensor, skip: Container[str] = ()) -> Tensor:
        """[B * 3, C, R, R] -> the same shape."""
        return self.conv(self.feedforward(self.attention(x, skip), skip), embedding, skip)


class Upsample(nn.Module):
    """Twice the resolution: nearest, then a convolution."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, out, 2 H, 2 W]."""
        return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


def sublayer_names(network: nn.Module) -> tuple[str, ...]:
    """Names that `skip` may hold."""
    kinds = (ConvBlock, PlaneAttention, FeedForward)
    return tuple(module.name for module in network.modules() if isinstance(module, kinds))
