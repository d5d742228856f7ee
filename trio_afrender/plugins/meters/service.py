"""Measures the agent's meters, one after another, in a plugin host of their own.

A meter that hangs or crashes costs that process, and with it the objects of the other meters, which are
created again. In a host of tasks it would cost parsers, whose logs would have to be read again. The
process is started for the first measurement, and after a failure for the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import attrs
import trio

from trio_afrender.config.settings import PluginSettings
from trio_afrender.errors import PluginError, PluginNotFound, ProtocolError
from trio_afrender.plugins.diagnostics import Problems
from trio_afrender.plugins.host.forkserver import ForkServers
from trio_afrender.plugins.host.host import (
    HostDied,
    PendingCall,
    PluginHost,
    restart_delay,
    run_plugin_host,
)
from trio_afrender.plugins.host.host_protocol import CallLimits, HostFailure, HostReply, Request
from trio_afrender.plugins.meters.schedule import MeterHealth
from trio_afrender.plugins.meters.values import load_measurement
from trio_afrender.protocol.messages import CustomMeter

__all__ = ("MAX_MEMORY", "MeterSource", "Meters", "NoMeters")

logger: logging.Logger = logging.getLogger(__name__)

MAX_MEMORY = 512 * 1024 * 1024
"""Bytes of resident memory at which the meters' host is killed."""
MAX_METERS = 64
"""Number of meters: no display of a host has room for more."""
MAX_CRASHES = 2
"""Consecutive deaths of the host in calls of one meter after which that meter is in quarantine. Not
1, because the first may be a kill from outside, by the kernel for example."""


class MeterSource(Protocol):
    """The source of an agent's meter values."""

    def latest(self) -> tuple[CustomMeter, ...]:
        """The last measurement of each meter that has one, in the order of the setting."""
        ...

    async def run(self, period: Callable[[], float]) -> None:
        """Measure every `period()` seconds until cancelled."""
        ...


class NoMeters:
    """A `MeterSource` without meters."""

    def latest(self) -> tuple[CustomMeter, ...]:
        return ()

    async def run(self, period: Callable[[], float]) -> None:
        await trio.lowlevel.checkpoint()


@attrs.define(eq=False)
class _Meter:
    """The agent's state of one meter."""

    number: int
    name: str
    host: PluginHost | None = None
    """The host that holds its object."""
    shown: CustomMeter | None = None
    health: MeterHealth = attrs.field(factory=MeterHealth)
    crashes: int = 0
    """Deaths of the host in calls of this meter, in a row."""
    _problems: Problems = attrs.field(factory=Problems)

    def report(self, *problems: str, always: bool = False) -> None:
        """Warn in the agent's log: once, then at the 10th, 100th ... time.

        `always`: however many other problems there were.
        """
        for problem in problems:
            self._problems.add(problem, always=always)
        for text in self._problems.take():
            if text.startswith(('no meter "', 'meter "')):  # the text names the meter
                logger.warning("%s", text)
            else:
                logger.warning('meter "%s": %s', self.name, text)

    def show_error(self, label: str, tooltip: str) -> None:
        """Show a red label instead of values that are too old."""
        self.shown = attrs.evolve(
            self.shown or CustomMeter(),
            value=0,
            label=f"{self.name}\n{label}",
            tooltip=f"{self.name}: {tooltip}"[:1000],
            labelr=255,
            labelg=0,
            labelb=0,
        )


class Meters:
    """A `MeterSource` that uses a plugin host, started by `run`."""

    def __init__(
        self,
        names: Sequence[str],
        settings: PluginSettings,
        folders: Sequence[Path] = (),
        *,
        time_limit: float = 10.0,
        memory_limit: int = MAX_MEMORY,
        fork_servers: ForkServers | None = None,
    ) -> None:
        unique = tuple(dict.fromkeys(names))
        if len(unique) > MAX_METERS:
            logger.warning("of %d meters the first %d are measured", len(unique), MAX_METERS)
        self._meters = [_Meter(number, name) for number, name in enumerate(unique[:MAX_METERS], 1)]
        self._settings = settings
        self._folders = tuple(folder.resolve() for folder in folders)
        self._limits = CallLimits(time_limit, memory_limit)
        self._fork_servers = fork_servers
        self._turn = trio.Lock()
        """Held while a meter is measured, so that a failure of the host is attributed to that meter."""
        self._host: PluginHost | None = None
        self._ends: list[float] = []

    @property
    def pid(self) -> int | None:
        """The host's process id, None while there is no host."""
        if self._host is None or self._host.failure is not None:
            return None
        return self._host.process.pid

    def latest(self) -> tuple[CustomMeter, ...]:
        return tuple(meter.shown for meter in self._meters if meter.shown is not None)

    async def run(self, period: Callable[[], float]) -> None:
        """Measure until cancelled; the host is killed then."""
        if not self._meters:
            await trio.lowlevel.checkpoint()
            return
        async with trio.open_nursery() as nursery:
            fork_servers = self._fork_servers or ForkServers(nursery)
            for meter in self._meters:
                nursery.start_soon(self._watch, meter, period, nursery, fork_servers)

    async def _watch(
        self,
        meter: _Meter,
        period: Callable[[], float],
        nursery: trio.Nursery,
        fork_servers: ForkServers,
    ) -> None:
        """Measure one meter until cancelled, at intervals that depend on its health."""
        while True:
            async with self._turn:
                try:
                    host = await self._get_host(nursery, fork_servers)
                    again = await self._measure(meter, host, period())
                except PluginError as error:
                    # The meter cannot be found, loaded or created, or the host does not start.
                    meter.report(f"{error}\n{error.details}".strip())
                    if isinstance(error, PluginNotFound):
                        meter.health.note_absent()
                        meter.show_error("not found", str(error))
                    else:
                        meter.health.note_raised()
                        meter.show_error("Error", str(error))
                    if meter.host is None and self._host is not None:
                        self._host.forget(meter.number)
                    again = False
            if not again:
                await trio.sleep(meter.health.delay(period()))

    async def _measure(self, meter: _Meter, host: PluginHost, period: float) -> bool:
        """Make one measurement. Return whether it must be repeated at once. Raises `PluginError`."""
        if meter.host is not host:
            meter.host = None
            opening = Request("open_meter", {"name": meter.name}, lambda _: None)
            if await self._call(meter, host, opening) is None:
                return not meter.health.quarantined
            meter.host = host
        reply = await self._call(meter, host, Request("measure", {}, load_measurement))
        if reply is None:
            return not meter.health.quarantined
        meter.crashes = 0
        meter.shown, raised = reply.value
        if meter.shown is None:
            meter.health.note_absent()
            meter.host = None  # created again the next time: its device may exist then
            host.forget(meter.number)
        elif raised:
            meter.health.note_raised()
        else:
            meter.health.note_good(period)
        meter.report(*reply.problems)
        return False

    async def _call(self, meter: _Meter, host: PluginHost, request: Request) -> HostReply | None:
        """Return the reply; None if the call hung or its host ended. Raises `PluginError`."""
        try:
            pending: PendingCall = host.call(meter.number, request, lambda _: None)
        except HostDied:
            await host.ended.wait()
            return None
        except ProtocolError as error:
            raise PluginError(str(error)) from error
        await pending.done.wait()
        if pending.reply is None:
            assert pending.failure is not None  # noqa: S101 - a finished call has a reply or a failure
            self._note_failure(meter, pending.failure)
            return None
        if host.failure is not None and host.failure.run == meter.number:
            # The call was answered, but the host exceeds its memory limit now.
            await host.ended.wait()
            self._note_failure(meter, host.failure)
            return None
        if pending.reply.error is not None:
            raise pending.reply.error
        return pending.reply

    def _note_failure(self, meter: _Meter, failure: HostFailure) -> None:
        """Put a meter into quarantine that hung, took too much memory or ended the host."""
        meter.crashes += 1
        if failure.run is None and meter.crashes < MAX_CRASHES:
            logger.warning("the meters' host %s, in a call of %s", failure.text, meter.name)
            return
        meter.crashes = 0
        meter.health.note_hung()
        delay = meter.health.delay(0.0)
        reason = f"{failure.text}; it is not measured for {delay:g} s"
        meter.report(f"{reason}\n{failure.details}".strip(), always=True)
        meter.show_error("no answer", reason)

    async def _get_host(self, nursery: trio.Nursery, fork_servers: ForkServers) -> PluginHost:
        """Return the host; start it if there is none. Raises `PluginError` if it does not start."""
        if self._host is not None and self._host.failure is not None:
            await self._host.ended.wait()
            self._host = None
            self._ends = [*self._ends[-9:], trio.current_time()]
        if self._host is None:
            await trio.sleep(restart_delay(self._ends, trio.current_time()))
            run = partial(
                run_plugin_host,
                fork_servers,
                self._settings,
                self._folders,
                self._limits,
                shared=False,
            )
            try:
                self._host = await nursery.start(run)
            except PluginError as error:
                self._ends = [*self._ends[-9:], trio.current_time()]
                text = f"the meters' host does not start: {error}"
                raise PluginError(text, error.details) from error
        host: PluginHost = self._host
        return host
