"""Write the files that a user names: reports, pages, sheets. Blocking.

The name may stand for anything: a link, a FIFO, a terminal, a device, the file of another user. A link is
followed. A regular file is replaced as a whole by one with its mode and owner, so that a reader, or
another program that writes the same report, never sees half of it. Anything else is written through and
stays what it is.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from contextlib import suppress
from pathlib import Path

from trio_afrender.errors import ConfigError
from trio_afrender.safe_files import PLAIN, write_all

__all__ = (
    "describe_unwritable",
    "expand_home",
    "find_temporary_folder",
    "is_folder",
    "write_user_file",
)

READER_TIME = 10.0
"""Seconds in which a FIFO must find a reader, and in which a reader must take something."""
_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | PLAIN


def expand_home(path: str | Path) -> Path:
    """Return the path with ``~`` and ``~user`` replaced; that of a user who does not exist stays."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - `Path.expanduser` raises RuntimeError for it


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder that this user can see. `Path.is_dir` raises `OSError` where a folder
    above it is closed to him, and for a name that is too long."""
    return os.path.isdir(path)  # noqa: PTH112 - as above


def find_temporary_folder() -> Path:
    """Return the folder for temporary files. Raises `ConfigError` if all of them are full or read-only."""
    import tempfile  # here, because an agent needs none

    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise ConfigError(
            "no folder for temporary files can be written: set TMPDIR to one"
        ) from error


def describe_unwritable(path: Path) -> str:
    """Return why a file cannot be written there, as far as that shows before it is; '' if it can be."""
    try:
        found = os.stat(path)  # noqa: PTH116 - as in the rest of this module, a text or a path
    except FileNotFoundError:
        folder = Path(os.path.realpath(path)).parent
        if not os.access(folder, os.W_OK | os.X_OK):
            return f"the folder {folder} is missing or not writable"
        return ""
    except OSError as error:
        return error.strerror or str(error)
    if stat.S_ISDIR(found.st_mode):
        return "this is a folder, give a file name"
    return "" if os.access(path, os.W_OK) else "the file is not writable"


def write_user_file(path: Path, data: bytes) -> None:
    """Write `data` to what `path` stands for. Raises `OSError`; then an older file is as it was.

    A file that cannot be replaced, because its folder is not writable, it has other names, or its owner
    cannot be kept, is overwritten in place.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - follows links, also those below /proc
    except FileNotFoundError:
        _replace(path, data, None)
        return
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "this is a folder", str(path))
    stream = _find_stream(found)
    if stream >= 0:
        # The shell has opened it: what was written before stays, what follows comes behind.
        write_all(stream, data)
    elif not stat.S_ISREG(found.st_mode):
        _write_through(path, data)
    elif not _replace(path, data, found):
        handle = os.open(path, os.O_WRONLY | PLAIN)
        try:
            write_all(handle, data)
            # Afterwards: so a full disk leaves most of the older file.
            os.ftruncate(handle, len(data))
            os.fsync(handle)
        finally:
            os.close(handle)


def _find_stream(found: os.stat_result) -> int:
    """Return 1 or 2 if that is this process's stdout or stderr, as with ``/dev/stdout``, else -1."""
    with suppress(OSError):
        # Windows gives it the numbers of every pipe.
        if os.path.samestat(found, os.stat(os.devnull)):  # noqa: PTH116 - a constant
            return -1
    for number in (1, 2):
        with suppress(OSError):  # it may be closed
            if os.path.samestat(found, os.fstat(number)):
                return number
    return -1


def _replace(path: Path, data: bytes, found: os.stat_result | None) -> bool:
    """Write another file and rename it; False, without a change, if the file there cannot be replaced."""
    import secrets  # here, because --help does not wait for it

    target = Path(os.path.realpath(path))
    if found is not None:
        if found.st_nlink != 1 or not os.access(target.parent, os.W_OK | os.X_OK):
            return False
        if not os.access(target, os.W_OK):
            return False  # the folder's owner could replace a file that is protected from writing
        try:
            # A name below /proc leads to a file that may have no name any more.
            if not os.path.samestat(found, target.stat()):
                return False
        except OSError:
            return False
    # A short name of its own: that of the target may have the greatest length already, and another
    # program, or another thread, may write the same target.
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | PLAIN
    handle = os.open(part, flags, 0o666 if found is None else 0o600)
    try:
        try:
            if found is not None and not _keep_owner_and_mode(handle, found):
                part.unlink()
                return False
            write_all(handle, data)
            os.fsync(handle)  # some file systems report a full disk only here
        finally:
            os.close(handle)
        part.replace(target)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    return True


def _keep_owner_and_mode(handle: int, found: os.stat_result) -> bool:
    if not hasattr(os, "fchown"):  # Windows: files have no owner of this kind
        return True
    made = os.fstat(handle)
    if (made.st_uid, made.st_gid) != (found.st_uid, found.st_gid):
        try:
            os.fchown(handle, found.st_uid, found.st_gid)
        except OSError:
            return False
    os.fchmod(handle, stat.S_IMODE(found.st_mode))
    return True


def _write_through(path: Path, data: bytes) -> None:
    """Write to a FIFO, a device, a terminal. None of them can delay the program for ever."""
    end = time.monotonic() + READER_TIME
    while True:
        try:
            handle = os.open(path, os.O_WRONLY | _NO_WAIT)
            break
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() > end:
                raise OSError(errno.ENXIO, "nothing reads from it", str(path)) from error
        time.sleep(0.05)
    try:
        # Windows, which has no other such files than the null device, can wait for sockets alone. On
        # Unix `select.select` takes no descriptor above 1023.
        ready = select.poll() if hasattr(select, "poll") else None
        if ready is not None:
            ready.register(handle, select.POLLOUT)
        view = memoryview(data)
        while view:
            if ready is not None and not ready.poll(READER_TIME * 1000):
                raise TimeoutError(errno.ETIMEDOUT, "its reader reads no more", str(path))
            with suppress(BlockingIOError):
                view = view[os.write(handle, view[:65536]) :]
    finally:
        os.close(handle)
