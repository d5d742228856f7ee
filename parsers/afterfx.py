r"""After Effects' aerender, to 2025.

    PROGRESS:  Duration: 0:00:10:00
    PROGRESS:  Frame Rate: 30.00 (comp)
    PROGRESS:  0:00:00:12 (13): 7 Seconds

The last is printed as a frame is done, and is the same in all languages of the program.
"""

from __future__ import annotations

from parsers.parser import Found, RuleParser, rule

__all__ = ("afterfx",)


class afterfx(RuleParser):
    """Frames as they are done; percents by the duration where the task has one, as with movies."""

    errors = ("aerender Error", "After Effects error", "Unable to Render")

    def __init__(self) -> None:
        super().__init__()
        self.begun = False
        self.seconds = self.frames_over = 0
        """The duration of the movie: seconds, and frames beyond them."""
        self.rate = 0
        self.done = 0
        """Frames of the movie that are done."""

    def do(self, i_args: dict[str, object]) -> str | None:
        self.begun = self.begun or "PROGRESS" in str(i_args.get("data", ""))
        result = super().do(i_args)
        if i_args.get("mode", "RUN") != "RUN" and not self.begun:
            self.badresult = True
        return result

    def take_duration(self, found: Found) -> None:
        """How long the composition is that begins now."""
        hours, minutes, seconds, self.frames_over = map(int, found.groups())
        self.seconds = hours * 3600 + minutes * 60 + seconds
        self.done = 0

    def take_rate(self, found: Found) -> None:
        """Frames a second; its timecode counts whole ones."""
        self.rate = round(float(found.group(1)))

    def end_frame(self, found: Found) -> None:
        """A frame is done, told by its number in the composition."""
        if found.group(1) == self.marked:
            return
        self.marked = found.group(1)
        self.done += 1
        whole = self.seconds * self.rate + self.frames_over
        if self.numframes > 1:
            self.next_frame()
        elif whole > 0:
            self.grow_frame(100 * self.done / whole)

    rules = (
        rule(
            "Duration: ",
            r"PROGRESS: +Duration: (\d{1,4}):(\d\d):(\d\d)[:;](\d{1,4})",
            take_duration,
        ),
        rule("Frame Rate: ", r"PROGRESS: +Frame Rate: (\d{1,4}(?:\.\d+)?)", take_rate),
        rule("PROGRESS: ", r"PROGRESS: +[\d:;+.]+ \((\d+)\)(?::|\s*$)", end_frame),
    )
