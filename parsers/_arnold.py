r"""What Arnold prints, as kick or as a plugin of Maya, Houdini, Cinema 4D.

    00:00:02   288MB         | rendering image at 1920 x 1080, 3 AA samples
    00:00:05   301MB         |     5% done - 110 rays/pixel
    00:00:09   310MB         | render done in 0:07.120
    00:00:09   310MB         | [driver_exr] writing file `/out/a.0001.exr'

The log level precedes the bar, padded: ``ERROR   |``. The format is that of Arnold 4 to 7.
Progressive renders first make images of less than one sample (``-3 AA samples``); these are no
progress.
"""

from __future__ import annotations

from parsers._passes import PassParser, pass_end, pass_rules
from parsers._resource_report import UsageParser, memory
from parsers.parser import Found, Rule, image, progress_only, rule

__all__ = ("ArnoldParser",)


@progress_only
def _image(parser: ArnoldParser, found: Found) -> None:
    parser.preview = int(found.group(1)) <= 0
    if parser.pass_done and not parser.preview:
        parser.begin_pass()


class ArnoldParser(PassParser, UsageParser):
    """Percents of each frame, files, and Arnold's peak memory."""

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
        rule("writing file ", r"\| +\[driver_\w+\] writing file [`'\"](.+)['\"]", image),
        rule(
            "peak CPU memory used",
            r"peak CPU memory used +(\d{1,12}(?:\.\d+)?) *([A-Za-z]+)",
            memory("arnold_gb"),
        ),
    )
