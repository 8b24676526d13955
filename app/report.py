"""Reports as one HTML file: every picture is inside, nothing is fetched, light and dark."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources

from torch import Tensor

from .pictures import css_gradient, jpeg

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(title: str, lead: str, sections: Iterable[str]) -> bytes:
    """A whole HTML document in UTF-8; `title` and `lead` are plain text, sections are HTML."""
    style = resources.files("app").joinpath("report.css").read_text(encoding="utf-8")
    body = "\n".join(sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<main>
<header><h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p></header>
{body}
</main>
</body>
</html>
""".encode()


def section(heading: str, *parts: str, text: str = "") -> str:
    """A part of the page with a heading and, under it, a sentence."""
    note = f"<p>{escape(text)}</p>" if text else ""
    return f"<section><h2>{escape(heading)}</h2>{note}{''.join(parts)}</section>"


def cards(figures: Iterable[tuple[str, str]]) -> str:
    """Large figures, each with what it means: (value, label)."""
    items = "".join(
        f"<div class='card'><b>{escape(value)}</b><span>{escape(label)}</span></div>" for value, label in figures
    )
    return f"<div class='cards'>{items}</div>"


def figure(picture: Tensor | str, caption: str, alternative: str = "") -> str:
    """A picture ([H, W, 3] in [0, 1], or a data URI) with its caption."""
    source = picture if isinstance(picture, str) else data_uri(jpeg(picture), "image/jpeg")
    return (
        f"<figure><img src='{source}' alt='{escape(alternative or caption, quote=True)}'>"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def row(figures: Sequence[str], label: str = "") -> str:
    """Figures side by side under a label."""
    head = f"<h3>{escape(label)}</h3>" if label else ""
    return f"{head}<div class='row' style='--columns:{len(figures)}'>{''.join(figures)}</div>"


def warnings(texts: Sequence[str]) -> str:
    """Sentences that nobody should miss; nothing without any."""
    if not texts:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<ul class='warnings' aria-label='Warnings'>{items}</ul>"


def hero(figures: Sequence[str]) -> str:
    """One large figure and a smaller one beside it, at the top of a page."""
    return f"<div class='hero'>{''.join(figures)}</div>"


def bars(parts: Sequence[tuple[str, float]], unit: str) -> str:
    """Amounts as one bar of shares with their names below: (name, amount)."""
    total = sum(amount for _, amount in parts) or 1.0
    pieces = "".join(
        f"<i style='flex:{amount / total:.4f};--hue:{225 + 37 * k}'></i>" for k, (_, amount) in enumerate(parts)
    )
    names = "".join(
        f"<li style='--hue:{225 + 37 * k}'>{escape(name)} <b>{amount:.1f} {escape(unit)}</b></li>"
        for k, (name, amount) in enumerate(parts)
    )
    return f"<div class='bar'>{pieces}</div><ul class='shares'>{names}</ul>"


def legend(name: str, low: str, high: str, meaning: str) -> str:
    """The scale of the colour map `heat` or `rainbow`."""
    return (
        f"<div class='legend'><span>{escape(low)}</span><i style='background:{css_gradient(name)}'></i>"
        f"<span>{escape(high)}</span><em>{escape(meaning)}</em></div>"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: bool = False) -> str:
    """A table; the first column names the rows. `words`: only the last column holds figures."""
    top = "".join(f"<th scope='col'>{escape(text)}</th>" for text in head)
    body = "".join(
        f"<tr><th scope='row'>{escape(first)}</th>{''.join(f'<td>{escape(text)}</td>' for text in rest)}</tr>"
        for first, *rest in rows
    )
    kind = " class='words'" if words else ""
    return f"<div class='scroll'><table{kind}><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def commands(lines: Iterable[tuple[str, str]]) -> str:
    """Commands to try next: (what for, command line)."""
    items = "".join(f"<li><span>{escape(purpose)}</span><code>{escape(line)}</code></li>" for purpose, line in lines)
    return f"<ul class='commands'>{items}</ul>"


def data_uri(content: bytes, kind: str) -> str:
    """File content as an address that needs no file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def size_text(count: int) -> str:
    """Bytes as people read them."""
    value, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
