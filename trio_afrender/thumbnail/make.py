"""Makes a small JPEG of an image file in one pass over its rows."""

from __future__ import annotations

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from trio_afrender.extras import how_to_install
from trio_afrender.thumbnail.common import DEFAULT_HEIGHT, ImageError, NotImageError, is_movie
from trio_afrender.thumbnail.movies import write_first_frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


__all__ = ("make_thumbnail", "need_openimageio", "read_small", "write_jpeg")

QUALITY = 85


def make_thumbnail(image: Path, thumb: Path, *, height: int = DEFAULT_HEIGHT) -> None:
    """Write `thumb`, `height` pixels high, from `image`.

    Raises `ImageError`, `NotImageError` if that is not the cause; then there is no new file, and an old
    `thumb` stays.
    """
    if not image.is_file():
        raise ImageError(f"there is no file {image}")
    # In the same folder, so that it can be renamed; with a leading dot, so that the agent does not
    # collect it as a file of the task.
    try:
        handle, name = tempfile.mkstemp(prefix=".", suffix=".jpg", dir=thumb.parent)
    except OSError as error:
        raise NotImageError(f"cannot write to {thumb.parent}: {error.strerror}") from error
    os.close(handle)
    part = Path(name)
    try:
        if is_movie(image.name):
            write_first_frame(image, part, height)
        else:
            need_openimageio()
            write_jpeg(read_small(image, height), part)
        part.chmod(0o644)
        part.replace(thumb)
    except OSError as error:
        raise NotImageError(f"cannot write {thumb}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def need_openimageio() -> None:
    """Raise `NotImageError` if OpenImageIO is not installed."""
    if find_spec("OpenImageIO") is None:
        raise NotImageError(f"thumbnails need OpenImageIO; {how_to_install('thumbnails')}")


def read_small(image: Path, height: int) -> NDArray[np.float32]:
    """Return the picture as sRGB values 0 to 1, `height` pixels high: (rows, columns, channels).

    Raises `ImageError`, also for an incomplete image.
    """
    import numpy as np

    from trio_afrender.thumbnail.colour import FLOATS, clip_limit, find_tone, to_screen
    from trio_afrender.thumbnail.downscale import BoxReducer, small_size
    from trio_afrender.thumbnail.image_source import open_source

    with open_source(image) as source:
        tone = find_tone(source)
        limit = clip_limit(tone, source)
        width = source.width * source.aspect
        if source.orientation >= 5:  # turned by 90 degrees
            high, wide = small_size(source.height, width, height)
        else:
            wide, high = small_size(width, source.height, height)
        # Not larger than the image: a side that must grow is enlarged afterwards.
        box = min(wide, source.width), min(high, source.height)
        reducer: BoxReducer | None = None
        for band in source.bands():
            if reducer is None:
                reducer = BoxReducer(source.width, source.height, *box, band.pixels.shape[2])
            pixels = band.pixels
            # Clipped before the average, see `clip_limit`; data (depth) has no white.
            if tone != "data" and source.depth in FLOATS:
                # fmax and fmin replace NaN by the other value.
                pixels = np.fmax(pixels, 0.0)
                np.fmin(pixels, limit, out=pixels)
            reducer.add(band.top, band.left, pixels)
        if reducer is None:
            raise ImageError(f"{image} has no pixels")
        small = to_screen(reducer.result(), tone, source)
    if small.shape[:2] != (high, wide):
        rows = np.arange(high) * small.shape[0] // high
        columns = np.arange(wide) * small.shape[1] // wide
        small = small[rows][:, columns]
    # Upright again.
    if source.orientation in (5, 6, 7, 8):
        small = small.transpose(1, 0, 2)
    if source.orientation in (3, 4, 7, 8):
        small = small[::-1]
    if source.orientation in (2, 3, 6, 7):
        small = small[:, ::-1]
    return small


def write_jpeg(picture: NDArray[np.float32], path: Path) -> None:
    """Write a picture with values 0 to 1. Raises `NotImageError`."""
    import numpy as np
    import OpenImageIO as oiio

    high, wide, channels = picture.shape
    spec = oiio.ImageSpec(wide, high, channels, "uint8")
    spec.attribute("Compression", f"jpeg:{QUALITY}")
    output = oiio.ImageOutput.create("jpg")
    if output is None or not output.open(str(path), spec):
        raise NotImageError(f"cannot write {path}: {oiio.geterror().strip()}")
    levels = np.ascontiguousarray(np.round(picture * 255.0).astype(np.uint8))
    written = output.write_image(levels)
    error = str(output.geterror()).strip()
    if not output.close() or not written:
        raise NotImageError(f"cannot write {path}: {error or 'OpenImageIO gives no reason'}")
