"""A source of measurements that may hang: it is read in its own thread and keeps its last values.

A stuck disk or driver blocks only the thread of its own source. Its answer is stored when it
comes, however late.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import trio

from trio_afrender.tasklog.io_threads import call_in_thread

__all__ = ("Fields", "MetricSource")

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
        # Taken as long as a read runs, also after `ask` stopped waiting for it: so there is never
        # more than one thread for this source.
        self._thread = trio.CapacityLimiter(1)
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

    async def ask(self, timeout: float) -> None:
        """Measure in the thread of this source; wait at most `timeout` seconds for the result."""
        if self._thread.available_tokens and self._idle():
            await trio.lowlevel.checkpoint()
        elif self._thread.available_tokens:
            with trio.move_on_after(timeout):
                await call_in_thread(self.measure, limiter=self._thread, abandon=True)
        else:
            await trio.lowlevel.checkpoint()
        hangs = not self._thread.available_tokens
        if hangs and not self._hangs:
            _log.warning("no answer from %s: the last values are reported", self.name)
        self._hangs = hangs

    def measure(self) -> None:
        """Measure in the calling thread. Never raises: an error is logged once, until it is over."""
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
