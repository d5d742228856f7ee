"""The first frame of a movie, read by ffmpeg: the system's, else the one of imageio-ffmpeg."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from trio_afrender.thumbnail.common import ImageError, NotImageError

__all__ = ("find_ffmpeg", "write_first_frame")


def write_first_frame(movie: Path, part: Path, height: int) -> None:
    """Write the first frame to `part`, as a JPEG of `height` pixels. Raises `ImageError`."""
    program = find_ffmpeg()
    # Without "file:" a name with a colon would be a protocol.
    words = [program, "-y", "-v", "error", "-nostdin", "-i", f"file:{movie}", "-frames:v", "1"]
    # The width is even, which the codec demands, and corrected for pixels that are not square.
    words += ["-vf", f"scale=ceil(iw*sar*{height}/ih/2)*2:{height},setsar=1"]
    words += ["-f", "image2", "-update", "1", "-c:v", "mjpeg"]
    words += ["-q:v", "4", "-pix_fmt", "yuvj420p", f"file:{part}"]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise NotImageError(f"cannot start {program}: {error.strerror}") from error
    if done.returncode or not part.stat().st_size:
        errors = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ImageError(f"ffmpeg cannot read {movie}: {errors[-1] if errors else 'no picture'}")


def find_ffmpeg() -> str:
    """Return the path of ffmpeg. Raises `NotImageError` if there is none."""
    found = shutil.which("ffmpeg")
    if found is None and find_spec("imageio_ffmpeg") is not None:
        import imageio_ffmpeg

        try:
            found = imageio_ffmpeg.get_ffmpeg_exe()
        except RuntimeError:
            found = None
    if found is None:
        raise NotImageError("a thumbnail of a movie needs ffmpeg, which is not installed")
    return found
