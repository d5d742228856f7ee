"""Frames a minute, from counts of done frames. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

__all__ = ("FrameRate",)

_WINDOW: Final = 300.0
"""Seconds over which frames are counted."""
_MAX_COUNTS: Final = 600


@attrs.define(slots=True, eq=False)
class FrameRate:
    """The frames of a job in the last minutes. Times are Unix time."""

    least_seconds: float
    """Before so much time there is no figure."""
    _counts: deque[tuple[float, int]] = attrs.field(factory=lambda: deque(maxlen=_MAX_COUNTS))
    """Time and count of each change; one of them may be older than the window."""

    def update(self, frames: int, now: float) -> float | None:
        """Take the frames done so far; return those a minute, None if that is not known.

        A count that is lower than before begins anew: tasks were restarted.
        """
        if self._counts and frames < self._counts[-1][1]:
            self._counts.clear()
        if self._counts and (early := self._counts[-1][0] - now) > 0:
            # The clock was set back: the past moves with it.
            moved = [(when - early, count) for when, count in self._counts]
            self._counts = deque(moved, maxlen=_MAX_COUNTS)
        if not self._counts or frames != self._counts[-1][1]:
            self._counts.append((now, frames))
        while len(self._counts) > 1 and self._counts[1][0] <= now - _WINDOW:
            self._counts.popleft()
        first, before = self._counts[0]
        seconds = now - max(first, now - _WINDOW)
        if frames <= before or seconds < self.least_seconds:
            return None
        return (frames - before) * 60 / seconds
