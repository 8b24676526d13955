"""Library: everything that one made, kept through reloads and restarts."""

from __future__ import annotations

from .markup import choice, empty, icon, link, page
from .menus import Menus

_FILTERS = (("all", "All"), ("worlds", "Worlds"), ("fields", "Fields"), ("meshes", "Meshes"), ("uploads", "Uploads"))


def build(menus: Menus) -> str:
    """The page's markup."""
    links = link("worlds", "Paint a world", "fs-primary") + link("fields", "Fit a field")
    body = f"""
        <div class="fp-bar"><div data-part="filter">{choice("show", "Show", _FILTERS, "all")}</div>
            <span class="fp-soft" data-part="room"></span></div>
        <div class="fp-grid" data-part="grid"></div>
        {empty("waiting", "library", "Nothing here yet", "Whatever you make is kept here.", links)}
        <dialog class="fp-dialog" data-part="dialog"><form method="dialog"><h2 data-part="question"></h2>
            <p data-part="words"></p><input type="text" data-part="name" maxlength="80" aria-label="Name">
            <div class="fp-actions"><button type="submit" value="no" class="fs-button">Cancel</button>
            <button type="submit" value="yes" class="fs-button fs-primary" data-part="yes">{icon("library")}</button>
            </div></form></dialog>"""
    return page("library", "Library", "What you made. It stays when you close the browser.", body)
