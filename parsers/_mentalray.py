r"""mental ray's messages, alone or inside Maya, 3ds Max and Softimage.

RC   0.2  error 301031: out of memory
IMG  0.3  fatal 051011: can't open image
"""

from __future__ import annotations

from parsers._messages import Messages, like

__all__ = ("MENTAL_RAY",)

_ORIGIN = r"\b[A-Z]{2,5} +\d+\.\d+ +(?:\d+ +MB +)?"

MENTAL_RAY = Messages(
    words=("error", "fatal"),
    markers=(like("error", rf"{_ORIGIN}error\b"),),
    fatal=(like("fatal", rf"{_ORIGIN}fatal\b"),),
)
"""Source: mental ray's manual, "Messages": module, thread, level, number."""
