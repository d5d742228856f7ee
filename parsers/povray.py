r"""POV-Ray 3.7.

    Rendering frame 3 of 10
    Output file..........scene03.png, 24 bpp PNG
    Rendered 14336 of 76800 pixels (18%)

It breaks lines at 79 characters, also inside file names: files with longer names are not found.
"""

from __future__ import annotations

from parsers.parser import RuleParser, frame_end, frame_percent, image, mark, new_frame, rule

__all__ = ("povray",)


class povray(RuleParser):
    """Frames of an animation, percents by pixels, files as they begin."""

    rules = (
        rule("Rendering frame ", r"^Rendering frame (\d+) of \d+", new_frame),
        rule("Output file..", r"^ *Output file\.{10}(.+), \d+ bpp", image),
        rule(" pixels", r"Rendered (\d{1,15}) of (\d{1,15}) pixels", frame_percent),
        rule("POV-Ray finished", r"^POV-Ray finished", frame_end),
        rule("Warning: ", r"\b(?:Parse|Render) Warning: ", mark("warning")),
    )
    errors = ("Render failed", "Fatal error in ")
