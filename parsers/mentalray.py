r"""mental ray standalone: ``JOB  0.2  progr:   45.3%  rendered on host.2``.

Version 3.14 (2017) is the last; the format of the lines did not change.
"""

from __future__ import annotations

from parsers._mentalray import MENTAL_RAY
from parsers._passes import PassParser, pass_rules
from parsers._render_failures import RENDER_FAILURES
from parsers.parser import image, rule

__all__ = ("mentalray",)


class mentalray(PassParser):
    """Percents of each frame, and files."""

    rules = (
        *pass_rules(
            "rendered on",
            r"progr: *(\d+(?:\.\d+)?) *%.{0,200}rendered on",
            "100.0%",
            r"progr: *100\.0% .{0,200}rendered on",
        ),
        rule("writing image file ", r'progr: +writing image file "?(.+?)"? +\(frame', image),
    )
    messages = (MENTAL_RAY, RENDER_FAILURES)
