"""Makes a picture small by averaging boxes of its pixels, band by band.

A box and not a better filter: those ring around bright pixels, of which linear images are full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ("BoxReducer", "small_size")

MAX_ASPECT_RATIO = 4
"""A thumbnail is at most so many times as wide as high: what is wider becomes lower."""


def small_size(width: float, height: float, wanted: int) -> tuple[int, int]:
    """Width and height of a thumbnail `wanted` pixels high."""
    wide = width * wanted / height
    if wide > MAX_ASPECT_RATIO * wanted:
        return MAX_ASPECT_RATIO * wanted, max(1, round(MAX_ASPECT_RATIO * wanted * height / width))
    return max(1, round(wide)), wanted


class BoxReducer:
    """Averages an image of `width` by `height` pixels into `wide` by `high`, no larger ones."""

    def __init__(self, width: int, height: int, wide: int, high: int, channels: int) -> None:
        self._rows = np.arange(high + 1) * height // high
        self._columns = np.arange(wide + 1) * width // wide
        self._width = width
        self._sums = np.zeros((high, wide, channels), np.float32)

    def add(self, top: int, left: int, pixels: NDArray[np.float32]) -> None:
        """Take a band; what lies outside of the image is passed over."""
        bottom = min(top + len(pixels), int(self._rows[-1]))
        if top < 0:
            pixels, top = pixels[-top:], 0
        pixels = self._fit(left, pixels[: max(bottom - top, 0)])
        if not len(pixels):
            return
        first = int(np.searchsorted(self._rows, top, side="right")) - 1
        last = int(np.searchsorted(self._rows, bottom, side="left"))
        cuts = np.maximum(self._rows[first:last] - top, 0)
        # Rows first: long runs of memory, and what is left for the columns is little.
        lines = np.add.reduceat(pixels, cuts, axis=0)
        self._sums[first:last] += np.add.reduceat(lines, self._columns[:-1], axis=1)

    def _fit(self, left: int, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """The band as wide as the image: cut, or black at its sides."""
        if left == 0 and pixels.shape[1] == self._width:
            return pixels
        fitted = np.zeros((len(pixels), self._width, pixels.shape[2]), np.float32)
        begin, end = max(left, 0), min(left + pixels.shape[1], self._width)
        if begin < end:
            fitted[:, begin:end] = pixels[:, begin - left : end - left]
        return fitted

    def result(self) -> NDArray[np.float32]:
        """The averages."""
        areas = np.diff(self._rows)[:, None] * np.diff(self._columns)[None, :]
        small: NDArray[np.float32] = (self._sums / areas[..., None]).astype(np.float32)
        return small
