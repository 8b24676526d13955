"""Fields: photos with poses, a mesh or the sample become a field; one watches, then looks around in it."""

from __future__ import annotations

from .markup import button, card, choice, empty, icon, more, number, page, progress, seed, select
from .menus import Menus

_TIMES = (("15", "15 s"), ("60", "1 min"), ("180", "3 min"), ("300", "5 min"))
_KINDS = (("", "What suits the source"), ("density", "Radiance"), ("sdf", "Surface (distance)"))


def build(menus: Menus) -> str:
    """The page's markup."""
    source = f"""
        <div class="fp-sources" data-part="tiles" role="group" aria-label="Source">
            {_tile("sample", "cube", "Sample", "A still life, built in")}
            {_tile("photos", "photo", "Photos", "Zip with poses")}
            {_tile("folder", "folder", "Folder", "Photos with poses")}
            {_tile("mesh", "export", "Mesh", "GLB, OBJ, PLY, STL")}
        </div>
        <div class="fp-drop" data-part="drop">Or drop a zip, a folder or a mesh here
            <span>NeRF-Synthetic, transforms.json, LLFF, NSVF, Tanks and Temples, COLMAP</span></div>
        <div class="fp-upload" data-part="upload" hidden></div>
        <div class="fp-report" data-part="report" hidden></div>"""
    settings = f"""
        <form class="fp-fields" data-part="settings">
            {select("backend", "Representation", menus.backends, "hash")}
            {choice("seconds", "Time", _TIMES, "60")}
            {choice("preset", "Size", menus.presets, "small")}
            {
        more(
            "More",
            choice("kind", "Kind", _KINDS, "")
            + number("own", "Another time", "", {"min": "1", "max": "86400", "placeholder": "as above"}, "s")
            + seed(),
        )
    }
        </form>
        <div class="fp-actions">{button("fit", "Fit", picture="play", look="fs-primary fp-large")}
            <span class="fp-soft" data-part="chosen"></span></div>"""
    stage = f"""
        {progress()}
        <div class="fp-stage fp-field-stage">
            <div data-part="viewer" hidden></div>
            <img class="fp-preview" data-part="preview" alt="The field as it is now" hidden>
            <div data-part="cameras" hidden></div>
            {
        empty(
            "waiting",
            "fields",
            "Choose something to fit",
            "The sample is ready at once. Photos need camera poses; a mesh becomes a signed distance field.",
        )
    }
        </div>
        <div class="fp-numbers" data-part="numbers" hidden></div>
        <div class="fp-curve" data-part="curve" hidden></div>
        <div class="fp-actions" data-part="results" hidden>
            {button("download", "Download", picture="download", look="fs-primary")}
            {button("to-convert", "Convert", picture="convert")}
            {button("to-export", "Export a mesh", picture="export")}
            {button("film", "Film", picture="film")}
            {button("again", "Fit another")}
        </div>"""
    column = f'<div class="fp-column">{card("source", "Source", source)}{card("how", "Fit", settings)}</div>'
    views = f"""<div class="fp-switch" role="tablist" data-part="views" hidden>
        <button type="button" role="tab" data-view="viewer">{icon("eye")}<span>Look</span></button>
        <button type="button" role="tab" data-view="preview">{icon("photo")}<span>Preview</span></button>
        <button type="button" role="tab" data-view="cameras">{icon("film")}<span>Cameras</span></button></div>"""
    body = f'<div class="fp-split fp-narrow-left">{column}{card("stage", "Field", stage, side=views)}</div>'
    return page("fields", "Fields", "Photos or a mesh become a neural field that you can walk around.", body)


def _tile(value: str, picture: str, title: str, words: str) -> str:
    return (
        f'<button type="button" class="fp-tile" data-source="{value}">{icon(picture)}'
        f"<strong>{title}</strong><span>{words}</span></button>"
    )
