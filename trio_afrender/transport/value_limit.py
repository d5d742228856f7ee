"""Refuses frames with millions of small JSON values, before they are decoded. No I/O.

Decoding takes time and memory by the number of values, not by bytes alone: 8 MiB of empty lists take
a hundred times as long as one text of that size, and thirty times its memory.
"""

from __future__ import annotations

import re

from trio_afrender.errors import ProtocolError

__all__ = ("MAX_VALUES", "check_value_count")

MAX_VALUES = 200_000
"""Values in a frame. A register with 4096 runs has 60,000."""
# The closing quote is optional: else each quote in a text without an end is tried as the start of a
# text, which takes a time that grows with the square of the length.
_TEXT = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)


def check_value_count(frame: str) -> None:
    """Raise `ProtocolError` for a frame that has more than `MAX_VALUES` values."""
    if len(frame) <= MAX_VALUES or _count(frame) <= MAX_VALUES:
        return  # as nearly always; what texts contain was counted too
    count = _count(_TEXT.sub("", frame))
    if count > MAX_VALUES:
        raise ProtocolError(f"a frame of {count} values, at most {MAX_VALUES} are allowed")


def _count(text: str) -> int:
    return text.count(",") + text.count("[") + text.count("{")
