"""Make file names that came over the network safe to use."""

from __future__ import annotations

__all__ = ("clean_name",)

_MAX_SIZE = 200
"""Bytes of a name; file systems allow 255."""


def clean_name(name: str) -> str:
    """Return the base name of a file that a render names, '' when nothing usable is left."""
    # Both kinds of slashes separate: the render may run another operating system.
    base = name.replace("\\", "/").rpartition("/")[2]
    if not base.isprintable() or base.strip(". ") == "":
        return ""
    try:
        size = len(base.encode())
    except UnicodeEncodeError:
        return ""
    return base if size <= _MAX_SIZE else ""
