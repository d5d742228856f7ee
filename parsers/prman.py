"""RenderMan's prman, to version 27."""

from __future__ import annotations

from parsers._inside import InsideParser
from parsers._messages import Messages
from parsers._render_failures import RENDER_FAILURES
from parsers._renderman import RENDERMAN, RENDERMAN_RULES
from parsers.parser import Rule

__all__ = ("prman",)


class prman(InsideParser):
    """Percents of each frame, files from the lines of displays, levels of messages."""

    rules: tuple[Rule, ...] = RENDERMAN_RULES
    messages: tuple[Messages, ...] = (
        RENDERMAN,
        RENDER_FAILURES,
    )
