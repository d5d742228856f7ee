"""Cinema 4D's Commandline, to Cinema 4D 2026.

Progress has the format of R16 and later. Of a current version only the line about a licence is
known; after it the program asks at a terminal, which a task does not have.
"""

from __future__ import annotations

from parsers.parser import RuleParser, frame_percent, new_frame, rule

__all__ = ("c4d",)


class c4d(RuleParser):
    """Frames by their numbers, with any step, and percents of each."""

    rules = (
        rule("Rendering frame ", r"Rendering frame +(-?\d+)", new_frame),
        rule("Progress: ", r"Progress: +(\d+(?:\.\d+)?) *%", frame_percent),
    )
    errors = (
        "Files cannot be written - please check output paths!",
        "Error rendering project",
        "No available licenses to choose.",
    )
