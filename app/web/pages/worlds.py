"""Worlds: a floor plan to paint, and the world that grows from it block by block."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from functools import cache

import numpy as np
from PIL import Image

from data.palette import CLASSES, legend

from ..furnish import SCALE, furnished_plan
from .markup import button, card, choice, empty, escape, more, number, one_line, page, progress, seed, select
from .menus import Menus

# name, width and height in metres, seed
_EXAMPLES = (
    ("One room", 4.8, 4.0, 7),
    ("Two rooms", 7.2, 4.8, 3),
    ("Small flat", 8.8, 6.4, 5),
    ("Family flat", 9.6, 8.0, 4),
    ("Large flat", 12.0, 9.6, 8),
)
_SIDE = button("new", "New", look="fs-quiet") + button("furnish", "Furnish it for me", picture="spark")


def build(menus: Menus) -> str:
    """The page's markup."""
    plan = f"""
        <div class="fp-shelf" role="group" aria-label="Examples">{"".join(_examples())}</div>
        <div class="fp-painter" data-part="painter"></div>"""
    view = f"""
        <form class="fp-fields fp-settings" data-part="settings">
            {select("model", "Model", menus.models)}
            {seed()}
            {choice("quality", "Quality", menus.qualities, "good")}
            {button("generate", "Generate", picture="play", look="fs-primary fp-large")}
            {more("More", _fine_settings())}
        </form>
        {progress()}
        <div class="fp-stage fp-world"><div data-part="world"></div>
            {
        empty(
            "waiting",
            "worlds",
            "Your world appears here",
            "Paint a plan or take an example, then press Generate. Blocks show as soon as they are done.",
        )
    }</div>
        <div class="fp-actions" data-part="downloads" hidden>
            {button("mesh", "3D model (GLB)", picture="download")}
            {button("archive", "Scene folder", picture="folder")}
            {button("picture", "Picture", picture="photo")}
            {button("undo", "Undo", picture="undo")}
        </div>"""
    body = f"""<div class="fp-split">{card("plan", "Floor plan", plan, side=_SIDE)}
        {card("scene", "World", view)}</div>
        <div hidden data-part="palette" data-value="{escape(_palette())}"></div>"""
    return page("worlds", "Worlds", "Paint a floor plan. A furnished world grows from it.", body)


def _fine_settings() -> str:
    usual = "by quality"
    steps = number("steps", "Denoising steps", "", {"min": "2", "max": "250", "placeholder": usual})
    return steps + number("resamples", "Resamplings at seams", "", {"min": "1", "max": "10", "placeholder": usual})


def _palette() -> str:
    """What the painter paints with: every class, and the names that rooms have."""
    classes = [{"index": c.index, "name": c.name, "rgb": c.rgb} for c in CLASSES]
    return json.dumps({"palette": classes, "legend": [c.name for c in legend("room")]})


@cache
def _examples() -> tuple[str, ...]:
    return tuple(_buttons())


def _buttons() -> Iterator[str]:
    colours = np.array([c.rgb for c in CLASSES], np.uint8)
    for name, width, height, start in _EXAMPLES:
        plan = furnished_plan(np.zeros((round(height / SCALE), round(width / SCALE)), np.uint8), start)
        rows, columns = plan.shape
        indices = base64.b64encode(plan.tobytes()).decode()
        yield one_line(f"""<button type="button" class="fp-example" data-example="{indices}"
            data-width="{columns}" data-height="{rows}" title="{name}, {width:g} by {height:g} metres">
            <img alt="" src="{_picture(colours[plan])}"><span>{name}</span></button>""")


def _picture(pixels: np.ndarray) -> str:
    """An RGB picture [H, W, 3] as a data address."""
    file = io.BytesIO()
    Image.fromarray(pixels).quantize(32).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
