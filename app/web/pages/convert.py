"""Convert: any field into any other representation, both seen from one camera."""

from __future__ import annotations

from .markup import button, card, choice, empty, more, number, page, progress, seed, select
from .menus import Menus

_TIMES = (("15", "15 s"), ("60", "1 min"), ("180", "3 min"), ("300", "5 min"))
_KINDS = (("", "As it is"), ("density", "Radiance"), ("sdf", "Surface (distance)"))


def build(menus: Menus) -> str:
    """The page's markup."""
    settings = f"""
        <div class="fp-picks" data-part="picks" data-empty="No field yet. Fit one, or drop a field file here."></div>
        <form class="fp-fields" data-part="settings">
            {select("backend", "Into", menus.backends, "vm")}
            {choice("seconds", "Time", _TIMES, "60")}
            {choice("preset", "Size", menus.presets, "small")}
            {
        more(
            "More",
            choice("kind", "Kind", _KINDS, "")
            + number("megabytes", "Largest file", "", {"min": "0.05", "step": "any", "placeholder": "any"}, "MB")
            + number(
                "psnr",
                "Stop when as close as",
                "",
                {"min": "1", "max": "99", "step": "any", "placeholder": "never"},
                "dB",
            )
            + seed(),
        )
    }
        </form>
        <div class="fp-actions">{button("convert", "Convert", picture="convert", look="fs-primary fp-large")}
            <span class="fp-soft" data-part="chosen"></span></div>"""
    stage = f"""
        {progress()}
        <div class="fp-stage fp-field-stage">
            <div data-part="viewer" hidden></div>
            <div class="fp-pair" data-part="pair" hidden><img data-part="before" alt="The field to convert">
                <img data-part="after" alt="The new field as it is now"><input type="range" min="0" max="100" value="50"
                aria-label="Where the pictures meet"><b>Original</b><b>New</b></div>
            {
        empty(
            "waiting",
            "convert",
            "Two views under one camera",
            "Choose a field and what it shall become. Both are shown side by side while the new one learns.",
        )
    }
        </div>
        <div class="fp-numbers" data-part="numbers" hidden></div>
        <div class="fp-curve" data-part="curve" hidden></div>
        <div class="fp-actions" data-part="results" hidden>
            {button("download", "Download", picture="download", look="fs-primary")}
            {button("report", "Whole report", picture="library")}
            {button("to-export", "Export a mesh", picture="export")}
        </div>"""
    body = (
        f'<div class="fp-split fp-narrow-left">{card("how", "Conversion", settings)}'
        f"{card('stage', 'Comparison', stage)}</div>"
    )
    return page("convert", "Convert", "One representation teaches another, without the photos.", body)
