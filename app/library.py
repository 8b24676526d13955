"""Opening fields by the names that people give: run folders and field files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fields.field import Field
from fields.field_file import load_field_with_notes
from fields.run_folder import resolve_field

from .viewpoint import Viewpoint, of_field


@dataclass(frozen=True)
class OpenField:
    """A field at hand with what its file remembers."""

    field: Field
    path: Path
    notes: dict[str, Any]

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return self.path.stat().st_size

    @property
    def view(self) -> Viewpoint:
        """From where the field is looked at by default."""
        return of_field(self.field, self.notes)


def open_field(text: str, device: str = "cpu") -> OpenField:
    """The field in a run folder or field file.

    Raises:
        UserError: `E-CKPT-…`.
    """
    path = resolve_field(text.replace("\0", "?"))
    field, notes = load_field_with_notes(path, device)
    return OpenField(field, path, notes if isinstance(notes, dict) else {})
