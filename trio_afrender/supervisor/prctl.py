"""Kernel settings of this process that Python has no function for: subreaper, name, OOM score.

The C library is opened at the import, before any fork: a forked process must not load anything,
because files of the package may have changed since (`trio_afrender.supervisor`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

__all__ = ("adopt_orphans", "can_adopt_orphans", "die_with_parent", "set_name", "set_oom_score")

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME, _PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 15, 36, 37  # linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> bool:
    """Make this process a subreaper; False if the kernel cannot.

    A process below it whose parent ends then becomes its child, not that of init.
    """
    # Not inherited by a fork: each task supervisor has to call this itself.
    return bool(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def can_adopt_orphans() -> bool:
    """Whether the kernel has subreapers. Changes nothing."""
    current = ctypes.c_int()
    return bool(_libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(current), 0, 0, 0) == 0)


def die_with_parent(*, on: bool) -> None:
    """Have the kernel kill this process when its parent ends; off, it lives on."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL if on else 0, 0, 0, 0)


def set_name(name: str) -> None:
    """Set the command that `ps` shows for this process: the first 15 bytes of `name`."""
    _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def set_oom_score(score: int) -> bool:
    """Set how readily the kernel kills this process when memory is short: -1000 (never) to 1000.

    False where this user may not. Lowering takes CAP_SYS_RESOURCE, except back to the value that a
    privileged process (a service manager) set for this process or for its parent.
    """
    with contextlib.suppress(OSError):
        handle = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(handle, b"%d\n" % score)
        finally:
            os.close(handle)
        return True
    return False
