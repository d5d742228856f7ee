"""Processes as the kernel shows them: state, parent, process group, session, environment, children.

On Linux this reads ``/proc`` itself (7 us a process), elsewhere it asks psutil. All functions block:
call `scan` in a thread, the others take a few microseconds. They raise `OSError` when no descriptor
is left for reading: "not readable" must never count as "no process".
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress

import attrs
import psutil

__all__ = (
    "PIDFD",
    "TOKEN_NAME",
    "ProcessFacts",
    "continue_stopped",
    "is_alive",
    "open_pidfd",
    "parse_stat",
    "parse_token",
    "read_facts",
    "read_file",
    "read_token",
    "scan",
    "send_signal",
    "split_stat",
)

_READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
TOKEN_NAME = b"AF_TASK_TOKEN="
PIDFD = hasattr(signal, "pidfd_send_signal")
"""Whether processes can be opened as descriptors (Linux 5.3, without a sandbox that hides it)."""
# A sandbox (seccomp) may hide the call from a kernel that has it, so only a try is a proof.
try:
    os.close(os.pidfd_open(os.getpid()))
except (AttributeError, OSError):
    PIDFD = False


@attrs.frozen(slots=True, kw_only=True)
class ProcessFacts:
    """One process at one moment. `pid` and `started` together identify it: a pid is used again."""

    pid: int
    parent: int
    group: int
    session: int
    started: float
    """Start, in clock ticks since the boot (psutil: Unix time). Only for comparison."""
    alive: bool
    """False for a zombie, which runs nothing until its parent reaps it."""


def continue_stopped(pid: int) -> bool:
    """Send SIGCONT to a process that a signal has stopped; return whether it was stopped."""
    # test_a_helper_that_is_stopped_is_continued
    with suppress(OSError, ValueError, IndexError):
        if split_stat(read_file(f"/proc/{pid}/stat"))[2][0] == b"T":
            os.kill(pid, signal.SIGCONT)
            return True
    return False


def split_stat(text: bytes) -> tuple[int, bytes, list[bytes]]:
    """Split ``/proc/<pid>/stat`` into the pid, the name, and the fields from the state on.

    Raises `ValueError`.
    """
    # The name stands in brackets and may contain spaces and brackets: fields begin behind the last
    # one.
    start, end = text.index(b"("), text.rindex(b")")
    return int(text[:start]), text[start + 1 : end], text[end + 2 :].split()


def parse_stat(text: bytes) -> ProcessFacts:
    """Parse ``/proc/<pid>/stat``. Raises `ValueError` or `IndexError`."""
    pid, _, fields = split_stat(text)
    # A first thread that has ended is shown as a zombie while the other threads still run.
    alive = fields[0] not in b"ZXx" or int(fields[17]) > 1
    return ProcessFacts(
        pid=pid,
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        started=int(fields[19]),
        alive=alive,
    )


def parse_token(environment: bytes) -> str:
    """Return the task's marker in an environment block, '' when it carries none."""
    for entry in environment.split(b"\0"):
        if entry.startswith(TOKEN_NAME):
            return os.fsdecode(entry[len(TOKEN_NAME) :])
    return ""


_GONE = (FileNotFoundError, ProcessLookupError)
"""The errors of ``/proc`` for a process that has ended: before the open, or before the read."""


def read_file(path: str) -> bytes:
    """Return the content of a file of the kernel. Raises `OSError`."""
    # Thousands of reads a second: a Path and a file object for each would take three times as long.
    descriptor = os.open(path, _READ)
    try:
        text = block = os.read(descriptor, 65536)
        while len(block) == 65536:
            block = os.read(descriptor, 65536)
            text += block
        return text
    finally:
        os.close(descriptor)


def read_facts(pid: int) -> ProcessFacts | None:
    """Return the facts about `pid`, None when there is no such process."""
    if sys.platform != "linux":
        return _ask_psutil(psutil.Process(pid)) if psutil.pid_exists(pid) else None
    try:
        return parse_stat(read_file(f"/proc/{pid}/stat"))
    except _GONE:
        return None


def _read_visible(pid: int) -> ProcessFacts | None:
    """As `read_facts`; None also for a process that is listed and may not be read (``hidepid=1``)."""
    try:
        return read_facts(pid)
    except PermissionError:
        return None


def _ask_psutil(process: psutil.Process) -> ProcessFacts | None:
    try:
        with process.oneshot():
            return ProcessFacts(
                pid=process.pid,
                parent=process.ppid(),
                group=os.getpgid(process.pid),
                session=os.getsid(process.pid),
                started=process.create_time(),
                alive=process.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD},
            )
    except (psutil.Error, OSError):
        return None


def scan() -> Mapping[int, ProcessFacts]:
    """Return all processes of the host that this user may see. Blocks for about 5 us each."""
    if sys.platform != "linux":
        found = map(_ask_psutil, psutil.process_iter())
    else:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - four times faster
        found = map(_read_visible, pids)
    return {facts.pid: facts for facts in found if facts is not None}


def read_token(pid: int) -> str | None:
    """Return the ``AF_TASK_TOKEN`` that `pid` was started with, '' when it has none.

    Also '' for a process whose environment this user may not read. None when it has no environment
    now: a zombie, or a process in the middle of an exec, for some microseconds.
    """
    # The kernel shows the environment of the last exec: what a program sets or unsets in its own copy
    # later is not seen.
    try:
        if sys.platform != "linux":
            return psutil.Process(pid).environ().get("AF_TASK_TOKEN", "")
        return parse_token(block) if (block := read_file(f"/proc/{pid}/environ")) else None
    except (psutil.AccessDenied, PermissionError):
        return ""
    except (psutil.Error, *_GONE):
        return None


def is_alive(facts: ProcessFacts) -> bool:
    """Whether the process that `facts` identifies still runs, not another one with its pid."""
    now = read_facts(facts.pid)
    return now is not None and now.alive and now.started == facts.started


def send_signal(facts: ProcessFacts, number: int) -> bool:
    """Signal the process that `facts` identifies, never another one with its pid.

    False when it has ended, or this user may not signal it.
    """
    if not PIDFD:
        # Between the check and the signal the pid could pass to another process. Without pidfd
        # nothing safer exists.
        try:
            if sent := is_alive(facts):
                os.kill(facts.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return sent
    descriptor = open_pidfd(facts)
    if descriptor is None:
        return False
    try:
        signal.pidfd_send_signal(descriptor, number)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(descriptor)
    return True


def open_pidfd(facts: ProcessFacts) -> int | None:
    """Open a descriptor of the process that `facts` identifies, None when it has ended.

    The caller closes it.
    """
    try:
        descriptor = os.pidfd_open(facts.pid)
    except ProcessLookupError:
        return None
    # Checked after the open: the descriptor names one process for good, so if the check holds now,
    # it is the process of `facts`.
    alive = False
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)  # readable once the process has ended
        alive = is_alive(facts) and not poll.poll(0)
    finally:
        if not alive:
            os.close(descriptor)
    return descriptor if alive else None
