"""What a conversion continues from: its settings, its stage, and the state of that stage, in a run folder."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fields.budget import Budget
from fields.cameras import Cameras
from fields.engines import AUTO
from fields.errors import UserError
from fields.run_folder import RunFolder, State, is_run, read_record

from .fitting import DEFAULT_SECONDS

FIELD_SUFFIX = ".safetensors"
PARTIAL_SUFFIX = ".partial"
DISTIL, FINETUNE = "distil", "finetune"  # stages: what a state belongs to
_BUDGETS = ("seconds", "steps", "target_psnr", "finetune_seconds", "finetune_steps")
_CURVE_POINTS = 400


@dataclass(frozen=True)
class ConvertSettings:
    """What a field becomes and how; `kind` None keeps the teacher's.

    `target_psnr` (dB) ends the distillation early, `finetune_…` adds a fit to photos after it, and `max_bytes`
    lowers the preset's sizes until the field file is smaller.
    """

    backend: str
    kind: str | None = None
    preset: str = "small"
    settings: dict[str, Any] = dataclass_field(default_factory=dict)
    seconds: float | None = None
    steps: int | None = None
    seed: int = 0
    target_psnr: float | None = None
    finetune_seconds: float | None = None
    finetune_steps: int | None = None
    max_bytes: int | None = None
    engine: str = AUTO

    @property
    def budget(self) -> Budget:
        """Seconds, steps, or a minute without either."""
        unlimited = self.seconds is None and self.steps is None
        return Budget(DEFAULT_SECONDS if unlimited else self.seconds, self.steps)

    @property
    def finetune(self) -> Budget | None:
        """How long to fit to photos after distilling."""
        if self.finetune_seconds is None and self.finetune_steps is None:
            return None
        return Budget(self.finetune_seconds, self.finetune_steps)


@dataclass(frozen=True)
class Spent:
    """What learning came to so far: steps of the distillation, seconds of each phase, the name of the start."""

    steps: int
    seconds: dict[str, float]
    start: str
    finetune_steps: int = 0

    def with_finetune(self, steps: int, seconds: float) -> Spent:
        """The same after some fitting to photos."""
        return replace(self, seconds={**self.seconds, FINETUNE: seconds}, finetune_steps=steps)

    def budget(self, settings: ConvertSettings) -> Budget:
        """A budget that is worth as much: in steps where the settings count steps, in seconds otherwise."""
        if settings.steps is not None and settings.seconds is None:
            return Budget(steps=self.steps + self.finetune_steps)
        return Budget(seconds=sum(self.seconds.values()))


class Curve:
    """Live PSNR over the seconds of learning, thinned where it gets long."""

    def __init__(self, points: Tensor | None = None) -> None:
        self.points: list[tuple[float, float]] = [] if points is None else [(t, p) for t, p in points.tolist()]
        self._every, self._seen = 1, len(self.points)

    def add(self, seconds: float, psnr: float) -> None:
        """A point, unless the job has not measured anything yet."""
        self._seen += 1
        if psnr == 0 or self._seen % self._every:
            return
        self.points.append((seconds, psnr))
        if len(self.points) >= _CURVE_POINTS:
            self.points, self._every = self.points[1::2], 2 * self._every

    def tensor(self) -> Tensor:
        """Points [N, 2]: seconds and dB."""
        return torch.tensor(self.points, dtype=torch.float64).reshape(-1, 2)


def state_folder(out: Path) -> Path:
    """Where the state of a conversion to `out` is kept until it is done: a run folder, or one beside a field file."""
    return out.with_name(out.name.removesuffix(FIELD_SUFFIX) + PARTIAL_SUFFIX) if is_file(out) else out


def is_file(out: Path) -> bool:
    """Whether `out` is to be a field file; otherwise it is a run folder."""
    return out.suffix == FIELD_SUFFIX


def remove_state(folder: Path) -> None:
    """Take away a partial conversion's folder, as long as nothing but the conversion's own files is in it."""
    own = ("run.json", ".lock", "field.safetensors")
    if folder.suffix == PARTIAL_SUFFIX and all(p.name in own or p.name.startswith("state-") for p in folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)


def identity_of(settings: ConvertSettings, teacher: str, cameras: Cameras | None) -> dict[str, Any]:
    """What must be the same when a conversion is resumed, as JSON values."""
    found = {name: value for name, value in asdict(settings).items() if name not in _BUDGETS}
    return {**found, "teacher": teacher, "cameras": "" if cameras is None else _digest(cameras)}


def _digest(cameras: Cameras) -> str:
    content = hashlib.sha256()
    for tensor in (cameras.camera_to_world, cameras.focal, cameras.centre, cameras.size):
        content.update(tensor.contiguous().numpy().tobytes())
    return content.hexdigest()[:16]


def settings_to_resume(settings: ConvertSettings, identity: Mapping[str, Any], out: Path) -> ConvertSettings:
    """The settings of the conversion that was begun in `out`: as given, and its own budget where none is given.

    Without anything begun the settings stay as they are.

    Raises:
        UserError: `E-USAGE-RESUME` for settings that differ from those of the conversion begun, or when a field file
            is there and no state.
    """
    folder = state_folder(out)
    if not is_run(folder):
        if is_file(out) and out.exists():
            raise _no_resume("nothing to resume: this conversion is done", out, "a finished field", "an unfinished one",
                             "convert anew with --force")  # fmt: skip
        return settings
    before = (read_record(folder) or {}).get("settings", {})
    known, recorded = before.get("identity"), before.get("convert")
    if not isinstance(known, dict) or not isinstance(recorded, dict):
        raise _no_resume("nothing to resume", folder, "no record of a conversion",
                         "a folder that fieldscape convert began", "start without --resume")  # fmt: skip
    for name, value in identity.items():
        if known.get(name) != value:
            raise _no_resume(f"{_option(name)} differs from the conversion's own", folder, value or "none",
                             str(known.get(name) or "none"), "give the same, or start anew with --force")  # fmt: skip
    if all(getattr(settings, name) is None for name in _BUDGETS):
        own: dict[str, Any] = {name: recorded.get(name) for name in _BUDGETS}
        return replace(settings, **own)
    return settings


def _option(name: str) -> str:
    return {"backend": "--to", "settings": "--set", "max_bytes": "--max-size", "teacher": "the teacher",
            "cameras": "where rays come from (--cameras, --against)"}.get(name, f"--{name}")  # fmt: skip


def _no_resume(what: str, where: Path, got: object, expected: str, fix: str) -> UserError:
    return UserError("E-USAGE-RESUME", what, where=where, got=got, expected=expected, fix=fix)


@dataclass(frozen=True)
class Saved:
    """A state as it was found: the stage it belongs to, its tensors, and what came before it."""

    stage: str  # DISTIL or FINETUNE
    tensors: dict[str, Tensor]
    spent: Spent
    curve: Curve
    skipped: tuple[str, ...]


def save_stage(
    folder: RunFolder, stage: str, step: int, tensors: Mapping[str, Tensor], spent: Spent, curve: Curve
) -> None:
    """Store the state of a stage; `step` counts all steps of the conversion."""
    notes = {"stage": stage, "spent": asdict(spent)}
    folder.save_state(step, {**tensors, "curve": curve.tensor()}, {"notes": notes})


def load_stage(folder: RunFolder) -> Saved | None:
    """The newest state that verifies, None before the first."""
    found: State | None = folder.load_state()
    if found is None:
        return None
    notes = found.header["notes"]
    tensors = {name: tensor for name, tensor in found.tensors.items() if name != "curve"}
    return Saved(notes["stage"], tensors, Spent(**notes["spent"]), Curve(found.tensors["curve"]), found.skipped)
