"""The committed measurements: newest file of each name, read once."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks" / "results"
_DATED = re.compile(r"(?P<name>[a-z0-9-]+?)-(?P<date>\d{4}-\d{2}-\d{2})\.json")


@dataclass(frozen=True)
class Results:
    """One file of results: rows as they were written, the machine, and the day."""

    name: str
    date: str
    rows: tuple[dict[str, Any], ...]
    machine: str
    note: str


def read_results(folder: Path = FOLDER) -> dict[str, Results]:
    """The newest results of each name; none where the program was installed without them."""
    found: dict[str, Results] = {}
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        match = _DATED.fullmatch(path.name)
        if match and (match["name"] not in found or found[match["name"]].date < match["date"]):
            found[match["name"]] = _read(path, match["name"], match["date"])
    return found


def _read(path: Path, name: str, date: str) -> Results:
    document = json.loads(path.read_text(encoding="utf-8"))
    rows = [row for row in document.get("rows", []) if isinstance(row, dict)]
    return Results(name, date, tuple(rows), _machine(document.get("hardware", {})), str(document.get("note", "")))


def _machine(hardware: dict[str, Any]) -> str:
    cores, memory = hardware.get("cores"), hardware.get("memory_bytes", 0) / 2**30
    told = (hardware.get("processor"), f"{cores} cores", memory and f"{memory:.0f} GiB", hardware.get("gpu"))
    return ", ".join(str(part) for part in told if part)
