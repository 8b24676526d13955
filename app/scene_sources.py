"""Which scenes blocks are cut from, as commands are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fields.errors import UserError

from . import parsing

if TYPE_CHECKING:
    from scenegen.crops import CropSettings
    from scenegen.presets import Preset
    from scenegen.scenes import SceneSource

Source = Annotated[
    str | None,
    typer.Argument(help="Folder of scene meshes in metres, y up, floor at y = 0; x.json beside x.glb is its plan."),
]
Procedural = Annotated[
    str | None,
    typer.Option(metavar="KIND[:SCENES]", help="Built-in scenes in place of SOURCE: rooms:400, village:20, city."),
]
BlockSize = Annotated[
    float | None,
    typer.Option("--size", help="Side of a block in metres; 3.2 for rooms, 15 in villages, 12 in cities."),
]
WorldName = Annotated[str, typer.Option("--world", help="Classes of SOURCE's plans: room, village or city.")]


def check_one_source(source: str | None, procedural: str | None) -> None:
    """Refuse both or neither.

    Raises:
        UserError: `E-USAGE-SOURCE`.
    """
    if (source is None) == (procedural is None):
        raise UserError("E-USAGE-SOURCE", "scenes come from one place", got="two" if source else "none",
                        expected="SOURCE or --procedural", fix="use --procedural rooms")  # fmt: skip


def open_sources(
    source: str | None, procedural: str | None, world: str, preset: Preset, seed: int
) -> list[SceneSource]:
    """The scenes of a folder, or built-in ones, as many as the preset has by default.

    Raises:
        UserError: `E-USAGE-PROCEDURAL`, `E-USAGE-CHOICE`, `E-BLOCKS-SCENES`.
    """
    from data.palette import WORLDS
    from scenegen.scenes import folder_sources, procedural_sources

    if procedural is not None:
        return procedural_sources(procedural, seed, preset.data.scenes)
    (chosen,) = parsing.choices(world, WORLDS, "--world")[:1]
    return folder_sources(str(source), chosen)  # type: ignore[arg-type]


def crop_settings(source: SceneSource, size: float | None, samples: int) -> CropSettings:
    """Blocks of the usual size of the world, or of `size` metres.

    Raises:
        UserError: `E-USAGE-SIZE`.
    """
    from scenegen.blocks import SIZES, block_frame
    from scenegen.crops import CropSettings

    side = SIZES[source.world] if size is None else size
    if not 0.1 <= side <= 1000:
        raise UserError("E-USAGE-SIZE", "--size is out of range", got=size, expected="0.1 to 1000 metres",
                        fix="use --size 3.2")  # fmt: skip
    return CropSettings(block_frame(side), source.world, samples)
