"""The web app's face: the pages as gradio Blocks; what they do is in the scripts of `static/pages`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from .pages import PAGES
from .pages.markup import icon, one_line
from .pages.menus import menus_of

_MARK = (
    '<svg class="fp-mark" viewBox="0 0 32 32" aria-hidden="true"><path d="M16 3 4 9.5v13L16 29l12-6.5v-13z"></path>'
    '<path d="M4 9.5 16 16l12-6.5M16 16v13M10 6.2l12 6.6v6.6"></path></svg>'
)


def build(choices: Mapping[str, Any] | None = None) -> gr.Blocks:
    """All pages; choices: what the server offers, as `/api/choices` tells it.

    The pages are markdown components because gradio's HTML component compiles its text with `Function`, which a strict
    content security policy forbids.
    """
    menus = menus_of(choices or {})
    with gr.Blocks(analytics_enabled=False, title="Fieldscape", fill_width=True) as blocks:
        gr.Markdown(_header(), sanitize_html=False, elem_id="fp-header", elem_classes="fp-app")
        for name, (_, page) in PAGES.items():
            gr.Markdown(page(menus), sanitize_html=False, elem_id=f"fp-{name}", elem_classes="fp-app")
    return blocks


def head(static: str) -> str:
    """Markup for the document's head; static: the address of the folder of scripts and styles, with its hash."""
    return (
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="stylesheet" href="{static}/fieldscape.css"><link rel="stylesheet" href="{static}/pages/pages.css">'
        f'<script type="module" src="{static}/pages/app.js"></script>'
    )


def _header() -> str:
    links = "".join(
        f'<a href="#{name}" data-link="{name}">{icon(name)}<span>{title}</span></a>'
        for name, (title, _) in PAGES.items()
    )
    return one_line(f"""
        <header class="fp-top"><a class="fp-brand" href="#worlds" data-link="worlds">{_MARK}<span>Fieldscape</span></a>
            <nav class="fp-nav" aria-label="Pages">{links}</nav>
            <span class="fp-now" data-part="now" hidden></span>
            <button type="button" class="fs-button fs-quiet" data-part="theme" title="Dark or light"
                aria-label="Dark or light">{icon("theme")}</button>
        </header><div class="fp-toasts" data-part="toasts" role="status" aria-live="polite"></div>""")
