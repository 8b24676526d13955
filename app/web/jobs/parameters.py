"""What each kind of job is told: strict models, whose fields say which of the owner's things they name."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fields.errors import UserError, raise_all

SAMPLE = "sample"
MODEL = "rooms-tiny"  # the model that comes with the program
BACKEND_NAMES = ("hash", "vm", "triplane", "sparse", "cp", "mlp")  # as in fields.backends, which loads torch
ID = r"[A-Za-z0-9_-]{22}"
Reference = Annotated[str, Field(pattern=f"^{ID}$")]
Source = Annotated[str, Field(pattern=f"^({SAMPLE}|{ID})$")]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Steps = Annotated[int, Field(gt=0, le=10_000_000)]
Preset = Literal["tiny", "small", "paper"]
FieldKind = Literal["density", "sdf"]
Backend = Annotated[str, Field(pattern=r"^[a-z0-9+_]{1,60}$")]
Point = Annotated[list[Annotated[float, Field(ge=-1e9, le=1e9)]], Field(min_length=3, max_length=3)]


Block = Annotated[list[Annotated[int, Field(ge=-(2**15), le=2**15)]], Field(min_length=2, max_length=2)]


class Parameters(BaseModel):
    """Base of all; `inputs` tells for each field that names something which roles that may have."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    inputs: ClassVar[dict[str, tuple[str, ...]]] = {}


class FitParameters(Parameters):
    """Photos or a mesh become a field."""

    inputs = {"source": ("capture", "mesh")}
    source: Source
    backend: Backend = "hash"
    kind: FieldKind | None = None
    preset: Preset = "small"
    seconds: Seconds | None = None
    steps: Steps | None = None
    seed: Seed = 0
    settings: Annotated[dict[str, bool | int | float | str], Field(max_length=30)] = {}


class ConvertParameters(Parameters):
    """A field or mesh becomes another kind of field."""

    inputs = {"field": ("field", "mesh"), "against": ("capture",)}
    field: Reference
    backend: Backend
    kind: FieldKind | None = None
    preset: Preset = "small"
    seconds: Seconds | None = None
    steps: Steps | None = None
    seed: Seed = 0
    psnr: Annotated[float, Field(gt=0, le=100)] | None = None
    max_bytes: Annotated[int, Field(ge=10_000, le=2**32)] | None = None
    against: Source | None = None
    finetune_seconds: Seconds | None = None

    @model_validator(mode="after")
    def _finetune_needs_photos(self) -> ConvertParameters:
        if self.finetune_seconds is not None and self.against is None:
            raise ValueError("finetune_seconds needs photos in against")
        return self


class MeshParameters(Parameters):
    """A field becomes a mesh."""

    inputs = {"field": ("field",)}
    field: Reference
    format: Literal["glb", "obj", "ply", "stl"] = "glb"
    resolution: Annotated[int, Field(ge=8, le=512)] = 256
    level: Annotated[float, Field(ge=-1e9, le=1e9)] | None = None
    color: Literal["vertex", "texture", "none"] = "vertex"
    simplify: Annotated[int, Field(ge=4, le=10**8)] | None = None
    crop: Annotated[list[Point], Field(min_length=2, max_length=2)] | None = None
    frame: Literal["source", "model"] = "source"
    keep_largest: bool = False


class RenderParameters(Parameters):
    """A field becomes pictures or a film."""

    inputs = {"field": ("field",)}
    field: Reference
    path: Literal["orbit", "spiral"] = "orbit"
    frames: Annotated[int, Field(ge=1, le=600)] = 60
    size: Annotated[list[Annotated[int, Field(ge=8, le=1920)]], Field(min_length=2, max_length=2)] | None = None
    what: Annotated[list[Literal["rgb", "depth", "normal", "opacity"]], Field(min_length=1, max_length=4)] = ["rgb"]
    film: bool = True
    fps: Annotated[int, Field(ge=1, le=60)] = 30


class GenerateParameters(Parameters):
    """A painted plan, or a size in blocks, becomes a world."""

    inputs = {"plan": ("plan",)}
    plan: Reference | None = None
    size: Annotated[list[Annotated[int, Field(ge=1, le=32)]], Field(min_length=2, max_length=2)] | None = None
    model: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,60}$")] = MODEL
    seed: Seed = 0
    quality: Literal["quick", "good", "best"] = "good"
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    resamples: Annotated[int, Field(ge=1, le=20)] | None = None

    @model_validator(mode="after")
    def _one_plan(self) -> GenerateParameters:
        if (self.plan is None) == (self.size is None):
            raise ValueError("a world has one plan: give plan or size")
        return self


class ExtendParameters(Parameters):
    """A block more beside a world."""

    inputs = {"scene": ("scene",)}
    scene: Reference
    block: Block


class RedoParameters(ExtendParameters):
    """A block of a world anew; without a seed one that was not used."""

    seed: Seed | None = None


class UndoParameters(Parameters):
    """The last extend or redo taken back."""

    inputs = {"scene": ("scene",)}
    scene: Reference


class WorldMeshParameters(UndoParameters):
    """A world becomes one mesh."""

    format: Literal["glb", "obj", "ply", "stl"] = "glb"
    cells: Annotated[int, Field(ge=8, le=128, multiple_of=4)] = 64


Model = TypeVar("Model", bound=BaseModel)


def checked(model: type[Model], values: Any) -> Model:
    """The model out of JSON values.

    Raises:
        UserError: `E-WEB-FIELD`, one for each field that is unknown, missing, of another type or out of range.
    """
    try:
        return model.model_validate_json(json.dumps(values))
    except ValidationError as error:
        raise_all(_problem(found) for found in error.errors(include_url=False, include_context=False))
        raise AssertionError from None  # a ValidationError has at least one problem
    except (ValueError, TypeError, RecursionError):
        raise UserError("E-WEB-FIELD", "parameters are not JSON values", fix="correct them") from None


def _problem(found: Any) -> UserError:
    where = ".".join(str(part) for part in found["loc"]) or "parameters"
    given = found.get("input")
    got = "" if isinstance(given, dict | list) else repr(given)
    return UserError("E-WEB-FIELD", "a parameter does not fit", where=where, got=got, expected=found["msg"],
                     fix=f"correct {where}")  # fmt: skip
