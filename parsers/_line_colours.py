"""HTML colours of output lines, by the flags and texts that a parser sets for a line."""

from __future__ import annotations

import html
from typing import Protocol

__all__ = ("colour",)


class LineState(Protocol):
    """The attributes of a parser that give a line its colour."""

    error: bool
    fatalerror: bool
    badresult: bool
    warning: bool
    finishedsuccess: bool
    activity: str
    report: str


def colour(line: str, state: LineState) -> str:
    """Return the line as HTML: escaped, in a tag for each attribute that is set."""
    text = html.escape(line)
    # The innermost background is visible, so the most severe flag comes first.
    if state.error or state.fatalerror:
        text = f'<span style="background-color:#FF0000"><b>{text}</b></span>'
    if state.badresult:
        text = f'<span style="background-color:#FF00FF">{text}</span>'
    if state.warning:
        text = f'<span style="background-color:#FFA500">{text}</span>'
    if state.finishedsuccess:
        text = f'<span style="color:#008800"><b>{text}</b></span>'
    if state.activity:
        text = f'<span style="background-color:#00FF00">{text}</span>'
    if state.report:
        text = f"<i><b>{text}</b></i>"
    return text
