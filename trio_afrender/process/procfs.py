"""What the kernel tells about processes: who lives, whose child, in which group and session.

On Linux this reads ``/proc`` itself (7 us a process); elsewhere psutil is asked. All of it is
blocking: `scan` belongs in a thread, the rest is a few microseconds. Where no descriptor is left
to look with, `OSError` is raised: to see nothing must never be taken for nobody being there.
"""

from __future__ import annotations

import functools
import os
import select
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import attrs
import psutil

__all__ = (
    "PIDFD",
    "TOKEN_NAME",
    "ProcessFacts",
    "holds_pipe",
    "is_alive",
    "kill_group",
    "list_adopted",
    "list_beside",
    "open_pidfd",
    "parse_children",
    "parse_stat",
    "parse_token",
    "read_facts",
    "read_token",
    "scan",
    "send_signal",
)

TOKEN_NAME = b"AF_TASK_TOKEN="


def _has_pidfd() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return hasattr(signal, "pidfd_send_signal")


PIDFD = _has_pidfd()
"""Whether the kernel (Linux 5.3, no sandbox that hides it) lets us hold processes by descriptor."""


@attrs.frozen(slots=True, kw_only=True)
class ProcessFacts:
    """One process at one moment. The pair of `pid` and `started` names it for good."""

    pid: int
    parent: int
    group: int
    session: int
    started: float
    """In the kernel's own unit; to be compared, not read."""
    alive: bool
    """False for a zombie: it runs nothing, and only waits for its parent."""


def holds_pipe(pid: int, inode: int) -> bool:
    """Whether stdout or stderr of `pid` is the pipe `inode`; False where that cannot be told."""
    for number in (1, 2):
        with suppress(OSError):
            if Path(f"/proc/{pid}/fd/{number}").stat().st_ino == inode:
                return True
    return False


def parse_stat(text: bytes) -> ProcessFacts:
    """Parse ``/proc/<pid>/stat``. The name in brackets may hold anything, brackets too."""
    fields = text[text.rindex(b")") + 2 :].split()
    # A leader thread that has ended shows as a zombie while its other threads go on.
    alive = fields[0] not in b"ZXx" or int(fields[17]) > 1
    return ProcessFacts(
        pid=int(text[: text.index(b" ")]),
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        started=int(fields[19]),
        alive=alive,
    )


def parse_children(text: bytes) -> list[int]:
    """Parse ``/proc/<pid>/task/<tid>/children``."""
    return [int(word) for word in text.split()]


def parse_token(environment: bytes) -> str:
    """Return the task's marker in an environment block, '' when it carries none."""
    for entry in environment.split(b"\0"):
        if entry.startswith(TOKEN_NAME):
            return os.fsdecode(entry[len(TOKEN_NAME) :])
    return ""


_GONE = (FileNotFoundError, ProcessLookupError)
"""How ``/proc`` says that a process has ended: at the opening, or at the reading."""


def _read(path: str) -> bytes:
    # Thousands of reads a second: a Path and a file object each would triple their price.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
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
        return parse_stat(_read(f"/proc/{pid}/stat"))
    except _GONE:
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
    """Return all processes of the host that we may see. Blocking, about 5 us each."""
    if sys.platform != "linux":
        found = map(_ask_psutil, psutil.process_iter())
    else:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - four times faster
        found = map(read_facts, pids)
    return {facts.pid: facts for facts in found if facts is not None}


def read_token(pid: int) -> str | None:
    """Return the ``AF_TASK_TOKEN`` that `pid` was started with, '' when it has none.

    Also '' for a process whose environment we may not see. None when it has none to show: a
    zombie, or a process in the middle of an `exec`, for some microseconds.
    """
    try:
        if sys.platform != "linux":
            return psutil.Process(pid).environ().get("AF_TASK_TOKEN", "")
        return parse_token(block) if (block := _read(f"/proc/{pid}/environ")) else None
    except (psutil.AccessDenied, PermissionError):
        return ""
    except (psutil.Error, *_GONE):
        return None


def list_adopted() -> list[int]:
    """Return our own children that our main thread holds: all adopted orphans, maybe others.

    The kernel gives orphans to the first living thread of their subreaper. Children that other
    threads spawned come here only when these threads end. Only this process removes entries
    of the list, so it is exact as long as nobody reaps in another thread meanwhile.
    """
    own = os.getpid()
    try:
        return parse_children(_read(f"/proc/self/task/{own}/children"))
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return [facts.pid for facts in scan().values() if facts.parent == own]


def list_beside() -> list[int]:
    """Return where orphans go when we did not ask for them: the children of all our ancestors.

    And our own: this process may be init in a container, or a subreaper by somebody else's will.
    Nearly exact: an ancestor that loses a child while we read may make us miss the next one.
    """
    found = list_adopted()
    for ancestor in _list_ancestors(os.getppid(), int(time.monotonic())):
        with suppress(PermissionError, *_GONE):  # hidden, or no such file on this system
            found += parse_children(_read(f"/proc/{ancestor}/task/{ancestor}/children"))
    return found


@functools.lru_cache(maxsize=1)
def _list_ancestors(parent: int, _second: int) -> tuple[int, ...]:
    """Follow the parents up to init; remembered for this second, in which they hardly change."""
    found = []
    while parent > 0:
        found.append(parent)
        facts = read_facts(parent)
        parent = facts.parent if facts is not None else 0
    return tuple(found)


def is_alive(facts: ProcessFacts) -> bool:
    """Tell whether the very process that `facts` names still runs."""
    now = read_facts(facts.pid)
    return now is not None and now.alive and now.started == facts.started


def send_signal(facts: ProcessFacts, number: int) -> bool:
    """Signal the very process that `facts` names, never another that inherited its pid.

    False when it is gone or may not be signalled by us.
    """
    if not PIDFD:
        # Between look and shot the pid could change hands; nothing better exists here.
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


def kill_group(facts: ProcessFacts) -> None:
    """Kill the process group of the very process that `facts` names, atomically: no fork slips by.

    A zombie that its parent (we) has not collected keeps its group's number as well.
    """
    now = read_facts(facts.pid)
    if now is None or now.started != facts.started or now.group in {0, 1, os.getpgrp()}:
        return
    with suppress(OSError):
        os.killpg(now.group, signal.SIGKILL)


def open_pidfd(facts: ProcessFacts) -> int | None:
    """Open a descriptor of the very process that `facts` names, None when it has ended.

    The caller closes it.
    """
    try:
        descriptor = os.pidfd_open(facts.pid)
    except ProcessLookupError:
        return None
    # Looked at after the opening: from here on the descriptor cannot name another process.
    alive = False
    try:
        alive = is_alive(facts) and not _is_readable(descriptor)
    finally:
        if not alive:
            os.close(descriptor)
    return descriptor if alive else None


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
