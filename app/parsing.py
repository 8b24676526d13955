"""What people type as option values, read strictly: durations, sizes, boxes, settings."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from fields.errors import UserError

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smh]?)")
_LONGEST = 7 * 24 * 3600.0
_STEPS = re.compile(r"(\d{1,8}) ?steps?")
_FILE_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmg]?i?b?)")
_BYTES = {
    prefix + unit: base**power
    for power, prefix in enumerate(("", "k", "m", "g"))
    for unit, base in (("", 1000), ("b", 1000), ("i", 1024), ("ib", 1024))
}
_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")
_LARGEST_SIDE = 8192
_SETTING_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.+]*")


def duration(text: str, option: str = "--time") -> float:
    """Seconds of `60s`, `5m`, `1.5h` or a plain number of seconds; more than 0, at most a week.

    Raises:
        UserError: `E-USAGE-TIME`.
    """
    match = _DURATION.fullmatch(text.strip())
    seconds = float(match[1]) * _UNITS[match[2]] if match else math.nan
    if not 0 < seconds <= _LONGEST:
        raise UserError(
            "E-USAGE-TIME",
            f"{option} is not a duration",
            got=repr(text),
            expected="such as 60s, 5m or 1h, at most a week",
            fix=f"write {option} 60s",
        )
    return seconds


def budget(text: str, option: str) -> tuple[float | None, int | None]:
    """(seconds, None) of a duration, or (None, steps) of `500steps`, which ends alike on every machine.

    Raises:
        UserError: `E-USAGE-TIME`.
    """
    match = _STEPS.fullmatch(text.strip())
    if match and int(match[1]) > 0:
        return None, int(match[1])
    return duration(text, option), None


def file_size(text: str, option: str = "--max-size") -> int:
    """Bytes of `2MB`, `800 kB`, `1.5MiB` or a plain number of bytes; at least 1 and below 1 TB.

    Raises:
        UserError: `E-USAGE-BYTES`.
    """
    match = _FILE_SIZE.fullmatch(text.strip().lower())
    count = float(match[1]) * _BYTES[match[2]] if match else math.nan
    if not 1 <= count < 1e12:
        raise UserError(
            "E-USAGE-BYTES",
            f"{option} is not a file size",
            got=repr(text),
            expected="such as 2MB, 500kB or 1.5MiB",
            fix=f"write {option} 2MB",
        )
    return int(count)


def size(text: str, option: str = "--size") -> tuple[int, int]:
    """(width, height) in pixels of `640x480`.

    Raises:
        UserError: `E-USAGE-SIZE`.
    """
    match = _SIZE.fullmatch(text.strip().lower())
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (1 <= width <= _LARGEST_SIDE and 1 <= height <= _LARGEST_SIDE):
        raise UserError(
            "E-USAGE-SIZE",
            f"{option} is not a picture size",
            got=repr(text),
            expected=f"WIDTHxHEIGHT, each from 1 to {_LARGEST_SIDE}",
            fix=f"write {option} 640x480",
        )
    return width, height


def numbers(text: str, count: int, option: str) -> list[float]:
    """`count` finite numbers with commas or blanks between them.

    Raises:
        UserError: `E-USAGE-NUMBERS`.
    """
    parts = text.replace(",", " ").split()
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if len(values) != count or not all(math.isfinite(value) for value in values):
        raise UserError(
            "E-USAGE-NUMBERS",
            f"{option} is not {count} numbers",
            got=repr(text),
            expected=f"{count} finite numbers with commas between them",
            fix=f"write {option} {','.join('0' * count)} with your numbers",
        )
    return values


def box(text: str, option: str = "--bounds") -> list[list[float]]:
    """`x0,y0,z0,x1,y1,z1` as [low, high].

    Raises:
        UserError: `E-USAGE-NUMBERS`, `E-USAGE-BOUNDS`.
    """
    values = numbers(text, 6, option)
    low, high = values[:3], values[3:]
    if not all(a < b for a, b in zip(low, high, strict=True)):
        raise UserError(
            "E-USAGE-BOUNDS",
            f"{option} is not a box",
            got=text,
            expected="every low coordinate below its high one",
            fix="give x0,y0,z0,x1,y1,z1 with x0 < x1, y0 < y1, z0 < z1",
        )
    return [low, high]


def settings(pairs: Iterable[str], backend: str) -> dict[str, object]:
    """`key=value` pairs for `build_backend`; `part.key=value` for a composition such as `hash+vm`.

    Raises:
        UserError: `E-USAGE-SET`.
    """
    found: dict[str, object] = {}
    composed = "+" in backend
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not _SETTING_KEY.fullmatch(key):
            raise UserError(
                "E-USAGE-SET",
                "--set is not key=value",
                got=repr(pair),
                expected="key=value",
                fix="write for example --set log2_entries=15",
            )
        target = found
        if composed:
            part, dot, key = key.partition(".")
            if not dot or part not in backend.split("+"):
                raise UserError(
                    "E-USAGE-SET",
                    "--set does not say which part it is for",
                    got=repr(pair),
                    expected=f"PART.key=value with PART one of {' '.join(backend.split('+'))}",
                    fix=f"write --set {backend.split('+')[0]}.{key or part}={value}",
                )
            target = found.setdefault(part, {})  # type: ignore[assignment]
        if key in target:
            raise UserError(
                "E-USAGE-SET",
                "--set gives a setting twice",
                got=key,
                expected="one value",
                fix="keep one of the two",
            )
        target[key] = value
    return found


def choices(text: str, known: Sequence[str], option: str) -> tuple[str, ...]:
    """Comma-separated words out of `known`, in the order given, without repetition.

    Raises:
        UserError: `E-USAGE-CHOICE`.
    """
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    unknown = [word for word in words if word not in known]
    if unknown or not words:
        raise UserError(
            "E-USAGE-CHOICE",
            f"{option} has an unknown word",
            got=repr(unknown[0] if unknown else text),
            expected=", ".join(known),
            fix=f"choose from {', '.join(known)}",
        )
    return words
