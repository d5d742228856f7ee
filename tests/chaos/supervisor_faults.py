"""The processes between an agent and its tasks: the keeper of a store, and the parents below it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

__all__ = ("end_keeper", "find_keepers", "find_parents", "has_keepers")

KEEPER = "af:keeper"
"""What it calls itself."""


def has_keepers() -> bool:
    """Whether agents here leave their tasks to a keeper."""
    return sys.platform == "linux" and find_spec("trio_afrender.supervisor") is not None


def find_keepers(store: Path) -> list[int]:
    """The pids of the keeper of a store: one, or none where agents keep their tasks themselves."""
    mark = os.fsencode(store)
    return [pid for pid in _pids() if _name(pid) == KEEPER and mark in _words(pid)]


def find_parents(store: Path) -> list[int]:
    """The pids of its children: each is the parent of a tree, or waits to be one."""
    return [pid for keeper in find_keepers(store) for pid in _children(keeper)]


def end_keeper(pid: int) -> None:
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
