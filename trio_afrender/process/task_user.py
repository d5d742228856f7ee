"""The users of this host as which tasks may run, and whether they can enter a folder. Blocking."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

import attrs

from trio_afrender.user_switch import UserIds

__all__ = ("TaskUser", "find_barrier", "find_user", "find_user_of")


@attrs.frozen(slots=True, kw_only=True)
class TaskUser:
    """A user of this host."""

    name: str
    ids: UserIds
    home: str = "/"


def find_user(name: str) -> TaskUser | None:
    """Return the user with this name; None if the host has none. May ask a directory service."""
    import pwd  # here, because Windows has none

    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):  # a name with NUL
        return None
    groups = tuple(sorted({entry.pw_gid, *os.getgrouplist(entry.pw_name, entry.pw_gid)}))
    ids = UserIds(entry.pw_uid, entry.pw_gid, groups)
    return TaskUser(name=entry.pw_name, ids=ids, home=entry.pw_dir or "/")


def find_user_of(folder: Path) -> TaskUser | None:
    """Return the owner of a folder; None if there is no such folder."""
    import pwd  # as above

    try:
        facts = folder.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISDIR(facts.st_mode):
        return None
    try:
        return find_user(pwd.getpwuid(facts.st_uid).pw_name)
    except KeyError:  # removed from the host meanwhile
        ids = UserIds(facts.st_uid, facts.st_gid, (facts.st_gid,))
        return TaskUser(name=str(facts.st_uid), ids=ids)


def find_barrier(path: Path, ids: UserIds) -> Path | None:
    """Return the first folder on the way to `path`, and itself, that a user cannot enter; None: none.

    By owner, group and mode. A folder with an access list counts as open, because only a try would
    show. Raises `OSError`.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - a link is looked at like what it leads to
    for folder in (*reversed(path.parents), path):
        try:
            facts = folder.stat()
        except FileNotFoundError:
            return None
        if facts.st_uid == ids.uid:
            allowed = facts.st_mode & stat.S_IXUSR
        elif facts.st_gid in ids.groups:
            allowed = facts.st_mode & stat.S_IXGRP
        else:
            allowed = facts.st_mode & stat.S_IXOTH
        if not allowed:
            with suppress(OSError):
                if "system.posix_acl_access" in os.listxattr(folder):
                    continue
            return folder
    return None
