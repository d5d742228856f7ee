"""The plugin hosts of one agent: a shared one for our own plugins, one for each foreign run."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

import attrs
import trio

from trio_afrender.async_helpers import open_bare_nursery
from trio_afrender.config.settings import PluginSettings
from trio_afrender.errors import PluginError, PluginNotFound
from trio_afrender.plugins.host.forkserver import ForkServers
from trio_afrender.plugins.host.host import PluginHost, restart_delay, run_plugin_host
from trio_afrender.plugins.host.host_protocol import CallLimits, dump_user
from trio_afrender.plugins.host.plugin_run import PluginRun
from trio_afrender.plugins.host.task_proxy import HostTask
from trio_afrender.plugins.interfaces import PluginSpec, PluginTask
from trio_afrender.process.task_user import TaskUser
from trio_afrender.tasklog.interfaces import RunLog
from trio_afrender.tasklog.io_threads import retry_exhausted

__all__ = ("HostRunner", "open_plugin_host")

logger: logging.Logger = logging.getLogger(__name__)

MAX_MEMORY = 1024 * 1024 * 1024
"""Bytes that each host may have resident, unless set otherwise."""
MAX_FAILED_STARTS = 3
"""Starts of a host that may fail, one after another, before the run fails."""
MAX_REMEMBERED = 200
"""Pairs of plugins known to be foreign code: their runs need not ask the shared host."""


class HostRunner:
    """A `PluginRunner` with processes behind it. Made by `open_plugin_host`."""

    def __init__(
        self,
        nursery: trio.Nursery,
        settings: PluginSettings,
        folders: Sequence[Path],
        limits: CallLimits,
    ) -> None:
        self.fork_servers: ForkServers = ForkServers(nursery)
        """The processes that hosts are forked from; the meters' host comes from them too."""
        self._nursery = nursery
        self._settings = settings
        self._folders = tuple(folder.resolve() for folder in folders)
        self._limits = limits
        self.failures: int = 0
        """How many hosts have ended by themselves, or had to be ended."""
        self._numbers = count(1)
        self._shared: PluginHost | None = None
        self._starting = trio.Lock()
        self._shared_ends: list[float] = []
        self._own: set[PluginHost] = set()
        self._foreign: dict[tuple[str, str], None] = {}

    @property
    def pid(self) -> int | None:
        """The process id of the shared host, None while there is none."""
        if self._shared is None or self._shared.failure is not None:
            return None
        return self._shared.process.pid

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of all hosts, the shared one first."""
        own = [host.process.pid for host in self._own if not host.ended.is_set()]
        return tuple(own if self.pid is None else [self.pid, *own])

    async def warm(self) -> None:
        """Wait until the shared host is up, so that the first task need not. Raises `PluginError`."""
        await trio.lowlevel.checkpoint()
        await self._get_shared()

    @asynccontextmanager
    async def open_task(self, spec: PluginSpec, log: RunLog) -> AsyncIterator[PluginTask]:
        """Make the objects of a run. Raises `PluginNotFound`, `PluginError`.

        The log must be on disk: the host reads it there. Leaving does not wait for the host.
        """
        if log.folder is None:
            raise PluginError("the plugin host needs a log on disk")
        folder = log.folder.absolute()  # the host may have another working folder
        async with AsyncExitStack() as stack:
            note = ""
            try:
                run = await stack.enter_async_context(self._open_run(spec, folder))
            except _DisabledWhileMade as error:
                # A service without its parser still runs the task; without the service there is none.
                if spec.parser in ("", "none"):
                    raise
                # The parser may be the cause, and a task can do without one.
                spec = attrs.evolve(spec, parser="")
                run = await stack.enter_async_context(self._open_run(spec, folder))
                note = f"{error}\n{error.details}\nThe task runs without its parser."
            facts = run.facts
            assert facts is not None  # noqa: S101 - an open run has them
            if note:
                facts = attrs.evolve(facts, log=f"{facts.log}\n{note}".strip())
            yield HostTask(run, facts, stack, self._open_run)

    @asynccontextmanager
    async def _open_run(self, spec: PluginSpec, folder: Path) -> AsyncIterator[PluginRun]:
        key = (spec.service, spec.parser)
        # Code that runs for a task has no more rights than the task: it reads what the task prints,
        # and files in whose place the task may have put links.
        own_host = spec.user is not None or key in self._foreign
        run = PluginRun(next(self._numbers), spec, folder, self._get_host, own_host=own_host)
        try:
            try:
                await run.open()
            except PluginNotFound:
                raise
            except PluginError as error:
                if run.disabled:
                    raise _DisabledWhileMade(str(error), error.details) from error
                raise
            if run.own_host and spec.user is None:
                # The next run of these names is spared the question to the shared host. The oldest pairs
                # are dropped: names come from the server, without a limit.
                self._foreign[key] = None
                while len(self._foreign) > MAX_REMEMBERED:
                    del self._foreign[next(iter(self._foreign))]
            yield run
        finally:
            run.close()

    # -- hosts ----------------------------------------------------------------------------------

    async def _get_host(self, run: PluginRun) -> PluginHost:
        if not run.own_host:
            return await self._get_shared()
        host = await self._start(shared=False, user=run.spec.user, log=run.folder)
        # Those that have ended are dropped here: nothing waits for the end of an own host.
        self._own = {each for each in self._own if not each.ended.is_set()} | {host}
        return host

    async def _get_shared(self) -> PluginHost:
        if self._shared is not None and self._shared.failure is None:
            return self._shared
        async with self._starting:  # many runs may find at once that it has ended
            host = self._shared
            if host is not None and host.failure is not None:
                await host.ended.wait()  # its memory is free then
                self._shared = host = None
                self._shared_ends = [*self._shared_ends[-9:], trio.current_time()]
            if host is None:
                await trio.sleep(restart_delay(self._shared_ends, trio.current_time()))
                host = self._shared = await self._start(shared=True)
        return host

    def _note_failure(self) -> None:
        self.failures += 1

    async def _start(
        self, *, shared: bool, user: TaskUser | None = None, log: Path | None = None
    ) -> PluginHost:
        """Start a host, which with a `user` reads no other log. Raises `PluginError`: it does not
        come up."""
        failed = 0
        run = partial(
            run_plugin_host,
            self.fork_servers,
            self._settings,
            self._folders,
            self._limits,
            shared=shared,
            note_failure=self._note_failure,
            user=dump_user(user, log) if user is not None and log is not None else None,
        )
        while True:
            try:
                host: PluginHost = await retry_exhausted(partial(self._nursery.start, run))
            except PluginError as error:
                failed += 1  # a full table of processes or too little memory may pass
                logger.warning("plugin host: %s", error)
                if failed >= MAX_FAILED_STARTS:
                    raise PluginError(
                        f"the plugin host does not start: {error}", error.details
                    ) from error
            else:
                return host


class _DisabledWhileMade(PluginError):
    """The objects of a run hung, or ended the host, while they were made."""


@asynccontextmanager
async def open_plugin_host(
    settings: PluginSettings,
    *,
    folders: Sequence[Path] = (),
    time_limit: float = 10.0,
    memory_limit: int = MAX_MEMORY,
) -> AsyncIterator[HostRunner]:
    """Open a `HostRunner`, whose hosts start with the first task, or with `HostRunner.warm`.

    One call of a plugin may take `time_limit` seconds, a host `memory_limit` bytes. Leaving kills
    all hosts and what plugins have started in them. Errors of the body come out bare.
    """
    async with open_bare_nursery() as nursery:
        yield HostRunner(nursery, settings, folders, CallLimits(time_limit, memory_limit))
