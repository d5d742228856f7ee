"""Processes of tasks outside of their job object, found by the marker in their environment.

No member can leave its job. But a program may have a process made for it that never was a member: it names
another process as the parent (PROC_THREAD_ATTRIBUTE_PARENT_PROCESS), and the new one belongs to that one's
job, if to any (test_nothing_is_left, shape `adopted`). It has the environment of the task nevertheless.
"""

from __future__ import annotations

from contextlib import suppress
from typing import final

import psutil

__all__ = ("MARKER", "MarkedProcesses")

MARKER = "AF_TASK_TOKEN"


@final
class MarkedProcesses:
    """Finds them. Reads each process of the host once, and again while it cannot be read. Blocks.

    For one thread at a time.
    """

    def __init__(self) -> None:
        self._passed: set[psutil.Process] = set()
        """Processes that have no marker; equal are two with the same pid and time of start."""

    def find(self, prefix: str) -> tuple[psutil.Process, ...]:
        """Return the processes whose marker begins with `prefix`."""
        found: list[psutil.Process] = []
        there: set[psutil.Process] = set()
        for pid in psutil.pids():
            # Those of other users cannot be read, and some that begin or end just now.
            with suppress(psutil.Error, OSError):
                process = psutil.Process(pid)
                if process in self._passed:
                    there.add(process)
                elif marker := process.environ().get(MARKER):
                    if marker.startswith(prefix):
                        found.append(process)
                else:
                    there.add(process)
        self._passed = there
        return tuple(found)
