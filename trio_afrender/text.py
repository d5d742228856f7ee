"""File names from elsewhere, made harmless."""

from __future__ import annotations

__all__ = ("clean_name",)

_LONGEST = 200
"""Bytes; file systems allow 255."""


def clean_name(name: str) -> str:
    """The base name of whatever a render calls a file, '' when nothing usable is left.

    Both kinds of slashes count: the render may run another system than we do.
    """
    base = name.replace("\\", "/").rpartition("/")[2]
    if not base.isprintable() or base.strip(". ") == "":
        return ""
    try:
        size = len(base.encode())
    except UnicodeEncodeError:
        return ""
    return base if size <= _LONGEST else ""
