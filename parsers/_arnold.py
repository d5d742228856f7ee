r"""What Arnold prints, as kick or as a plugin of Maya, Houdini, Cinema 4D.

    00:00:02   288MB         | rendering image at 1920 x 1080, 3 AA samples
    00:00:05   301MB         |     5% done - 110 rays/pixel
    00:00:06   301MB ERROR   |  [texturesys] wood: Could not open file "wood.tx"
    00:00:09   310MB         | render done in 0:07.120
    00:00:09   310MB         | [driver_exr] writing file `/out/a.0001.exr'

The log level precedes the bar, padded: ``ERROR   |``. The format is that of Arnold 4 to 7; C4DtoA puts
``[c4dtoa]`` before it. Progressive renders first make images of less than one sample (``-3 AA
samples``); these are no progress. A render that was aborted is also reported as done, and its file is
written. The summary at the end has the number of each message, without the level.
"""

from __future__ import annotations

from parsers._inside import InsideParser, written_image
from parsers._messages import Messages, like
from parsers._passes import pass_end, pass_rules
from parsers._resource_report import UsageParser, memory
from parsers.parser import Found, Rule, new_frame, progress_only, rule

__all__ = ("ARNOLD", "MTOA_FRAME", "ArnoldInside", "ArnoldParser")

_ERROR = r"\bERROR +\| .{0,100}?"

ARNOLD = Messages(
    markers=(
        like("error ", r"\bERROR +\|"),
        like("fatal ", r"\bFATAL +\|"),
        "rendering with watermarks because",
    ),
    fatal=(
        like("[ass]", _ERROR + r"\[ass\] can't (?:open|read in)"),
        like("[alembic]", _ERROR + r"\[alembic\] invalid archive"),
        like("signal caught", _ERROR + r"signal caught: SIG"),
        like("can't allocate", _ERROR + r"can't allocate \d+ bytes"),
        like("[gpu]", _ERROR + r"\[gpu\]"),
        like(
            "[driver_",
            _ERROR
            + r"\[driver_\w+\].{0,200}\b(?:can't|cannot|could not|unable|failed|fail|error)\b",
        ),
        "Error reading pixel data from image file",
        "can't create file",
        like(
            "licen",
            r"\bERROR +\| (?=.{0,300}(?i:licen[cs])).{0,100}?(?i:\bno licen[cs]e"
            r"|\blicen[cs]e\b.{0,200}\b(?:not|failed|error|unable|expired)\b"
            r"|\b(?:not|failed|error|unable)\b.{0,200}\blicen[cs])",
        ),
        "OpenEXR exception",
        "[rlm] error initializing license system",
        "[rlm] abort_on_license_fail enabled",
        "aborting render because",
    ),
    errors=(
        # The render continues without the texture, and its progress counts.
        like("[texturesys]", _ERROR + r"\[texturesys\] unspecified OIIO error "),
    ),
    aborts=(
        "render terminating early",
        "received abort signal",
        "render aborted due to earlier errors",
    ),
    assets=(
        like("invalid image file", r"Invalid image file \"([^\"\n]+)\""),
        like("could not open asset", r"Could not open asset @([^@\n]+)@"),
    ),
    ignored=(
        # The summary of Arnold's log, "number of errors, error type": each was a line before.
        like(":  ", r"\| +\d{1,9}:  \S"),
    ),
)
"""Sources: Arnold's manual, "Log"; arnold-usd 1875 and 2435; OpenCue 1342; the log in AtomicConductor's
mayaio-2019-bug-repro; arnoldsupport.com, "can't create file"."""

MTOA_FRAME = rule("nitializing at frame ", r"\[mtoa\S*\] +Initializing at frame (-?\d+)", new_frame)
"""MtoA renders each camera and eye of a frame as an image of its own."""


@progress_only
def _image(parser: ArnoldInside, found: Found) -> None:
    parser.preview = int(found.group(1)) <= 0
    if (parser.pass_done or parser.aborted) and not parser.preview:
        parser.begin_pass()


class ArnoldInside(InsideParser):
    """Percents of each frame, and files."""

    preview = False
    """Whether the current image is a coarse one of less than one sample."""

    @progress_only
    def grow_frame(self, percent: float) -> None:
        if percent > self.percentframe and not self.preview:
            super().grow_frame(percent)

    @progress_only
    def begin_pass(self) -> None:
        if not self.preview:
            super().begin_pass()

    @progress_only
    def end_pass(self) -> None:
        if not self.preview:
            super().end_pass()

    rules: tuple[Rule, ...] = (
        rule("AA sample", r"\| +rendering image at .*?, (-?\d{1,9}) AA sample", _image),
        # The first rule does not match 100%, so each line is matched by one rule only.
        *pass_rules(
            "% done",
            r"\| +(?!100% done)(\d+(?:\.\d+)?) *% done",
            "100% done",
            r"\| +100% done",
        ),
        rule("render done in ", r"\| +render done in ", pass_end),
        rule("writing file ", r"\| +\[driver_\w+\] writing file +(\S.*)", written_image),
    )
    messages: tuple[Messages, ...] = (ARNOLD,)


class ArnoldParser(ArnoldInside, UsageParser):
    """As `ArnoldInside`, and Arnold's peak memory."""

    rules: tuple[Rule, ...] = (
        *ArnoldInside.rules,
        rule(
            "peak CPU memory used",
            r"peak CPU memory used +(\d{1,12}(?:\.\d+)?) *([A-Za-z]+)",
            memory("arnold_gb"),
        ),
    )
