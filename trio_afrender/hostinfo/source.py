"""Sources of measurements that may hang: one thread reads all that answer, in turn.

A stuck disk or driver keeps the thread that reads it, and the sources behind it are read in another
one. Its answer is stored when it comes, however late; until then it has its last values.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

import trio

from trio_afrender.tasklog.io_threads import call_in_thread

__all__ = ("Fields", "MetricSource", "measure_sources")

_log = logging.getLogger(__name__)

Fields: TypeAlias = Mapping[str, Any]


class MetricSource:
    """A group of fields that the blocking function `read` measures together.

    While `idle()` is true, a measurement would find nothing new, and no thread is used for it.
    """

    def __init__(
        self,
        name: str,
        fields: tuple[str, ...],
        read: Callable[[], Fields],
        *,
        idle: Callable[[], bool] = lambda: False,
    ) -> None:
        self.name = name
        self._fields = fields
        self._read = read
        self._idle = idle
        self.busy: bool = False
        """Whether a thread reads it: there is never more than one for a source."""
        self._values: Fields = {}
        self._hangs = False
        self._problem = ""

    @property
    def values(self) -> Fields:
        """The values of the last measurement that ended."""
        return self._values

    @property
    def stale(self) -> tuple[str, ...]:
        """The names of the fields, if the last measurement failed or has not ended."""
        return self._fields if self._hangs or self._problem else ()

    def is_due(self) -> bool:
        """Whether a measurement can begin and would find something new."""
        return not self.busy and not self._idle()

    def note_hang(self, hangs: bool) -> None:
        """Note whether it has not answered this time; that is logged once, until it is over."""
        if hangs and not self._hangs:
            _log.warning("no answer from %s: the last values are reported", self.name)
        self._hangs = hangs

    def measure(self) -> None:
        """Measure in the calling thread. Never raises: an error is logged once, until it is over."""
        self.busy = True
        try:
            self._values = self._read()
        except Exception as error:  # noqa: BLE001 - the other sources must still be measured
            self._values = {}
            problem = str(error) or type(error).__name__
            if problem != self._problem:
                _log.warning("cannot measure %s: %s", self.name, problem)
            self._problem = problem
        else:
            self._problem = ""
        finally:
            self.busy = False


async def measure_sources(
    sources: Sequence[MetricSource], timeout: float, limiter: trio.CapacityLimiter
) -> None:
    """Measure the sources that are due, in one thread as long as none hangs.

    After `timeout` seconds the source that is being read is left behind. It keeps its thread and a token
    of `limiter`, which needs as many tokens as there are sources. Where the host has no thread left, none is
    read. Always a checkpoint.
    """
    due = deque(source for source in sources if source.is_due())

    def work(own: deque[MetricSource]) -> None:
        for source in _take(own):
            source.measure()

    await trio.lowlevel.checkpoint()
    while due:
        own, due = due, deque[MetricSource]()
        count = len(own)
        # A thread for each source took twice the processor time: they compete for the interpreter
        # lock, and each one wakes the event loop.
        try:
            with trio.move_on_after(timeout):
                await call_in_thread(partial(work, own), limiter=limiter, abandon=True)
        finally:
            # A thread that is left behind ends with the source that hangs: what it has not begun is
            # taken from it, also if this call is cancelled, for the next one.
            due.extend(_take(own))
        if len(due) == count:  # the host has no thread left, and would have none at once
            break
    for source in sources:
        source.note_hang(source.busy or source in due)


def _take(sources: deque[MetricSource]) -> Iterator[MetricSource]:
    """Yield them and take them out, while another thread may do the same: each is had once."""
    with suppress(IndexError):
        while True:
            yield sources.popleft()
