r"""Lines that begin with the word error, for programs without wordings of their own in a table.

``ERROR: ...``, ``[Error] ...``, ``12:00:01 | ERROR | ...``, ``Fatal error ...``, and the last line of a
Python traceback. Whether the result is spoiled is not known, so the line is a warning and reported.
"""

from __future__ import annotations

from parsers._messages import START, Messages, like

__all__ = ("MARKED_ERRORS", "NO_ERROR")

NO_ERROR = r"(?! ?(?i:handling|checking|diffusion|reporting|logging|correction|threshold|tolerance|estimat|rate\b|level|budget))"
"""Behind the word error: settings and figures, not errors."""

_WORD = r"(?:(?:FATAL|Fatal|CRITICAL) )?(?:ERROR|Error|error)"

MARKED_ERRORS = Messages(
    markers=(
        like(
            "error",
            START
            + rf"[|* ]{{0,4}}{_WORD}{NO_ERROR}(?: *[:|!-]| \d|\t| \(| (?:[a-z]+ing|in|at|code)\b)",
        ),
        like("error", START + rf"[\[(<]{_WORD}[\])>]"),
        like("error", r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception): "),  # of Python
        like("error", r"^(?:FATAL|Fatal|fatal) (?:ERROR|Error|error)\b"),
    ),
    ignored=(like("0 error", r"(?<!\d)0 errors?\b"),),
)
