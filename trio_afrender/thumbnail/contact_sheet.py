"""``python -m trio_afrender.thumbnail.contact_sheet``: puts many thumbnails on one picture.

Reads JSON from stdin: ``{"file", "title", "note", "cells": [{"label", "image", "trouble"}]}``. A cell
without a readable image is a dark red box with the text `trouble`. Prints what a person should know.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import OpenImageIO as oiio

from trio_afrender.thumbnail.common import ImageError
from trio_afrender.thumbnail.fonts import FontChoice, choose_font
from trio_afrender.thumbnail.image_source import first_line, open_source

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ("Grid", "fit_text", "main", "make_grid", "make_sheet")

ASPECT_RATIO = 1.6
"""The approximate width of a sheet over its height."""
MAX_SHEET_WIDTH = 16000
"""Pixels; a JPEG may have 65,535, but many viewers do not open that."""
GAP, EDGE, LINE, TITLE = 10, 16, 18, 34
"""Pixels: between cells, at the border, of a label, of the title."""
TEXT, HEADING = 12, 19
"""Font sizes of labels and title."""
BACKGROUND, CELL, PALE, RED = (
    (0.09, 0.09, 0.10),
    (0.15, 0.15, 0.16),
    (0.80, 0.80, 0.82),
    (0.36, 0.10, 0.10),
)


@attrs.frozen
class Grid:
    """The positions of cells in pixels. All have one size: picture above, label below."""

    columns: int
    rows: int
    wide: int
    high: int

    @property
    def width(self) -> int:
        return 2 * EDGE + self.columns * (self.wide + GAP) - GAP

    @property
    def height(self) -> int:
        return 2 * EDGE + TITLE + self.rows * (self.high + LINE + GAP) - GAP

    def corner(self, index: int) -> tuple[int, int]:
        """Return left and top of a cell."""
        row, column = divmod(index, self.columns)
        return (
            EDGE + column * (self.wide + GAP),
            EDGE + TITLE + row * (self.high + LINE + GAP),
        )


def make_grid(count: int, wide: int, high: int) -> Grid:
    """Return the grid for `count` cells that comes closest to `ASPECT_RATIO` and is not too wide."""
    most = max((MAX_SHEET_WIDTH - 2 * EDGE + GAP) // (wide + GAP), 1)
    ideal = math.sqrt(ASPECT_RATIO * count * (high + LINE + GAP) / (wide + GAP))
    columns = min(max(round(ideal), 1), count, most)
    return Grid(columns, math.ceil(count / columns), wide, high)


def make_sheet(request: dict[str, Any]) -> None:
    """Write the sheet that the JSON object `request` describes. Raises `ImageError`."""
    pictures = [_read(cell.get("image")) for cell in request["cells"]]
    known = [picture.shape[:2] for picture in pictures if picture is not None]
    wide = max((shape[1] for shape in known), default=160)
    high = max((shape[0] for shape in known), default=100)
    grid = make_grid(max(len(pictures), 1), max(wide, 80), max(high, 40))
    canvas = np.empty((grid.height, grid.width, 3), np.float32)
    canvas[:] = BACKGROUND
    for index, picture in enumerate(pictures):
        left, top = grid.corner(index)
        box = canvas[top : top + grid.high, left : left + grid.wide]
        box[:] = RED if picture is None else CELL
        if picture is not None:
            high, wide = picture.shape[:2]
            down, right = (grid.high - high) // 2, (grid.wide - wide) // 2
            box[down : down + high, right : right + wide] = picture
    sheet = oiio.ImageBuf(oiio.ImageSpec(grid.width, grid.height, 3, "uint8"))
    sheet.set_pixels(oiio.ROI(), canvas)
    _write_texts(sheet, grid, request, pictures)
    file = Path(request["file"])
    part = file.with_name(f".{file.stem}.{os.getpid()}{file.suffix}")
    sheet.specmod().attribute("Compression", "jpeg:90" if file.suffix != ".png" else "zip")
    try:
        if not sheet.write(str(part), "uint8"):
            raise ImageError(f"cannot write {file}: {first_line(sheet.geterror())}")
        part.replace(file)
    except OSError as error:
        raise ImageError(f"cannot write {file}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _read(image: str | None) -> NDArray[np.float32] | None:
    """Return the pixels of a thumbnail; None if it cannot be read."""
    if not image:
        return None
    try:
        with open_source(Path(image)) as source:
            bands = [band.pixels for band in source.bands()]
    except ImageError:
        return None
    pixels = np.concatenate(bands)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def _write_texts(
    sheet: oiio.ImageBuf,
    grid: Grid,
    request: dict[str, Any],
    pictures: Sequence[NDArray[np.float32] | None],
) -> None:
    cells = request["cells"]
    font = choose_font([request["title"], request["note"], *(cell["label"] for cell in cells)])
    if font.missing:
        count = len(font.missing)
        print(  # noqa: T201 - this is a command
            f"no font on this host has {count} characters of the names: they are written as \\uXXXX;"
            " install a font such as Noto Sans CJK"
        )
    room = grid.width - 2 * EDGE
    title = fit_text(request["title"], HEADING, room * 2 // 3, font)
    _write_text(sheet, EDGE, EDGE + HEADING - 2, title, HEADING, font)
    note = fit_text(request["note"], TEXT, room - _width(title, HEADING, font) - GAP, font)
    left = grid.width - EDGE - _width(note, TEXT, font)
    _write_text(sheet, left, EDGE + HEADING - 2, note, TEXT, font)
    for index, (cell, picture) in enumerate(zip(request["cells"], pictures, strict=True)):
        left, top = grid.corner(index)
        label = fit_text(cell["label"], TEXT, grid.wide, font)
        _write_text(sheet, left, top + grid.high + LINE - 4, label, TEXT, font)
        if picture is None:
            trouble = fit_text(cell.get("trouble") or "cannot be read", TEXT, grid.wide - GAP, font)
            base = top + grid.high // 2 + TEXT // 2
            _write_text(sheet, left + GAP // 2, base, trouble, TEXT, font)


def fit_text(text: str, size: int, room: int, font: FontChoice) -> str:
    """Return the text, or its beginning and end if it is wider than `room` pixels.

    The end stays because it is what differs between names of files and frames.
    """
    text = font.spell("".join(char if char.isprintable() else " " for char in text[:500]))
    if _width(text, size, font) <= room:
        return text
    for length in range(len(text) - 1, 0, -1):
        head = length // 3
        short = f"{text[:head]}...{text[len(text) - (length - head) :]}"
        if _width(short, size, font) <= room:
            return short
    return ""


def _width(text: str, size: int, font: FontChoice) -> int:
    if not text:
        return 0
    roi = oiio.ImageBufAlgo.text_size(text, size, font.file)
    # Undefined if OpenImageIO was built without fonts; then it draws no text either.
    return int(roi.xend) if roi.defined else size * len(text) // 2


def _write_text(
    sheet: oiio.ImageBuf, left: int, base: int, text: str, size: int, font: FontChoice
) -> None:
    if text and not oiio.ImageBufAlgo.render_text(sheet, left, base, text, size, font.file, PALE):
        sheet.geterror()  # without fonts the sheet has no texts; reading the error clears it


def main() -> int:
    """Run the program; return the exit code, 0 or 1."""
    try:
        make_sheet(json.load(sys.stdin))
    except ImageError as error:
        print(error, file=sys.stderr)  # noqa: T201 - this is a command
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
