"""The agent's meters: each measured in its own time, in a plugin host that tasks have no part in.

Why a host of their own: a meter that hangs or crashes costs the host's life. Tasks' parsers would
have to be rebuilt by reading their logs again; other meters are just made anew. There is no such
process without meters, and none while all of them are in quarantine.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import attrs
import trio

from trio_afrender.config.settings import PluginSettings
from trio_afrender.errors import PluginError, PluginNotFound, ProtocolError
from trio_afrender.plugins.diagnostics import Problems
from trio_afrender.plugins.host.calls import CallLimits, HostDied, HostFailure, HostReply, Request
from trio_afrender.plugins.host.connection import open_host_process
from trio_afrender.plugins.host.fault_attribution import (
    FaultRecord,
    attribute_crash,
    clear,
    mark_guilty,
    restart_delay,
)
from trio_afrender.plugins.host.forkserver import ForkServers
from trio_afrender.plugins.host.host import PluginHost
from trio_afrender.plugins.meters.schedule import MeterHealth
from trio_afrender.plugins.meters.slots import Slots
from trio_afrender.plugins.meters.values import meter_from
from trio_afrender.protocol.messages import CustomMeter

__all__ = ("MAX_MEMORY", "MeterSource", "Meters", "NoMeters")

logger = logging.getLogger(__name__)

MAX_MEMORY = 512 * 1024 * 1024
"""Bytes that the meters' host may have resident."""
MAX_METERS = 64
"""Meters: so many lines fit into no picture of a host."""


class MeterSource(Protocol):
    """Where an agent's meters come from."""

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
    """One meter as the agent knows it; a `life.Caller`."""

    number: int
    name: str
    life: PluginHost | None = None
    """The host that holds its object."""
    shown: CustomMeter | None = None
    grown: float = 0.0
    health: MeterHealth = attrs.field(factory=MeterHealth)
    suspicion: FaultRecord = attrs.field(
        default=attrs.Factory(lambda self: FaultRecord(self.name), takes_self=True)
    )
    time_limit: float = math.inf
    """Seconds until it goes elsewhere when another one hangs: it has time."""
    _problems: Problems = attrs.field(factory=Problems)

    def tell(self, *problems: str) -> None:
        """Warn in the agent's log: once, then at the 10th, 100th ... time."""
        for problem in problems:
            self._problems.add(problem)
        for said in self._problems.take():
            if said.startswith(('no meter "', 'meter "')):  # it names itself
                logger.warning("%s", said)
            else:
                logger.warning('meter "%s": %s', self.name, said)

    def show_trouble(self, label: str, tip: str) -> None:
        """A red label in place of figures that are too old to be believed."""
        self.shown = attrs.evolve(
            self.shown or CustomMeter(),
            value=0,
            label=f"{self.name}\n{label}",
            tooltip=f"{self.name}: {tip}"[:1000],
            labelr=255,
            labelg=0,
            labelb=0,
        )


class Meters:
    """A `MeterSource` with a plugin host behind it, which starts with `run`."""

    def __init__(
        self,
        names: Sequence[str],
        settings: PluginSettings,
        folders: Sequence[Path] = (),
        *,
        time_limit: float = 10.0,
        memory_limit: int = MAX_MEMORY,
        templates: ForkServers | None = None,
    ) -> None:
        unique = tuple(dict.fromkeys(names))
        if len(unique) > MAX_METERS:
            logger.warning("of %d meters the first %d are measured", len(unique), MAX_METERS)
        self._meters = [_Meter(number, name) for number, name in enumerate(unique[:MAX_METERS], 1)]
        self._settings = settings
        self._folders = tuple(folder.resolve() for folder in folders)
        self._limits = CallLimits(time_limit, memory_limit)
        self._templates = templates
        self._gate = Slots()
        self._life: PluginHost | None = None
        self._start_failed = ""
        self._wanted = trio.Event()
        self._changed = trio.Event()
        self._ends: list[float] = []

    @property
    def pid(self) -> int | None:
        """The host's process id, None while there is none."""
        return self._life.process.pid if self._life is not None else None

    def latest(self) -> tuple[CustomMeter, ...]:
        return tuple(meter.shown for meter in self._meters if meter.shown is not None)

    async def run(self, period: Callable[[], float]) -> None:
        """Measure until cancelled; the host is killed then."""
        if not self._meters:
            await trio.lowlevel.checkpoint()
            return
        async with trio.open_nursery() as nursery:
            templates = self._templates or ForkServers(nursery)
            nursery.start_soon(self._keep, templates)
            for meter in self._meters:
                nursery.start_soon(self._watch, meter, period)

    # -- measuring ------------------------------------------------------------------------------

    async def _watch(self, meter: _Meter, period: Callable[[], float]) -> None:
        """One meter for ever: a slow one is late only itself."""
        while True:
            hangs = meter.health.hangs
            try:
                life = await self._get_life()
                await self._measure(meter, life, period())
            except PluginError as error:
                self._note_error(meter, error)
            except HostDied:
                await life.judged.wait()
                if meter.health.hangs == hangs:
                    continue  # it was another's fault
            await trio.sleep(meter.health.delay(period()))

    async def _measure(self, meter: _Meter, life: PluginHost, period: float) -> None:
        """Raises `LifeOver`, `PluginError`."""
        if meter.life is not life:
            meter.life = None
            await self._ask(
                meter, life, Request("open_meter", {"name": meter.name}, lambda _: None)
            )
            meter.life = life
        answer = await self._ask(meter, life, Request("measure", {}, _read_measurement))
        clear(meter.suspicion)
        meter.shown, raised = answer.value
        if meter.shown is None:
            meter.health.note_absent()
            meter.life = None  # made anew the next time: what it needs may be there then
            life.forget(meter)
        elif raised:
            meter.health.note_raised()
        else:
            meter.health.note_good(period)
        meter.tell(*answer.problems)

    async def _ask(self, meter: _Meter, life: PluginHost, request: Request) -> HostReply:
        alone = meter.suspicion.alone
        await self._gate.enter(alone=alone)
        try:
            answer = await life.ask(meter, request)
        except ProtocolError as error:
            raise PluginError(str(error)) from error
        finally:
            self._gate.leave(alone=alone)
        if answer.error is not None:
            raise answer.error
        return answer

    def _note_error(self, meter: _Meter, error: PluginError) -> None:
        """There is no such meter, or it could not be made or loaded."""
        meter.tell(f"{error}\n{error.details}".strip())
        if isinstance(error, PluginNotFound):
            meter.health.note_absent()
            meter.show_trouble("not found", str(error))
        else:
            meter.health.note_raised()
            meter.show_trouble("Error", str(error))
        if meter.life is None and self._life is not None:
            self._life.forget(meter)

    # -- the host's lives -----------------------------------------------------------------------

    async def _get_life(self) -> PluginHost:
        """The host, started when there is none. Raises `PluginError` when it does not start."""
        self._start_failed = ""
        while self._life is None:
            self._wanted.set()
            await self._changed.wait()
            if self._start_failed:
                raise PluginError(f"the meters' host does not start: {self._start_failed}")
        return self._life

    async def _keep(self, templates: ForkServers) -> None:
        """Have a host whenever one is wanted."""
        while True:
            await self._wanted.wait()
            await trio.sleep(restart_delay(self._ends, trio.current_time()))
            self._wanted = trio.Event()
            try:
                await self._live(templates)
            except PluginError as error:
                self._start_failed = str(error)
            self._ends = [*self._ends[-9:], trio.current_time()]
            self._announce(None)

    async def _live(self, templates: ForkServers) -> None:
        """One host from its start to its end, and the judgement on it. Raises `PluginError`."""
        life: PluginHost | None = None
        try:
            async with open_host_process(await templates.get()) as process:
                life = PluginHost(process, self._limits, changed=lambda: self._note_change(life))
                trouble = await life.run(self._settings, self._folders)
            if trouble.died:
                text = f"{trouble.text} ({process.how_it_ended()})"
                trouble = attrs.evolve(trouble, text=text)
            if not life.ready.is_set():
                raise PluginError(f"it {trouble.text}: {trouble.details.strip()}")
            self._judge(life, trouble)
        finally:
            self._life = None
            if life is not None:
                life.release()

    def _note_change(self, life: PluginHost | None) -> None:
        if life is not None and life.ready.is_set() and not life.over:
            self._announce(life)

    def _announce(self, life: PluginHost | None) -> None:
        self._life = life
        self._changed.set()
        self._changed = trio.Event()

    def _judge(self, life: PluginHost, trouble: HostFailure) -> None:
        """Put who is to blame into quarantine."""
        numbers = {caller.number for caller in life.active()}
        active = [meter for meter in self._meters if meter.number in numbers]
        guilty = next((meter for meter in self._meters if meter.number == trouble.run), None)
        if guilty is None and trouble.died:
            suspicion = attribute_crash([meter.suspicion for meter in active])
            guilty = next((meter for meter in active if meter.suspicion is suspicion), None)
        if guilty is None:
            names = ", ".join(meter.name for meter in active) or "none"
            logger.warning("the meters' host %s; under way: %s", trouble.text, names)
            return
        mark_guilty(guilty.name, [meter.suspicion for meter in self._meters])
        guilty.health.note_hung()
        delay = guilty.health.delay(0.0)
        reason = f"{trouble.text}; it is left alone for {delay:g} s"
        guilty.tell(f"{reason}\n{trouble.details}".strip())
        guilty.show_trouble("no answer", reason)


def _read_measurement(value: object) -> tuple[CustomMeter | None, bool]:
    """Raises `ProtocolError`."""
    if not isinstance(value, dict) or type(value.get("raised")) is not bool:
        raise ProtocolError("a measurement is not what it should be")
    return meter_from(value.get("shown")), value["raised"]
