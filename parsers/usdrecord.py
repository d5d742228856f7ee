r"""OpenUSD's usdrecord: ``Recording time code: 12.000000``.

It prints no percents, and nothing when the last frame is done: the exit code shows it.
"""

from __future__ import annotations

from parsers._inside import InsideParser
from parsers._render_failures import RENDER_FAILURES
from parsers.parser import new_frame, rule

__all__ = ("usdrecord",)


class usdrecord(InsideParser):
    """Frames by time codes; errors of USD are warnings."""

    tells_frames = True

    rules = (rule("Recording time code: ", r"^Recording time code: +(\S+)", new_frame),)
    warnings = ("Warning: in ",)
    errors = ("Recording aborted due to",)
    messages = (RENDER_FAILURES,)
