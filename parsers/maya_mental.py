r"""mental ray in Maya (up to Maya 2017, the last with mental ray).

SCEN 0.3  progr: begin scene preprocessing for frame 12
JOB  0.2  progr:   45.3%  rendered on host.2
"""

from __future__ import annotations

from parsers._mentalray import MENTAL_RAY
from parsers.maya import maya
from parsers.parser import frame_percent, image, new_frame, rule

__all__ = ("maya_mental",)


class maya_mental(maya):
    """Frames as their preprocessing begins, percents of each, Maya's errors."""

    rules = (
        rule(
            "begin scene preprocessing for frame ",
            r"progr: +begin scene preprocessing for frame (-?\d+)",
            new_frame,
        ),
        rule("rendered on", r"progr: *(\d+(?:\.\d+)?) *%.{0,200}rendered on", frame_percent),
        rule("writing image file ", r'progr: +writing image file "?(.+?)"? +\(frame', image),
    )
    messages = (MENTAL_RAY,)
