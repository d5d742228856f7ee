"""ffmpeg: progress by frames when their number was told, else by time.

``Duration:`` is told of each input (the longest counts), ``frame=`` and ``time=`` in the status line
and with ``-progress``; ``Frames: N`` is printed by wrappers that know the number.
"""

from __future__ import annotations

from parsers._rules import Found, RuleParser, image, rule

__all__ = ("ffmpeg",)

_CLOCK = r"(\d+):(\d\d):(\d\d(?:\.\d+)?)"


def _seconds(found: Found) -> float:
    hours, minutes, seconds = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


class ffmpeg(RuleParser):
    """Percents of the whole task, the output files, and ffmpeg's ways to say that it failed."""

    badresults = ("output file is empty",)
    errors = ("impossible to open", "no such file or directory")
    warnings = ("invalid",)

    def __init__(self) -> None:
        super().__init__()
        self.frames = 0
        self.duration = 0.0

    def take_frames(self, found: Found) -> None:
        self.frames = int(found.group(1))

    def take_duration(self, found: Found) -> None:
        self.duration = max(self.duration, _seconds(found))

    def take_frame(self, found: Found) -> None:
        if self.frames > 0:
            self.grow_task(100 * int(found.group(1)) / self.frames)

    def take_time(self, found: Found) -> None:
        if self.frames <= 0 and self.duration > 0:
            self.grow_task(100 * _seconds(found) / self.duration)

    rules = (
        rule("Frames: ", r"\bFrames: (\d+)", take_frames),
        rule("Duration: ", rf"\bDuration: {_CLOCK}", take_duration),
        rule("Output #", r"^Output #\d+, .*?, to '(.+)':", image),
        rule("frame=", r"\bframe= *(\d+)", take_frame),
        rule("time=", rf"time={_CLOCK}", take_time),
    )
