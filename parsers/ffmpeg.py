"""ffmpeg: progress by frames if their number is known, else by time.

``Duration:`` is printed for each input (the longest counts), ``frame=`` and ``time=`` in the status
line and with ``-progress``; ``Frames: N`` is printed by wrapper scripts that know the number. What
``-ss``, ``-t`` and ``-frames`` leave of the input is read from the task's command, since ffmpeg does not
print it.
"""

from __future__ import annotations

from parsers._ffmpeg_messages import FFMPEG
from parsers._ffmpeg_options import Span, read_span
from parsers._text import text_of
from parsers.parser import Found, RuleParser, image, progress_only, rule, task_share

__all__ = ("ffmpeg",)

_CLOCK = r"(\d+):(\d\d):(\d\d(?:\.\d+)?)"


def _seconds(groups: tuple[str, ...]) -> float:
    hours, minutes, seconds = groups
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


class ffmpeg(RuleParser):
    """Percents of the whole task, the output files, and the texts of ffmpeg's failures."""

    messages = (FFMPEG,)

    def __init__(self) -> None:
        super().__init__()
        self.frames = 0
        self.duration = 0.0
        """Seconds of the longest input."""
        self.span = Span()

    def setTaskInfo(self, i_info: dict[str, object]) -> None:
        super().setTaskInfo(i_info)
        self.span = read_span(text_of(i_info.get("command"))) or Span()
        self.frames = self.span.frames

    @progress_only
    def take_frames(self, found: Found) -> None:
        """Set the total number of frames."""
        self.frames = int(found.group(1))

    @progress_only
    def take_duration(self, found: Found) -> None:
        """Set the duration in seconds; the longest input counts."""
        self.duration = max(self.duration, _seconds(found.groups()))

    def knows_frames(self) -> bool:
        """Whether progress is computed by frames."""
        return self.frames > 0

    def share_by_frame(self, groups: tuple[str, ...]) -> float:
        """Compute percents from the number of the last frame."""
        return 100 * int(groups[0]) / self.frames

    def knows_duration(self) -> bool:
        """Whether progress is computed by time."""
        return self.frames <= 0 and self.span.seconds(self.duration) > 0

    def share_by_time(self, groups: tuple[str, ...]) -> float:
        """Compute percents from the time of the last frame."""
        return 100 * _seconds(groups) / self.span.seconds(self.duration)

    def finish(self, mode: str) -> None:
        """Exit code 0 after an output was opened: all is written, however its length was estimated."""
        super().finish(mode)
        if mode == "0:0" and self.files_all and not self.is_bad():
            self.grow_task(100)

    rules = (
        rule("Frames: ", r"\bFrames: (\d+)", take_frames),
        rule("Duration: ", rf"\bDuration: {_CLOCK}", take_duration),
        rule("Output #", r"^Output #\d+, .*?, to '(.+)':", image),
        rule("frame=", r"frame= *(\d+)", task_share(share_by_frame, knows_frames)),
        rule("time=", rf"time={_CLOCK}", task_share(share_by_time, knows_duration)),
    )
