"""mental ray in Softimage (XSI), last version 2015."""

from __future__ import annotations

from parsers._mentalray import MENTAL_RAY
from parsers._render_failures import RENDER_FAILURES
from parsers._xsi import SOFTIMAGE
from parsers.parser import RuleParser, frame_percent, new_frame, rule

__all__ = ("xsi",)


class xsi(RuleParser):
    """``Rendering frame N``, and mental ray's percents."""

    rules = (
        rule("Rendering frame ", r"Rendering frame +(-?\d+)", new_frame),
        rule("progr:", r"progr: *(\d+)(?:\.\d+)?% +rendered", frame_percent),
    )
    messages = (SOFTIMAGE, MENTAL_RAY, RENDER_FAILURES)
