"""Shared by the parts of the thumbnailer: its error, movie extensions, limits."""

from __future__ import annotations

__all__ = ("DEFAULT_HEIGHT", "MAX_HEIGHT", "MOVIES", "ImageError", "NotImageError", "is_movie")

DEFAULT_HEIGHT = 100
"""Pixels; Afanasy's default."""
MAX_HEIGHT = 2160
"""Pixels."""
MOVIES = frozenset(
    ("avi", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mxf", "ogv", "webm", "wmv")
)


class ImageError(Exception):
    """An image cannot be read, or its thumbnail not be made; the text is one sentence."""


class NotImageError(ImageError):
    """A thumbnail cannot be made through no fault of the image: no program for it, a full disk."""


def is_movie(path: str) -> bool:
    """Whether a file is a movie, by its extension."""
    return path.rpartition(".")[2].casefold() in MOVIES
