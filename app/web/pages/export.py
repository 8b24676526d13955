"""Export: a field's surface as a mesh for other programs."""

from __future__ import annotations

from .markup import button, card, choice, empty, more, number, page, progress, slider, tick
from .menus import Menus

_FORMATS = (("glb", "GLB"), ("obj", "OBJ"), ("ply", "PLY"), ("stl", "STL"))
_COLOURS = (("vertex", "Per vertex"), ("texture", "Texture"), ("none", "None"))
_FRAMES = (("source", "As the source"), ("model", "Unit box"))


def build(menus: Menus) -> str:
    """The page's markup."""
    settings = f"""
        <div class="fp-picks" data-part="picks" data-empty="No field yet. Fit one, or drop a field file here."></div>
        <form class="fp-fields" data-part="settings">
            {choice("format", "Format", _FORMATS, "glb")}
            {slider("resolution", "Resolution", 256, 32, 512, 16, "Cells along the longest side.")}
            {choice("color", "Colour", _COLOURS, "vertex")}
            {number("simplify", "Reduce to", "", {"min": "4", "step": "1", "placeholder": "all"}, "faces")}
            {
        more(
            "More",
            number(
                "level",
                "Level",
                "",
                {"step": "any", "placeholder": "automatic"},
                hint="The density at which the surface lies; a distance for surface fields.",
            )
            + choice("frame", "Coordinates", _FRAMES, "source")
            + tick("keep_largest", "Drop small loose parts"),
        )
    }
            <p class="fp-soft" data-part="crop" hidden></p>
        </form>
        <div class="fp-actions">{button("mesh", "Make the mesh", picture="cube", look="fs-primary fp-large")}
            <span class="fp-soft" data-part="chosen"></span></div>"""
    stage = f"""
        {progress()}
        <div class="fp-stage fp-field-stage"><div data-part="viewer" hidden></div>
            {
        empty(
            "waiting",
            "export",
            "The mesh appears here",
            "Choose a field. Crop it with the handles of the preview, then make it anew.",
        )
    }</div>
        <div class="fp-numbers" data-part="numbers" hidden></div>
        <div class="fp-actions" data-part="results" hidden>
            {button("download", "Download", picture="download", look="fs-primary")}
            {button("crop-on", "Crop box", picture="cube")}
            {button("crop-off", "No crop box", hidden=True)}
        </div>"""
    body = (
        f'<div class="fp-split fp-narrow-left">{card("how", "Mesh", settings)}{card("stage", "Preview", stage)}</div>'
    )
    return page("export", "Export", "A mesh with colours, in the coordinates of the source.", body)
