"""Lines in a diagram, as inline SVG that follows the page's colours: no script, no file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 16, 14, 40
_TICKS = 5
_HUES = (225, 20, 140, 290, 60, 180)


@dataclass(frozen=True)
class Line:
    """A named line through points (x, y); `dashed` for what is not ours."""

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


@dataclass(frozen=True)
class Axes:
    """What the axes show; `logarithmic` spaces x by its ratio."""

    x: str
    y: str
    logarithmic: bool = False


class _Scale:
    """From values to places in the picture."""

    def __init__(self, lines: Sequence[Line], axes: Axes) -> None:
        self.logarithmic = axes.logarithmic
        x = [self._inner(point[0]) for line in lines for point in line.points]
        y = [point[1] for line in lines for point in line.points]
        self.x0, self.x1 = (min(x) if axes.logarithmic else 0.0), max(x)
        low, high = min(y), max(y)
        margin = 0.06 * (high - low) or 1.0
        self.y0, self.y1 = low - margin, high + margin

    def _inner(self, x: float) -> float:
        return math.log10(max(x, 1e-6)) if self.logarithmic else x

    def x(self, value: float) -> float:
        share = (self._inner(value) - self.x0) / ((self.x1 - self.x0) or 1.0)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.y0) / (self.y1 - self.y0)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def x_ticks(self) -> list[float]:
        if not self.logarithmic:
            return ticks(self.x0, self.x1)
        return [10.0**k * m for k in range(math.floor(self.x0), math.ceil(self.x1) + 1) for m in (1, 2, 5)
                if self.x0 - 1e-9 <= k + math.log10(m) <= self.x1 + 1e-9]  # fmt: skip


def ticks(low: float, high: float) -> list[float]:
    """About five round values between two."""
    rough = (high - low) / _TICKS
    if rough <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def diagram(lines: Sequence[Line], axes: Axes) -> str:
    """An <svg> element of lines with axes and names; "" without a point."""
    shown = [line for line in lines if line.points]
    if not shown:
        return ""
    scale = _Scale(shown, axes)
    parts = [_grid(scale, axes), *(_path(line, k, scale) for k, line in enumerate(shown))]
    names = "".join(
        f"<li style='--hue:{_HUES[k % len(_HUES)]}'>{escape(line.name)}</li>" for k, line in enumerate(shown)
    )
    label = escape(f"{axes.y} over {axes.x}", quote=True)
    svg = (
        f"<svg class='diagram' viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img' aria-label='{label}'>{''.join(parts)}</svg>"
    )
    return f"<div class='plot'>{svg}<ul class='shares'>{names}</ul></div>"


def _grid(scale: _Scale, axes: Axes) -> str:
    parts = []
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for value in ticks(scale.y0, scale.y1):
        y = scale.y(value)
        parts.append(f"<path class='grid' d='M{_LEFT} {y:.1f}H{right}'/>")
        parts.append(f"<text x='{_LEFT - 8}' y='{y + 4:.1f}' text-anchor='end'>{value:g}</text>")
    for value in scale.x_ticks():
        x = scale.x(value)
        parts.append(f"<text x='{x:.1f}' y='{bottom + 18}' text-anchor='middle'>{value:g}</text>")
    parts.append(f"<path class='axis' d='M{_LEFT} {bottom}H{right}'/>")
    parts.append(f"<text x='{right}' y='{_HEIGHT - 4}' text-anchor='end'>{escape(axes.x)}</text>")
    parts.append(f"<text x='{_LEFT + 6}' y='{_TOP + 8}'>{escape(axes.y)}</text>")
    return "".join(parts)


def _path(line: Line, place: int, scale: _Scale) -> str:
    steps = " ".join(f"{scale.x(x):.1f},{scale.y(y):.1f}" for x, y in line.points)
    dash = " stroke-dasharray='7 5'" if line.dashed else ""
    hue = _HUES[place % len(_HUES)]
    dots = "".join(f"<circle cx='{scale.x(x):.1f}' cy='{scale.y(y):.1f}' r='2.5'/>" for x, y in line.points[-1:])
    return f"<g class='line' style='--hue:{hue}'><polyline points='{steps}'{dash}/>{dots}</g>"
