"""fieldscape bench"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fields.errors import UserError

from ..arguments import JsonTo
from ..console import Console

if TYPE_CHECKING:
    from ..bench.timing import Contest

SUBJECTS = ("kernels", "fit", "render", "convert")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench")(bench)


def bench(
    subject: Annotated[str, typer.Argument(help="kernels, fit, render or convert.")],
    field: Annotated[str | None, typer.Option(help="Run folder or field file to render, for bench render.")] = None,
    repeat: Annotated[int, typer.Option(help="Runs of each, taken in turn with the baseline's.", min=1, max=1000)] = 5,
    only: Annotated[str, typer.Option(help="Only rows whose name or configuration has this in it.")] = "",
    json_to: JsonTo = None,
) -> None:
    """Measure speed, always side by side with a named baseline.

    ratio = baseline time / our time, the median of runs taken in turn; spread = their range over the median.
    """
    console = Console(json_to)
    if subject not in SUBJECTS:
        raise UserError(
            "E-USAGE-CHOICE",
            "nothing to measure by this name",
            got=subject,
            expected=" ".join(SUBJECTS),
            fix="choose one",
        )
    from ..bench.timing import measure_all
    from ..hardware import calibration, hardware, versions

    contests = [c for c in _contests(subject, field) if only.lower() in f"{c.name} {c.config}".lower()]
    before = calibration()
    rows = console.run(measure_all(contests, repeat))
    machine = {**hardware(), "calibration_gflops": [before, calibration()]}
    for row in rows:
        console.say(_line(row))
    speeds = machine["calibration_gflops"]
    console.say(
        f"\n{machine['processor']}, {machine['threads']} threads, {machine['native']}; one thread did "
        f"{speeds[0]:.0f} GFLOP/s before and {speeds[1]:.0f} after"
    )
    console.finish({"hardware": machine, "versions": versions(), "rows": rows})


def _contests(subject: str, field: str | None) -> list[Contest]:
    if subject == "kernels":
        from ..bench.kernels import contests

        return contests()
    from ..bench import fields as whole

    if subject == "fit":
        return whole.fit_contests()
    if subject == "convert":
        return whole.convert_contests()
    from ..library import open_field

    return whole.render_contests(open_field(field).field if field else None)


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['name']:<38} {1000 * row['ours_s']:9.2f} ms  {row['baseline']:<18} "
        f"{1000 * row['baseline_s']:9.2f} ms  {row['ratio']:6.1f}x ±{50 * row['spread']:.0f} %  "
        f"{row['config']}"
    )
