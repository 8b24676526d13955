"""What a conversion is going to do, checked before any of it is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from fields.cameras import Cameras
from fields.distill import DistillOptions
from fields.engines import engines_for
from fields.errors import UserError
from fields.field import Field
from fields.views import Capture
from fields.volume import Kind, Volume

from .conversion_state import ConvertSettings, identity_of
from .fitting import KINDS
from .sizing import Choice, fitting_settings
from .surfaces import check_kind
from .teachers import Teacher
from .viewpoint import spiral

_CAMERAS = 256


@dataclass(frozen=True)
class Company:
    """What goes with a conversion: photos to compare with (and to fit to), cameras, and whether to train a baseline."""

    against: Capture | None = None
    cameras: Cameras | None = None
    baseline: bool = False


@dataclass(frozen=True)
class Plan:
    """A conversion that was found possible: a fresh student and how it will be taught."""

    teacher: Teacher
    settings: ConvertSettings
    student: Field
    choice: Choice | None
    company: Company
    cameras: Cameras | None  # where rays start; None: random ones round the scene
    engines: tuple[str, ...] = ()  # accelerators to be `using`

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same when it is resumed."""
        return identity_of(self.settings, self.teacher.identity, self.cameras)

    @property
    def clay(self) -> bool:
        """Whether teacher and student are bare shapes."""
        return not self._colored and self.teacher.volume.kind == self.student.kind == "sdf"

    @property
    def _colored(self) -> bool:
        return bool(self.teacher.notes.get("colors", True))

    @property
    def options(self) -> DistillOptions:
        """The whole method."""
        return DistillOptions(
            seed=self.settings.seed,
            cameras=self.cameras,
            near=self.teacher.view.near if self.company.against is None else self.company.against.near,
            colors=self._colored,
            target_psnr=self.settings.target_psnr,
        )


def plan_conversion(teacher: Teacher, settings: ConvertSettings, company: Company | None = None) -> Plan:
    """Check that a teacher can become what the settings ask for, and make the student.

    Raises:
        UserError: `E-USAGE-KIND`, `E-USAGE-BACKEND`, `E-USAGE-PRESET`, `E-USAGE-SET`, `E-LIMIT-SIZE`,
            `E-USAGE-FINETUNE`, `E-USAGE-ENGINE`, `E-ENV-ENGINE`.
    """
    company = company or Company()
    kind = settings.kind or teacher.volume.kind
    if kind not in KINDS:
        raise UserError("E-USAGE-KIND", "unknown kind of field", got=kind, expected=" ".join(KINDS), fix="choose one")
    check_kind(teacher, kind)
    if settings.finetune is not None and company.against is None:
        raise UserError(
            "E-USAGE-FINETUNE",
            "--finetune needs photos",
            got="no --against",
            expected="--against SOURCE with training photos",
            fix="name a capture by --against, or leave --finetune out",
        )
    choice = None
    if settings.max_bytes is not None:
        space = teacher.volume.space
        choice = fitting_settings(
            settings.backend, settings.preset, settings.settings, space, settings.max_bytes, cast(Kind, kind)
        )
    student = new_student(teacher.volume, settings, choice)
    engines = engines_for(settings.engine, teacher.volume, student)
    return Plan(teacher, settings, student, choice, company, _cameras(teacher, company), engines)


def new_student(teacher: Volume, settings: ConvertSettings, choice: Choice | None = None) -> Field:
    """A field in the teacher's space, not trained yet.

    Raises:
        UserError: `E-USAGE-BACKEND`, `E-USAGE-PRESET`, `E-USAGE-SET`.
    """
    made = Field.create(
        settings.backend,
        teacher.space,
        cast(Kind, settings.kind or teacher.kind),
        preset=settings.preset,
        settings=settings.settings if choice is None else choice.settings,
        seed=settings.seed,
    )
    return made.to(teacher.device)


def _cameras(teacher: Teacher, company: Company) -> Cameras | None:
    """Where rays come from: None leaves it to `distill`, which needs a box that holds the whole scene."""
    if company.cameras is not None:
        return company.cameras
    if company.against is not None:
        return company.against.train.cameras
    if teacher.volume.space.contraction == "none":
        return None
    return spiral(teacher.view, _CAMERAS, teacher.view.picture_size)
