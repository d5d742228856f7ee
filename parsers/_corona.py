r"""What Corona prints inside 3ds Max and Cinema 4D, to version 13.

    1/12/2026 15:19:01 PM;  CORONA: Corona is up and running. Corona version: 13 (Hotfix 1)
    CORONA: Rendering: pass 12 of 50

Its progress is in the host's log only if logging is enabled in Corona's settings.
"""

from __future__ import annotations

from parsers._messages import Messages, like
from parsers.parser import Rule, frame_percent, rule

__all__ = ("CORONA", "CORONA_RULES")

CORONA_RULES: tuple[Rule, ...] = (
    rule(
        "ass", r"(?:CORONA|Corona)\b.*?\b[Pp]ass(?:es)?:? (\d+)(?: of |/| / )(\d+)", frame_percent
    ),
    rule("endering", r"(?:CORONA|Corona)\b.*?\b[Rr]endering\b.*?(\d+(?:\.\d+)?) ?%", frame_percent),
)

CORONA = Messages(
    markers=(like("corona", r"\b(?:CORONA|Corona)(?: ?4D)?\]?(?: \w+)? ?: *\(?(?i:error\b)"),),
    fatal=(
        like(
            "corona",
            r"\b(?:CORONA|Corona)\b.*\b(?i:licens(?:e|ing))\b.*\b(?i:error|failed|not|unable|expired)\b",
        ),
        like("corona", r"\b(?:CORONA|Corona)\b.*\b(?i:render(?:ing)? (?:failed|crashed))\b"),
    ),
)
"""Sources: a log of Corona 13 in 3ds Max (deadline-cloud-samples 171), Corona's help centre."""
