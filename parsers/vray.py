r"""V-Ray Standalone 3 to 7: ``[2023/Aug/10|17:33:55] [15 MB] Starting frame 12.``"""

from __future__ import annotations

from parsers._inside import InsideParser
from parsers._render_failures import RENDER_FAILURES
from parsers._vray import VRAY, VRAY_RULES
from parsers.parser import Rule, new_frame, rule

__all__ = ("vray",)


class vray(InsideParser):
    """Percents of each frame's image (not of light caches and prepasses), and files."""

    rules: tuple[Rule, ...] = (
        rule("Starting frame ", r"Starting frame +(-?\d+)", new_frame),
        *VRAY_RULES,
    )
    messages = (VRAY, RENDER_FAILURES)
