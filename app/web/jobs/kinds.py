"""The one table of what can be asked for: a kind's name, its parameters, and the generator that does it.

The generators live in modules that load torch; they are imported in the worker only.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from fields.errors import UserError
from fields.progress import Progress

from .parameters import (
    ConvertParameters,
    ExtendParameters,
    FitParameters,
    GenerateParameters,
    MeshParameters,
    Parameters,
    RedoParameters,
    RenderParameters,
    UndoParameters,
    WorldMeshParameters,
)


@dataclass(frozen=True)
class Task:
    """A job as its worker sees it: parameters, where the things lie that they name, and where files go."""

    kind: str
    parameters: dict[str, Any]
    inputs: dict[str, str]  # parameter -> path
    out: Path
    resume: bool = False


Run = Callable[[Any, Task], Generator[Progress, None, dict[str, Any]]]


@dataclass(frozen=True)
class Kind:
    """`function` is `module.function` beside this file, given the parameters and the task.

    `makes` is the role of its result when another job names it, `trace` the file that a stopped one leaves in its
    folder when it can be gone on with.
    """

    parameters: type[Parameters]
    function: str
    title: str
    makes: str = "files"
    trace: str = ""
    seconds: Callable[[dict[str, Any]], float | None] = field(default=lambda parameters: None)

    def load(self) -> Run:
        """Import the function that does the work."""
        module, _, name = self.function.rpartition(".")
        return getattr(import_module(f"{__package__}.{module}"), name)


def _budget(parameters: dict[str, Any]) -> float | None:
    """Seconds that a fit or conversion takes by its own parameters."""
    if parameters.get("seconds") is None and parameters.get("steps") is not None:
        return None
    return float(parameters.get("seconds") or 60.0) + float(parameters.get("finetune_seconds") or 0.0)


KINDS: dict[str, Kind] = {
    "fit": Kind(FitParameters, "making.fit", "Field", "field", "run.json", _budget),
    "convert": Kind(ConvertParameters, "making.convert", "Conversion", "field", "run.json", _budget),
    "mesh": Kind(MeshParameters, "exporting.mesh", "Mesh"),
    "render": Kind(RenderParameters, "exporting.render", "Film"),
    "generate": Kind(GenerateParameters, "worlds.generate", "World", "scene", "scene/scene.json"),
    "extend": Kind(ExtendParameters, "worlds.extend", "Growth"),
    "redo": Kind(RedoParameters, "worlds.redo", "New block"),
    "undo": Kind(UndoParameters, "worlds.undo", "Undo"),
    "world_mesh": Kind(WorldMeshParameters, "worlds.mesh", "Mesh"),
}


def kind_of(name: object) -> Kind:
    """The kind of a name.

    Raises:
        UserError: `E-WEB-FIELD`.
    """
    if not isinstance(name, str) or name not in KINDS:
        raise UserError("E-WEB-FIELD", "unknown kind of job", where="kind", got=repr(name), expected=" ".join(KINDS))
    return KINDS[name]
