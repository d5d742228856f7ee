"""Keeps the pauses of Python's collector of cycles short in programs with many long-lived objects.

A collection of the oldest generation looks at all containers of a process, and its loop does nothing
else meanwhile: 60 to 80 ms for a farm of 1000 renders and 10,000 frames whose page has 200 viewers, with
125,000 containers. Nearly all of them live as long as the farm, so what survives such a collection is
moved to the permanent generation, and the next one looks only at what was made since.

Reference counts free objects of the permanent generation, too. Only cycles stay that become garbage
there, such as the 19 objects of a viewer's connection, so at times everything is looked at. How many
permanent objects there are does not decide when: to count them takes 12 ms. Versions of Python whose
collector works in increments never call for any of this.
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
_ALL_AFTER: Final = 1000
"""Collections of the oldest generation before one that looks at everything: an hour or more, with 200
viewers of a job whose frames end; days without viewers."""


@attrs.define(slots=True, eq=False)
class CollectorPauses:
    """A callback of the collector that freezes what survives."""

    left: int = _ALL_AFTER
    """Collections until everything is looked at."""

    def __call__(self, phase: str, info: Mapping[str, int]) -> None:
        if info["generation"] != 2:
            return
        if phase == "stop":
            gc.freeze()
            return
        self.left -= 1
        if not self.left:
            self.left = _ALL_AFTER
            gc.unfreeze()


@contextmanager
def short_pauses() -> Iterator[CollectorPauses]:
    """Freeze what there is now, and what survives each later collection while the body runs.

    For programs, not for libraries: it changes the collector of the whole process. Enter it when all
    modules are imported.
    """
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_YOUNG, _OLDEST)
    pauses = CollectorPauses()
    gc.callbacks.append(pauses)
    try:
        yield pauses
    finally:
        gc.callbacks.remove(pauses)
        gc.set_threshold(*thresholds)
