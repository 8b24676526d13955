"""The matrix of conversions for people: a Markdown table, and a heat map as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

_CELL_WIDTH, _CELL_HEIGHT, _LEFT, _TOP, _GAP = 96, 52, 110, 66, 44
_WORST = 4.0  # dB (or doublings of a distance) at which a cell is entirely red


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A table with one line for each pair."""
    measure = rows[0]["measure"] if rows else "psnr"
    unit = "dB" if measure == "psnr" else "% of the diagonal"
    lines = [
        f"| teacher | student | kind | teacher, {unit} | student, {unit} | scratch, {unit} | "
        f"gap{', dB' if measure == 'psnr' else ', ratio'} | to teacher, dB | seconds | verdict |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        scale, digits = (1.0, 2) if row["measure"] == "psnr" else (100.0, 3)
        measured = [row[f"{role}_{row['measure']}"] for role in ("teacher", "student", "scratch")]
        figures = [f"{scale * value:.{digits}f}" for value in measured]
        lines.append(
            f"| {row['from']} | {row['to']} | {row['kind']} | {' | '.join(figures)} | {row['gap']:+.2f} | "
            f"{row['vs_teacher_psnr']:.2f} | {row['ours_s']:.1f} | {row['verdict']} |"
        )
    return "\n".join(lines) + "\n"


def heat_map(rows: Sequence[dict[str, Any]]) -> str:
    """One grid for each kind: teachers down, students across; colour and figure are the gap of each pair."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    names = list(dict.fromkeys(name for row in rows for name in (row["from"], row["to"])))
    height = len(names) * _CELL_HEIGHT + _TOP + _GAP
    width = _LEFT + len(names) * _CELL_WIDTH + 20
    parts = [_grid(kind, names, rows, place * height) for place, kind in enumerate(kinds)]
    total = height * len(kinds)
    style = "text{font:14px system-ui,sans-serif;fill:#16181d}.figure{font-weight:600}.small{font-size:11.5px}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {total}" width="{width}" height="{total}">'
        f'<style>{style}</style><rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )


def _grid(kind: str, names: Sequence[str], rows: Sequence[dict[str, Any]], top: int) -> str:
    parts = [f'<text x="12" y="{top + 24}" class="figure">{escape(kind)}: rows teach, columns learn</text>']
    for k, name in enumerate(names):
        across, down = _LEFT + (k + 0.5) * _CELL_WIDTH, top + _TOP + (k + 0.5) * _CELL_HEIGHT + 5
        parts.append(f'<text x="{across}" y="{top + _TOP - 10}" text-anchor="middle">{escape(name)}</text>')
        parts.append(f'<text x="{_LEFT - 12}" y="{down}" text-anchor="end">{escape(name)}</text>')
    for row in rows:
        if row["kind"] == kind:
            x = _LEFT + names.index(row["to"]) * _CELL_WIDTH
            parts.append(_cell(row, x, top + _TOP + names.index(row["from"]) * _CELL_HEIGHT))
    return "".join(parts)


def _cell(row: dict[str, Any], x: int, y: int) -> str:
    student = row[f"student_{row['measure']}"]
    figure = f"{student:.1f} dB" if row["measure"] == "psnr" else f"{100 * student:.3f} %"
    gap = f"{row['gap']:+.1f} dB" if row["measure"] == "psnr" else f"{row['gap']:.2f}x"
    middle = x + _CELL_WIDTH / 2
    return (
        f'<rect x="{x + 2}" y="{y + 2}" width="{_CELL_WIDTH - 4}" height="{_CELL_HEIGHT - 4}" rx="6" '
        f'fill="{_color(row)}"/><text class="figure" x="{middle}" y="{y + 24}" text-anchor="middle">{figure}</text>'
        f'<text class="small" x="{middle}" y="{y + 41}" text-anchor="middle">{gap}</text>'
    )


def _color(row: dict[str, Any]) -> str:
    """Green for no loss, over yellow to red."""
    loss = -row["gap"] if row["measure"] == "psnr" else row["gap"] - 1.0
    share = min(1.0, max(0.0, loss / _WORST))
    return f"hsl({130 - 130 * share:.0f} 60% {82 - 8 * share:.0f}%)"
