"""The first frame of a movie, by ffmpeg: the system's, else the one that imageio-ffmpeg brings."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from trio_afrender.thumbnail.common import ImageError

__all__ = ("find_ffmpeg", "write_first_frame")


def write_first_frame(movie: Path, part: Path, height: int) -> None:
    """Write the first frame as a JPEG of that height. Raises `ImageError`."""
    program = find_ffmpeg()
    # "file:" keeps a name with a colon from being taken for a protocol; square pixels come last.
    words = [program, "-y", "-v", "error", "-nostdin", "-i", f"file:{movie}", "-frames:v", "1"]
    words += ["-vf", f"scale=ceil(iw*sar*{height}/ih/2)*2:{height},setsar=1"]
    words += ["-f", "image2", "-update", "1", "-c:v", "mjpeg"]
    words += ["-q:v", "4", "-pix_fmt", "yuvj420p", f"file:{part}"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode or not part.stat().st_size:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ImageError(f"ffmpeg cannot read {movie}: {said[-1] if said else 'no picture'}")


def find_ffmpeg() -> str:
    """Raises `ImageError` when there is none."""
    found = shutil.which("ffmpeg")
    if found is None and find_spec("imageio_ffmpeg") is not None:
        import imageio_ffmpeg

        try:
            found = imageio_ffmpeg.get_ffmpeg_exe()
        except RuntimeError:
            found = None
    if found is None:
        raise ImageError("a thumbnail of a movie needs ffmpeg, which is not here")
    return found
