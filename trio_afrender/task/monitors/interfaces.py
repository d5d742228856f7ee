"""The interface of what stands beside a process."""

from __future__ import annotations

from typing import Protocol

from trio_afrender.process.interfaces import ProcessTree

__all__ = ("Monitor",)


class Monitor(Protocol):
    """Watches the processes of one run, one after another."""

    async def run(self, process: ProcessTree) -> None:
        """Watch `process` until cancelled, which happens at its end; may return before."""
        ...
