"""The processes between an agent and its tasks: the supervisor of a store, and the parents below it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

__all__ = ("end_supervisor", "find_parents", "find_supervisors", "has_supervisors")

SUPERVISOR = "af:supervisor"
"""What it calls itself."""


def has_supervisors() -> bool:
    """Whether agents here leave their tasks to a supervisor."""
    return sys.platform == "linux" and find_spec("trio_afrender.supervisor") is not None


def find_supervisors(store: Path) -> list[int]:
    """The pids of the supervisor of a store: one, or none where agents keep their tasks themselves."""
    mark = os.fsencode(store)
    return [pid for pid in _pids() if _name(pid) == SUPERVISOR and mark in _words(pid)]


def find_parents(store: Path) -> list[int]:
    """The pids of its children: each is the parent of a tree, or waits to be one."""
    return [pid for supervisor in find_supervisors(store) for pid in _children(supervisor)]


def end_supervisor(pid: int) -> None:
    """End one of these without a word; it may just have ended by itself."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _pids() -> Iterator[int]:
    with suppress(OSError):
        yield from (int(name) for name in os.listdir("/proc") if name.isdecimal())  # noqa: PTH208 - names, not paths


def _name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _words(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []
