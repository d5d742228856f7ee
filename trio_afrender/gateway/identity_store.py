"""Stores which render of the server each name is: the only data a gateway keeps, a file a name.

Without it a restarted gateway can still continue with agents that have runs: both the agent and
the server report the time at which the agent was launched.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import trio

from trio_afrender.errors import StoreError, StoreInUse

__all__ = ("DiskIdentityStore", "IdentityStore", "MemoryIdentityStore", "open_folder")


class IdentityStore(Protocol):
    """Stores a text for each name."""

    def read(self, name: str) -> Awaitable[str]:
        """Read the stored text; empty if there is none."""
        ...

    def keep(self, name: str, text: str) -> Awaitable[None]:
        """Store the text of a name. Raises OSError."""
        ...


class MemoryIdentityStore:
    """Stores texts in memory."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    async def read(self, name: str) -> str:
        await trio.lowlevel.checkpoint()
        return self.texts.get(name, "")

    async def keep(self, name: str, text: str) -> None:
        await trio.lowlevel.checkpoint()
        self.texts[name] = text


class DiskIdentityStore:
    """Stores texts on disk, made by `open_folder`. A name may contain any character, so its digest
    names the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def read(self, name: str) -> str:
        return await trio.to_thread.run_sync(partial(_read, self._file(name)))

    async def keep(self, name: str, text: str) -> None:
        await trio.to_thread.run_sync(partial(_write, self._file(name), text))

    def _file(self, name: str) -> Path:
        return self._path / hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    # A gateway that is killed while it writes leaves the old text, not half of the new one.
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


@contextmanager
def open_folder(path: Path) -> Iterator[DiskIdentityStore]:
    """Open a folder for this process alone; made with mode 0700 if it does not exist.

    Raises `StoreInUse` if another gateway has it, and `StoreError`.
    """
    try:
        with suppress(FileExistsError):
            path.mkdir(mode=0o700, parents=True)
        facts = path.lstat()
        if not stat.S_ISDIR(facts.st_mode):
            raise StoreError(path, "is a link or a file; remove it or choose another --store")
        if facts.st_uid != os.getuid():
            raise StoreError(path, f"belongs to user {facts.st_uid}; choose another --store")
        path.chmod(0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open(path / "lock", flags, 0o600)
    except OSError as error:
        raise StoreError.of(path, error, "; choose another --store") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield DiskIdentityStore(path)
    except BlockingIOError:
        text = "another gateway has it; stop that one or choose another --store"
        raise StoreInUse(path, text) from None
    finally:
        os.close(lock)
