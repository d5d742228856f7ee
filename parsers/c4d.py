r"""Cinema 4D's Commandline, to Cinema 4D 2026, with any renderer inside.

    Rendering frame 12 at <Tue Mar  4 11:00:00 2025>
    Rendering Phase: Main Render
    Progress: 54%
    Rendering successful: 00:00:12

Percents of the phases before and behind the main one are not those of the image. Without a licence
the program asks at a terminal, which a task does not have. It ends with exit code 0 also when the
render failed.
"""

from __future__ import annotations

from parsers._messages import START, Messages, like
from parsers._renderers_inside import RenderersInside
from parsers._text import text_of
from parsers.parser import (
    Found,
    Rule,
    fraction,
    frame_end,
    frame_share,
    new_frame,
    progress_only,
    rule,
)

__all__ = ("c4d",)

CINEMA4D = Messages(
    words=(
        "error",
        "fail",
        "critical:",
        "not ",
        "licen",
        "registration data",
        "unable",
        "too high",
        "missing",
    ),
    markers=(
        like("error:", rf"{START}E(?:rror|RROR):"),
        like("[error]", r"\[Error\]"),
        like("critical:", rf"{START}CRITICAL: "),
    ),
    fatal=(
        "Document not found",
        "Project not found",
        "Error rendering project",
        "Error loading project",
        "Error rendering document",
        "Error loading document",
        "LoadDocument failed",
        "Rendering failed",
        "Invalid License",
        "License Check error",
        "Files cannot be written",
        "Enter Registration Data",
        "No available licenses to choose.",
        "Unable to write file",
        "RenderDocument failed with return code",
        "The output resolution is too high for the selected render engine",
        like("renderdocument", r"\bError: RenderDocument: [1-9]"),
        like("not found", r"\bError: take not found\b"),
    ),
    assets=(like("asset ", r"\bAsset (?:missing|Error):? *\"?([^\"\n]*[^\"\s])?"),),
    ignored=(
        # Both are printed in renders that succeed: deadline-cloud-for-cinema-4d 80 and 133.
        like("critical: nullptr", r"CRITICAL: nullptr \["),
        like("description error", r"Description Error: \S+ is already registered"),
    ),
)
"""Sources: the error texts of Deadline's plugin for Cinema 4D and of deadline-cloud-for-cinema-4d (51, 66, 80,
133)."""


@progress_only
def _begin_phase(parser: c4d, found: Found) -> None:
    parser.is_main_phase = found.group(1).startswith("Main")


class c4d(RenderersInside):
    """Frames by their numbers, with any step, and percents of each."""

    is_main_phase = True
    """Whether percents are those of the image; True if no phases are reported."""
    tells_frames = True

    rules: tuple[Rule, ...] = (
        # Redshift numbers its frames itself, behind ``[Redshift]`` or ``Redshift Info:``.
        rule("Rendering frame ", r"(?<![\]:] )Rendering frame +(-?\d+)", new_frame),
        rule("Rendering Phase: ", r"Rendering Phase: +(\w+)", _begin_phase),
        rule(
            "Progress: ",
            r"Progress: +(\d+(?:\.\d+)?) *%",
            frame_share(fraction, lambda parser: parser.is_main_phase),
        ),
        rule("Rendering successful", r"Rendering successful", frame_end),
        *RenderersInside.rules,
    )
    messages: tuple[Messages, ...] = (CINEMA4D,)

    def expects_frames(self) -> bool:
        """A command without ``-render`` exports a scene, or runs a plug-in."""
        command = text_of(self.taskInfo.get("command"))
        return not command or "-render" in command
