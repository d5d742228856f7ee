"""Resources of an agent's processes, and whether they grow over many rounds."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial

import attrs
import psutil

__all__ = ("Footprint", "LeakCheck", "measure")

WARM_UP = 100
"""Rounds after which an agent has imported and allocated what it needs."""
MEMORY_TOLERANCE = 16 << 20
"""Bytes of growth after that which are attributed to the allocator."""
COUNT_TOLERANCE = 6
"""Descriptors, threads or children of growth that may be temporary."""
MIB = 1 << 20


@attrs.frozen
class Footprint:
    """Resources of an agent, its plugin processes, its supervisor, and this process.

    Memory is resident bytes. `children` includes zombies and the fork server of plugin hosts.
    """

    descriptors: int
    threads: int
    resident: int
    children: int
    host_descriptors: int
    host_resident: int
    supervisor_descriptors: int
    supervisor_resident: int
    own_descriptors: int
    own_resident: int

    def __str__(self) -> str:
        return (
            f"agent {self.descriptors} descriptors, {self.threads} threads, {self.children}"
            f" children, {self.resident / MIB:.1f} MiB; plugins {self.host_descriptors},"
            f" {self.host_resident / MIB:.1f} MiB; supervisor {self.supervisor_descriptors},"
            f" {self.supervisor_resident / MIB:.1f} MiB; farm {self.own_descriptors},"
            f" {self.own_resident / MIB:.1f} MiB"
        )


def measure(pid: int, supervisors: Sequence[int] = ()) -> Footprint:
    """Measure an agent, the plugin processes below it, its supervisor, and this process."""
    agent, own = psutil.Process(pid), psutil.Process(os.getpid())
    children = agent.children()
    hosts = [each for each in agent.children(recursive=True) if _is_plugin_process(each)]
    running = [psutil.Process(each) for each in supervisors if psutil.pid_exists(each)]
    return Footprint(
        descriptors=agent.num_fds(),
        threads=agent.num_threads(),
        resident=agent.memory_info().rss,
        children=len(children),
        host_descriptors=sum(_read(each.num_fds) for each in hosts),
        host_resident=sum(_read(partial(_read_resident, each)) for each in hosts),
        supervisor_descriptors=sum(_read(each.num_fds) for each in running),
        supervisor_resident=sum(_read(partial(_read_resident, each)) for each in running),
        own_descriptors=own.num_fds(),
        own_resident=own.memory_info().rss,
    )


def _is_plugin_process(process: psutil.Process) -> bool:
    try:
        return "trio_afrender.plugins" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def _read_resident(process: psutil.Process) -> int:
    return int(process.memory_info().rss)


def _read(figure: Callable[[], int]) -> int:
    """The figure, or 0 for a process that has just ended."""
    try:
        return figure()
    except psutil.Error:
        return 0


@attrs.define(eq=False)
class LeakCheck:
    """Compares footprints over the rounds of one agent with that of a warm agent.

    For another agent it starts again; the figures of this process are compared over all rounds.
    """

    agent: int = -1
    rounds: int = 0
    first: Footprint | None = None
    own: Footprint | None = None

    def add_round(self, agent: int, now: Footprint) -> tuple[str, ...]:
        """Count a round of an agent, given by its number; return what has grown."""
        if agent != self.agent:
            self.agent, self.rounds, self.first = agent, 0, None
        self.rounds += 1
        if self.rounds < WARM_UP:
            return ()
        self.first = self.first or now
        self.own = self.own or now
        return self.compare(now)

    def compare(self, now: Footprint) -> tuple[str, ...]:
        """Return what has grown, by another measurement in the same round."""
        first, own = self.first, self.own
        if first is None or own is None:
            return ()
        grown = [
            f"{name}: {getattr(first, name)}, now {getattr(now, name)}"
            for name in ("descriptors", "threads", "children", "host_descriptors")
            if getattr(now, name) > getattr(first, name) + COUNT_TOLERANCE
        ]
        grown += [
            _describe_mib(name, first, now)
            for name in ("resident", "host_resident")
            if getattr(now, name) > getattr(first, name) + MEMORY_TOLERANCE
        ]
        if now.own_descriptors > own.own_descriptors + COUNT_TOLERANCE:
            grown.append(f"own descriptors: {own.own_descriptors}, now {now.own_descriptors}")
        if now.own_resident > own.own_resident + 2 * MEMORY_TOLERANCE:
            grown.append(_describe_mib("own_resident", own, now))
        return tuple(grown)


def _describe_mib(name: str, first: Footprint, now: Footprint) -> str:
    return f"{name}: {getattr(first, name) / MIB:.1f} MiB, now {getattr(now, name) / MIB:.1f}"
