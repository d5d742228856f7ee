"""What plots show: the loads of hosts over the last hour, and the percentages of running tasks. Pure.

Both are kept for all hosts and tasks, so that a plot has a past when it is opened.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence

import attrs

__all__ = ("LoadHistory", "PercentCurves")

_POINTS = 360
_SPACING = 10.0
"""Seconds between two points, at least."""
_UNKNOWN = -1.0
_MAX_RENDERS = 10_000
_MAX_CURVES = 4000
_MAX_STEPS = 102
"""Points of a curve: each percentage once, the last one again."""


@attrs.define(slots=True, eq=False)
class LoadHistory:
    """The figures of each host, `_POINTS` of them. `width` figures make a point."""

    width: int
    _of: dict[int, array[float]] = attrs.field(factory=dict)

    def add(self, render: int, now: float, figures: Sequence[float | None]) -> None:
        """Add a point, unless the last one is recent. `now` is Unix time."""
        points = self._of.get(render)
        if points is None:
            if len(self._of) >= _MAX_RENDERS:
                return
            points = self._of[render] = array("d")
        step = self.width + 1
        if points and points[-step] > now + 1:
            # The clock was set back: the past moves with it, or there would be no point until then.
            early = points[-step] - round(now)
            for at in range(0, len(points), step):
                points[at] -= early
        if points and now - points[-step] < _SPACING:
            return
        points.append(round(now))
        points.extend(_UNKNOWN if each is None else each for each in figures)
        # Half as many again before the oldest go: moving all of them for each point would cost more.
        if len(points) > _POINTS * step * 3 // 2:
            del points[: len(points) - _POINTS * step]

    def points(self, render: int, most: int = _POINTS) -> list[list[float | None]]:
        """The newest points of a host, each with its time first."""
        found, step = self._of.get(render, array("d")), self.width + 1
        first = max(0, len(found) - min(most, _POINTS) * step)
        return [
            [found[at], *(None if each == _UNKNOWN else each for each in found[at + 1 : at + step])]
            for at in range(first, len(found), step)
        ]

    def keep_only(self, renders: Sequence[int]) -> None:
        """Forget all other hosts."""
        wanted = set(renders)
        self._of = {key: value for key, value in self._of.items() if key in wanted}


@attrs.define(slots=True, eq=False)
class PercentCurves:
    """When each task reached which percentage. The least recently changed ones are forgotten."""

    _of: OrderedDict[tuple[int, int, int], tuple[int, list[tuple[int, int]]]] = attrs.field(
        factory=OrderedDict
    )

    def add(self, key: tuple[int, int, int], started: int, percent: int, now: float) -> None:
        """Note the percentage of a run, if it is new. `started` tells runs apart."""
        if percent < 0 or not started:
            return
        run, curve = self._of.get(key, (0, []))
        if run != started:
            curve = []
        elif curve and curve[-1][1] == percent:
            return
        curve.append((max(0, round(now - started)), percent))
        del curve[:-_MAX_STEPS]
        self._of[key] = (started, curve)
        self._of.move_to_end(key)
        if len(self._of) > _MAX_CURVES:
            self._of.popitem(last=False)

    def curve(self, key: tuple[int, int, int]) -> list[tuple[int, int]]:
        """(seconds since the start, percent) of the last run of a task."""
        return list(self._of.get(key, (0, []))[1])
