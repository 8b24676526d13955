"""fieldscape app"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from .. import parsing
from ..console import Console

_PORT = 7860


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("app")(serve)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; others than this machine's need --i-know.")] = (
        "127.0.0.1"
    ),
    port: Annotated[
        int, typer.Option(help="Port; the next free one if it is in use, 0 for any.", min=0, max=65_535)
    ] = (_PORT),
    state: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder for jobs and files; ~/.local/share/fieldscape by default.")
    ] = None,
    job_time: Annotated[str, typer.Option(help="How long one job may run.")] = "10m",
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A name that a public server is reached by; repeatable.")
    ] = None,
    i_know: Annotated[
        bool, typer.Option("--i-know", help="Let other machines in: everybody who reaches it can use this machine.")
    ] = False,
) -> None:
    """Open the app in a browser: worlds, fields, conversion, meshes and your library."""
    console = Console()
    seconds = parsing.duration(job_time)
    from ..web.limits import Limits
    from ..web.server import Address, run

    address = Address(host, port, i_know, tuple(allow_host or ()))
    run(address, Path(state) if state else default_state(), Limits(job_seconds=seconds), console.say)


def default_state() -> Path:
    """Where jobs and files are kept by default."""
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "fieldscape"
