"""Every representation converted into every other: what each pair keeps of its teacher, beside a fit from scratch."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fields.backends import BACKENDS
from fields.errors import UserError
from fields.field import Field
from fields.progress import Progress
from fields.run_folder import is_run
from fields.safeio import read_json, write_json
from fields.volume import Kind

from ..conversion import convert
from ..conversion_plan import Company
from ..conversion_state import ConvertSettings, state_folder
from ..evaluation import against_photos, evaluate, spread_index
from ..fitting import FitSettings, fit_run
from ..library import OpenField, open_field
from ..source import Source, SourceOptions, open_source

BUILTIN = "builtin"
_VIEWS = 8
_RESOLUTION = 128
_LEAST_SECONDS = 1e-3  # a copy takes no time
_ALLOWED = 0.5  # dB below the weaker of teacher and scratch
_ALLOWED_RATIO = 1.2  # of the larger Chamfer distance of the two

Limit = tuple[float | None, int | None]  # seconds, steps


@dataclass(frozen=True)
class MatrixSettings:
    """What is converted into what, on which scene, and for how long each."""

    pairs: tuple[tuple[str, str], ...]
    kinds: tuple[Kind, ...] = ("density",)
    scene: str = BUILTIN
    size: int | None = None  # pixels of the photos' width, about
    preset: str = "small"
    time: Limit = (60.0, None)
    teacher: Limit = (60.0, None)
    scratch: Limit = (60.0, None)
    seed: int = 0
    device: str = "cpu"
    finetune: Limit | None = None


def all_pairs() -> tuple[tuple[str, str], ...]:
    """Every ordered pair of backends, each with itself among them."""
    return tuple((a, b) for a in BACKENDS for b in BACKENDS)


def read_pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Pairs of `hash:mlp,vm:sparse`.

    Raises:
        UserError: `E-USAGE-PAIRS`.
    """
    found = tuple(tuple(part.strip().split(":")) for part in text.split(",") if part.strip())
    for pair in found:
        if len(pair) != 2 or not set(pair) <= set(BACKENDS):
            raise UserError(
                "E-USAGE-PAIRS",
                "--pairs cannot be read",
                got=":".join(pair),
                expected=f"TEACHER:STUDENT with commas between, of {' '.join(BACKENDS)}",
                fix="write --pairs hash:mlp,vm:sparse",
            )
    return tuple((pair[0], pair[1]) for pair in dict.fromkeys(found))


def open_scene(text: str, size: int | None) -> Source:
    """The photos or the mesh of a scene, reduced to about `size` pixels of width.

    Raises:
        UserError: whatever reading it refuses.
    """
    if text == BUILTIN:
        from data.procedural import make_capture

        return Source(BUILTIN, make_capture() if size is None else make_capture(size=size))
    found = open_source(text)
    if found.capture is None or size is None:
        return found
    factor = round(int(found.capture.train.cameras.size[0, 0]) / size)
    return open_source(text, SourceOptions(downscale=factor)) if factor > 1 else found


def matrix_steps(settings: MatrixSettings, out: Path) -> Generator[Progress, None, list[dict[str, Any]]]:
    """A row for each pair and kind, the generator's return value; pairs done before in `out` are not done again.

    Raises:
        UserError: `E-USAGE-RESUME` when `out` holds a matrix with other settings.
    """
    check_settings(settings, out)
    source = open_scene(settings.scene, settings.size)
    job, rows = _Matrix(settings, source, out), []
    wanted = [(kind, *pair) for kind in settings.kinds for pair in settings.pairs]
    for place, (kind, teacher, student) in enumerate(wanted):
        file = out / "rows" / f"{kind}-{teacher}-{student}.json"
        if not file.is_file():
            yield Progress(place, len(wanted), f"{teacher} to {student}")
            write_json(file, (yield from job.pair(kind, teacher, student)))
        rows.append(read_json(file))
    return rows


def check_settings(settings: MatrixSettings, out: Path) -> None:
    """Write the settings of a new folder, or compare them with those it was begun with (pairs and kinds may grow).

    Raises:
        UserError: `E-USAGE-RESUME`.
    """
    file = out / "settings.json"
    now = {key: value for key, value in asdict(settings).items() if key not in ("pairs", "kinds")}
    now = {key: list(value) if isinstance(value, tuple) else value for key, value in now.items()}
    before = read_json(file) if file.is_file() else None
    if before is None:
        write_json(file, now)
        return
    changed = [key for key in now if before.get(key) != now[key]]
    if changed:
        name = changed[0]
        raise UserError(
            "E-USAGE-RESUME",
            f"--{name} differs from the one this folder was begun with",
            where=out,
            got=now[name],
            expected=str(before.get(name)),
            fix="give the same, or choose another --out",
        )


def fitted_scene(
    settings: MatrixSettings, out: Path, backend: str
) -> Generator[Progress, None, tuple[Source, OpenField]]:
    """The scene, and a density teacher fitted to it (once for each folder)."""
    source = open_scene(settings.scene, settings.size)
    teacher = yield from _Matrix(settings, source, out).fitted("density", backend, settings.teacher)
    return source, teacher


class _Matrix:
    """Fits and conversions on one scene, each kept in the folder."""

    def __init__(self, settings: MatrixSettings, source: Source, out: Path) -> None:
        self.settings, self.source, self.out = settings, source, out

    def pair(self, kind: Kind, teacher: str, student: str) -> Generator[Progress, None, dict[str, Any]]:
        chosen = self.settings
        taught_by = yield from self.fitted(kind, teacher, chosen.teacher)
        scratch = yield from self.fitted(kind, student, chosen.scratch)
        wanted = ConvertSettings(
            student, preset=chosen.preset, seconds=chosen.time[0], steps=chosen.time[1], seed=chosen.seed
        )
        company = self._company()
        if chosen.finetune is not None:
            seconds, steps = chosen.finetune
            wanted = replace(wanted, finetune_seconds=seconds, finetune_steps=steps)
        out = self.out / "students" / f"{kind}-{teacher}-{student}.safetensors"
        resume = is_run(state_folder(out))
        document, _ = yield from convert(taught_by, wanted, out, resume=resume, force=not resume, company=company)
        learning = sum(s for name, s in document["seconds"].items() if name not in ("compare", "distance"))
        figures = {
            "teacher": (yield from self._score(taught_by.field, f"{kind}-{teacher}-teacher")),
            "student": (yield from self._score(open_field(str(out), chosen.device).field, None)),
            "scratch": (yield from self._score(scratch.field, f"{kind}-{student}-scratch")),
        }
        return self._row(kind, teacher, student, document, learning, figures)

    def _company(self) -> Company:
        capture = self.source.capture
        if capture is None:
            return Company()
        return Company(capture if self.settings.finetune else None, capture.train.cameras)

    def fitted(self, kind: Kind, backend: str, limit: Limit) -> Generator[Progress, None, OpenField]:
        """A fit of the scene, made once for each backend, kind and budget."""
        chosen = self.settings
        folder = self._folder(kind, backend, limit)
        settings = FitSettings(
            backend, kind, chosen.preset, seconds=limit[0], steps=limit[1], seed=chosen.seed, device=chosen.device
        )
        if not (folder / "field.safetensors").is_file():
            for progress in fit_run(self.source, settings, folder, resume=is_run(folder)):
                yield replace(progress, phase=f"{progress.phase} {backend}")
        return open_field(str(folder), chosen.device)

    def _score(self, field: Field, name: str | None) -> Generator[Progress, None, float]:
        """PSNR on test photos, or Chamfer distance from the mesh; kept under `name` where there is one."""
        file = self.out / "scores" / f"{name}.json"
        if name is not None and file.is_file():
            return float(read_json(file)["score"])
        if self.source.capture is not None:
            capture = self.source.capture
            split = "test" if len(capture.test) else "train"
            index = spread_index(len(capture.split(split)), _VIEWS)
            value = (yield from against_photos(field, capture, split, index))["mean"]["psnr"]
        else:
            value = (yield from evaluate(field, self.source, resolution=_RESOLUTION))["mean"]["chamfer"]
        if name is not None:
            write_json(file, {"score": value})
        return float(value)

    def _row(
        self,
        kind: Kind,
        teacher: str,
        student: str,
        document: dict[str, Any],
        seconds: float,
        figures: dict[str, float],
    ) -> dict[str, Any]:
        chosen = self.settings
        baseline_s = self._seconds(kind, student, chosen.scratch)
        measure = "psnr" if self.source.capture is not None else "chamfer"
        return {
            "name": f"{teacher} to {student}",
            "config": f"{kind}, preset {chosen.preset}, {Path(self.source.name).name}",
            "ours_s": seconds,
            "baseline": f"{student} from scratch",
            "baseline_s": baseline_s,
            "ratio": baseline_s / max(seconds, _LEAST_SECONDS),
            "spread": 0.0,
            "kind": kind,
            "from": teacher,
            "to": student,
            "measure": measure,
            **{f"{role}_{measure}": value for role, value in figures.items()},
            "vs_teacher_psnr": document["vs_teacher"]["psnr"],
            "steps": document["steps"]["distil"],
            "finetune_steps": document["steps"]["finetune"],
            "start": document["start"],
            **verdict(measure, **figures),
        }

    def _seconds(self, kind: Kind, backend: str, limit: Limit) -> float:
        return float(read_json(self._folder(kind, backend, limit) / "run.json")["seconds"]["fit"])

    def _folder(self, kind: Kind, backend: str, limit: Limit) -> Path:
        name = f"{limit[1]}steps" if limit[1] is not None else f"{limit[0]:g}s"
        return self.out / "fits" / f"{kind}-{backend}-{name}"


def verdict(measure: str, teacher: float, student: float, scratch: float) -> dict[str, Any]:
    """`gap` to the weaker of teacher and scratch, and whether that is good enough: "ok" or "short".

    PSNR may be half a decibel lower; a Chamfer distance a fifth larger (its gap is a ratio).
    """
    if measure == "psnr":
        gap = student - min(teacher, scratch)
        return {"gap": gap, "verdict": "ok" if gap >= -_ALLOWED else "short"}
    gap = student / max(teacher, scratch)
    return {"gap": gap, "verdict": "ok" if gap <= _ALLOWED_RATIO else "short"}
