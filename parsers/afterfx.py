r"""After Effects' aerender, to 2025.

    PROGRESS:  Duration: 0:00:10:00
    PROGRESS:  Frame Rate: 30.00 (comp)
    PROGRESS:  0:00:00:12 (13): 7 Seconds

The last line is printed after each frame; it is the same in all languages of the program.
"""

from __future__ import annotations

from parsers.parser import Found, RuleParser, rule

__all__ = ("afterfx",)


class afterfx(RuleParser):
    """Frames as they are done; for a movie (one frame) percents by the composition's duration."""

    errors = ("aerender Error", "After Effects error", "Unable to Render")

    def __init__(self) -> None:
        super().__init__()
        self.has_progress = False
        self.seconds = self.frames_over = 0
        """The composition's duration: whole seconds, and the frames beyond them."""
        self.rate = 0
        self.done = 0
        """Frames of the composition that are done."""

    def do(self, i_args: dict[str, object]) -> str | None:
        self.has_progress = self.has_progress or "PROGRESS" in str(i_args.get("data", ""))
        result = super().do(i_args)
        if i_args.get("mode", "RUN") != "RUN" and not self.has_progress:
            self.badresult = True
        return result

    def take_duration(self, found: Found) -> None:
        """Set the duration of the composition that begins."""
        hours, minutes, seconds, self.frames_over = map(int, found.groups())
        self.seconds = hours * 3600 + minutes * 60 + seconds
        self.done = 0

    def take_rate(self, found: Found) -> None:
        """Set the frames per second; the timecode of a duration counts in whole ones."""
        self.rate = round(float(found.group(1)))

    def end_frame(self, found: Found) -> None:
        """Count a frame, identified by its number in the composition."""
        if found.group(1) == self.frame_name:
            return
        self.frame_name = found.group(1)
        self.done += 1
        total = self.seconds * self.rate + self.frames_over
        if self.numframes > 1:
            self.next_frame()
        elif total > 0:
            self.grow_frame(100 * self.done / total)

    rules = (
        rule(
            "Duration: ",
            r"PROGRESS: +Duration: (\d{1,4}):(\d\d):(\d\d)[:;](\d{1,4})",
            take_duration,
        ),
        rule("Frame Rate: ", r"PROGRESS: +Frame Rate: (\d{1,4}(?:\.\d+)?)", take_rate),
        rule("PROGRESS: ", r"PROGRESS: +[\d:;+.]+ \((\d+)\)(?::|\s*$)", end_frame),
    )
