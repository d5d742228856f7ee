"""Stores which render of the server each name is: the only data a gateway keeps, a file a name.

Without it a restarted gateway can still continue with agents that have runs: both the agent and
the server report the time at which the agent was launched.

A token of a pattern may be used with any number of names, so what is stored expires, and of too many
names the oldest are removed. Names in use stay.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import trio

from trio_afrender.errors import is_exhausted
from trio_afrender.private_folder import lock_folder, make_private
from trio_afrender.safe_files import read_regular, write_whole
from trio_afrender.tasklog.io_threads import call_in_thread

__all__ = ("DiskIdentityStore", "IdentityStore", "MemoryIdentityStore", "open_identity_store")

T = TypeVar("T")
_MAX_TEXT = 64 * 1024
"""Bytes of a stored text; those that a gateway writes have about a hundred."""
MAX_NAMES = 20_000
"""Stored names; when there are more, a tenth of them is removed."""
MAX_AGE = 30 * 86400.0
"""Seconds after the last registration of a name until it is removed."""
_FILE_NAME = re.compile(r"[0-9a-f]{32}(\.part)?", re.ASCII)


class IdentityStore(Protocol):
    """Stores a text for each name. From `read` to `leave` a name is in use."""

    def read(self, name: str) -> Awaitable[str]:
        """Read the stored text; empty if there is none.

        Raises OSError where the host has nothing left to read it with.
        """
        ...

    def keep(self, name: str, text: str) -> Awaitable[None]:
        """Store the text of a name. Raises OSError."""
        ...

    def leave(self, name: str) -> None:
        """Note that a name is not in use any more."""
        ...

    def expire(self) -> Awaitable[int]:
        """Remove what is too old or too much; return how many names were removed. Raises OSError."""
        ...


class MemoryIdentityStore:
    """Stores texts in memory, of at most `limit` names that are not in use."""

    def __init__(self, limit: int = MAX_NAMES) -> None:
        self.texts: dict[str, str] = {}
        """The oldest first."""
        self._limit = limit
        self._used: set[str] = set()

    async def read(self, name: str) -> str:
        await trio.lowlevel.checkpoint()
        self._used.add(name)
        return self.texts.get(name, "")

    async def keep(self, name: str, text: str) -> None:
        await trio.lowlevel.checkpoint()
        self.texts.pop(name, None)
        self.texts[name] = text
        if len(self.texts) > self._limit:
            await self.expire()

    def leave(self, name: str) -> None:
        self._used.discard(name)

    async def expire(self) -> int:
        await trio.lowlevel.checkpoint()
        old = [name for name in self.texts if name not in self._used]
        surplus = old[: max(len(self.texts) - self._limit, 0)]
        for name in surplus:
            del self.texts[name]
        return len(surplus)


class DiskIdentityStore:
    """Stores texts on disk, made by `open_identity_store`. A name may contain any character, so its
    digest names the file."""

    def __init__(self, path: Path, limit: int = MAX_NAMES) -> None:
        self._path = path
        self._limit = limit
        self._used: set[str] = set()
        self._room = 0
        """Writes until they are to be counted again."""
        # One thread: a file must not be removed while it is written.
        self._thread = trio.CapacityLimiter(1)

    async def read(self, name: str) -> str:
        file = self._file(name)
        self._used.add(file.name)
        try:
            # Abandoned when cancelled: the disk may hang.
            return await self._run(partial(_read, file), abandon=True)
        except BaseException:
            self._used.discard(file.name)
            raise

    async def keep(self, name: str, text: str) -> None:
        await self._run(partial(write_whole, self._file(name), text))
        self._room -= 1
        if self._room < 0:
            await self.expire()

    def leave(self, name: str) -> None:
        self._used.discard(self._file(name).name)

    async def expire(self) -> int:
        removed, left = await self._run(
            partial(_expire, self._path, frozenset(self._used), self._limit, time.time() - MAX_AGE)
        )
        self._room = max(self._limit - left, self._limit // 10)
        return removed

    async def _run(self, call: Callable[[], T], *, abandon: bool = False) -> T:
        return await call_in_thread(call, limiter=self._thread, abandon=abandon)

    def _file(self, name: str) -> Path:
        return self._path / hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _expire(folder: Path, used: Collection[str], limit: int, oldest: float) -> tuple[int, int]:
    """Remove the files of names that are not `used` and older than `oldest` (Unix time), then, if
    more than `limit` are left, the oldest until nine tenths of it are. Return how many were removed
    and how many are left."""
    with os.scandir(folder) as entries:
        found = [
            (entry.stat(follow_symlinks=False).st_mtime, entry.name)
            for entry in entries
            if _FILE_NAME.fullmatch(entry.name)
        ]
    found.sort()
    surplus = len(found) - limit * 9 // 10 if len(found) > limit else 0
    removed = 0
    for changed, name in found:
        if name not in used and (changed < oldest or removed < surplus):
            with suppress(OSError):  # another process has removed it, or may not be able to
                (folder / name).unlink()
                removed += 1
    return removed, len(found) - removed


def _read(path: Path) -> str:
    try:
        text = read_regular(path, _MAX_TEXT).decode("utf-8", "replace")
        # It is read at a registration, from which its age counts.
        os.utime(path, follow_symlinks=False)
    except OSError as error:
        # Without its id a render that is online could not continue, and one that the server has
        # paused for it would stay paused (test_an_id_that_cannot_be_read_now_is_read_at_the_next_attempt).
        if is_exhausted(error):
            raise
        return ""
    return text


@contextmanager
def open_identity_store(path: Path, limit: int = MAX_NAMES) -> Iterator[DiskIdentityStore]:
    """Open a folder for this process alone; made with mode 0700 if it does not exist.

    `limit` is the number of names that it keeps.

    Raises `StoreInUse` if another gateway has it, and `StoreError`.
    """
    make_private(path, instead="another --store")
    with lock_folder(path, "another gateway has it; stop that one or choose another --store"):
        yield DiskIdentityStore(path, limit)
