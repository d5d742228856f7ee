"""Stores which render of the server each name is: the only data a gateway keeps, a file a name.

Without it a restarted gateway can still continue with agents that have runs: both the agent and
the server report the time at which the agent was launched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import trio

from trio_afrender.private_folder import lock_folder, make_private
from trio_afrender.safe_files import read_regular, write_whole

__all__ = ("DiskIdentityStore", "IdentityStore", "MemoryIdentityStore", "open_folder")


_MAX_TEXT = 64 * 1024
"""Bytes of a stored text; those that a gateway writes have about a hundred."""


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
        await trio.to_thread.run_sync(partial(write_whole, self._file(name), text))

    def _file(self, name: str) -> Path:
        return self._path / hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _read(path: Path) -> str:
    try:
        return read_regular(path, _MAX_TEXT).decode("utf-8", "replace")
    except OSError:
        return ""


@contextmanager
def open_folder(path: Path) -> Iterator[DiskIdentityStore]:
    """Open a folder for this process alone; made with mode 0700 if it does not exist.

    Raises `StoreInUse` if another gateway has it, and `StoreError`.
    """
    make_private(path, instead="another --store")
    with lock_folder(path, "another gateway has it; stop that one or choose another --store"):
        yield DiskIdentityStore(path)
