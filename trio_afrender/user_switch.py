"""Make this process another user's for good: its ids, its groups, no capability. Blocking.

Standard library alone: task supervisors, plugin hosts and the image worker use it. Facts: the pages
capabilities(7), setresuid(2) and credentials(7) of the Linux manual.
"""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = (
    "CAPABILITIES",
    "UserIds",
    "become_user",
    "drop_capabilities",
    "find_missing_capabilities",
    "keep_from_programs",
)

CAPABILITIES = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SYS_PTRACE": 19,
}
"""What the agent needs for tasks of other users, with the numbers of the kernel: to give them their
folders (CHOWN), to read and remove these (DAC_OVERRIDE, FOWNER), to end their processes (KILL), to
start them (SETGID, SETUID), and to find them by the token in their environment (SYS_PTRACE)."""
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_LOWER, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 3, 4
_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "ppc64le": 271, "s390x": 280}
"""The number of the call `keyctl`, for which the C library has no function."""
_KEYCTL_JOIN_SESSION_KEYRING = 1
_CAPABILITY_VERSION = 0x20080522
# Opened at the import: a process that has become another user may not be able to read it any more.
_libc: ctypes.CDLL | None = None
with suppress(OSError, TypeError):  # Windows has none, and no other users either
    _libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class UserIds:
    """What the kernel knows of a user."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    """All groups, also `gid`."""


def become_user(ids: UserIds) -> None:
    """Make this process that user's; nothing of it can be undone. Raises `OSError`.

    After an error the process is neither user's: it must end. Call it while the process has one
    thread: the kernel keeps capabilities for each thread.
    """
    _leave_keyring()
    os.setgroups(ids.groups)
    os.setresgid(ids.gid, ids.gid, ids.gid)
    os.setresuid(ids.uid, ids.uid, ids.uid)
    # The kernel takes the capabilities of root away, but not those of another user, and ambient ones
    # would even survive an exec.
    drop_capabilities()
    ours = {*os.getresuid(), *os.getresgid()}
    if ours != {ids.uid, ids.gid} or set(os.getgroups()) != set(ids.groups):
        raise OSError(errno.EPERM, "the user was not changed")


def _leave_keyring() -> None:
    """Get a session keyring of this process's own. Raises `OSError`: there may be no more keys.

    The keys in that of the agent (of Kerberos, of encrypted disks) are for each process that has it,
    whatever its user. See session-keyring(7).
    """
    if _libc is None or (call := _KEYCTL.get(os.uname().machine)) is None:
        return
    if _libc.syscall(call, _KEYCTL_JOIN_SESSION_KEYRING, None) < 0:
        number = ctypes.get_errno()
        # A kernel without keys, or a container that keeps all of its processes from them.
        if number not in (errno.ENOSYS, errno.EPERM, errno.EACCES):
            raise OSError(number, os.strerror(number))


def drop_capabilities() -> None:
    """Give up all capabilities of this thread for good. Raises `OSError`."""
    if _libc is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; of 64 bits each
    if _libc.capset(header, sets) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def find_missing_capabilities(status: Path = Path("/proc/self/status")) -> tuple[str, ...]:
    """Return the names of those `CAPABILITIES` that this process does not have. Raises `OSError`."""
    # Its first line is the name of this process, which may have any bytes.
    for line in status.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            mask = int(value, 16)
            return tuple(each for each, bit in CAPABILITIES.items() if not mask >> bit & 1)
    return tuple(CAPABILITIES)


def keep_from_programs() -> None:
    """Keep `CAPABILITIES` from the programs that this process starts; it has them itself further on.

    A service manager may give them to an agent that is not root as ambient ones, which an exec passes
    on. What root starts as root has all capabilities anyway.
    """
    if _libc is not None:
        for bit in CAPABILITIES.values():
            _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_LOWER, bit, 0, 0)
