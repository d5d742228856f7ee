r"""Lines that begin with the word error, for programs without wordings of their own in a table.

``ERROR: ...``, ``[Error] ...``, ``12:00:01 | ERROR | ...``, ``Fatal error ...``, and the last line of a
Python traceback. Whether the result is spoiled is not known, so the line is a warning and reported.
"""

from __future__ import annotations

from parsers._messages import START, Messages, like

__all__ = ("MARKED_ERRORS",)

MARKED_ERRORS = Messages(
    markers=(
        like(
            "error",
            START
            + r"[\[(<|* ]{0,4}(?:(?:FATAL|Fatal|CRITICAL) )?(?:ERROR|Error|error)[\])>|]?(?: *[:|!-]| \d|\t| \()",
        ),
        like("error", r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception): "),  # of Python
        like("error", r"^(?:FATAL|Fatal|fatal) (?:ERROR|Error|error)\b"),
    ),
    ignored=(like("0 error", r"(?<!\d)0 errors?\b"),),
)
