"""The main jobs on built-in data, photos to mesh and plan to world: nothing to download, and it ends by itself."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from cuda_ext.accelerators import using
from data.procedural import make_capture, write_capture
from fields.backends import BACKENDS
from fields.engines import AUTO, engines_for
from fields.mesh_files import save_mesh
from fields.progress import Progress
from fields.render import render_view
from fields.safeio import write_bytes, write_json
from fields.views import Capture

from .comparison import Comparison
from .console import finite
from .conversion import convert
from .conversion_plan import Company
from .conversion_state import ConvertSettings
from .demo_world import grow_world
from .evaluation import against_photos
from .fitting import FitSettings, fit_run
from .hardware import hardware, peak_memory, versions
from .library import OpenField, open_field
from .meshing import MeshOptions, mesh_steps
from .pictures import cut_out, png, trimmed
from .source import Source
from .viewpoint import orbit

PREFERRED = ("vm", "triplane", "sparse", "mlp")  # what to convert into: the first one there is
_FIT_SHARE = 0.6  # of the time given, the conversion has the rest
_HERO_SIZE = (840, 560)
_FRAME = (320, 320)
_ZOOM = 1.1  # of the photos' lens, for the large picture


@dataclass(frozen=True)
class DemoSettings:
    """How large a demonstration is; `seconds` are those of fitting and converting together."""

    seconds: float = 75.0
    size: int = 160
    views: int = 60
    test_views: int = 12
    frames: int = 36
    resolution: int = 160
    blocks: tuple[int, int] = (4, 3)
    preset: str = "small"
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class DemoResult:
    """Everything that the report tells."""

    document: dict[str, Any]
    comparison: Comparison
    hero: Tensor  # [H, W, 4]
    turntable: Sequence[Tensor]  # [H, W, 4] each
    normals: Sequence[dict[str, Tensor]]  # of the comparison's views


def demo(out: Path, settings: DemoSettings) -> Generator[Progress, None, DemoResult]:
    """Photos → fit → another representation → evaluation → pictures → mesh; plan → world; all below `out`."""
    job = _Demo(out, settings)
    capture = yield from job.timed("photos", job.photograph())
    fitted = yield from job.timed("fit", job.fit(capture))
    document, comparison = yield from job.timed("convert", job.convert(fitted, capture))
    converted = open_field(str(out / "converted.safetensors"), settings.device)
    scores = yield from job.timed("evaluate", job.evaluate((fitted, converted), capture))
    pictures = yield from job.timed("render", job.render(fitted, comparison, capture))
    mesh = yield from job.timed("mesh", job.mesh(fitted))
    world = yield from job.timed("world", grow_world(out, settings.blocks, settings.seed, settings.device))
    found = finite(
        {
            "seconds": job.seconds,
            "fit": scores[0],
            "converted": scores[1],
            "conversion": document,
            "mesh": mesh,
            "world": world,
            "hardware": hardware(settings.device),
            "versions": versions(),
            "peak_memory_bytes": peak_memory(),
        }
    )
    write_json(out / "demo.json", found)
    return DemoResult(found, comparison, *pictures)


class _Demo:
    """The steps of one demonstration, with the time that each takes."""

    def __init__(self, out: Path, settings: DemoSettings) -> None:
        self.out, self.settings = out, settings
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, steps: Generator[Progress, None, Any]) -> Generator[Progress, None, Any]:
        """Run one step and note its time."""
        start = time.perf_counter()
        result = yield from steps
        self.seconds[name] = round(time.perf_counter() - start, 2)
        return result

    def photograph(self) -> Generator[Progress, None, Capture]:
        """Photos of the built-in scene, also as a capture folder."""
        yield Progress(0, 1, "photos")
        chosen = self.settings
        capture = make_capture(chosen.views, chosen.test_views, chosen.size, chosen.seed)
        write_capture(capture, self.out / "capture")
        yield Progress(1, 1, "photos")
        return capture

    def fit(self, capture: Capture) -> Generator[Progress, None, OpenField]:
        """A hash field in a run folder."""
        chosen = self.settings
        settings = FitSettings(
            preset=chosen.preset, seconds=_FIT_SHARE * chosen.seconds, seed=chosen.seed, device=chosen.device
        )
        yield from fit_run(Source(str(self.out / "capture"), capture), settings, self.out / "fit", force=True)
        return open_field(str(self.out / "fit"), chosen.device)

    def convert(
        self, fitted: OpenField, capture: Capture
    ) -> Generator[Progress, None, tuple[dict[str, Any], Comparison]]:
        """The same scene in another representation."""
        chosen, backend = self.settings, next(name for name in PREFERRED if name in BACKENDS)
        settings = ConvertSettings(
            backend, preset=chosen.preset, seconds=(1 - _FIT_SHARE) * chosen.seconds, seed=chosen.seed
        )
        return (
            yield from convert(
                fitted, settings, self.out / "converted.safetensors", force=True, company=Company(capture)
            )
        )

    def evaluate(
        self, fields: Sequence[OpenField], capture: Capture
    ) -> Generator[Progress, None, list[dict[str, Any]]]:
        """PSNR and SSIM of every field on all test photos."""
        scores = []
        for opened in fields:
            with using(*engines_for(AUTO, opened.field)):
                found = yield from against_photos(opened.field, capture)
            scores.append(
                {
                    "backend": opened.field.name,
                    "parameters": opened.field.parameter_count,
                    "bytes": opened.bytes,
                    **found["mean"],
                }
            )
        return scores

    def render(
        self, fitted: OpenField, comparison: Comparison, capture: Capture
    ) -> Generator[Progress, None, tuple[Tensor, list[Tensor], list[dict[str, Tensor]]]]:
        """A large picture, a turntable (its frames also as PNG files), and normals of the compared views."""
        field, view, count = fitted.field, fitted.view, self.settings.frames
        what = ("rgb", "opacity")
        close = replace(view, lens=[_ZOOM * focal for focal in view.lens])
        hero = cut_out(render_view(field, orbit(close, 8, _HERO_SIZE), 1, background=0.0, what=what, near=view.near))
        cameras, frames = orbit(view, count, _FRAME), []
        for index in range(count):
            frames.append(cut_out(render_view(field, cameras, index, background=0.0, what=what, near=view.near)))
            write_bytes(self.out / "orbit" / f"{index:04}.png", png(frames[-1]))
            yield Progress(index + 1, count, "render")
        names = [look.name for look in comparison.photo_looks]
        places = [capture.test.names.index(name) for name in names]
        normals = [
            render_view(field, capture.test.cameras, place, what=("normal", "opacity"), near=capture.near)
            for place in places
        ]
        return trimmed([hero])[0], trimmed(frames), normals

    def mesh(self, fitted: OpenField) -> Generator[Progress, None, dict[str, Any]]:
        """The surface with its colours, as GLB."""
        made = yield from mesh_steps(fitted.field, MeshOptions(self.settings.resolution, keep=0.01), fitted.notes)
        path = self.out / "scene.glb"
        save_mesh(made, path)
        return {
            "file": path.name,
            "vertices": len(made.vertices),
            "faces": len(made.faces),
            "watertight": made.is_watertight(),
            "bytes": path.stat().st_size,
        }
