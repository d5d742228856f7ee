r"""OpenUSD's usdrecord: ``Recording time code: 12.000000``.

Nothing is told of how much of a frame is done, nor that the last one is.
"""

from __future__ import annotations

from parsers.parser import RuleParser, new_frame, rule

__all__ = ("usdrecord",)


class usdrecord(RuleParser):
    """A frame each time code; what USD cannot make out is a warning."""

    rules = (rule("Recording time code: ", r"^Recording time code: +(\S+)", new_frame),)
    warnings = ("Warning: in ",)
    errors = ("Recording aborted due to",)
