r"""What Corona prints inside 3ds Max and Cinema 4D, to version 13.

    1/12/2026 15:19:01 PM;  CORONA: Corona is up and running. Corona version: 13 (Hotfix 1)
    CORONA: Rendering: pass 12 of 50

Its progress is in the host's log only if logging is enabled in Corona's settings.
"""

from __future__ import annotations

from parsers._messages import Messages, like
from parsers.parser import Rule, RuleParser, fraction, frame_share, rule

__all__ = ("CORONA", "CORONA_RULES")

_PERCENT = r".{0,80}?\b(?:[Pp]ass(?:es)?:? (\d+)(?: of | ?/ ?)(\d+)|[Rr]ender\w*\b[^\d\n]{0,40}(\d+(?:\.\d+)?) ?%)"


def _share(parser: RuleParser, groups: tuple[str, ...]) -> float | None:
    done, passes, percent = groups
    return float(percent) if percent else fraction(parser, (done, passes))


CORONA_RULES: tuple[Rule, ...] = tuple(
    rule(name, rf"\b{name}\b{_PERCENT}", frame_share(_share)) for name in ("CORONA", "Corona")
)

CORONA = Messages(
    words=("corona",),
    markers=(like("corona", r"\b(?:CORONA|Corona)(?: ?4D)?\]?(?: \w+)? ?: *\(?(?i:error\b)"),),
    fatal=(
        like(
            "corona",
            r"\b(?:CORONA|Corona)\b.{0,150}\b(?i:licen(?:se|sing))\b.{0,150}\b(?i:error|failed|not|unable|expired)\b",
        ),
        like("corona", r"\b(?:CORONA|Corona)\b.{0,300}\b(?i:render(?:ing)? (?:failed|crashed))\b"),
    ),
)
"""Sources: a log of Corona 13 in 3ds Max (deadline-cloud-samples 171), Corona's help centre."""
