"""Folders for one process alone: mode 0700, owner checked, locked. All of it blocks.

On Windows an access list has the place of the mode.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trio_afrender.errors import StoreError, StoreInUse
from trio_afrender.safe_files import open_regular
from trio_afrender.windows_files import close_to_others, explain_owner, lock_handle

__all__ = ("find_unsafe", "is_locked", "lock_folder", "make_private")

_WINDOWS = not hasattr(os, "geteuid")
_LOCK_TRIES = 5
_LOCK_PAUSE = 0.02
"""Seconds between two tries to lock: who looks whether a folder is locked (`is_locked`) has the lock for
a moment, and a program that ends with "in use" is not started again."""
_JUNCTION = 0xA0000003
"""The tag of a folder that leads to another one on Windows (IO_REPARSE_TAG_MOUNT_POINT)."""


def make_private(path: Path, *, instead: str = "another folder", passable: bool = False) -> None:
    """Create a folder with mode 0700, or check the existing one and close it to other users.

    `passable`: with mode 0711, so that other users can reach what they know in it, and list nothing.

    Missing folders above it are created with mode 0755, less the umask. Raises `StoreError` if it
    cannot be created or is not this user's, and for any folder on the way to it that `find_unsafe`
    names: who may replace a folder can replace everything below it. `instead` is what the errors
    advise to choose.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve follows links
    mode = 0o711 if passable else 0o700
    try:
        for folder in (*reversed(path.parents), path):
            # The mode counts at `mkdir`: a chmod after it would leave a moment for other users.
            if folder != folder.parent:  # the root of a drive, which Windows refuses to make
                with suppress(FileExistsError):
                    folder.mkdir(mode=mode if folder == path else 0o755)
            if problem := _explain_unsafe(folder, ours=folder == path):
                raise StoreError(folder, f"{problem} choose {instead}")
        if _WINDOWS:
            close_to_others(path)
        elif stat.S_IMODE(path.lstat().st_mode) & 0o077 != mode & 0o077:
            path.chmod(mode)
    except OSError as error:
        raise StoreError.of(path, error, f"; choose {instead}") from error


def find_unsafe(path: Path, *, follow: bool = False) -> tuple[Path, str] | None:
    """Return the first folder on the way to `path` that others could replace, and why; None: none.

    Every folder from ``/`` to the last existing one must be a folder (no link) of root or of this
    user in which no other user can write; a folder of others to write in is safe only with the sticky
    bit, which keeps them from renaming what is ours. So OpenSSH checks the files of a user. With
    `follow` a link in such a folder counts as what it leads to. The reason is a sentence that another
    way out completes ("..., or" choose another folder). Raises `OSError`. Always None on Windows, which has access lists.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - as above
    for folder in (*reversed(path.parents), path):
        try:
            if follow and folder.is_symlink():
                if unsafe := find_unsafe(folder.resolve()):
                    return unsafe
            elif problem := _explain_unsafe(folder):
                return folder, problem
        except FileNotFoundError:
            return None
    return None


def _explain_unsafe(folder: Path, *, ours: bool = False) -> str:
    """Explain why others could replace what is in `folder`; empty if they cannot.

    With `ours` root's folders and sticky ones do not pass either.
    """
    # In this order from the root on, `lstat` is enough: no other user can exchange a folder whose
    # parents have passed.
    facts = folder.lstat()
    if ours and not stat.S_ISDIR(facts.st_mode):
        return "is a link or a file; remove it or"
    if stat.S_ISLNK(facts.st_mode) or getattr(facts, "st_reparse_tag", 0) == _JUNCTION:
        return f"is a link; name the folder {os.path.realpath(folder)} that it leads to, or"
    if not stat.S_ISDIR(facts.st_mode):
        return "is not a folder; remove it or"
    if _WINDOWS:
        # The folders above belong to the system or its administrators. Ours is closed by its access list.
        return explain_owner(folder) if ours else ""
    user = os.geteuid()
    if facts.st_uid != user and (ours or facts.st_uid != 0):
        return f"belongs to user {facts.st_uid};"
    writers = facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if writers == stat.S_IWGRP and _is_own_group(facts.st_gid):
        writers = 0
    if writers and (ours or not facts.st_mode & stat.S_ISVTX):
        # Not closed with a chmod: links may have been put into it already.
        return f"can be written by others (mode {stat.S_IMODE(facts.st_mode):o}); chmod go-w it or"
    return ""


def _is_own_group(group: int) -> bool:
    """Whether a group has no member but this user, as distributions with umask 002 make them."""
    import grp  # here, because Windows has neither
    import pwd

    try:
        name, members = grp.getgrgid(group).gr_name, grp.getgrgid(group).gr_mem
        user = pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return user.pw_gid == group and user.pw_name == name and set(members) <= {name}


@contextmanager
def lock_folder(path: Path, in_use: str) -> Iterator[None]:
    """Lock a folder against other processes. Raises `StoreInUse` with the text `in_use`, `StoreError`.

    The kernel releases the lock when this process ends, however it ends.
    """
    try:
        # No child inherits the descriptor: one that outlives this process must not hold the lock.
        handle = open_regular(path / "lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise StoreError.of(path, error) from error
    try:
        for left in reversed(range(_LOCK_TRIES)):
            try:
                locked = _lock(handle, exclusive=True)
            except OSError as error:
                raise StoreError.of(path, error) from error
            if locked:
                break
            if not left:
                raise StoreInUse(path, in_use)
            time.sleep(_LOCK_PAUSE)
        # The pid is for people. On a full disk the lock holds without it, and the tasks of an earlier
        # agent can still be taken over.
        with suppress(OSError):
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a folder (`lock_folder`). False if that cannot be found out."""
    try:
        handle = open_regular(path / "lock", os.O_RDWR)
    except OSError:
        return False
    try:
        return not _lock(handle, exclusive=False)
    except OSError:
        return False
    finally:
        os.close(handle)  # releases the lock, if it was taken


def _lock(handle: int, *, exclusive: bool) -> bool:
    """Lock an open file without waiting; False if another process has the lock. Raises `OSError`."""
    if _WINDOWS:
        return lock_handle(handle, exclusive=exclusive)
    import fcntl  # here, because Windows has none

    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
