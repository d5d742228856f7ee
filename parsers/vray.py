r"""V-Ray Standalone 3 to 7.

    [2023/Aug/10|17:33:55] [15 MB] Starting frame 12.
    [2023/Aug/10|17:34:10] [2117 MB] Rendering image...:  45.2%
    [2023/Aug/10|17:34:12] [2117 MB] Rendering image...: done    [ 0h  0m 17.0s]
    [2023/Aug/10|17:34:12] [2117 MB] Successfully written image file "/out/a.0012.exr"

The memory column exists since version 5. With progress on, the line of progress is redrawn.
"""

from __future__ import annotations

from parsers._passes import PassParser, pass_end, pass_rules
from parsers.parser import Rule, image, new_frame, rule

__all__ = ("vray",)


class vray(PassParser):
    """Percents of each frame's image (not of light caches and prepasses), and files."""

    rules: tuple[Rule, ...] = (
        rule("Starting frame ", r"Starting frame +(-?\d+)", new_frame),
        *pass_rules(
            "Rendering image",
            r"Rendering image.*?: *(\d+(?:\.\d+)?) ?%",
            "100.0",
            r"Rendering image.*?: *100\.0 ?%",
        ),
        rule(": done", r"Rendering image.*?: *done", pass_end),
        rule("written image file", r'Successfully written image file "?(.+?)"?\s*$', image),
    )
    errors = ("Could not obtain a license", "Memory allocation failure")
