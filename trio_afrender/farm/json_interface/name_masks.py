"""The two languages in which requests select nodes by name.

`get` and ``block_mask`` have words: a name that begins with one of them is selected. `action` has
regular expressions for whole names. An empty mask selects nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from trio_afrender.text import compile_mask, show_json

__all__ = ("MaskError", "by_beginnings", "by_pattern")

_SEPARATORS = re.compile(r"[|;,: ]+")
_MAX_MASK = 10_000
"""Characters of a mask."""


class MaskError(Exception):
    """A mask that is no regular expression, or too long."""


def by_beginnings(mask: str) -> Callable[[str], bool]:
    """Select names that begin with a word of the mask; words end at blanks and at ``|;,:``."""
    words = tuple(word for word in _SEPARATORS.split(mask[:_MAX_MASK]) if word)
    return lambda name: name.startswith(words) if words else False


def by_pattern(mask: str) -> Callable[[str], bool]:
    """Select names that a regular expression matches as a whole. Raises `MaskError`."""
    if len(mask) > _MAX_MASK:
        raise MaskError(f"the mask has {len(mask):,} characters, at most {_MAX_MASK:,} are allowed")
    try:
        pattern = compile_mask(mask)
    except (re.error, RecursionError, OverflowError) as error:
        raise MaskError(
            f"the mask {show_json(mask)} is not a regular expression: {error}"
        ) from None
    return lambda name: bool(mask) and pattern.fullmatch(name) is not None
