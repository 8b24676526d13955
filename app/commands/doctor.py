"""fieldscape doctor"""

from __future__ import annotations

import typer

from ..arguments import JsonTo
from ..console import Console


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(json_to: JsonTo = None) -> None:
    """Show what is installed, built and used on this machine, and why not."""
    from ..doctor import PROBLEM, examine
    from ..hardware import hardware, versions

    console = Console(json_to)
    checks = []
    for check in examine():
        console.say(check.line())
        checks.append(check)
    problems = sum(check.verdict == PROBLEM for check in checks)
    console.say(f"\n{problems} problems found." if problems else "\nEverything that is needed is in order.")
    rows = [{"name": c.name, "verdict": c.verdict, "found": c.found, "fix": c.fix} for c in checks]
    console.finish({"checks": rows, "problems": problems, "hardware": hardware(), "versions": versions()})
