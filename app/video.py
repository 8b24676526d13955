"""MP4 films through imageio-ffmpeg, which is an optional extra."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor

from fields.errors import UserError
from fields.safeio import write_bytes

from .rendering import film_frame


def require_ffmpeg() -> Any:
    """The imageio_ffmpeg module.

    Raises:
        UserError: `E-ENV-VIDEO` where it, or the encoder it brings, is missing.
    """
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError, OSError) as error:
        raise UserError(
            "E-ENV-VIDEO",
            "no video encoder",
            got=str(error) or type(error).__name__,
            expected="the extra 'video'",
            fix="pip install 'fieldscape[video]', or name a folder for PNG files",
        ) from None
    return imageio_ffmpeg


class Film:
    """A sink that becomes one .mp4 when every frame is there (H.264, plays in browsers)."""

    def __init__(self, path: Path, fps: int) -> None:
        self._module = require_ffmpeg()
        self._path, self._fps = path, fps
        self._folder = tempfile.TemporaryDirectory(prefix="fieldscape-")
        self._draft = os.path.join(self._folder.name, "draft.mp4")
        self._writer: Any = None
        self.files: list[str] = []

    def add(self, name: str, pictures: dict[str, Tensor]) -> None:
        """Append a frame."""
        frame = film_frame(pictures)
        if self._writer is None:
            size = (frame.shape[1], frame.shape[0])
            self._writer = self._module.write_frames(
                self._draft,
                size,
                fps=self._fps,
                codec="libx264",
                quality=8,
                macro_block_size=2,
                ffmpeg_log_level="error",
            )
            self._writer.send(None)
        self._writer.send(frame.tobytes())

    def close(self, complete: bool) -> None:
        """Finish the film and move it into place, or drop it."""
        if self._writer is not None:
            self._writer.close()
        if complete:
            write_bytes(self._path, Path(self._draft).read_bytes())
            self.files.append(self._path.name)
        self._folder.cleanup()
