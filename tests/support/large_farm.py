"""A farm with many renders that are no processes, and a meter of what keeps its loop."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs
import trio

from trio_afrender.farm import renders
from trio_afrender.farm.state import FarmState
from trio_afrender.protocol.messages import HostResources, NetIF, Register

__all__ = ("LoopMeter", "add_renders", "make_load")


@attrs.define(slots=True, eq=False)
class LoopMeter(trio.abc.Instrument):
    """The processor time of each batch of steps of the loop, in milliseconds."""

    batches: list[float] = attrs.field(factory=list)
    """Without what Python's collector of cycles took, which depends on all objects of the process."""
    collected: list[float] = attrs.field(factory=list)
    """The collections of more than 1 ms."""
    _begin: float = attrs.field(factory=time.thread_time)
    _collecting: float = 0.0
    _paused: float = 0.0

    def after_io_wait(self, timeout: float) -> None:
        self._begin, self._paused = time.thread_time(), 0.0

    def before_io_wait(self, timeout: float) -> None:
        self.batches.append((time.thread_time() - self._begin - self._paused) * 1000)

    @contextmanager
    def measure(self) -> Iterator[LoopMeter]:
        """Measure the loop while the body runs."""
        trio.lowlevel.add_instrument(self)
        gc.callbacks.append(self._note_collection)
        try:
            yield self
        finally:
            gc.callbacks.remove(self._note_collection)
            trio.lowlevel.remove_instrument(self)

    def _note_collection(self, phase: str, _info: object) -> None:
        now = time.thread_time()
        if phase == "start":
            self._collecting = now
        else:
            self._paused += now - self._collecting
            if now - self._collecting > 0.001:
                self.collected.append((now - self._collecting) * 1000)

    def take(self) -> str:
        """Describe the batches since the last call."""
        found, self.batches = sorted(self.batches), []
        pauses, self.collected = self.collected, []
        share = sum(each > 20 for each in found)
        return (
            f"longest {found[-1]:.1f} ms, 99.9 % below {found[int(len(found) * 0.999)]:.1f} ms,"
            f" {share} of {len(found)} above 20 ms; collector: {len(pauses)} pauses, the longest"
            f" {max(pauses, default=0.0):.0f} ms"
        )


def make_load(number: int) -> HostResources:
    busy = random.randrange(3) if number % 2 else random.randrange(60, 100)  # noqa: S311 - no secret
    return HostResources(
        cpu_num=64,
        cpu_idle=100 - busy,
        mem_total_mb=262_144,
        mem_free_mb=200_000 + random.randrange(2000),  # noqa: S311 - as above
        hdd_total_gb=2000,
        hdd_free_gb=900,
        net_recv_kbsec=random.randrange(50),  # noqa: S311 - as above
    )


def add_renders(
    state: FarmState,
    count: int,
    now: float,
    *,
    netifs: tuple[NetIF, ...] = (),
    load: Callable[[int], HostResources] = make_load,
) -> None:
    """Register renders that are no processes; `load` is asked for each by its number."""
    for number in range(count):
        message = Register(
            name=f"r{number:05}",
            user_name="ann",
            host_name=f"r{number:05}",
            engine="1",
            os="linux unix",
            capacity=1100,
            max_tasks=4,
            netifs=netifs,
            resources=load(number),
        )
        renders.register(state, message, number + 1, f"192.0.2.1:{number + 1}", now)
