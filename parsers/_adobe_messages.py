r"""What aerender and its program print about failures.

Sources: Adobe's `commandLineRenderer.jsx`, which prints ``aerender ERROR: ...``, and the level and a
colon before each message of the program (``WARNING: ...``); logs in the issues
of nexrender (123, 148, 206, 342, 428). The word for an error is translated: ``aerender Fehler``.
"""

from __future__ import annotations

from parsers._messages import Messages, like
from parsers._render_failures import RENDER_FAILURES

__all__ = ("AFTER_EFFECTS",)

_SOME = r"(?! *[:=] *(?:0|none)\b)"
_ERROR = r"(?i:err\w*|fehler)"

AFTER_EFFECTS = (
    Messages(
        markers=(
            like("after effects", r"^(?:WARNING|ERROR|PROBLEM|FATAL): *After Effects"),
            like("error:", r"^ERROR:"),
            like("problem:", r"^PROBLEM:"),
            like("fatal:", r"^FATAL:"),
        ),
        fatal=(
            like("aerender ", rf"(?i)\baerender {_ERROR}"),
            like("after effects ", rf"\bAfter Effects[ -]{_ERROR}(?!.*\bwarning\b)"),
            "Unable to Render",
            "Unable to allocate enough memory",
            like("unable to allocate ", r"(?i)unable to allocate .{0,300}memory"),
            "not enough memory",
            "out of memory",
            like(
                "licen",
                r"(?i)\b(?:unable to (?:obtain|find|verify)|no valid|expired?) .{0,300}\blicen[cs]e",
            ),
            like("overflow", r"(?i)overflow converting ratio denominators"),
        ),
        aborts=("Render aborted",),
        assets=(
            like("font family: ", r"Font family: ([^,\n]+)"),
            like("missing dependencies", r"dependencies are missing:}(.+)"),
            like(
                "missing font", rf"(?i)\bmissing fonts?\b{_SOME}(?:[^\n\"“]*[:\"“] *([^\"”\n]+))?"
            ),
            like(
                "missing effect",
                rf"(?i)\bmissing effects?\b{_SOME}(?:[^\n\"“]*[:\"“] *([^\"”\n]+))?",
            ),
            like("effects are missing", r"(?i)\beffects are missing: *(.*)"),
            like("missing since", r"\b\d+ files? (?:is|are) missing since"),
            like(
                "missing footage",
                rf"(?i)\bmissing footage\b{_SOME}(?:[^\n\"“]*[:\"“] *([^\"”\n]+))?",
            ),
            like(
                "footage missing",
                rf"(?i)\bfootage missing\b{_SOME}(?:[^\n\"“]*[:\"“] *([^\"”\n]+))?",
            ),
            like("file not found", r"(?i)\bfile not found[: ]+(.+)"),
        ),
        ignored=(
            # A cache for previews, which a render does not use (Adobe's forum: "cached preview").
            "cached preview needs 2 or more frames",
        ),
    ),
    RENDER_FAILURES,
)
"""The tables for a task of After Effects."""
