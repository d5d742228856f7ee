"""Runs plugins in processes of their own and keeps those worth having.

The calls of a run are made one after another. As a rule a call is a message to its host, and its
answer is taken as it comes. Where that cannot be - there is no host, it ends, it hangs because of
another run - a task takes the call over, which builds the run's objects anew elsewhere. A call
under way when the host ends is simply made again, unless it was the one to blame: then its run is
dropped, and goes on with what the base class would do.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

import attrs
import trio

from trio_afrender.config.settings import PluginSettings
from trio_afrender.errors import PluginError, ProtocolError
from trio_afrender.plugins.host.calls import (
    CallLimits,
    HostDied,
    HostFailure,
    HostReply,
    MovedError,
    PendingCall,
    Request,
)
from trio_afrender.plugins.host.fault_attribution import (
    SUSPECT_AFTER_CRASHES,
    FaultRecord,
    attribute_crash,
    clear,
    mark_guilty,
)
from trio_afrender.plugins.host.forkserver import ForkServers
from trio_afrender.plugins.host.host import PluginHost
from trio_afrender.plugins.host.host_protocol import dump_spec, load_facts
from trio_afrender.plugins.host.host_selection import PluginHostPool
from trio_afrender.plugins.host.plugin_run import Call, PluginRun
from trio_afrender.plugins.host.task_proxy import HostTask, feed_request
from trio_afrender.plugins.interfaces import PluginSpec, PluginTask
from trio_afrender.tasklog.interfaces import RunLog

__all__ = ("HostRunner", "open_plugin_host")

logger = logging.getLogger(__name__)

MAX_MEMORY = 1024 * 1024 * 1024
"""Bytes the host may have resident."""
MAX_UNEXPLAINED_CRASHES = 5
"""Ends that nobody can be blamed for within a minute: then all runs are dropped."""
CRASH_WINDOW = 60.0
MAX_REMEMBERED = 200
"""Names of plugins that were to blame; their runs are kept away from others."""


class DroppedError(PluginError):
    """The objects of a run hung, or ended the host, while they were made."""


class HostRunner:
    """A `PluginRunner` with a process behind it. Made by `open_plugin_host`."""

    def __init__(
        self,
        nursery: trio.Nursery,
        settings: PluginSettings,
        folders: Sequence[Path],
        limits: CallLimits,
    ) -> None:
        self._nursery = nursery
        self.templates = ForkServers(nursery)
        """For others who have plugin hosts of their own."""
        places = [folder.resolve() for folder in folders]
        self._lives = PluginHostPool(nursery, self.templates, settings, places, limits, self._judge)
        self._runs: dict[int, PluginRun] = {}
        self._numbers = count(1)
        self._mysteries: list[float] = []
        self._offenders: dict[tuple[str, str], None] = {}

    @property
    def pid(self) -> int | None:
        """The process id of the host that new tasks come to, None while there is none."""
        return next(iter(self.pids), None)

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of all hosts: more than one while a plugin misbehaves."""
        return self._lives.pids

    async def warm(self) -> None:
        """Wait until a host is up, so that the first task need not. Raises `PluginError`."""
        await trio.lowlevel.checkpoint()
        await self._lives.get(alone=False)

    @asynccontextmanager
    async def open_task(self, spec: PluginSpec, log: RunLog) -> AsyncIterator[PluginTask]:
        """Make the objects of a run. Raises `PluginNotFound`, `PluginError`.

        The log must be on disk: the host reads it there. Leaving does not wait for the host.
        """
        if log.folder is None:
            raise PluginError("the plugin host needs a log on disk")
        folder = log.folder.absolute()
        async with AsyncExitStack() as stack:
            said = ""
            try:
                run = await stack.enter_async_context(self._open_run(spec, folder))
            except DroppedError as error:
                if spec.parser in ("", "none"):
                    raise
                # Perhaps it was only the parser, and a task can do without one.
                spec = attrs.evolve(spec, parser="")
                run = await stack.enter_async_context(self._open_run(spec, folder))
                said = f"{error}\n{error.details}\nThe task runs without its parser."
            assert run.facts is not None  # noqa: S101 - an open run has them
            facts = run.facts
            if said:
                facts = attrs.evolve(facts, log=f"{facts.log}\n{said}".strip())
            yield HostTask(run, facts, stack, self._open_run, self._begin)

    @asynccontextmanager
    async def _open_run(self, spec: PluginSpec, folder: Path) -> AsyncIterator[PluginRun]:
        run = PluginRun(next(self._numbers), spec, folder, suspicion=self._suspect(spec))
        self._runs[run.number] = run
        try:
            call = Call(None)
            self._begin(run, call)
            await call.done.wait()
            if run.error is not None:
                raise run.error
            if run.facts is None:
                text = f'service "{spec.service}" could not be made: {run.dropped}'
                raise DroppedError(text, run.details)
            yield run
        finally:
            run.closed = True
            if run.pending is None:
                self._close(run)

    def _close(self, run: PluginRun) -> None:
        del self._runs[run.number]
        if run.life is not None:
            run.life.forget(run)
        self._lives.close_idle()

    # -- a run's calls --------------------------------------------------------------------------

    def _begin(self, run: PluginRun, call: Call) -> None:
        """Make a call, which `call.done` tells the end of: whoever waits for it may go away."""
        run.pending = call
        life = run.life
        if life is None and run.facts is None and not run.suspicion.alone:
            life = self._lives.ready
        if life is None or life.quarantine or life.over or run.suspicion.alone or run.dropped:
            self._nursery.start_soon(self._drive, run, call, None)
            return
        request = call.request or self._start_building(run)
        try:
            life.ask_soon(run, request, partial(self._take_asked, run, life, call))
        except ProtocolError as too_large:
            self._take(run, life, call, HostReply(error=PluginError(str(too_large))))

    def _take_asked(self, run: PluginRun, life: PluginHost, call: Call, asked: PendingCall) -> None:
        """Take over what became of a call, or have a task do it again elsewhere."""
        if asked.answer is not None:
            self._take(run, life, call, asked.answer)
        elif asked.moved:
            life.forget(run)
            self._leave(run, life)
            self._nursery.start_soon(self._drive, run, call, None)
        else:
            self._nursery.start_soon(self._drive, run, call, life)

    def _take(self, run: PluginRun, life: PluginHost, call: Call, answer: HostReply) -> None:
        if call.request is not None:
            call.answer = self._note(run, call, call.request, answer)
        elif self._note_built(run, life, answer):
            run.life = life
        clear(run.suspicion)
        self._end(run, call)

    def _end(self, run: PluginRun, call: Call) -> None:
        run.pending = None
        call.done.set()
        if run.closed:
            self._close(run)

    async def _drive(self, run: PluginRun, call: Call, gone: PluginHost | None) -> None:
        """Make a call as often as it must be; `gone` is a host whose end it has met already."""
        if gone is not None:
            await self._outlive(run, gone)
        call.answer = await self._fulfil(run, call)
        self._end(run, call)

    async def _fulfil(self, run: PluginRun, call: Call) -> HostReply | None:
        """Make a call, again and again if it must be; None when the run is dropped."""
        while not run.dropped and run.error is None:
            life = run.life
            try:
                if life is None or life.quarantine < run.suspicion.alone:
                    life = await self._lives.get(alone=run.suspicion.alone)
                    await self._build(run, life)
                answer = await self._make_call(run, life, call)
            except PluginError as error:
                run.dropped = str(error)
                break
            except HostDied:
                assert life is not None  # noqa: S101 - it is its end that was told
                await self._outlive(run, life)
                continue
            except MovedError:
                assert life is not None  # noqa: S101 - as above
                life.forget(run)
                self._leave(run, life)
                continue
            clear(run.suspicion)
            return answer
        return None

    async def _outlive(self, run: PluginRun, life: PluginHost) -> None:
        """Wait until it is decided whose fault the end of a host is, unless it cannot be this run's."""
        if life.trouble is not None and life.trouble.run not in (None, run.number):
            await trio.lowlevel.checkpoint()
            if run.life is life:
                self._leave(run, life)
            return
        await life.judged.wait()
        if run.life is life:
            run.life = None

    @staticmethod
    def _leave(run: PluginRun, life: PluginHost) -> None:
        """Go on in another host: in this one a call of somebody else's does not come back."""
        run.life = None
        run.tell(
            f"the plugin host {life.process.pid} is left because of another task's plugin, "
            "the objects of this one are made anew"
        )

    async def _make_call(self, run: PluginRun, life: PluginHost, call: Call) -> HostReply | None:
        """Make a call on the objects, if they are there; take over what came of it."""
        if call.request is None or run.life is None:
            return None
        try:
            answer = await self._ask(run, life, call.request)
        except ProtocolError as too_large:
            answer = HostReply(error=PluginError(str(too_large)))
        return self._note(run, call, call.request, answer)

    @staticmethod
    def _note(run: PluginRun, call: Call, request: Request, answer: HostReply) -> HostReply:
        """Take over what came of a call on the objects."""
        run.tell(*answer.problems)
        if answer.error is not None:
            run.tell(f"{request.op}: {answer.error}\n{answer.error.details}")
        elif call.feed is not None:
            run.note_fed(call.feed, answer.value, answer.position)
        return answer

    async def _build(self, run: PluginRun, life: PluginHost) -> None:
        """Make a run's objects and bring them to where they were; on failure leave none."""
        if run.life is not None:
            run.life.forget(run)
            run.life = None
        request = self._start_building(run)
        try:
            answer = await self._ask(run, life, request)
        except ProtocolError as too_large:
            answer = HostReply(error=PluginError(str(too_large)))
        if not self._note_built(run, life, answer):
            return
        # What comes back was told the first time: only the parser's own state counts.
        for feed in run.history:
            await self._ask(run, life, feed_request(feed))
        run.life = life

    @staticmethod
    def _start_building(run: PluginRun) -> Request:
        run.grown = 0.0
        fields = {"spec": dump_spec(run.spec), "folder": str(run.folder)}
        return Request("open", fields, load_facts)

    @staticmethod
    def _note_built(run: PluginRun, life: PluginHost, answer: HostReply) -> bool:
        """Take over what came of making the objects; return whether they are there."""
        if answer.error is not None:
            life.forget(run)
            if run.facts is None:
                run.error = answer.error
            else:
                run.drop(f"it could not be built anew: {answer.error}", answer.error.details)
            return False
        if run.facts is None:
            run.facts = answer.value
            run.tell(*answer.problems)
        return True

    @staticmethod
    async def _ask(run: PluginRun, life: PluginHost, request: Request) -> HostReply:
        if not life.quarantine:
            return await life.ask(run, request)
        async with life.turn:
            return await life.ask(run, request)

    # -- whose fault ----------------------------------------------------------------------------

    def _judge(self, life: PluginHost, trouble: HostFailure) -> None:
        """Drop who is to blame, tell the others; their objects are built anew when next needed."""
        numbers = {caller.number for caller in life.active()}
        active = [run for number, run in self._runs.items() if number in numbers]
        hit = [run for run in self._runs.values() if run.life is life or run in active]
        guilty = self._find_guilty(active, trouble)
        logger.warning(
            "plugin host %d: %s; %d runs, %s",
            life.process.pid, trouble.text, len(hit),
            "nobody to blame" if guilty is None
            else f"to blame: {guilty.spec.service} / {guilty.spec.parser or 'no parser'}",
        )  # fmt: skip
        if guilty is None and not (trouble.died and active):
            self._count_unexplained_crash(hit, trouble)
        if guilty is not None:
            self._remember(guilty.spec)
            mark_guilty(guilty.suspicion.owner, [run.suspicion for run in self._runs.values()])
            guilty.drop(trouble.text, trouble.details)
        for run in hit:
            run.life = None
            if run is guilty:
                continue
            if guilty is not None:
                run.tell("the plugin host was restarted because of another task's plugin")
            elif run in active:
                run.tell(
                    f"the plugin host {trouble.text} in a call of this task, which is repeated"
                )
            else:
                run.tell(f"the plugin host {trouble.text} and was restarted")

    def _find_guilty(self, active: Sequence[PluginRun], trouble: HostFailure) -> PluginRun | None:
        if trouble.run is not None or not trouble.died:
            return self._runs.get(trouble.run or 0)
        suspicion = attribute_crash([run.suspicion for run in active])
        return next((run for run in active if run.suspicion is suspicion), None)

    def _remember(self, spec: PluginSpec) -> None:
        self._offenders[_owner(spec)] = None
        while len(self._offenders) > MAX_REMEMBERED:
            del self._offenders[next(iter(self._offenders))]

    def _suspect(self, spec: PluginSpec) -> FaultRecord:
        """What to think of a run before it has done anything."""
        owner = _owner(spec)
        if owner in self._offenders:
            return FaultRecord(owner, strikes=SUSPECT_AFTER_CRASHES, alone=True)
        return FaultRecord(owner)

    def _count_unexplained_crash(self, hit: Sequence[PluginRun], trouble: HostFailure) -> None:
        now = trio.current_time()
        self._mysteries = [at for at in self._mysteries if now - at < CRASH_WINDOW]
        self._mysteries.append(now)
        if len(self._mysteries) >= MAX_UNEXPLAINED_CRASHES:
            self._mysteries.clear()
            for run in hit:
                run.drop(f"{trouble.text}, again and again", trouble.details)


def _owner(spec: PluginSpec) -> tuple[str, str]:
    return spec.service, spec.parser


@asynccontextmanager
async def open_plugin_host(
    settings: PluginSettings,
    *,
    folders: Sequence[Path] = (),
    time_limit: float = 10.0,
    memory_limit: int = MAX_MEMORY,
) -> AsyncIterator[HostRunner]:
    """Have a plugin host, which starts with the first task, or with `HostRunner.warm`.

    One call of a plugin may take `time_limit` seconds, the host `memory_limit` bytes. Leaving
    kills the host and all that plugins have started in it. Errors of the body come out bare.
    """
    raised: BaseException | None = None
    async with trio.open_nursery() as nursery:
        runner = HostRunner(nursery, settings, folders, CallLimits(time_limit, memory_limit))
        try:
            yield runner
        except BaseException as error:  # noqa: BLE001 - raised again below, outside the nursery
            raised = error
        nursery.cancel_scope.cancel()
    if raised is not None:
        raise raised
