"""Arnold in Softimage (SItoA)."""

from __future__ import annotations

from parsers._arnold import ARNOLD
from parsers._xsi import XsiParser, skipped
from parsers.parser import Rule, frame_percent, rule

__all__ = ("xsi_arnold",)


class xsi_arnold(XsiParser):
    """Arnold's percents, Softimage's frames and activities."""

    rules: tuple[Rule, ...] = (
        *XsiParser.frame_rules,
        *skipped("Skipping Frame ", r"Skipping Frame +-?\d+"),
        rule("% done", r"\| +(\d+(?:\.\d+)?) *% done", frame_percent),
    )
    messages = (ARNOLD,)
