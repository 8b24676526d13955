"""File names of strangers as names that are safe on this machine."""

from __future__ import annotations

from fields.errors import UserError

_PART_BYTES = 200
_DEPTH = 12
_LENGTH = 1000


def safe_parts(name: str) -> tuple[str, ...]:
    """The folders and the file name of a relative path.

    Raises:
        UserError: `E-WEB-SIZE` for one that is too long, `E-PATH-ESCAPE` for one that leaves its folder or hides.
    """
    parts = tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))
    if len(name) > _LENGTH or len(parts) > _DEPTH or any(len(part.encode()) > _PART_BYTES for part in parts):
        raise UserError("E-WEB-SIZE", "a file name is too long", got=f"{len(name)} letters", fix="rename the file")
    odd = name.startswith(("/", "\\")) or ".." in parts or not parts or ":" in parts[0]
    if odd or not name.isprintable() or any(part.startswith(".") for part in parts):
        raise UserError("E-PATH-ESCAPE", "a file name cannot be used", where=name[:80], expected="a plain name",
                        fix="rename the file")  # fmt: skip
    return parts
