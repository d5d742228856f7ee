"""Maya's batch renderer with its own renderers, software and hardware.

Its only progress is the names of the files it has written.
"""

from __future__ import annotations

from parsers._passes import frame_finished
from parsers.parser import Found, Rule, RuleParser, rule

__all__ = ("maya",)


def _image(parser: RuleParser, found: Found) -> None:
    """Announce a file, without the full stop of the sentence if there is one."""
    parser.appendFile(found.group(1).rstrip().removesuffix("."))


def _written(parser: RuleParser, found: Found) -> None:
    """Count a frame by the number of its file, the same for all layers and cameras."""
    if found.group(2) != parser.frame_name:
        parser.frame_name = found.group(2)
        frame_finished(parser, found)


class maya(RuleParser):
    """Maya's errors and files. Renderers that run inside Maya have parsers of their own."""

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
