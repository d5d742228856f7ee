r"""3ds Max's command line (3dsmaxcmd, 3dsmaxbatch) with any renderer inside.

    8/6/2025 10:50:40 AM;  Rendering frame 0 (1 of 2)
    8/6/2025 10:51:40 AM;  Frame 0 completed. (0:01:00)

Only the second line is certain to be printed. 3dsmaxbatch prints the lines of its log, with a level:
``2025/07/31 23:57:52 WRN: [04652] [04632] Missing dll: a.gup - name``.
"""

from __future__ import annotations

from parsers._marked_errors import NO_ERROR
from parsers._messages import START, Messages, like
from parsers._passes import frame_finished
from parsers._renderers_inside import RenderersInside
from parsers._text import text_of
from parsers.parser import Found, Rule, frame_percent, new_frame, progress_only, rule

__all__ = ("max",)

MAX = Messages(
    words=("err", "missing", "unexpected", "not ", "n't "),
    markers=(
        like("err: ", r"\bERR: \["),
        like("error", rf"{START}(?:\*+ *)?E(?:rror|RROR)[: ]{NO_ERROR}"),
    ),
    fatal=(
        "Error occured while rendering job",  # 3ds Max spells it so
        "Error occurred while rendering job",
        "Error rendering frame",
        "Error opening scene file",
        "Error loading scene",
        "An unexpected exception has occurred",
        like(
            "scene file",
            r"\b[Ss]cene file:? (?:'[^'\n]+'|\"[^\"\n]+\"|\S+) (?:does not exist|not found|could not be opened)",
        ),
        like("state set", r"\b[Ss]tate set\b.{0,300}\bdoes not exist"),
        like("opening '", r"\bError: while opening '"),
    ),
    assets=(
        like("missing dll", r"\bMissing dll: *(\S+)"),
        like(
            "missing ",
            r"\bMissing (?:[Mm]aps?|[Bb]itmaps?|[Ee]xternal [Ff]iles?|[Xx]refs?)\b[^:\n]{0,20}: *(\S(?:.*\S)?)",
        ),
    ),
)
"""Sources: 3ds Max's help, "Backburner Log Files" and "3dsmaxcmd"; deadline-cloud-for-3ds-max 122 and its
handlers."""


@progress_only
def _begin(parser: max, found: Found) -> None:
    if parser.frame_name is None and parser.aborted:
        parser.begin_frame()
    new_frame(parser, found)


@progress_only
def _completed(parser: max, found: Found) -> None:
    frame_finished(parser, found)
    parser.frame_name = None  # the line of the next frame's begin counts no frame again


class max(RenderersInside):  # noqa: A001 - the name that jobs use
    """Frames by ``Frame N completed``, percents of the renderer inside."""

    tells_frames = True

    rules: tuple[Rule, ...] = (
        rule(" completed", r"Frame +-?\d+ completed", _completed),
        rule("Rendering frame ", r"(?<![\]:] )Rendering frame +(-?\d+)", _begin),
        rule("progr:", r"progr: *(\d+)(?:\.\d+)? *% +rendered", frame_percent),
        *RenderersInside.rules,
    )
    messages: tuple[Messages, ...] = (MAX,)

    def expects_frames(self) -> bool:
        """3dsmaxbatch runs a script, which may render or not."""
        return "3dsmaxbatch" not in text_of(self.taskInfo.get("command"))
