"""The processes between an agent and its tasks: a store's supervisor and its task supervisors."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

__all__ = (
    "find_plugin_processes",
    "find_supervisors",
    "find_task_supervisors",
    "find_thumbnail_workers",
    "freeze_process",
    "has_supervisors",
    "kill_process",
)

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


def find_plugin_processes(agent: int) -> list[int]:
    """Return the pids of an agent's fork server and of the plugin hosts below it."""
    servers = [pid for pid in _list_children(agent) if b"forkserver_main" in _read_arguments(pid)]
    return [*servers, *(host for server in servers for host in _list_children(server))]


def find_thumbnail_workers(agent: int) -> list[int]:
    """Return the pid of an agent's image worker in a list; empty without one."""
    mark = b"trio_afrender.thumbnail.worker"
    return [pid for pid in _list_children(agent) if mark in _read_arguments(pid)]


def freeze_process(pid: int) -> None:
    """Stop one of these by SIGSTOP, which it cannot handle; it may just have ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)


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
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():  # the one that forked is the parent
            found += map(int, (thread / "children").read_text().split())
    return found
