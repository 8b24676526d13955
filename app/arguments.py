"""Options that every command shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

JsonTo = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="[FILE.json]",
        help="Print one JSON document and nothing else; with a file name that ends in .json, write it there.",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Engine = Annotated[
    str | None,
    typer.Option(
        help="What computes: native, half (small networks in half precision), on a GPU also tinycudann and nerfacc; "
        "some joined by +. auto, the default: half on CPUs with AMX, native on others."
    ),
]
Processes = Annotated[int | None, typer.Option(help="Processes; one for each core by default.", min=1)]
Seed = Annotated[int, typer.Option(help="Equal seeds give equal results on one machine.", min=0, max=2**31 - 1)]
HalfPrecision = Annotated[
    bool | None,
    typer.Option("--bf16/--no-bf16", help="Networks in bfloat16, losses in fp32; where that is faster, by default."),
]
PresetName = Annotated[str, typer.Option("--preset", help="tiny, small or paper.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what --out holds.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there already.")]


@dataclass(frozen=True)
class Global:
    """What `main` must know before the command line is understood."""

    json: bool  # errors go to stdout as JSON
    debug: bool


def split_global(arguments: list[str]) -> tuple[list[str], Global]:
    """The arguments without `--debug` and with `--json` given its value, and what was taken out.

    `--json` alone stands for `--json=-`, which is stdout; a next argument that ends in .json is its file.
    """
    found: list[str] = []
    index, debug = 0, False
    while index < len(arguments):
        word = arguments[index]
        if word == "--":
            found += arguments[index:]
            break
        if word == "--json":
            file = index + 1 < len(arguments) and (
                arguments[index + 1].endswith(".json") or arguments[index + 1] == "-"
            )
            word = f"--json={arguments[index + 1] if file else '-'}"
            index += file
        if word == "--debug":
            debug = True
        else:
            found.append(word)
        index += 1
    return found, Global("--json=-" in found, debug)
