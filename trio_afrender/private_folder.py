"""Folders for one process alone: mode 0700, owner checked, locked; files written whole. All of it blocks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trio_afrender.errors import StoreError, StoreInUse

__all__ = ("NO_LINK", "lock_folder", "make_private", "write_all", "write_whole")

NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
"""Flags of `os.open`: a link that was put into the folder is not followed out of it, and no child
inherits the descriptor. Windows has neither."""


def make_private(path: Path, *, instead: str = "another folder") -> None:
    """Create a folder with mode 0700, or check the existing one and close it to other users.

    Raises `StoreError` if it is a link, belongs to another user or cannot be created. Folders above
    it are created with the usual mode. `instead` is what the errors advise to choose.
    """
    try:
        with suppress(FileExistsError):
            path.mkdir(mode=0o700, parents=True)
        facts = path.lstat()
        if not stat.S_ISDIR(facts.st_mode):
            raise StoreError(path, f"is a link or a file; remove it or choose {instead}")
        if hasattr(os, "getuid") and facts.st_uid != os.getuid():
            raise StoreError(path, f"belongs to user {facts.st_uid}; choose {instead}")
        if facts.st_mode & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise StoreError.of(path, error, f"; choose {instead}") from error


@contextmanager
def lock_folder(path: Path, in_use: str) -> Iterator[None]:
    """Lock a folder against other processes. Raises `StoreInUse` with the text `in_use`, `StoreError`.

    The kernel releases the lock when this process ends, however it ends.
    """
    import fcntl  # here, because Windows has none and a farm needs no lock

    try:
        # No child inherits the descriptor: one that outlives this process must not hold the lock.
        handle = os.open(path / "lock", os.O_RDWR | os.O_CREAT | NO_LINK, 0o600)
    except OSError as error:
        raise StoreError.of(path, error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreInUse(path, in_use) from None
        # The pid is for people. On a full disk the lock holds without it, and the tasks of an earlier
        # agent can still be taken over.
        with suppress(OSError):
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)


def write_all(handle: int, data: bytes) -> None:
    """Write `data` to a descriptor, which may take it in parts. Raises `OSError`."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def write_whole(
    path: str | Path, data: str | bytes, *, mode: int = 0o666, unfinished: str | Path = ""
) -> None:
    """Write a file that a reader sees either complete or not at all. Raises `OSError`.

    It is written as `unfinished`, by default ``<path>.part``, and renamed. A process that is killed
    meanwhile leaves the old file. `mode` is that of a new file, less the process's umask.
    """
    part = unfinished or f"{path}.part"
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NO_LINK, mode)
    try:
        write_all(handle, data.encode() if isinstance(data, str) else data)
    except OSError:
        with suppress(OSError):
            os.unlink(part)  # noqa: PTH108 - `Path` objects are a large part of the cost of a write
        raise
    finally:
        os.close(handle)
    os.replace(part, path)  # noqa: PTH105 - as above
