"""The processes between an agent and its tasks: a store's supervisor and its task supervisors."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

__all__ = ("find_supervisors", "find_task_supervisors", "has_supervisors", "kill_process")

SUPERVISOR_NAME = "af:supervisor"
"""The name that the supervisor gives its process."""


def has_supervisors() -> bool:
    """Whether agents on this platform run their tasks under a supervisor."""
    return sys.platform == "linux" and find_spec("trio_afrender.supervisor") is not None


def find_supervisors(store: Path) -> list[int]:
    """Return the pid of a store's supervisor in a list; empty if there is none."""
    mark = os.fsencode(store)
    return [
        pid
        for pid in _list_pids()
        if _read_name(pid) == SUPERVISOR_NAME and mark in _read_arguments(pid)
    ]


def find_task_supervisors(store: Path) -> list[int]:
    """Return the pids of its children: each holds a process tree, or waits for one."""
    return [pid for supervisor in find_supervisors(store) for pid in _list_children(supervisor)]


def kill_process(pid: int) -> None:
    """Kill one of these by SIGKILL; it may just have ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _list_pids() -> Iterator[int]:
    with suppress(OSError):
        yield from (int(name) for name in os.listdir("/proc") if name.isdecimal())  # noqa: PTH208 - names, not paths


def _read_name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _read_arguments(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _list_children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []
