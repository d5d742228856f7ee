"""Read and write files where tasks may write: regular files only, bounded, never waited for. Blocking.

A task can put anything in the place of a file that the agent or a task supervisor uses: a FIFO, whose
open waits for the other end; a link to a device without end, or to a file of the agent's user; a file
of many gigabytes. Standard library alone, because task supervisors import this module.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from functools import partial
from pathlib import Path

from trio_afrender.windows_files import long_path, open_shared, retry_shared

__all__ = (
    "NO_LINK",
    "PLAIN",
    "open_regular",
    "read_at",
    "read_regular",
    "remove_file",
    "replace_file",
    "sync_folder",
    "write_all",
    "write_at",
    "write_whole",
)

PLAIN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Flags of `os.open`: no child inherits the descriptor, and bytes stay as they are. Windows has only the
second, without which it stores another byte before each line end."""
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | PLAIN
"""Flags of `os.open`: `PLAIN`, and a link that was put into the folder is not followed out of it."""
_WINDOWS = not hasattr(os, "O_NOFOLLOW")
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)


def open_regular(path: str | Path, flags: int) -> int:
    """Open a regular file and return its descriptor, which the caller closes. A new one has mode 0600.

    Raises `OSError`: EINVAL or ENXIO for anything that is no regular file, ELOOP for a link.
    """
    if _WINDOWS:
        handle = open_shared(path, flags)
    else:
        handle = os.open(path, flags | NO_LINK | _NO_WAIT, 0o600)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def read_regular(path: str | Path, limit: int, *, owner: int | None = None) -> bytes:
    """Return the contents of a regular file of at most `limit` bytes.

    Raises `OSError` as `open_regular` does, EFBIG for a larger file, and EPERM for one of another
    user than `owner`.
    """
    handle = open_regular(path, os.O_RDONLY)
    try:
        # Where users may make links to files of others (fs.protected_hardlinks), the place of a file
        # does not show whose it is.
        if owner is not None and os.fstat(handle).st_uid != owner:
            raise OSError(errno.EPERM, "belongs to another user", str(path))
        parts, room = [], limit + 1
        while room and (part := os.read(handle, room)):
            parts.append(part)
            room -= len(part)
    finally:
        os.close(handle)
    if not room:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", str(path))
    return b"".join(parts)


def read_at(handle: int, limit: int, offset: int) -> bytes:
    """Read at most `limit` bytes at an offset. Of one thread alone: Windows moves the position."""
    if _WINDOWS:
        os.lseek(handle, offset, os.SEEK_SET)
        return os.read(handle, limit)
    return os.pread(handle, limit, offset)


def write_at(handle: int, data: bytes | memoryview, offset: int) -> int:
    """Write at an offset; return how many bytes were taken. Of one thread alone, as `read_at`."""
    if _WINDOWS:
        os.lseek(handle, offset, os.SEEK_SET)
        return os.write(handle, data)
    return os.pwrite(handle, data, offset)


def replace_file(new: str | Path, path: str | Path) -> None:
    """Put a file in the place of another one. Raises `OSError`.

    On Windows it waits for a moment when another process has one of them open.
    """
    if _WINDOWS:
        retry_shared(partial(os.replace, long_path(new), long_path(path)))
    else:
        os.replace(new, path)  # noqa: PTH105 - `Path` objects are a large part of the cost of a write


def remove_file(path: str | Path) -> None:
    """Remove a file. Raises `OSError`. On Windows it waits, as `replace_file`."""
    if _WINDOWS:
        retry_shared(partial(os.unlink, long_path(path)))
    else:
        os.unlink(path)  # noqa: PTH108 - as above


def sync_folder(folder: str | Path) -> None:
    """Make the names in a folder durable. Raises `OSError`. Windows does that with each file."""
    if _WINDOWS:
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | NO_LINK)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_all(handle: int, data: bytes) -> None:
    """Write `data` to a descriptor, which may take it in parts. Raises `OSError`."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def write_whole(
    path: str | Path,
    data: str | bytes,
    *,
    mode: int = 0o666,
    owner: tuple[int, int] | None = None,
) -> None:
    """Write a file that a reader sees either complete or not at all. Raises `OSError`.

    It is written as ``<path>.part`` and renamed. A process that is killed
    meanwhile leaves the old file. `mode` is that of a new file, less the process's umask; `owner` is its
    new user and group.
    """
    part = f"{path}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        handle = _open_new(part, flags, mode)
    except FileExistsError:
        # The rest of a write that was killed, or what a task put there: never opened, but replaced.
        remove_file(part)
        handle = _open_new(part, flags, mode)
    try:
        write_all(handle, data.encode() if isinstance(data, str) else data)
        if owner is not None:
            os.fchown(handle, *owner)
    except OSError:
        with suppress(OSError):
            remove_file(part)
        raise
    finally:
        os.close(handle)
    replace_file(part, path)


def _open_new(path: str | Path, flags: int, mode: int) -> int:
    return open_shared(path, flags) if _WINDOWS else os.open(path, flags | NO_LINK, mode)
