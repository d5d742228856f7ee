"""Maya's batch renderer with its own renderers, software and hardware.

Of progress it tells no more than the files it has written.
"""

from __future__ import annotations

from parsers._passes import frame_finished
from parsers.parser import Found, Rule, RuleParser, rule

__all__ = ("maya",)


def _image(parser: RuleParser, found: Found) -> None:
    """The file's name up to the full stop of the sentence, if there is one."""
    parser.appendFile(found.group(1).rstrip().removesuffix("."))


def _written(parser: RuleParser, found: Found) -> None:
    """An image of a frame; those of other layers and cameras have the same number."""
    if found.group(2) != parser.marked:
        parser.marked = found.group(2)
        frame_finished(parser, found)


class maya(RuleParser):
    """The errors of Maya. Renderers that run inside of it have parsers of their own."""

    rules: tuple[Rule, ...] = (
        rule("Finished Rendering ", r"Finished Rendering (\S.*)", _image),
        rule("Finished Rendering ", r"Finished Rendering (.*[._])(\d+)\.[^.\s]+\.?\s*$", _written),
    )
    errors: tuple[str, ...] = (
        "Frame aborted",
        "Frame rendering aborted",
        "Fatal Error",
        "Maya exited with status 210",
        "failed to render",
        "(kFailure)",
        "License was not obtained",
    )
