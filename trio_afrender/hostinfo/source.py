"""One source of figures that may hang: a thread of its own, and its last values meanwhile.

A disk or driver that is stuck keeps its thread, and no other source waits for it. Its answer counts
whenever it comes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import trio

__all__ = ("Fields", "MetricSource")

_log = logging.getLogger(__name__)

Fields: TypeAlias = Mapping[str, Any]


class MetricSource:
    """A group of fields that are measured together by `read`, which blocks.

    While it is `idle`, asking would tell nothing new, and no thread is bothered.
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
        self._thread = trio.CapacityLimiter(1)  # who holds it is still out there
        self._values: Fields = {}
        self._hangs = False
        self._problem = ""

    @property
    def values(self) -> Fields:
        """The last that is known."""
        return self._values

    @property
    def stale(self) -> tuple[str, ...]:
        """The fields, if they could not be measured this time."""
        return self._fields if self._hangs or self._problem else ()

    async def ask(self, patience: float) -> None:
        """Measure in the thread of this source, waiting for it at most `patience` seconds."""
        if self._thread.available_tokens and self._idle():
            await trio.lowlevel.checkpoint()
        elif self._thread.available_tokens:
            with trio.move_on_after(patience):
                await trio.to_thread.run_sync(
                    self.measure, limiter=self._thread, abandon_on_cancel=True
                )
        else:
            await trio.lowlevel.checkpoint()
        hangs = not self._thread.available_tokens
        if hangs and not self._hangs:
            _log.warning("%s gives no answer: what was known of it is shown", self.name)
        self._hangs = hangs

    def measure(self) -> None:
        """Measure here and now. Never raises: a problem is named in the log once, until it is over."""
        try:
            self._values = self._read()
        except Exception as error:  # noqa: BLE001 - the other sources are still wanted
            self._values = {}
            problem = str(error) or type(error).__name__
            if problem != self._problem:
                _log.warning("cannot measure %s: %s", self.name, problem)
            self._problem = problem
        else:
            self._problem = ""
