"""Checks an image: it can be read to its end, is not black all over, has finite values."""

from __future__ import annotations

from pathlib import Path

import attrs

from trio_afrender.thumbnail.common import ImageError, is_movie
from trio_afrender.thumbnail.make import need_openimageio

__all__ = ("ImageFacts", "inspect_image")


@attrs.frozen
class ImageFacts:
    """Facts about the picture in an image file."""

    width: int
    height: int
    values: int
    """The number of values in the channels that are shown."""
    bad: int
    """How many of them are not finite."""
    black: bool
    """Whether all finite values are zero or negative."""


def inspect_image(image: Path) -> ImageFacts | None:
    """Read an image to its end and return its facts; None for a movie, by the file's extension.

    Raises `ImageError` if the image is missing, damaged or incomplete.
    """
    if not image.is_file():
        raise ImageError(f"there is no file {image}")
    if is_movie(image.name):
        return None
    need_openimageio()
    import numpy as np

    from trio_afrender.thumbnail.image_source import open_source

    values = bad = 0
    black = True
    with open_source(image) as source:
        for band in source.bands():
            values += band.pixels.size
            finite = np.isfinite(band.pixels)
            here = int(band.pixels.size - np.count_nonzero(finite))
            bad += here
            if black:
                lit = band.pixels[finite] if here else band.pixels
                black = not lit.size or float(lit.max()) <= 0.0
        return ImageFacts(source.width, source.height, values, bad, black)
