"""Which plugin hosts there are: as a rule one, and more while one of them is not well.

All are forked from one template. A run whose calls must be made alone lives in a ward, a host
for such runs; so nobody else ever waits for them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import trio

from trio_afrender.config.settings import PluginSettings
from trio_afrender.errors import PluginError
from trio_afrender.plugins.host.calls import CallLimits, HostFailure
from trio_afrender.plugins.host.connection import open_host_process
from trio_afrender.plugins.host.fault_attribution import restart_delay
from trio_afrender.plugins.host.forkserver import ForkServers
from trio_afrender.plugins.host.host import PluginHost

__all__ = ("PluginHostPool",)

logger = logging.getLogger(__name__)

MAX_HOSTS = 3
"""Hosts at once, and as many wards: when all of them are unwell it is the machine."""
MAX_FAILED_STARTS = 3
"""Starts that may fail, one after another, before those who wait are told."""


@attrs.define(eq=False)
class _Start:
    """A host that is on its way."""

    life: PluginHost | None = None
    error: str = ""

    @property
    def pending(self) -> bool:
        return not self.error and (self.life is None or not self.life.ready.is_set())


class PluginHostPool:
    """Starts hosts when they are wanted and ends those that are not."""

    def __init__(
        self,
        nursery: trio.Nursery,
        templates: ForkServers,
        settings: PluginSettings,
        folders: Sequence[Path],
        limits: CallLimits,
        judge: Callable[[PluginHost, HostFailure], None],
    ) -> None:
        self._nursery = nursery
        self._templates = templates
        self._settings = settings
        self._folders = folders
        self._limits = limits
        self._judge = judge
        self._lives: list[PluginHost] = []
        self._starts: dict[bool, _Start] = {}
        self._changed = trio.Event()
        self._ends: list[float] = []

    @property
    def pids(self) -> tuple[int, ...]:
        """The hosts' process ids; first that of the one that new runs come to."""
        first = self._choose(alone=False)
        lives = sorted(self._lives, key=lambda life: life is not first)
        return tuple(life.process.pid for life in lives)

    @property
    def ready(self) -> PluginHost | None:
        """A host that a run can come to without waiting for one."""
        return self._choose(alone=False)

    async def get(self, *, alone: bool) -> PluginHost:
        """A host for a run, started when there is none. Raises `PluginError` if it does not start."""
        failed = 0
        while (life := self._choose(alone=alone)) is None:
            start = self._starts.get(alone)
            if (start is None or not start.pending) and self._count(ward=alone) < MAX_HOSTS:
                start = self._starts[alone] = _Start()
                self._nursery.start_soon(self._live, start, alone)
            await self._changed.wait()
            if start is not None and start.error:
                failed += 1
                if failed >= MAX_FAILED_STARTS:
                    raise PluginError(f"the plugin host does not start: {start.error}")
        return life

    def close_idle(self) -> None:
        """End hosts that nobody needs any more."""
        first = self._choose(alone=False)
        for life in tuple(self._lives):
            if life.idle and life is not first and life.ready.is_set():
                spare = first is not None or life.quarantine
                if spare and not life.unresponsive:
                    life.fail(HostFailure("is not needed any more", retired=True))

    def _count(self, *, ward: bool) -> int:
        return sum(life.quarantine == ward for life in self._lives)

    def _choose(self, *, alone: bool) -> PluginHost | None:
        """The eldest that is well; when no more may be started, the least unwell."""
        there = [
            life
            for life in self._lives
            if life.quarantine == alone and life.ready.is_set() and not life.over
        ]
        for life in there:
            if not life.unresponsive and not life.overloaded:
                return life
        if self._count(ward=alone) < MAX_HOSTS:
            return None
        answering = [life for life in there if not life.unresponsive]
        return min(answering, key=lambda life: life.load, default=None)

    def _note_change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # -- one of them ----------------------------------------------------------------------------

    async def _live(self, start: _Start, ward: bool) -> None:
        """One host from its start to its end, and the judgement on it."""
        try:
            await trio.sleep(restart_delay(self._ends, trio.current_time()))
            template = await self._templates.get()
            async with open_host_process(template) as process:
                life = start.life = PluginHost(
                    process, self._limits, ward=ward, changed=self._note_change
                )
                self._lives.append(life)
                trouble = await life.run(self._settings, self._folders)
                if life.ready.is_set() and not trouble.died:
                    self._finish(life, trouble)  # who waits for it need not wait for its end
            text = f"{trouble.text} ({process.how_it_ended()})"
            if not life.ready.is_set():
                self._fail(start, f"it {text}: {trouble.details}")
            elif trouble.died:
                self._finish(life, attrs.evolve(trouble, text=text))
        except PluginError as error:
            self._fail(start, str(error))
        finally:
            if start.life is not None and start.life in self._lives:
                self._lives.remove(start.life)
                start.life.release()
            self._note_change()

    def _finish(self, life: PluginHost, trouble: HostFailure) -> None:
        self._lives.remove(life)
        if not trouble.retired:
            if not life.active():
                self._note_end()
            self._judge(life, trouble)
        life.release()
        self._note_change()

    def _fail(self, start: _Start, text: str) -> None:
        start.error = text.strip()
        logger.warning("plugin host: %s", start.error)
        self._note_end()

    def _note_end(self) -> None:
        """An end that no plugin is to blame for: the next start may have to wait."""
        self._ends = [*self._ends[-9:], trio.current_time()]
