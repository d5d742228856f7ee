"""Colours for lines of output, by what a parser said about them."""

from __future__ import annotations

import html
from typing import Protocol

__all__ = ("colour",)


class Verdict(Protocol):
    """The attributes of a parser that give a line its colour."""

    error: bool
    fatalerror: bool
    badresult: bool
    warning: bool
    finishedsuccess: bool
    activity: str
    report: str


def colour(line: str, seen: Verdict) -> str:
    """The line as HTML, escaped and wrapped in what was seen, the worst innermost."""
    text = html.escape(line)
    if seen.error or seen.fatalerror:
        text = f'<span style="background-color:#FF0000"><b>{text}</b></span>'
    if seen.badresult:
        text = f'<span style="background-color:#FF00FF">{text}</span>'
    if seen.warning:
        text = f'<span style="background-color:#FFA500">{text}</span>'
    if seen.finishedsuccess:
        text = f'<span style="color:#008800"><b>{text}</b></span>'
    if seen.activity:
        text = f'<span style="background-color:#00FF00">{text}</span>'
    if seen.report:
        text = f"<i><b>{text}</b></i>"
    return text
