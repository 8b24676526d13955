"""Small pieces that all pages are written with: markup as text, every value escaped where it enters.

Pages are constant markup; whatever people type or upload is put in by the scripts of `static/pages`, as text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

Option = tuple[str, str]  # value, words
_GAPS = re.compile(r"\s*\n\s*")

_ICONS = {
    "worlds": "M3 10.5 12 4l9 6.5M5 9.5V20h14V9.5M10 20v-6h4v6",
    "fields": "M12 3 4 7.5v9L12 21l8-4.5v-9L12 3zM4 7.5l8 4.5 8-4.5M12 12v9",
    "convert": "M4 8h13l-3.5-3.5M20 16H7l3.5 3.5",
    "export": "M12 15V4M8 8l4-4 4 4M5 13v6h14v-6",
    "library": "M4 5h6v6H4zM14 5h6v6h-6zM4 15h6v4H4zM14 15h6v4h-6z",
    "benchmarks": "M5 20V11M12 20V4M19 20v-6M3 20h18",
    "download": "M12 4v11M8 11l4 4 4-4M5 19h14",
    "dice": "M5 5h14v14H5zM9 9h.01M15 15h.01M12 12h.01M15 9h.01M9 15h.01",
    "spark": "M12 4v4M12 16v4M4 12h4M16 12h4M7 7l2 2M15 15l2 2M17 7l-2 2M9 15l-2 2",
    "play": "M8 5l11 7-11 7z",
    "stop": "M7 7h10v10H7z",
    "undo": "M8 5 4 9l4 4M4 9h10a6 6 0 0 1 0 12h-3",
    "photo": "M4 6h16v13H4zM8 11a1.5 1.5 0 1 0 0-.01M5 18l5-5 3 3 3-3 4 4",
    "folder": "M3 7h6l2 2h10v10H3z",
    "film": "M4 5h16v14H4zM8 5v14M16 5v14M4 9.5h4M4 14.5h4M16 9.5h4M16 14.5h4",
    "theme": "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
    "eye": "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12zM12 9.5a2.5 2.5 0 1 0 .01 0",
    "cube": "M12 3 4 7.5v9L12 21l8-4.5v-9L12 3zM4 7.5l8 4.5 8-4.5M12 12v9",
    "close": "M6 6l12 12M18 6 6 18",
}


def icon(name: str) -> str:
    """A line drawing of 24 x 24 units in the colour of the text around it."""
    return f'<svg class="fs-icon" viewBox="0 0 24 24" aria-hidden="true"><path d="{_ICONS[name]}"></path></svg>'


def button(part: str, words: str, *, picture: str = "", look: str = "", hidden: bool = False) -> str:
    """A button that the page's script finds by `part`; look: "fs-primary", "fs-quiet" or none."""
    drawing = icon(picture) if picture else ""
    state = " hidden" if hidden else ""
    return (
        f'<button type="button" class="fs-button {look}" data-part="{part}"{state}>{drawing}'
        f"<span>{escape(words)}</span></button>"
    )


def choice(name: str, label: str, options: Sequence[Option], chosen: str, hint: str = "") -> str:
    """One of a few, all in sight: a row of radio buttons."""
    buttons = "".join(
        f'<label><input type="radio" name="{name}" value="{escape(value)}"{" checked" if value == chosen else ""}>'
        f"<span>{escape(words)}</span></label>"
        for value, words in options
    )
    return (
        f'<fieldset class="fp-field" data-field="{name}"><legend>{escape(label)}</legend>'
        f'<div class="fp-choice">{buttons}</div>{_hint(hint)}</fieldset>'
    )


def select(name: str, label: str, options: Sequence[Option], chosen: str = "", hint: str = "") -> str:
    """One of many."""
    entries = "".join(
        f'<option value="{escape(value)}"{" selected" if value == chosen else ""}>{escape(words)}</option>'
        for value, words in options
    )
    return _labelled(name, label, f'<select name="{name}">{entries}</select>', hint)


def number(name: str, label: str, value: str, limits: Mapping[str, str], unit: str = "", hint: str = "") -> str:
    """A number; limits: any of min, max, step, placeholder."""
    attributes = "".join(f' {key}="{escape(limit)}"' for key, limit in limits.items())
    box = f'<input type="number" inputmode="decimal" name="{name}" value="{escape(value)}"{attributes}>'
    mark = f"<i>{escape(unit)}</i>" if unit else ""
    return _labelled(name, label, f'<span class="fp-number">{box}{mark}</span>', hint)


def slider(name: str, label: str, value: int, low: int, high: int, step: int, hint: str = "") -> str:
    """A whole number on a line, shown beside its label."""
    line = f'<input type="range" name="{name}" min="{low}" max="{high}" step="{step}" value="{value}">'
    return _labelled(name, label, line, hint, shown=str(value))


def seed(name: str = "seed") -> str:
    """The number that all chance follows from, with a die to throw."""
    box = f'<input type="number" inputmode="numeric" name="{name}" value="0" min="0" max="2147483647" step="1">'
    die = (
        f'<button type="button" class="fs-button fs-quiet" data-dice="{name}" title="Another seed" '
        f'aria-label="Another seed">{icon("dice")}</button>'
    )
    return _labelled(name, "Seed", f'<span class="fp-number">{box}{die}</span>', "")


def tick(name: str, label: str) -> str:
    """Yes or no."""
    box = f'<input type="checkbox" name="{name}">'
    return f'<label class="fp-tick" data-field="{name}">{box}<span>{escape(label)}</span></label>'


def more(summary: str, body: str) -> str:
    """What most people can leave alone, folded away."""
    return f'<details class="fp-more"><summary>{escape(summary)}</summary><div class="fp-fields">{body}</div></details>'


def card(part: str, title: str, body: str, *, side: str = "", hidden: bool = False) -> str:
    """A titled sheet; side: what stands at the right end of its title line."""
    state = " hidden" if hidden else ""
    return (
        f'<section class="fs-card fp-sheet" data-part="{part}"{state}>'
        f'<header class="fp-sheet-head"><h2>{escape(title)}</h2>{side}</header>{body}</section>'
    )


def empty(part: str, picture: str, title: str, words: str, links: str = "") -> str:
    """What stands where something will be; links: where one can go to make it."""
    end = f'<div class="fp-actions">{links}</div>' if links else ""
    return (
        f'<div class="fp-empty" data-part="{part}">{icon(picture)}'
        f"<strong>{escape(title)}</strong><p>{escape(words)}</p>{end}</div>"
    )


def link(name: str, words: str, look: str = "") -> str:
    """A link to another page that looks like a button."""
    return f'<a class="fs-button {look}" href="#{name}" data-link="{name}">{icon(name)}<span>{escape(words)}</span></a>'


def progress() -> str:
    """Where a job says how far it is, filled by `job_panel.js`."""
    return '<div class="fp-job" data-part="job" hidden></div>'


def page(name: str, title: str, words: str, body: str) -> str:
    """A whole page; only the one that is open is shown."""
    text = (
        f'<main class="fp-view" data-page="{name}" hidden>'
        f'<div class="fp-title"><h1>{escape(title)}</h1><p>{escape(words)}</p></div>{body}</main>'
    )
    return one_line(text)


def one_line(text: str) -> str:
    """Markup without line breaks, which markdown would read as paragraphs and code."""
    return _GAPS.sub(" ", text).strip()


def _labelled(name: str, label: str, control: str, hint: str, shown: str = "") -> str:
    output = f"<output>{escape(shown)}</output>" if shown else ""
    return (
        f'<label class="fp-field" data-field="{name}"><span class="fp-label">{escape(label)}{output}</span>'
        f"{control}{_hint(hint)}</label>"
    )


def _hint(hint: str) -> str:
    return f"<small data-hint>{escape(hint)}</small>" if hint else ""
