r"""What Redshift prints, alone or inside another program.

    [Redshift] Rendering frame 12...
    [Redshift] 	Block 5/240 (3,7) rendered by GPU 0 in 20ms
    [Redshift] Saved file '/out/a.0012.exr' in 0.14s
    [Redshift] Frame done - total time for frame 5.21s

With several devices blocks are finished in any order. Cinema 4D puts ``Redshift Info:``, ``Redshift
Warning:`` or ``Redshift Error:`` before the lines, Maya and Softimage words of their own. The lines are
the same since version 2; Redshift 2024 and later report a missing licence as ``Maxon licensing
error``.
"""

from __future__ import annotations

from parsers._inside import FRAME_SKIPPED, InsideParser, written_image
from parsers._messages import START, Messages, like
from parsers.parser import Found, Rule, frame_percent, progress_only, rule

__all__ = ("REDSHIFT", "REDSHIFT_RULES")


@progress_only
def _frame_done(parser: InsideParser, found: Found) -> None:
    parser.finish_render()


@progress_only
def _render_done(parser: InsideParser, found: Found) -> None:
    parser.finish_task()


REDSHIFT_RULES: tuple[Rule, ...] = (
    rule("rendered by ", r"Block +(\d+)/(\d+).{0,200}rendered by [GC]PU", frame_percent),
    rule("Frame ", r"\bFrame\b.{0,40}\bdone\b", _frame_done),
    FRAME_SKIPPED,
    rule("Skipping frame", r"Skipping frame(?! +\d)", _frame_done),
    rule("Rendering done", r"Rendering done", _render_done),
    rule("aved ", r"\b[Ss]aved (?:\w+ ){0,2}?(?:file|image|frame|to):? +(\S.*)", written_image),
)

REDSHIFT = Messages(
    words=("error", "fail", "abort", "device", "bad ", "procedure", "crash dump"),
    markers=(
        # The lines around an assertion are drawn with `=`.
        like("redshift error", r"\bRedshift Error: *[^=\s]"),
        like("[redshift]", r"\bE(?:rror|RROR): +\[Redshift\]|\[Redshift\]\s+\[?E(?:rror|RROR)\b"),
        like("error:", rf"{START}E(?:rror|RROR): "),
    ),
    fatal=(
        "ASSERT FAILED",
        "No devices found. Aborting rendering.",
        "Rendering was internally aborted",
        "Frame rendering aborted",
        "Bad node type found: Redshift_ROP",
        "Bad node type found: redshift_vopnet",
        "Error an illegal memory access was encountered",
        "License error",
        "Maxon licensing error",
        "Maxon license error",
        'Cannot find procedure "rsPreference"',
        like("redshift crash dump", r"\b[Ww]riting Redshift crash dump"),
        like("failed to allocate mem", r"\b[Ff]ailed to allocate mem\b"),
        like("aborting render", r"\b[Aa]borting render(?:ing)?\b"),
    ),
)
"""Sources: Redshift's manual, "Log and Feedback" and "Dealing with Out-Of-RAM situations"; the error texts
of Deadline's plugins for Maya and Cinema 4D and of deadline-cloud-for-cinema-4d (66, 175, 475)."""
