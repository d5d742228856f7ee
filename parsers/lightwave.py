"""LightWave's lwsn (ScreamerNet), to LightWave 2020. No log of a current version was available."""

from __future__ import annotations

from parsers._passes import frame_finished
from parsers.parser import RuleParser, frame_percent, rule

__all__ = ("lightwave",)


class lightwave(RuleParser):
    """``Render Complete N%`` and ``Finished frame: N``."""

    rules = (
        rule("Render Complete ", r"Render Complete +(\d+(?:\.\d+)?) *%", frame_percent),
        rule("Finished frame: ", r"Finished frame: +-?\d+", frame_finished),
    )
