"""The shapes of lines: those that differ only in digits and in the case of letters have one shape.

Renderers print the same lines again and again with other numbers. Which texts occur in a line depends
on its shape (of texts with digits: may occur), so each shape is searched for all texts only once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import compress, count
from typing import NamedTuple

__all__ = ("LineShapes", "TextIndex", "find_lines", "shapes_of")

_SHAPE = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ123456789", "abcdefghijklmnopqrstuvwxyz000000000")
_MAX_SHAPES = 4096
"""Shapes that are kept, of each kind."""
_MOST_KEPT = 0.6
"""The share of a batch's lines up to which the others are left out."""
_MAX_LENGTH = 400
"""Characters of a shape that is kept."""


class LineShapes(NamedTuple):
    """The shapes of a batch's lines, which line feeds end."""

    lines: list[str]
    different: set[str]

    def select(
        self, text: str, wanted: Collection[str]
    ) -> tuple[str, LineShapes, list[int] | None]:
        """Return the lines of these shapes: as a text, their shapes, and their numbers from 0.

        `text` is the one that has these shapes. In most batches few lines mean anything, and a
        search of the others for each of many texts takes longer than to leave them out. Where most
        lines would stay, all do, and the numbers are None.
        """
        kept = list(map(wanted.__contains__, self.lines))
        if sum(kept) > _MOST_KEPT * len(kept):
            return text, self, None
        chosen = "\n".join(compress(text.split("\n"), kept))
        if not kept[-1] and chosen:
            chosen += "\n"  # the last line of a text without one is not ended
        shapes = list(compress(self.lines, kept))
        return chosen, LineShapes(shapes, set(wanted)), list(compress(count(), kept))


def shapes_of(text: str) -> LineShapes:
    """Return the shapes of all lines."""
    lines = _shape(text).split("\n")
    return LineShapes(lines, set(lines))


def _shape(text: str) -> str:
    """Replace digits, capital letters, and what is not ASCII, for which `translate` would be slow."""
    if not text.isascii():
        text = text.encode("ascii", "replace").decode("ascii")
    return text.translate(_SHAPE)


class TextIndex:
    """Tells which lines may contain any of some texts."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = {one: _shape(one) for one in texts}
        self._without: set[str] = set()
        """Shapes with none of the texts."""
        self._with: dict[str, tuple[str, ...]] = {}

    def look_up(self, shapes: set[str]) -> dict[str, tuple[str, ...]]:
        """Return the shapes that contain texts, each with these texts."""
        fresh = shapes - self._without
        found = {one: self._with[one] for one in fresh if one in self._with}
        if len(found) < len(fresh):
            unknown = [one for one in fresh if one not in found]
            new = self._search(unknown)
            found.update(new)
            self._keep(unknown, new)
        return found

    def _search(self, unknown: list[str]) -> dict[str, tuple[str, ...]]:
        joined = "\n".join(unknown)
        found: dict[str, tuple[str, ...]] = {}
        for text, shape in self._texts.items():
            for start, end in find_lines((shape,), joined).items():
                line = joined[start:end]
                found[line] = (*found.get(line, ()), text)
        return found

    def _keep(self, unknown: list[str], found: dict[str, tuple[str, ...]]) -> None:
        for kept in (self._without, self._with):
            if len(kept) + len(unknown) > _MAX_SHAPES:
                kept.clear()
        for one in unknown[:_MAX_SHAPES]:
            if len(one) > _MAX_LENGTH:
                continue
            if one in found:
                self._with[one] = found[one]
            else:
                self._without.add(one)


def find_lines(texts: Iterable[str], batch: str) -> dict[int, int]:
    """Return the lines of a batch with any of the texts: start and end, without the line feed."""
    find, rfind, size = batch.find, batch.rfind, len(batch)
    lines: dict[int, int] = {}
    for text in texts:
        at = find(text)
        while at >= 0:
            end = find("\n", at)
            if end < 0:
                end = size
            lines[rfind("\n", 0, at) + 1] = end
            at = find(text, end)
    return lines
