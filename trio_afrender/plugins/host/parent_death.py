"""Kill this process group when the agent ends: a pipe whose other end the agent holds."""

from __future__ import annotations

import os
import signal

__all__ = ("die_with_parent",)


def die_with_parent(fd: int) -> None:
    """Have the kernel kill this process group when the other end of the pipe `fd` is closed.

    That works while a plugin holds the interpreter lock and no code of ours can run.
    """
    os.set_inheritable(fd, False)
    try:
        import fcntl

        # To the group: what plugins have started goes too. KILL: nothing can ignore it.
        fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    except (ImportError, AttributeError):
        return  # not on this platform: then the end of the socket has to do
