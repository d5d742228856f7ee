"""``python -m trio_afrender.thumbnail IMAGE THUMB``: a small JPEG of an image or of a movie's start.

Images are read with OpenImageIO (the extra `thumbnails`), movies by ffmpeg. The thumbnail appears
under its name when it is complete, never before, so that nobody collects half of one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import OpenImageIO as oiio
    from numpy.typing import NDArray

__all__ = ("ThumbnailError", "main", "make_thumbnail")

MOVIES = frozenset(
    ("avi", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mxf", "ogv", "webm", "wmv")
)
_LINEAR = frozenset(("exr", "hdr", "rgbe"))
QUALITY = 85


class ThumbnailError(Exception):
    """No thumbnail can be made; the text is one sentence."""


def make_thumbnail(image: Path, thumb: Path, *, height: int = 100) -> None:
    """Make `thumb` from `image`, `height` pixels high. Raises ThumbnailError, leaves nothing then."""
    if not image.is_file():
        raise ThumbnailError(f"there is no file {image}")
    try:
        # Beside it, so that the last step is a rename; with a leading dot, so that what is not
        # complete is not taken for a file of the task.
        handle, name = tempfile.mkstemp(prefix=".", suffix=".jpg", dir=thumb.parent)
    except OSError as error:
        raise ThumbnailError(f"cannot write to {thumb.parent}: {error.strerror}") from error
    os.close(handle)
    part = Path(name)
    try:
        if image.suffix[1:].casefold() in MOVIES:
            _from_movie(image, part, height)
        else:
            _from_image(image, part, height)
        part.chmod(0o644)
        part.replace(thumb)
    except OSError as error:
        raise ThumbnailError(f"cannot write {thumb}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _from_movie(image: Path, part: Path, height: int) -> None:
    program = _find_ffmpeg()
    # "file:" keeps a name with a colon from being taken for a protocol.
    words = [program, "-y", "-v", "error", "-nostdin", "-i", f"file:{image}", "-frames:v", "1"]
    words += ["-vf", f"scale=-2:{height}", "-f", "image2", "-update", "1", "-c:v", "mjpeg"]
    words += ["-q:v", "4", "-pix_fmt", "yuvj420p", f"file:{part}"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode or not part.stat().st_size:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ThumbnailError(f"ffmpeg cannot read {image}: {said[-1] if said else 'no picture'}")


def _find_ffmpeg() -> str:
    found = shutil.which("ffmpeg")
    if found is None and find_spec("imageio_ffmpeg") is not None:
        import imageio_ffmpeg

        try:
            found = imageio_ffmpeg.get_ffmpeg_exe()
        except RuntimeError:
            found = None
    if found is None:
        raise ThumbnailError("a thumbnail of a movie needs ffmpeg, which is not here")
    return found


def _from_image(image: Path, part: Path, height: int) -> None:
    if find_spec("OpenImageIO") is None:
        raise ThumbnailError(
            "thumbnails need OpenImageIO (pip install 'trio_afrender[thumbnails]')"
        )
    import OpenImageIO as oiio

    source = oiio.ImageBuf(str(image))
    order = _colours(source.spec().channelnames)
    # Only what is needed: a render may have a hundred channels.
    begin, end = min(order), max(order) + 1
    if source.has_error or not source.read(0, 0, begin, end, True, "float"):
        raise ThumbnailError(f"cannot read {image}: {_told(source)}")
    picture = oiio.ImageBufAlgo.channels(source, tuple(channel - begin for channel in order))
    spec = source.spec()
    width = max(1, round(spec.full_width * height / max(1, spec.full_height)))
    # The default filter rings around bright pixels, of which linear images are full.
    small = oiio.ImageBufAlgo.resize(
        picture, filtername="box", roi=oiio.ROI(0, width, 0, height, 0, 1, 0, 3)
    )
    if image.suffix[1:].casefold() in _LINEAR:
        small.set_pixels(small.roi, _encoded(small.get_pixels("float")))
    small.specmod().attribute("Compression", f"jpeg:{QUALITY}")
    if small.has_error or not small.write(str(part), "uint8", "jpg"):
        raise ThumbnailError(f"cannot make a thumbnail of {image}: {_told(small)}")


def _colours(names: Sequence[str]) -> tuple[int, int, int]:
    """Which channels are red, green and blue; a single channel is grey.

    Alpha is left out: colours are premultiplied once read, so that is what they are over black.
    """
    for plain in (list(names), [name.rsplit(".", 1)[-1].upper() for name in names]):
        if {"R", "G", "B"} <= set(plain):
            return plain.index("R"), plain.index("G"), plain.index("B")
    return 0, 0, 0


def _encoded(linear: object) -> NDArray[np.float32]:
    """Linear light as sRGB stores it. By hand: names of colour spaces depend on $OCIO."""
    import numpy as np

    values = np.asarray(linear, np.float32)
    light = np.clip(np.nan_to_num(values, posinf=1.0, neginf=0.0), 0.0, 1.0)
    bright = 1.055 * np.power(light, 1 / 2.4) - 0.055
    return np.where(light <= 0.0031308, light * 12.92, bright).astype(np.float32)


def _told(buffer: oiio.ImageBuf) -> str:
    said = str(buffer.geterror()).strip().splitlines()
    return said[0] if said else "OpenImageIO does not say why"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code, 0 or 1."""
    options = argparse.ArgumentParser(prog="python -m trio_afrender.thumbnail", description=__doc__)
    options.add_argument("image", metavar="IMAGE", type=Path)
    options.add_argument("thumb", metavar="THUMB", type=Path)
    options.add_argument("--height", type=int, default=100, help="pixels (default 100)")
    chosen = options.parse_args(argv)
    try:
        make_thumbnail(chosen.image, chosen.thumb, height=min(max(chosen.height, 1), 4096))
    except ThumbnailError as error:
        print(f"No thumbnail: {str(error).rstrip('.?')}.", file=sys.stderr)  # noqa: T201 - this is a command
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
