"""Keeps the pauses of Python's collector of cycles short in programs with many long-lived objects.

A collection of the oldest generation looks at all containers of a process, and its loop does nothing
else meanwhile: 72 to 80 ms for a farm of 1000 renders and 10,000 frames whose page has 200 viewers, with
125,000 containers. Nearly all of them live as long as the farm, so what survives such a collection is
moved to the permanent generation, and the next one looks only at what was made since.

Reference counts free objects of the permanent generation, too. Only cycles stay that become garbage
there, such as the 19 objects of a viewer's connection; when that generation has doubled, and has
`_SLACK` objects more, everything is looked at once. Versions of Python whose collector works in increments never call for it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import attrs

__all__ = ("CollectorPauses", "short_pauses")

_YOUNG: Final = (700, 10)
"""Thresholds of the two younger generations, those of Python."""
_OLDEST: Final = 2
"""Collections of the middle generation before one of the oldest, 10 in Python: 14,000 containers at
most, or about 10 ms on a machine with other work."""
_SLACK: Final = 100_000
"""Objects, about 10 MB, for which a pause is not worth it: a large job that is submitted."""


@attrs.define(slots=True, eq=False)
class CollectorPauses:
    """A callback of the collector that freezes what survives."""

    limit: int
    """Permanent objects from which the next collection looks at all."""

    def __call__(self, phase: str, info: Mapping[str, int]) -> None:
        if info["generation"] != 2:
            return
        if phase == "start" and gc.get_freeze_count() > self.limit:
            gc.unfreeze()
            self.limit = 0
        elif phase == "stop":
            gc.freeze()
            if not self.limit:
                self.limit = _find_limit()


def _find_limit() -> int:
    return 2 * gc.get_freeze_count() + _SLACK


@contextmanager
def short_pauses() -> Iterator[CollectorPauses]:
    """Freeze what there is now, and what survives each later collection while the body runs.

    For programs, not for libraries: it changes the collector of the whole process. Enter it when all
    modules are imported.
    """
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_YOUNG, _OLDEST)
    pauses = CollectorPauses(limit=_find_limit())
    gc.callbacks.append(pauses)
    try:
        yield pauses
    finally:
        gc.callbacks.remove(pauses)
        gc.set_threshold(*thresholds)
