"""LightWave's lwsn (ScreamerNet), to LightWave 2020. No log of a current version was available."""

from __future__ import annotations

from parsers._marked_errors import MARKED_ERRORS
from parsers._passes import frame_finished
from parsers._render_failures import RENDER_FAILURES
from parsers.parser import RuleParser, frame_percent, rule

__all__ = ("lightwave",)


class lightwave(RuleParser):
    """``Render Complete N%`` and ``Finished frame: N``."""

    tells_frames = True
    messages = (MARKED_ERRORS, RENDER_FAILURES)
    rules = (
        rule("Render Complete ", r"Render Complete +(\d+(?:\.\d+)?) *%", frame_percent),
        rule("Finished frame: ", r"Finished frame: +-?\d+", frame_finished),
    )
