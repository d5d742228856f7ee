"""3ds Max's command line (3dsmaxcmd) with any renderer; percents of mental ray only.

Only ``Frame N completed`` is certain to be printed. No log of a current version was available.
"""

from __future__ import annotations

from parsers._passes import frame_finished
from parsers.parser import RuleParser, frame_percent, rule

__all__ = ("max",)


class max(RuleParser):  # noqa: A001 - the name that jobs use
    """Frames by ``Frame N completed``."""

    rules = (
        rule(" completed", r"Frame +-?\d+ completed", frame_finished),
        rule("progr:", r"progr: *(\d+)(?:\.\d+)? *% +rendered", frame_percent),
    )
    errors = (
        "Error occured while rendering job.",  # 3ds Max spells it so
        "Error occurred while rendering job.",
    )
