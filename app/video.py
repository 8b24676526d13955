"""MP4 films through imageio-ffmpeg, which is an optional extra."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from torch import Tensor

from fields.errors import UserError
from fields.safeio import write_bytes

from .rendering import film_frame


class Film:
    """A sink that becomes one .mp4 when every frame is there (H.264, plays in browsers)."""

    def __init__(self, path: Path, fps: int) -> None:
        self._encoder, self._path, self._fps = find_encoder(), path, fps
        self._folder = tempfile.TemporaryDirectory(prefix="fieldscape-")
        self._draft = Path(self._folder.name) / "draft.mp4"
        self._process: subprocess.Popen[bytes] | None = None
        self.files: list[str] = []

    def add(self, name: str, pictures: dict[str, Tensor]) -> None:
        """Append a frame."""
        frame = film_frame(pictures)
        if self._process is None:
            self._process = self._start(frame.shape[1], frame.shape[0])
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(frame.tobytes())
        except BrokenPipeError:
            raise _no_encoder(f"the encoder ended after {name}") from None

    def close(self, complete: bool) -> None:
        """Finish the film and move it into place, or drop it.

        Raises:
            UserError: `E-ENV-VIDEO` when the encoder failed.
        """
        try:
            if self._process is not None:
                _, message = self._process.communicate()
                if complete and self._process.returncode:
                    raise _no_encoder(message.decode(errors="replace").strip())
            if complete:
                write_bytes(self._path, self._draft.read_bytes())
                self.files.append(self._path.name)
        finally:
            self._folder.cleanup()

    def _start(self, width: int, height: int) -> subprocess.Popen[bytes]:
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(self._fps), "-i", "-"]
        target = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18", "-movflags", "+faststart", str(self._draft)]
        return subprocess.Popen(
            [self._encoder, "-loglevel", "error", "-y", *source, *target],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip


def find_encoder() -> str:
    """Path of the ffmpeg program that imageio-ffmpeg brings.

    Raises:
        UserError: `E-ENV-VIDEO` where it is missing.
    """
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError, OSError) as error:
        raise _no_encoder(str(error) or type(error).__name__) from None


def _no_encoder(reason: str) -> UserError:
    return UserError(
        "E-ENV-VIDEO", "films cannot be encoded", got=reason, expected="the extra 'video'",
        fix="pip install 'fieldscape[video]', or name a folder for PNG files",
    )  # fmt: skip
