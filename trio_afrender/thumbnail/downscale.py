"""Downscales a picture by averaging boxes of its pixels, band by band.

A box filter, because sharper filters ring around very bright pixels, which linear images have many of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ("BoxReducer", "small_size")

MAX_ASPECT_RATIO = 4
"""The most that a thumbnail's width is of its height; a wider picture gets a lower thumbnail."""


def small_size(width: float, height: float, wanted: int) -> tuple[int, int]:
    """Return width and height of a thumbnail that is to be `wanted` pixels high."""
    wide = width * wanted / height
    if wide > MAX_ASPECT_RATIO * wanted:
        return MAX_ASPECT_RATIO * wanted, max(1, round(MAX_ASPECT_RATIO * wanted * height / width))
    return max(1, round(wide)), wanted


class BoxReducer:
    """Averages an image of `width` x `height` pixels to `wide` x `high`, which must not be larger."""

    def __init__(self, width: int, height: int, wide: int, high: int, channels: int) -> None:
        self._rows = np.arange(high + 1) * height // high
        self._columns = np.arange(wide + 1) * width // wide
        self._width = width
        self._sums = np.zeros((high, wide, channels), np.float32)

    def add(self, top: int, left: int, pixels: NDArray[np.float32]) -> None:
        """Add a band of rows; its parts outside of the image are ignored."""
        bottom = min(top + len(pixels), int(self._rows[-1]))
        if top < 0:
            pixels, top = pixels[-top:], 0
        pixels = pixels[: max(bottom - top, 0)]
        if not len(pixels):
            return
        if left != 0 or pixels.shape[1] != self._width:  # cut, or padded with black
            fitted = np.zeros((len(pixels), self._width, pixels.shape[2]), np.float32)
            begin, end = max(left, 0), min(left + pixels.shape[1], self._width)
            if begin < end:
                fitted[:, begin:end] = pixels[:, begin - left : end - left]
            pixels = fitted
        first = int(np.searchsorted(self._rows, top, side="right")) - 1
        last = int(np.searchsorted(self._rows, bottom, side="left"))
        cuts = np.maximum(self._rows[first:last] - top, 0)
        # Rows first: they are contiguous in memory, and leave few values for the columns.
        lines = np.add.reduceat(pixels, cuts, axis=0)
        self._sums[first:last] += np.add.reduceat(lines, self._columns[:-1], axis=1)

    def result(self) -> NDArray[np.float32]:
        """Return the averages: (rows, columns, channels)."""
        areas = np.diff(self._rows)[:, None] * np.diff(self._columns)[None, :]
        small: NDArray[np.float32] = (self._sums / areas[..., None]).astype(np.float32)
        return small
