r"""mental ray standalone: ``JOB  0.2  progr:   45.3%  rendered on host.2``.

The program ended with version 3.14 (2017); its lines stayed what they were.
"""

from __future__ import annotations

from parsers._passes import LapParser, laps
from parsers.parser import image, rule

__all__ = ("mentalray",)


class mentalray(LapParser):
    """Percents of each frame, and files."""

    rules = (
        *laps(
            "rendered on",
            r"progr: *(\d+(?:\.\d+)?) *%.*rendered on",
            "100.0%",
            r"progr: *100\.0% .*rendered on",
        ),
        rule("writing image file ", r'progr: +writing image file "?(.+?)"? +\(frame', image),
    )
