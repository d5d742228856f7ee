"""Log lines that others can cause: some of each kind a minute, then a sum."""

from __future__ import annotations

import logging
from collections.abc import Callable

import attrs
import trio

__all__ = ("RepeatedLines",)

_SUM_INTERVAL = 60.0
"""Seconds after which the lines that were left out are summed up."""
MAX_KEYS = 500
"""Kinds and sources that are counted one by one by default."""


@attrs.define(eq=False)
class _Window:
    began: float
    level: int
    kind: str
    shown: int = 0
    left_out: int = 0


class RepeatedLines:
    """Passes on at most `lines` lines of one kind and source a minute, then how many more came.

    At most `keys` pairs of a kind and a source are counted: lines of further sources count for their
    kind alone.

    `clock` returns seconds. The owner runs `run`, or calls `flush` now and then, for sums of what has
    ended.
    """

    def __init__(
        self,
        logger: logging.Logger,
        clock: Callable[[], float],
        *,
        lines: int = 5,
        keys: int = MAX_KEYS,
    ) -> None:
        self._logger = logger
        self._clock = clock
        self._lines = lines
        self._keys = keys
        self._windows: dict[tuple[str, str], _Window] = {}

    def log(self, level: int, source: str, kind: str, text: str, *arguments: object) -> None:
        """Log `text`; `kind` names in a few words what is counted, `source` whose lines these are."""
        now = self._clock()
        key = (kind, source)
        if key not in self._windows and len(self._windows) >= self._keys:
            self.flush()
            if len(self._windows) >= self._keys:
                key = (kind, "")
        window = self._windows.get(key)
        if window is None or now >= window.began + _SUM_INTERVAL:
            if window is not None:
                self._sum_up(key, window)
            window = self._windows[key] = _Window(now, level, kind)
        if window.shown < self._lines:
            window.shown += 1
            named = {"kind": kind, "source": source}
            self._logger.log(level, text, *arguments, extra=named)
        else:
            window.left_out += 1

    async def run(self) -> None:
        """Log the sums of windows that are over, each minute, until cancelled."""
        while True:
            await trio.sleep(_SUM_INTERVAL)
            self.flush()

    def flush(self) -> None:
        """Log the sums of windows that are over, and forget them."""
        now = self._clock()
        for key, window in list(self._windows.items()):
            if now >= window.began + _SUM_INTERVAL:
                del self._windows[key]
                self._sum_up(key, window)

    def _sum_up(self, key: tuple[str, str], window: _Window) -> None:
        if window.left_out:
            source = f" from {key[1]}" if key[1] else ""
            self._logger.log(
                window.level,
                "%s: %d more%s within %g s",
                window.kind,
                window.left_out,
                source,
                _SUM_INTERVAL,
                extra={"kind": window.kind, "source": key[1], "left_out": window.left_out},
            )
