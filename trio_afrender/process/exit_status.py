"""How a child ended, told without and with giving up its pid."""

from __future__ import annotations

import fcntl
import os
import sys

import trio

from trio_afrender.process.interfaces import ExitStatus
from trio_afrender.process.procfs import read_facts

__all__ = ("has_ended", "is_number_used", "is_pinned", "make_status", "take_status")

REAPED_ELSEWHERE = -1


def make_status(raw: int) -> ExitStatus:
    """Explain a raw wait status."""
    if raw == REAPED_ELSEWHERE:
        return ExitStatus(code=None, signal=None, raw=raw)
    if os.WIFSIGNALED(raw):
        return ExitStatus(code=None, signal=os.WTERMSIG(raw), raw=raw)
    return ExitStatus(code=os.WEXITSTATUS(raw), signal=None, raw=raw)


def _peek(pid: int) -> int | None:
    """Return the raw status of a child that ended, None if it has not; leave the zombie.

    Raises `ChildProcessError` when it is not, or no longer, a child of ours.
    """
    info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if info is None:
        return None
    if info.si_code == os.CLD_EXITED:
        return info.si_status << 8
    return info.si_status | (0x80 if info.si_code == os.CLD_DUMPED else 0)


def has_ended(pid: int) -> bool:
    """Tell whether the child `pid` has ended, without reaping it."""
    if sys.platform != "linux":  # Python has no `waitid` on macOS
        facts = read_facts(pid)
        return facts is None or not facts.alive
    try:
        return _peek(pid) is not None
    except ChildProcessError:
        return True


def is_pinned(pid: int) -> bool:
    """Tell whether `pid` is still our unreaped child, so that no other process can have its number.

    False when the host application took its status, with a `waitpid` for any child.
    """
    if sys.platform != "linux":
        return True
    try:
        _peek(pid)
    except ChildProcessError:
        return False
    return True


def take_status(process: trio.Process) -> ExitStatus:
    """Reap a child that has ended."""
    raw: int | None = None
    if sys.platform == "linux":
        try:
            raw = _peek(process.pid)
        except ChildProcessError:
            raw = REAPED_ELSEWHERE
    code = process.poll()
    if raw is None:
        if code is None:
            raise RuntimeError(f"pid {process.pid} has not ended")
        raw = code << 8 if code >= 0 else -code
    return make_status(raw)


def is_number_used(descriptor: int | None, number: int) -> bool:
    """Tell whether `number` still names a process, a group or a session; True when in doubt.

    The kernel refuses an owner of signals (Linux 4.14) whose number names nothing at all. That
    is the one question about a session that costs a microsecond and not a look at every process.
    """
    if sys.platform != "linux" or descriptor is None:
        return True
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETOWN, number)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, 0)
    return True
