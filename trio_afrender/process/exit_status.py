"""The wait status of a child: look at it while its pid stays reserved, or reap the child.

A child that has ended is a zombie until its parent reaps it. So long the kernel gives its pid, and
the number of its process group, to no other process.
"""

from __future__ import annotations

import fcntl
import os
import sys

import trio

from trio_afrender.process.interfaces import ExitStatus
from trio_afrender.process.procfs import read_facts

__all__ = ("has_ended", "is_number_used", "is_pinned", "make_status", "take_status")

REAPED_ELSEWHERE = -1
"""In place of a raw wait status that another part of this program has taken."""


def make_status(raw: int) -> ExitStatus:
    """Decode a raw wait status."""
    if raw == REAPED_ELSEWHERE:
        return ExitStatus(code=None, signal=None, raw=raw)
    if os.WIFSIGNALED(raw):
        return ExitStatus(code=None, signal=os.WTERMSIG(raw), raw=raw)
    return ExitStatus(code=os.WEXITSTATUS(raw), signal=None, raw=raw)


def _peek(pid: int) -> int | None:
    """Return the raw wait status of a child that has ended, None for one that runs. Reaps nothing.

    Raises `ChildProcessError` when `pid` is not, or no longer, a child of this process.
    """
    # WNOWAIT leaves the zombie; `Popen.poll` and `waitpid` would reap it.
    info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if info is None:
        return None
    if info.si_code == os.CLD_EXITED:
        return info.si_status << 8
    return info.si_status | (0x80 if info.si_code == os.CLD_DUMPED else 0)


def has_ended(pid: int) -> bool:
    """Whether the child `pid` has ended. Does not reap it."""
    if sys.platform != "linux":  # Python has no `waitid` on macOS
        facts = read_facts(pid)
        return facts is None or not facts.alive
    try:
        return _peek(pid) is not None
    except ChildProcessError:
        return True


def is_pinned(pid: int) -> bool:
    """Whether `pid` is a child that has not been reaped, so that no other process has its number.

    False when the application that embeds the agent reaped it, by a `waitpid` for any child.
    """
    if sys.platform != "linux":
        return True
    try:
        _peek(pid)
    except ChildProcessError:
        return False
    return True


def take_status(process: trio.Process) -> ExitStatus:
    """Reap a child that has ended, and return its status. Raises `RuntimeError` for one that runs."""
    # `Popen` turns the status into one number, which loses the core dump flag; and for a child that
    # was reaped elsewhere it claims 0. So the raw status is read first.
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
    """Whether `number` still names a process, a group or a session; True where that is unknown.

    `descriptor` is any open one of this process, with which the kernel is asked.
    """
    # Linux (since 4.14) refuses to set an owner of signals whose number names nothing at all. This
    # takes a microsecond; any other way to ask about a session reads every process of the host.
    if sys.platform != "linux" or descriptor is None:
        return True
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETOWN, number)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    # Set back, or a signal of the descriptor could go to that process.
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, 0)
    return True
