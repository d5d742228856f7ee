"""3ds Max's command line renderer (3dsmaxcmd), any renderer; percents of mental ray only.

``Frame N completed`` is all that is sure to be told. We have no log of a present version.
"""

from __future__ import annotations

from parsers._passes import frame_finished
from parsers.parser import RuleParser, frame_percent, rule

__all__ = ("max",)


class max(RuleParser):  # noqa: A001 - the name by which jobs ask for it
    """A frame each ``Frame N completed``."""

    rules = (
        rule(" completed", r"Frame +-?\d+ completed", frame_finished),
        rule("progr:", r"progr: *(\d+)(?:\.\d+)? *% +rendered", frame_percent),
    )
    errors = (
        "Error occured while rendering job.",  # so it is spelled there
        "Error occurred while rendering job.",
    )
