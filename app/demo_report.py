"""report.html of the demonstration."""

from __future__ import annotations

from pathlib import Path

from fields.safeio import write_bytes

from . import report
from .comparison import Look, error_limit
from .console import quantity
from .demo import DemoResult
from .pictures import depth_picture, depth_range, error_map, heat, normal_picture, webp

_ROWS = 3


def write_demo_report(out: Path, result: DemoResult) -> Path:
    """Write report.html below `out`; its path."""
    found = result.document
    machine = found["hardware"]
    lead = (
        "Photos of a small scene became a neural field, the field became another one of a different kind, "
        "and both were checked against photos that neither had seen: all in "
        f"{sum(found['seconds'].values()):.0f} seconds on {machine['processor']}, "
        f"with {_threads(machine['threads'])}."
    )
    path = out / "report.html"
    write_bytes(
        path,
        report.page(
            "Fieldscape demo",
            lead,
            [
                _hero(result),
                _cards(result),
                _pictures(result),
                _figures(result),
                _world(out, result),
                _times(result),
                _files(out),
                _next(out),
                _machine(result),
            ],
        ),
    )
    return path


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"


def _hero(result: DemoResult) -> str:
    still = report.data_uri(webp([result.hero]), "image/webp")
    film = report.data_uri(webp(result.turntable, quality=80), "image/webp")
    return report.hero(
        [
            report.figure(
                still,
                "The fitted field, rendered from a view that no photo shows",
                "render of the fitted field",
            ),
            report.figure(film, "Once around it: the frames are in the folder orbit", "the field turning"),
        ]
    )


def _cards(result: DemoResult) -> str:
    found = result.document
    fit, converted, mesh = found["fit"], found["converted"], found["mesh"]
    return report.cards(
        [
            (f"{fit['psnr']:.1f} dB", f"PSNR of the {fit['backend']} field on held-out photos"),
            (f"{converted['psnr']:.1f} dB", f"PSNR after conversion to {converted['backend']}"),
            (
                f"{found['conversion']['vs_teacher']['psnr']:.1f} dB",
                "PSNR of the converted field against the first one",
            ),
            (f"{found['conversion']['teacher']['ms_per_frame']:.0f} ms", "to render one test view"),
            (
                quantity(mesh["faces"]),
                f"faces of the mesh, {'watertight' if mesh['watertight'] else 'not closed'}",
            ),
        ]
    )


def _pictures(result: DemoResult) -> str:
    looks = result.comparison.photo_looks
    chosen = [round((k + 0.5) * len(looks) / _ROWS - 0.5) for k in range(min(_ROWS, len(looks)))]
    errors = [error_map(looks[k].teacher["rgb"], _photo(looks[k])) for k in chosen]
    limit = error_limit(errors)
    fit, converted = (result.document[role]["backend"] for role in ("fit", "converted"))
    rows = []
    for k, error in zip(chosen, errors, strict=True):
        look = looks[k]
        span = depth_range(look.teacher["depth"], look.teacher["opacity"])
        rows.append(
            report.row(
                [
                    report.figure(_photo(look), "ground truth"),
                    report.figure(look.teacher["rgb"], f"fit ({fit})"),
                    report.figure(look.student["rgb"], f"converted ({converted})"),
                    report.figure(heat(error, limit), "error of the fit"),
                    report.figure(depth_picture(look.teacher["depth"], look.teacher["opacity"], span), "depth"),
                    report.figure(normal_picture(result.normals[k]["normal"], result.normals[k]["opacity"]), "normals"),
                ],
                f"Test view {look.name}",
            )
        )
    scales = report.legend(
        "heat", "0", f"{limit:.2f}", "error: mean absolute difference of colours in 0 to 1"
    ) + report.legend("rainbow", "near", "far", "depth")
    return report.section(
        "Held-out views", scales, *rows, text="None of these photos was used for fitting or converting."
    )


def _photo(look: Look) -> report.Tensor:
    assert look.photo is not None
    return look.photo


def _figures(result: DemoResult) -> str:
    conversion = result.document["conversion"]
    rows = []
    for name, role, side in (("fit", "fit", "teacher"), ("converted", "converted", "student")):
        found = result.document[role]
        rows.append(
            [
                f"{name}: {found['backend']}",
                f"{found['psnr']:.2f} dB",
                f"{found['ssim']:.4f}",
                f"{found['parameters']:,}",
                report.size_text(found["bytes"]),
                f"{conversion[side]['ms_per_frame']:.0f} ms",
            ]
        )
    head = ["field", "PSNR", "SSIM", "parameters", "file", "one view"]
    return report.section(
        "Figures",
        report.table(head, rows),
        text="Means over all held-out photos; higher is better for "
        "PSNR and SSIM. Fitting longer helps: the demonstration is tuned to be quick.",
    )


def _world(out: Path, result: DemoResult) -> str:
    found = result.document["world"]
    plan = report.figure(_data_uri(out / found["plan"]), "the painted plan", "floor plan")
    view = report.figure(_data_uri(out / found["preview"]), "what grew under it, from above and from a corner", "flat")
    text = (
        f"{found['blocks']} blocks, {found['seconds_per_block']:.1f} seconds each, joined into one surface of "
        f"{quantity(found['faces'])} faces by the model that comes with the program."
    )
    return report.section("A world from a floor plan", report.row([plan, view], "Plan and world"), text=text)


def _data_uri(path: Path) -> str:
    return report.data_uri(path.read_bytes(), "image/png")


def _times(result: DemoResult) -> str:
    return report.section("Where the time went", report.bars(list(result.document["seconds"].items()), "s"))


def _files(out: Path) -> str:
    about = {
        "capture": "the photos, as a capture folder",
        "fit": "run folder of the fitted field",
        "converted.safetensors": "the converted field",
        "orbit": "frames of the turntable",
        "scene.glb": "the mesh, with colours",
        "plan.png": "the painted floor plan",
        "world": "the scene generated under it, to extend and to change",
        "world.glb": "its surface in metres, a material for each class",
        "demo.json": "all figures",
    }
    rows = [[name, what, report.size_text(_bytes(out / name))] for name, what in about.items()]
    return report.section("In the folder", report.table(["file", "what it is", "size"], rows, words=True))


def _bytes(path: Path) -> int:
    return (
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
    )


def _next(out: Path) -> str:
    return report.section(
        "Try next",
        report.commands(
            [
                ("Fit your own photos", "fieldscape fit PHOTOS --out run --time 5m"),
                (
                    "Go on with this fit",
                    f"fieldscape fit {out / 'capture'} --out {out / 'fit'} --resume --time 3m",
                ),
                (
                    "Make a film of it",
                    f"fieldscape render {out / 'fit'} --out film.mp4 --path spiral --frames 120",
                ),
                (
                    "Convert it, with a report",
                    f"fieldscape convert {out / 'fit'} --to mlp --out small.safetensors --report report",
                ),
                (
                    "A finer mesh",
                    f"fieldscape mesh {out / 'fit'} --out fine.glb --resolution 320 --keep-largest",
                ),
                (
                    "Let the world grow",
                    f"fieldscape scene extend {out / 'world'} --toward +x2",
                ),
                ("Everything by mouse", "fieldscape app"),
                ("What this machine can do", "fieldscape doctor"),
            ]
        ),
    )


def _machine(result: DemoResult) -> str:
    machine, versions = result.document["hardware"], result.document["versions"]
    text = (
        f"{machine['processor']}, {machine['cores']} cores, native kernels: {machine['native']}, device "
        f"{machine['device']}. fieldscape {versions['fieldscape']}, Python {versions['python']}, "
        f"torch {versions['torch']}. Peak memory {report.size_text(result.document['peak_memory_bytes'])}."
    )
    return f"<footer>{report.escape(text)}</footer>"
