"""Reads a gateway's tokens file again whenever it has changed, so that tokens can be revoked.

The file is looked at every few seconds. No signal asks for it: SIGHUP, which other servers use,
also comes when a terminal closes.
"""

from __future__ import annotations

import logging
import stat
from functools import partial
from pathlib import Path

import trio

from trio_afrender.errors import ConfigError
from trio_afrender.gateway.counters import GatewayCounters
from trio_afrender.tasklog.io_threads import call_in_thread
from trio_afrender.transport.tokens import TokenTable, read_tokens_file

__all__ = ("TokenReload",)

_log = logging.getLogger(__name__)


class TokenReload:
    """Keeps a table like its file. While the file has an error, the table stays as it is."""

    def __init__(self, path: Path, tokens: TokenTable, counters: GatewayCounters) -> None:
        self._path = path
        self._tokens = tokens
        self._counters = counters
        self._version: tuple[int, ...] | None = None
        """What identifies the file that was read last; None: it was not read, or has an error."""
        self._settled = False
        """Whether that version was there at two looks, and read at both. Until then the file may have
        changed without another version: it has the time of a clock that ticks."""
        self._begun = False
        self._problem = ""
        """The error of the file, which is logged once."""
        self._thread = trio.CapacityLimiter(1)

    async def check(self) -> None:
        """Read the file if it has changed. Raises OSError where the host has no thread for it."""
        # Abandoned when cancelled: a network share that hangs must not hold the gateway's end up.
        result = await call_in_thread(
            partial(_read_changed, self._path, self._version if self._settled else None),
            abandon=True,
            limiter=self._thread,
        )
        if result is None:
            return
        at_start, self._begun = not self._begun, True
        version, found = result
        if isinstance(found, ConfigError):
            # It is read again: what was wrong may change without the file. It may have been the
            # rights of a folder, or a host that had no descriptor left.
            self._version, self._settled = None, False
            if str(found) != self._problem:
                self._problem = str(found)
                self._counters.token_files_refused += 1
                _log.warning("%s; the tokens that were read before stay valid", found)
            return
        self._settled = version == self._version
        self._version, self._problem = version, ""
        are_others = self._tokens.replace(found)
        if not at_start and (are_others or not self._settled):
            self._counters.token_files_read += 1
            _log.info("tokens file %s: it has changed and was read", self._path)


def _read_changed(
    path: Path, known: tuple[int, ...] | None
) -> tuple[tuple[int, ...], TokenTable | ConfigError] | None:
    """Read a tokens file whose version is not `known`; return its version and the result."""
    # The version is taken before the file is read: a change in between is seen the next time.
    try:
        status = path.stat()
    except OSError as error:
        return (), ConfigError(f"tokens file {path}: {error.strerror or error}")
    if not stat.S_ISREG(status.st_mode):
        return None  # of a pipe, `<(...)` in a shell, the contents can be read only once
    version = tuple(
        getattr(status, f"st_{name}") for name in ("dev", "ino", "size", "mtime_ns", "ctime_ns")
    )
    if version == known:
        return None
    try:
        return version, read_tokens_file(path)
    except ConfigError as error:
        return version, error
