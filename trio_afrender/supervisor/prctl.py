"""What Python does not offer: adopt orphans, have a name, be spared when memory is short.

Loaded, with its library, before anything is forked.
"""

from __future__ import annotations

import contextlib
import ctypes
import os

__all__ = ("adopt_orphans", "set_name", "set_oom_score")

_PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 15, 36
_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> bool:
    """Have whatever loses its parent below this process come to it; False if the kernel can't."""
    return bool(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def set_name(name: str) -> None:
    """What `ps` shows as the command: 15 bytes of it."""
    _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def set_oom_score(score: int) -> bool:
    """How readily the kernel kills this process when memory is short: -1000 (never) to 1000.

    False when this user may not: only root may make it less likely.
    """
    with contextlib.suppress(OSError):
        handle = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(handle, b"%d\n" % score)
        finally:
            os.close(handle)
        return True
    return False
