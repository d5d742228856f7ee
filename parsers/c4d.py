"""Cinema 4D's Commandline, to Cinema 4D 2026.

Progress is as it was told by R16 and later; of a present version we have only the line about a
licence, after which it would ask at a terminal that is not there.
"""

from __future__ import annotations

from parsers.parser import RuleParser, frame_percent, new_frame, rule

__all__ = ("c4d",)


class c4d(RuleParser):
    """Frames by their numbers, whatever the step, percents of each."""

    rules = (
        rule("Rendering frame ", r"Rendering frame +(-?\d+)", new_frame),
        rule("Progress: ", r"Progress: +(\d+(?:\.\d+)?) *%", frame_percent),
    )
    errors = (
        "Files cannot be written - please check output paths!",
        "Error rendering project",
        "No available licenses to choose.",
    )
