"""Sentences about the files that a task should have written, with the cause first."""

from __future__ import annotations

import os
from collections.abc import Sequence

__all__ = ("missing", "wrong_size")

_NAMED = 3


def missing(paths: Sequence[str], expected: int) -> str:
    """Name the files that are missing, of so many `expected` ones."""
    if len(paths) == 1:
        return f"{_name(paths[0])} is missing in {_folder(paths[0])}"
    which = "all" if len(paths) == expected else f"{len(paths)} of {expected}"
    return f"{_list(paths)} are missing in {_folder(paths[0])} ({which} files)"


def wrong_size(sizes: Sequence[tuple[str, int]], least: int, most: int) -> str:
    """Name the files whose size is not permitted, of paths and their sizes in bytes."""
    path, size = sizes[0]
    limit = f"at least {least}" if size < least else f"at most {most}"
    others = len(sizes) - 1
    more = f", and {others} more {'has' if others == 1 else 'have'} a wrong size" if others else ""
    return f"{_name(path)} has {size} bytes, not {limit}, in {_folder(path)}{more}"


def _list(paths: Sequence[str]) -> str:
    names = [_name(path) for path in paths]
    if len(names) <= _NAMED:
        return f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more"


def _name(path: str) -> str:
    return os.path.basename(path)  # noqa: PTH119 - a text


def _folder(path: str) -> str:
    return os.path.dirname(path) or "."  # noqa: PTH120 - a text
