"""Whether an image can be right: readable to its end, not black all over, made of numbers."""

from __future__ import annotations

from pathlib import Path

import attrs

from trio_afrender.thumbnail.common import ImageError, is_movie
from trio_afrender.thumbnail.make import need_openimageio

__all__ = ("ImageFacts", "inspect_image")


@attrs.frozen
class ImageFacts:
    """What was seen of an image's picture."""

    width: int
    height: int
    values: int
    """Of all its channels that are shown."""
    bad: int
    """How many of them are no finite numbers."""
    black: bool
    """Whether all the others are zero (or below)."""


def inspect_image(image: Path) -> ImageFacts | None:
    """Read an image to its end; None for what is no image by its extension's word (a movie).

    Raises `ImageError` when it is not there, damaged or not complete.
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
                # fmax passes over what is no number; what is infinite is not black either way.
                lit = band.pixels[finite] if here else band.pixels
                black = not lit.size or float(lit.max()) <= 0.0
        return ImageFacts(source.width, source.height, values, bad, black)
