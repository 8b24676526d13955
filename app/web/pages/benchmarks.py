"""Benchmarks: the committed measurements as bars, a matrix and tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from .markup import card, empty, more, page
from .menus import Menus
from .results import Results, read_results

_NEEDED = 2  # dB between the worst and the best shade of the matrix, at least


def build(menus: Menus) -> str:
    """The page's markup."""
    results = read_results()
    sheets = [
        *(_speeds(results[name], title) for name, title in _SPEEDS if name in results),
        *([_quality(results["quality"])] if "quality" in results else []),
        *([_matrix(results["convert"])] if "convert" in results else []),
    ]
    body = "".join(sheets) or empty("waiting", "benchmarks", "No results beside this installation",
                                    "They lie in the folder benchmarks/results of the source.")  # fmt: skip
    return page("benchmarks", "Benchmarks", "Measured, not promised: every figure is a committed file.",
                f'<div class="fp-sheets">{body}</div>')  # fmt: skip


_SPEEDS = (("kernels", "Kernels against PyTorch"), ("render", "Pictures against PyTorch"))


def _speeds(results: Results, title: str) -> str:
    """Bars of how many times faster, on a logarithmic line."""
    longest = max(float(row["ratio"]) for row in results.rows)
    bars = "".join(
        _bar(str(row["name"]), str(row["config"]), math.log(max(1.0, float(row["ratio"]))) / math.log(longest * 1.15),
             f"{float(row['ratio']):.1f}×", f"{_duration(row['ours_s'])} against {_duration(row['baseline_s'])}")
        for row in results.rows
    )  # fmt: skip
    columns = ("What", "Setting", "Ours", "Baseline", "Its time", "Times faster", "Spread")
    rows = [
        (row["name"], row["config"], _duration(row["ours_s"]), row["baseline"], _duration(row["baseline_s"]),
         f"{row['ratio']:.2f}", f"{row['spread']:.2f}")
        for row in results.rows
    ]  # fmt: skip
    return card(results.name, title, f'<div class="fp-bars">{bars}</div>{_details(results, columns, rows)}')


def _quality(results: Results) -> str:
    """Bars of PSNR over held-out views, each with a mark at its goal; meshes in the table only."""
    scored = [row for row in results.rows if "psnr" in row["mean"]]
    low, high = 20.0, max(row["mean"]["psnr"] for row in scored) + 1
    bars = "".join(
        _bar(_scene(row), f"{row['backend']}, {row['seconds']} s", (row["mean"]["psnr"] - low) / (high - low),
             f"{row['mean']['psnr']:.1f} dB", f"SSIM {row['mean']['ssim']:.3f}, {row['views']} held-out views",
             (row["goal"] - low) / (high - low))
        for row in scored
    )  # fmt: skip
    columns = ("Source", "Backend", "Seconds", "Figures", "Goal", "Steps", "File", "Memory")
    rows = [
        (row["source"], row["backend"], row["seconds"], _figures(row["mean"]), row["goal"] or "", f"{row['steps']:,}",
         _size(row["bytes"]), _size(row["peak_memory_bytes"]))
        for row in results.rows
    ]  # fmt: skip
    words = '<p class="fp-soft">PSNR on views that the fit did not see. The line across a bar is its goal.</p>'
    return card("quality", "Fits", f'{words}<div class="fp-bars">{bars}</div>{_details(results, columns, rows)}')


def _matrix(results: Results) -> str:
    """A table from teacher to student, shaded by the student's PSNR on the photos."""
    rows = [row for row in results.rows if row.get("measure") == "psnr"]
    sources, targets = (list(dict.fromkeys(row[side] for row in rows)) for side in ("from", "to"))
    cells = {(row["from"], row["to"]): row for row in rows}
    values = [row["student_psnr"] for row in rows]
    low, span = min(values), max(_NEEDED, max(values) - min(values))
    head = "".join(f"<th>{escape(target)}</th>" for target in targets)
    lines = ""
    for source in sources:
        shades = "".join(_cell(cells.get((source, target)), low, span) for target in targets)
        lines += f"<tr><th>{escape(source)}</th>{shades}</tr>"
    words = f'<p class="fp-soft">{escape(results.note.capitalize())}.</p>' if results.note else ""
    table = f'<div class="fp-scroll"><table class="fp-matrix"><tr><th>from / to</th>{head}</tr>{lines}</table></div>'
    columns = ("From", "To", "Teacher", "Student", "From scratch", "Against teacher", "Seconds")
    found = [
        (row["from"], row["to"], *(f"{row[key]:.2f} dB" for key in ("teacher_psnr", "student_psnr", "scratch_psnr")),
         f"{row['vs_teacher_psnr']:.1f} dB", f"{row['ours_s']:.0f}")
        for row in rows
    ]  # fmt: skip
    return card("convert", "Conversions", words + table + _details(results, columns, found))


def _cell(row: dict[str, Any] | None, low: float, span: float) -> str:
    if row is None:
        return "<td></td>"
    share = 8 + 62 * (row["student_psnr"] - low) / span
    return f'<td style="--share:{share:.0f}%"><b>{row["student_psnr"]:.1f}</b><small>dB</small></td>'


def _bar(name: str, setting: str, share: float, value: str, hint: str, goal: float | None = None) -> str:
    mark = f'<i style="left:{100 * min(1.0, max(0.0, goal)):.1f}%" title="goal"></i>' if goal is not None else ""
    width = 100 * min(1.0, max(0.015, share))
    return (
        f'<div class="fp-bar-row" title="{escape(hint)}">'
        f'<span class="fp-bar-name">{escape(name)}<small>{escape(setting)}</small></span>'
        f'<span class="fp-bar-track"><b style="width:{width:.1f}%"></b>{mark}</span>'
        f'<span class="fp-bar-value">{escape(value)}<small>{escape(hint)}</small></span></div>'
    )


def _details(results: Results, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    lines = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    table = f'<div class="fp-scroll"><table class="fp-table"><tr>{head}</tr>{lines}</table></div>'
    words = f'<p class="fp-soft">{escape(results.machine)}. {results.date}.</p>'
    return words + more("Table", table)


def _scene(row: dict[str, Any]) -> str:
    return str(row["source"]).partition("/")[2].replace("_", " ")


def _figures(mean: dict[str, Any]) -> str:
    if "psnr" in mean:
        return f"{mean['psnr']:.2f} dB, SSIM {mean['ssim']:.3f}"
    return f"Chamfer {100 * mean['chamfer']:.3f} %, sign IoU {mean['sign_iou']:.3f}"


def _duration(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"
