r"""POV-Ray 3.7.

    Rendering frame 3 of 10
    Output file..........scene03.png, 24 bpp PNG
    Rendered 14336 of 76800 pixels (18%)

It breaks lines at 79 characters, also inside file names: files with longer names are not found.
"""

from __future__ import annotations

from parsers._marked_errors import NO_ERROR
from parsers._messages import Messages, like
from parsers._render_failures import RENDER_FAILURES
from parsers.parser import RuleParser, frame_end, frame_percent, image, new_frame, rule

__all__ = ("povray",)


POVRAY = Messages(
    # `source/frontend/messagefactory.cpp`, `vfe/unix/unixconsole.cpp`, `vfe/vfesession.cpp` of 3.7 and 3.8.
    markers=(
        like(
            "error: ",
            r"\b(?:Possible )?(?:Parse|Render|Initialization|Fatal|Scene|Shellout) Error: ",
        ),
        like("error", rf"^(?:Possible )?(?:Parse |Render )?Error\b{NO_ERROR}"),
    ),
    fatal=(
        "Render failed",
        like("fatal error in ", r"\bFatal error in "),
        like("error: ", r"(?<!Possible )\b(?:Parse|Render|Initialization|Scene) Error: "),
    ),
    aborts=("Render cancelled by user",),
    assets=(
        like("find file", r"(?:Cannot|Could not) find file '([^'\n]+)'"),
        like("open file", r"(?:Cannot|Could not) open (?:input |include )?file '?([^'\n]+?)'?\.?$"),
    ),
    ignored=(
        # Printed by each start without these files, which is usual; `vfe/unix/unixoptions.cpp`.
        like("configuration file", r"cannot open the (?:system|user) configuration file"),
        like("ini file", r"cannot open an INI file"),
    ),
    warnings=(like("warning: ", r"\b(?:Parse|Render) Warning: "),),
)


class povray(RuleParser):
    """Frames of an animation, percents by pixels, files as they begin."""

    rules = (
        rule("Rendering frame ", r"^Rendering frame (\d+) of \d+", new_frame),
        rule("Output file..", r"^ *Output file\.{10}(.+), \d+ bpp", image),
        rule(" pixels", r"Rendered (\d{1,15}) of (\d{1,15}) pixels", frame_percent),
        rule("POV-Ray finished", r"^POV-Ray finished", frame_end),
    )
    messages = (POVRAY, RENDER_FAILURES)
    tells_frames = True
