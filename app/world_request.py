"""What a scene is asked for: model, plan, seed and sampling, checked against a scene that is gone on with."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from fields.errors import UserError
from scenegen.shipped import find_model, shipped_models
from scenegen.world.composed import composed, parse_size
from scenegen.world.extrapolate import GrowOptions
from scenegen.world.history import SceneHead, check_seed
from scenegen.world.labour import check_model, scene_head
from scenegen.world.plan import Plan
from scenegen.world.plan_files import encode_ground, read_plan
from scenegen.world.store import SceneStore

MODEL = "rooms-tiny"
METRES_PER_PIXEL = 0.1


@dataclass(frozen=True)
class SceneRequest:
    """None leaves it to what is usual, or to the scene that is gone on with.

    layout: a painted picture or a layout's JSON, whose pixels measure `metres_per_pixel` unless the file says so
    itself; size: COLUMNSxROWS blocks of a plan that is made up. One of the two is given.
    """

    model: str | None = None
    layout: str | None = None
    size: str | None = None
    seed: int | None = None
    steps: int | None = None
    resamples: int | None = None
    jump: int | None = None
    guidance: float | None = None
    metres_per_pixel: float | None = None

    def __post_init__(self) -> None:
        """Raises `UserError`: `E-USAGE-…` for values out of range."""
        if self.layout is not None and self.size is not None:
            raise _one_plan("both")
        if self.size is not None:
            parse_size(self.size)
        check_scale(self.metres_per_pixel)
        check_seed(self.seed or 0)
        self.options()

    def options(self) -> GrowOptions:
        """How blocks are drawn, with usual values where nothing else is asked for."""
        usual = GrowOptions()
        steps = usual.steps if self.steps is None else self.steps
        jump = max(1, min(usual.jump, steps - 1)) if self.jump is None else self.jump
        resamples = usual.resamples if self.resamples is None else self.resamples
        return GrowOptions(steps, resamples, jump, usual.guidance if self.guidance is None else self.guidance)

    def head(self) -> SceneHead:
        """The head of a new scene.

        Raises:
            UserError: `E-CKPT-…`.
        """
        if self.layout is None and self.size is None:
            raise _one_plan("none")
        name = self.model or MODEL
        return scene_head(find_model(name), self.seed or 0, self.options(), model_name(name))

    def plan(self, head: SceneHead) -> Plan:
        """The plan of a new scene.

        Raises:
            UserError: `E-LAYOUT-…`, `E-IMG-…`, `E-JSON-…`, `E-LIMIT-…`, `E-USAGE-SIZE`.
        """
        if self.size is not None:
            return composed(head.world, head.frame, parse_size(self.size), head.seed, head.classes)
        plan = read_plan(str(self.layout), head.classes, self.metres_per_pixel or METRES_PER_PIXEL)
        plan.covering(head.frame)  # what reaches too far is refused before anything is written
        return plan

    def check_resumed(self, scene: SceneStore) -> None:
        """Refuse to go on with a scene that was begun otherwise than is asked for now.

        Raises:
            UserError: `E-USAGE-RESUME`, `E-SCENE-MODEL`, and those of reading the plan.
        """
        head, differing = scene.head, []
        if self.seed not in (None, head.seed):
            differing.append("--seed")
        for name in ("steps", "resamples", "jump", "guidance"):
            if getattr(self, name) not in (None, getattr(head.options, name)):
                differing.append(f"--{name}")
        if self.model is not None:
            check_model(head, find_model(self.model))
        if self.layout is not None or self.size is not None:
            suffix, content = encode_ground(self.plan(head).grounds[0])
            kept = scene.folder / scene.plans[0]
            if kept.suffix != suffix or kept.read_bytes() != content:
                differing.append("--size" if self.layout is None else "--layout")
        if differing:
            raise UserError("E-USAGE-RESUME", "scene was begun otherwise", where=scene.folder,
                            got=f"other {' '.join(differing)}", expected="what it was begun with, or nothing",
                            fix="leave these options out, or start anew with --force")  # fmt: skip


def check_scale(metres_per_pixel: float | None) -> None:
    """Refuse a scale that no plan has.

    Raises:
        UserError: `E-USAGE-SCALE`.
    """
    if metres_per_pixel is not None and not (math.isfinite(metres_per_pixel) and 0 < metres_per_pixel <= 1000):
        raise UserError("E-USAGE-SCALE", "--scale is out of range", got=metres_per_pixel,
                        expected="above 0, up to 1000 metres a pixel", fix="use --scale 0.1")  # fmt: skip


def model_name(name: str) -> str:
    """What a scene calls its model: the name of a shipped one, else where its folder lies."""
    return name if name in shipped_models() else os.path.abspath(name)


def model_of(scene: SceneStore, name: str | None) -> Path:
    """The folder of the model that a scene was begun with; `name` says where it lies now.

    Raises:
        UserError: `E-CKPT-MISSING`, `E-SCENE-MODEL`.
    """
    folder = find_model(name or scene.head.model)
    check_model(scene.head, folder)
    return folder


def _one_plan(got: str) -> UserError:
    return UserError("E-USAGE-PLAN", "a scene has one plan", got=got, expected="--layout or --size",
                     fix="use --size 6x6 for a plan that is made up")  # fmt: skip
