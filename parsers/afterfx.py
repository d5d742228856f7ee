r"""After Effects' aerender, to 2026.

    PROGRESS:  Duration: 0:00:10:00
    PROGRESS:  Frame Rate: 30.00 (comp)
    PROGRESS:  0:00:00:12 (13): 7 Seconds
    PROGRESS:  (Skipping 0:00:00:13) (14): 0 Seconds

The third line is printed after each frame, the fourth for a frame whose file exists. The words are
translated, the form is not. A time is a time code, with semicolons if frames are dropped, or in
frames, or in feet and frames, as the project displays it.
"""

from __future__ import annotations

import re

from parsers._adobe_messages import AFTER_EFFECTS
from parsers._text import text_of
from parsers.parser import Found, RuleParser, rule

__all__ = ("afterfx", "count_frames")

_FRAMES_PER_FOOT = 16
"""Of 35 mm film, the program's default."""
_RUNS_SCRIPT = re.compile(r"(?i:afterfx)\S*\s(?:.*\s)?-(?:r|ro|s|so)\s")
_TIME = r"-?\d[\d:;+.,]*"
_LENGTH = r"(?:Duration|Dur\S{1,2}e|Duraci\S{1,2}n|Durata|Dura\S{2,4}o)"


def count_frames(time: str, rate: float) -> int:
    """Return the frames of a duration as the program displays it; 0 for a text that is none.

    `rate` is in frames per second. Of a time code with semicolons the first two (of 30 frames a
    second) or four (of 60) numbers of each minute are left out, but for each tenth minute.
    """
    parts = time.replace(";", ":").split(":")
    if len(parts) == 1:
        feet, plus, rest = time.partition("+")
        if not (feet.isdigit() and (rest.isdigit() or not plus)):
            return 0
        return int(feet) * _FRAMES_PER_FOOT + int(rest) if plus else int(feet)
    if len(parts) != 4 or not all(part.isdigit() for part in parts):
        return 0
    hours, minutes, seconds, frames = map(int, parts)
    minutes += hours * 60
    whole = round(rate)
    total = (minutes * 60 + seconds) * whole + frames
    if ";" in time and whole % 30 == 0:
        total -= whole // 15 * (minutes - minutes // 10)
    return total


class afterfx(RuleParser):
    """Frames as they are done; for a movie (one frame) percents by the composition's duration."""

    messages = AFTER_EFFECTS
    tells_frames = True

    def __init__(self) -> None:
        super().__init__()
        self.duration = ""
        """The duration of the composition, as displayed."""
        self.rate = 0.0
        self.done = 0
        """Frames of the composition that are done."""

    def expects_frames(self) -> bool:
        """The program itself, other than aerender, may run a script that renders nothing."""
        return _RUNS_SCRIPT.search(text_of(self.taskInfo.get("command"))) is None

    def take_duration(self, found: Found) -> None:
        """Set the duration of the composition that begins."""
        self.duration = found.group(1)
        self.done = 0

    def take_rate(self, found: Found) -> None:
        """Set the frames per second; the time code of a duration counts in whole ones."""
        self.rate = float(found.group(1).replace(",", "."))

    def end_frame(self, found: Found) -> None:
        """Count a frame, identified by its number in the composition."""
        if found.group(1) == self.frame_name:
            return
        self.frame_name = found.group(1)
        self.done += 1
        if self.numframes > 1:
            self.next_frame()
        elif (total := count_frames(self.duration, self.rate)) > 0:
            self.grow_frame(100 * self.done / total)

    def finish(self, mode: str) -> None:
        """At the end of good work the movie is complete, whatever its duration is."""
        super().finish(mode)
        if mode == "0:0" and not self.is_bad() and self.numframes == 1 and self.done:
            self.grow_frame(100)

    rules = (
        rule(" Dur", rf"PROGRESS: +{_LENGTH} ?: *({_TIME})\s*$", take_duration),
        rule(" Dauer: ", rf"PROGRESS: +Dauer: *({_TIME})\s*$", take_duration),
        rule("rame", r"PROGRESS: +\w*[Ff]rame ?[Rr]at\w*: *(\d{1,4}(?:[.,]\d+)?) ", take_rate),
        rule(
            "PROGRESS: ",
            rf"PROGRESS: +(?:\(\D{{0,40}})?{_TIME}\)? \((\d+)[UL]?\)(?::|\s*$)",
            end_frame,
        ),
    )
