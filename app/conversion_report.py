"""report.json and report.html of a conversion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fields.safeio import write_bytes, write_json

from . import report
from .comparison import Comparison, Look, error_limit
from .curves import Axes, Line, diagram
from .pictures import depth_picture, depth_range, error_map, heat

_PICTURED = 4
_LEARNING = ("distance", "start", "features", "values", "pixels", "finetune")


def write_report(folder: Path, document: dict[str, Any], comparison: Comparison) -> None:
    """Write both files into `folder`."""
    write_json(folder / "report.json", document)
    teacher, student = document["teacher"], document["student"]
    seconds = sum(document["seconds"].get(name, 0.0) for name in _LEARNING)
    steps = document["steps"]["distil"] + document["steps"]["finetune"]
    lead = (
        f"A {teacher['kind']} volume in representation {teacher['backend']} became {student['backend']} "
        f"({student['kind']}) in {seconds:.0f} seconds and {steps:,} steps, {_start(document)}."
    )
    sections = [
        headline(document),
        report.warnings(document["warnings"]),
        _figures_table(document),
        _progress(document),
        _baseline(document),
        _surface(document),
        _side_by_side(comparison.looks, "Side by side, views held out", "No ray of the conversion came from them."),
        _side_by_side(comparison.photo_looks, "Side by side, test photos", _use_of_photos(document)),
        _chain(document),
        _machine(document),
    ]
    title = f"{teacher['backend']} → {student['backend']}"
    write_bytes(folder / "report.html", report.page(title, lead, filter(None, sections)))


def _use_of_photos(document: dict[str, Any]) -> str:
    if document["steps"]["finetune"]:
        return "Training photos were used to fit the student on; these were not."
    return "No photo was used for the conversion."


def _start(document: dict[str, Any]) -> str:
    start = document["start"]
    return f"after a start in closed form ({start})" if start else "without a closed-form start"


def headline(document: dict[str, Any]) -> str:
    """The figures that matter most, large."""
    closeness = document["vs_teacher"]
    return report.cards(
        [
            (f"{closeness['psnr']:.1f} dB", "PSNR of the student against its teacher, on views held out"),
            (f"{closeness['ssim']:.3f}", "SSIM against the teacher"),
            (f"{100 * closeness['depth']:.2f} %", "depth error on solid pixels, of the scene's diagonal"),
            (f"{document['opacity_error']:.4f}", "opacity error, mean over all pixels"),
            (
                f"{document['fog']:.4f}",
                f"fog: opacity where the teacher sees nothing; {document['fog_unmasked']:.4f} without the grid",
            ),
            (
                report.size_text(document["bytes"]),
                f"file, the teacher has {report.size_text(document['teacher']['bytes'])}",
            ),
        ]
    )


def _figures_table(document: dict[str, Any]) -> str:
    """Teacher and student line by line."""
    photos, ssim = document["vs_photos"], document["photos_ssim"]
    rows = []
    for role in ("teacher", "student"):
        about = document[role]
        bare = about.get("bytes_without_grid")
        row = [
            role,
            f"{about['backend']}, {about['kind']}",
            f"{about['parameters']:,}",
            report.size_text(about["bytes"]),
            "" if bare is None else report.size_text(bare),
            f"{about['ms_per_frame']:.0f} ms",
        ]
        rows.append([*row, f"{photos[role + '_psnr']:.2f} dB", f"{ssim[role]:.4f}"] if photos else row)
    head = ["", "representation", "parameters", "file", "without its grid", "a frame"]
    head += ["to photos", "SSIM"] if photos else []
    choice = document["size_choice"]
    text = (
        f"The size was chosen to stay below {report.size_text(choice['limit'])}: {choice['chosen']}." if choice else ""
    )
    return report.section("Figures", report.table(head, rows), text=text)


def _progress(document: dict[str, Any]) -> str:
    """PSNR over time, and the seconds of every phase."""
    line = Line("student against teacher, on the rays of each step", [(t, p) for t, p in document["curve"]])
    plot = diagram([line], Axes("seconds of learning", "PSNR, dB"))
    shares = [(name, value) for name, value in document["seconds"].items() if value > 0]
    peak = f"At most {report.size_text(document['peak_memory_bytes'])} of memory were used."
    return report.section("Progress and time", plot, report.bars(shares, "s"), text=peak)


def _baseline(document: dict[str, Any]) -> str:
    baseline = document["baseline"]
    if baseline is None:
        return ""
    photos = document["vs_photos"]
    spent = f"{baseline['steps']} steps" if baseline["steps"] else f"{baseline['seconds']:.1f} seconds"
    rows = [["conversion", f"{document['vs_teacher']['psnr']:.2f} dB"], ["baseline", f"{baseline['psnr']:.2f} dB"]]
    head = ["", "PSNR to the teacher"]
    if photos is not None:
        head.append("PSNR to photos")
        rows[0].append(f"{photos['student_psnr']:.2f} dB")
        rows[1].append(f"{baseline['photos_psnr']:.2f} dB")
    text = f"Baseline: {baseline['name']}, for as long ({spent})."
    return report.section("Beside a baseline", report.table(head, rows), text=text)


def _surface(document: dict[str, Any]) -> str:
    surface = document["surface"]
    if surface is None:
        return ""
    closed = {True: "closed", False: "not closed"}
    rows = [
        ["the teacher's own mesh", closed[surface["direct_watertight"]]],
        ["the student's mesh", closed[surface["watertight"]]],
        ["Chamfer distance of the two", f"{100 * surface['chamfer']:.3f} % of the diagonal"],
        ["F-score at 0.5 % of the diagonal", f"{surface['fscore']:.4f}"],
    ]
    return report.section(
        "Surface",
        report.table(["", ""], rows),
        text="The distances taught are those to the teacher's surface as cameras see it, which is its own mesh here; "
        f"both meshes at resolution {surface['resolution']}.",
    )


def _chain(document: dict[str, Any]) -> str:
    rows = [
        [f"{number}", f"{link['from']} → {link['to']}", link["kind"], f"{link['psnr']:.2f} dB"]
        for number, link in enumerate(document["conversions"], 1)
    ]
    text = "Every conversion that led to this field, with its PSNR against the teacher it had."
    return report.section("Conversions so far", report.table(["", "", "kind", "PSNR"], rows), text=text)


def _side_by_side(looks: Sequence[Look], heading: str, text: str) -> str:
    """Photo, teacher, student, difference and depths of some views."""
    if not looks:
        return ""
    chosen = looks[:: max(1, len(looks) // _PICTURED)][:_PICTURED]
    limit = error_limit([error_map(look.teacher["rgb"], look.student["rgb"]) for look in chosen])
    rows = [report.row(_figures(look, limit), look.name) for look in chosen]
    scale = report.legend("heat", "0", f"{limit:.2f}", "mean absolute difference of the colours, which go from 0 to 1")
    return report.section(heading, scale, *rows, text=text)


def _figures(look: Look, limit: float) -> list[str]:
    span = depth_range(look.teacher["depth"], look.teacher["opacity"])
    parts = [] if look.photo is None else [report.figure(look.photo, "photo")]
    return [
        *parts,
        report.figure(look.teacher["rgb"], "teacher"),
        report.figure(look.student["rgb"], "student"),
        report.figure(heat(error_map(look.teacher["rgb"], look.student["rgb"]), limit), "difference"),
        *(
            report.figure(depth_picture(side["depth"], side["opacity"], span), f"depth, {name}")
            for name, side in (("teacher", look.teacher), ("student", look.student))
        ),
    ]


def _machine(document: dict[str, Any]) -> str:
    machine, versions = document["hardware"], document["versions"]
    text = (
        f"{machine['processor']}, {machine['cores']} cores, native kernels: {machine['native']}, device "
        f"{machine['device']}. fieldscape {versions['fieldscape']}, Python {versions['python']}, "
        f"torch {versions['torch']}."
    )
    return f"<footer>{report.escape(text)}</footer>"
