r"""What Arnold prints, whoever runs it: kick or a plugin of Maya, Houdini, Cinema 4D.

    00:00:02   288MB         | rendering image at 1920 x 1080, 3 AA samples
    00:00:05   301MB         |     5% done - 110 rays/pixel
    00:00:09   310MB         | render done in 0:07.120
    00:00:09   310MB         | [driver_exr] writing file `/out/a.0001.exr'

The level stands before the bar, padded: ``ERROR   |``. So it is in Arnold 4 to 7. Progressive
renders first make images of less than one sample (``-3 AA samples``), which count for nothing.
"""

from __future__ import annotations

from parsers._passes import LapParser, lap_end, laps
from parsers._resource_report import UsageParser, memory
from parsers.parser import Found, Rule, image, progress_only, rule

__all__ = ("ArnoldParser",)


@progress_only
def _image(parser: ArnoldParser, found: Found) -> None:
    parser.preview = int(found.group(1)) <= 0
    if parser.lapped and not parser.preview:
        parser.begin_lap()


class ArnoldParser(LapParser, UsageParser):
    """Percents of each frame, files, and the memory that Arnold took at most."""

    preview = False
    """Whether what is rendered now is but a coarse image of the frame."""

    @progress_only
    def grow_frame(self, percent: float) -> None:
        if percent > self.percentframe and not self.preview:
            super().grow_frame(percent)

    @progress_only
    def begin_lap(self) -> None:
        if not self.preview:
            super().begin_lap()

    @progress_only
    def end_lap(self) -> None:
        if not self.preview:
            super().end_lap()

    rules: tuple[Rule, ...] = (
        rule("AA sample", r"\| +rendering image at .*?, (-?\d{1,9}) AA sample", _image),
        # 100% is left to the second: each line is looked at by one rule then.
        *laps(
            "% done",
            r"\| +(?!100% done)(\d+(?:\.\d+)?) *% done",
            "100% done",
            r"\| +100% done",
        ),
        rule("render done in ", r"\| +render done in ", lap_end),
        rule("writing file ", r"\| +\[driver_\w+\] writing file [`'\"](.+)['\"]", image),
        rule(
            "peak CPU memory used",
            r"peak CPU memory used +(\d{1,12}(?:\.\d+)?) *([A-Za-z]+)",
            memory("arnold_gb"),
        ),
    )
