"""What processes hold, and whether it stays flat."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial

import attrs
import psutil

__all__ = ("Footprint", "Trend", "measure")

WARM = 100
"""Rounds after which an agent has loaded what it needs."""
MORE_RESIDENT = 16 << 20
"""Bytes by which it may grow from then on: the allocator's, not ours."""
MORE = 6
"""Descriptors or threads that may come and go."""
MIB = 1 << 20


@attrs.frozen
class Footprint:
    """What an agent's process holds, with its plugin processes beside it, and ours."""

    descriptors: int
    threads: int
    resident: int
    """Bytes."""
    children: int
    """Zombies too. The one from which plugin hosts are made is one."""
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
            f" {self.host_resident / MIB:.1f} MiB; supervisor"
            f" {self.supervisor_descriptors}, {self.supervisor_resident / MIB:.1f} MiB; farm {self.own_descriptors},"
            f" {self.own_resident / MIB:.1f} MiB"
        )


def measure(pid: int, supervisors: Sequence[int] = ()) -> Footprint:
    """Look at an agent, the plugin processes below it, its supervisor, and this process."""
    agent, own = psutil.Process(pid), psutil.Process(os.getpid())
    children = agent.children()
    hosts = [each for each in agent.children(recursive=True) if _is_plugins(each)]
    kept = [psutil.Process(each) for each in supervisors if psutil.pid_exists(each)]
    return Footprint(
        descriptors=agent.num_fds(),
        threads=agent.num_threads(),
        resident=agent.memory_info().rss,
        children=len(children),
        host_descriptors=sum(_ask(each.num_fds) for each in hosts),
        host_resident=sum(_ask(partial(_resident, each)) for each in hosts),
        supervisor_descriptors=sum(_ask(each.num_fds) for each in kept),
        supervisor_resident=sum(_ask(partial(_resident, each)) for each in kept),
        own_descriptors=own.num_fds(),
        own_resident=own.memory_info().rss,
    )


def _is_plugins(process: psutil.Process) -> bool:
    try:
        return "trio_afrender.plugins" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def _resident(process: psutil.Process) -> int:
    return int(process.memory_info().rss)


def _ask(figure: Callable[[], int]) -> int:
    """0 for a process that has just ended."""
    try:
        return figure()
    except psutil.Error:
        return 0


@attrs.define(eq=False)
class Trend:
    """Footprints over the rounds of one agent; another agent begins anew, our own part goes on."""

    agent: int = -1
    rounds: int = 0
    first: Footprint | None = None
    own: Footprint | None = None

    def note(self, agent: int, now: Footprint) -> tuple[str, ...]:
        """Take one more round in; name what has grown since the agent was warm."""
        if agent != self.agent:
            self.agent, self.rounds, self.first = agent, 0, None
        self.rounds += 1
        if self.rounds < WARM:
            return ()
        self.first = self.first or now
        self.own = self.own or now
        return self.judge(now)

    def judge(self, now: Footprint) -> tuple[str, ...]:
        """Name what has grown, by another look in the same round."""
        if self.first is None or self.own is None:
            return ()
        return tuple(self._judge(self.first, self.own, now))

    def _judge(self, first: Footprint, own: Footprint, now: Footprint) -> list[str]:
        counted = ("descriptors", "threads", "children", "host_descriptors")
        grown = [
            f"{name}: {getattr(first, name)}, now {getattr(now, name)}"
            for name in counted
            if getattr(now, name) > getattr(first, name) + MORE
        ]
        grown += [
            _in_mib(name, first, now)
            for name in ("resident", "host_resident")
            if getattr(now, name) > getattr(first, name) + MORE_RESIDENT
        ]
        if now.own_descriptors > own.own_descriptors + MORE:
            grown.append(f"our own descriptors: {own.own_descriptors}, now {now.own_descriptors}")
        if now.own_resident > own.own_resident + 2 * MORE_RESIDENT:
            grown.append(_in_mib("own_resident", own, now))
        return grown


def _in_mib(name: str, first: Footprint, now: Footprint) -> str:
    return f"{name}: {getattr(first, name) / MIB:.1f} MiB, now {getattr(now, name) / MIB:.1f}"
