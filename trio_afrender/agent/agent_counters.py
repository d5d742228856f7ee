"""What an agent counts of its runs, its outbox and its helpers, as figures for Prometheus. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import attrs

from trio_afrender.metrics.families import Histogram, MetricFamily, counter, gauge, histogram
from trio_afrender.protocol.messages import HostResources, TaskStatus, TaskUpdate

__all__ = ("PREFIX", "AgentCounters", "collect_host")

PREFIX = "trio_afrender_agent_"
_SHORT = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds of what should be quick."""
_LONG = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 43_200.0, 86_400.0)
"""Seconds of renders."""
_MAX_TIMED = 10_000
"""Runs whose times are kept until their processes start, or until the server closes them."""
_MIB, _KIB, _GIB = 2**20, 2**10, 2**30


@attrs.define(eq=False)
class AgentCounters:
    """Counts since the start of the agent. `clock` returns monotonic seconds."""

    clock: Callable[[], float]
    accepted: int = 0
    ended: Counter[str] = attrs.field(
        factory=lambda: Counter({status.name: 0 for status in TaskStatus if status.terminal})
    )
    """By the name of the status."""
    start_seconds: Histogram = attrs.field(factory=lambda: Histogram(_SHORT))
    run_seconds: Histogram = attrs.field(factory=lambda: Histogram(_LONG))
    delivery_seconds: Histogram = attrs.field(factory=lambda: Histogram(_SHORT))
    _received: dict[str, float] = attrs.field(factory=dict)
    _over: dict[str, float] = attrs.field(factory=dict)

    def note_accepted(self, run: str) -> None:
        """Count a run that the server has sent."""
        self.accepted += 1
        _keep(self._received, run, self.clock())

    def note_started(self, run: str) -> None:
        """Note that the process of a run has started. May be called again."""
        if (received := self._received.pop(run, None)) is not None:
            self.start_seconds.observe(self.clock() - received)

    def note_ended(self, update: TaskUpdate) -> None:
        """Count the outcome of a run."""
        self.ended[update.status.name] += 1
        self._received.pop(update.run, None)
        if update.started is not None and update.finished is not None:
            self.run_seconds.observe(max(0.0, update.finished - update.started))
        _keep(self._over, update.run, self.clock())

    def note_closed(self, run: str) -> None:
        """Note that the server has closed a run. Runs without an outcome are unknown here."""
        if (over := self._over.pop(run, None)) is not None:
            self.delivery_seconds.observe(self.clock() - over)

    def collect(self) -> list[MetricFamily]:
        """Return what is counted here."""
        text = "Runs that have ended, by the status that was reported."
        return [
            counter(f"{PREFIX}runs_accepted", "Runs that the server has sent.", self.accepted),
            counter(f"{PREFIX}runs_ended", text, self.ended, "status"),
            histogram(
                f"{PREFIX}start_seconds",
                "From the message with a run to the start of its process.",
                self.start_seconds,
            ),
            histogram(
                f"{PREFIX}run_seconds", "Times that processes of runs took.", self.run_seconds
            ),
            histogram(
                f"{PREFIX}delivery_seconds",
                "From the end of a run to its close by the server.",
                self.delivery_seconds,
            ),
        ]


def _keep(times: dict[str, float], run: str, now: float) -> None:
    times[run] = now
    if len(times) > _MAX_TIMED:  # the oldest is left out: dictionaries keep the order of insertion
        del times[next(iter(times))]


def collect_host(resources: HostResources | None) -> Iterator[MetricFamily]:
    """Yield the last figures of the host, as its server gets them."""
    if resources is None:
        return
    for name, text, value in (
        ("cpus", "Processors of the host.", resources.cpu_num),
        (
            "cpu_busy_ratio",
            "Share of processor time that was used.",
            (100 - resources.cpu_idle) / 100,
        ),
        ("load1", "Load of the last minute.", resources.cpu_loadavg[0] / 10),
        ("memory_total_bytes", "Memory of the host.", resources.mem_total_mb * _MIB),
        ("memory_free_bytes", "Memory that is free.", resources.mem_free_mb * _MIB),
        ("swap_used_bytes", "Swap that is used.", resources.swap_used_mb * _MIB),
        ("disk_total_bytes", "Size of the reported disk.", resources.hdd_total_gb * _GIB),
        ("disk_free_bytes", "Free space of the reported disk.", resources.hdd_free_gb * _GIB),
        ("disk_read_bytes_per_second", "Bytes read from disks.", resources.hdd_rd_kbsec * _KIB),
        ("disk_written_bytes_per_second", "Bytes written to disks.", resources.hdd_wr_kbsec * _KIB),
        ("network_received_bytes_per_second", "Bytes received.", resources.net_recv_kbsec * _KIB),
        ("network_sent_bytes_per_second", "Bytes sent.", resources.net_send_kbsec * _KIB),
        ("stale_figures", "Figures that could not be measured this time.", len(resources.stale)),
    ):
        yield gauge(f"{PREFIX}host_{name}", text, value)
    cards = {str(number): card for number, card in enumerate(resources.gpus)}
    busy = {n: card.util / 100 for n, card in cards.items() if card.util is not None}
    used = {n: float(card.mem_used_mb * _MIB) for n, card in cards.items()}
    total = {n: float(card.mem_total_mb * _MIB) for n, card in cards.items()}
    warmth = {n: float(card.temp) for n, card in cards.items() if card.temp is not None}
    figures: tuple[tuple[str, str, Mapping[str, float]], ...] = (
        ("gpu_busy_ratio", "Load of a GPU.", busy),
        ("gpu_memory_used_bytes", "Memory of a GPU in use.", used),
        ("gpu_memory_total_bytes", "Memory of a GPU.", total),
        ("gpu_temperature_celsius", "Temperature of a GPU.", warmth),
    )
    for name, text, values in figures if cards else ():
        yield gauge(f"{PREFIX}host_{name}", text, values, "gpu")
