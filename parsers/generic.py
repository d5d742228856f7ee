"""Any command that prints Afanasy's markers."""

from __future__ import annotations

from parsers.parser import RuleParser, frame_percent, new_frame, rule

__all__ = ("generic",)


class generic(RuleParser):
    """``FRAME: N`` begins a frame, ``PROGRESS: N%`` sets its percents."""

    rules = (
        rule("FRAME: ", r"FRAME: +(-?\d+)?", new_frame),
        rule("PROGRESS: ", r"PROGRESS: +(\d+(?:\.\d*)?) *%", frame_percent),
    )
    warnings = ("[ PARSER WARNING ]",)
    errors = ("[ PARSER ERROR ]",)
    badresults = ("[ PARSER BAD RESULT ]",)
    fatalerrors = ("[ PARSER FATAL ERROR ]",)
    successes = ("[ PARSER FINISHED SUCCESS ]",)
