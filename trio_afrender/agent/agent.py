"""One render agent, from its store to its goodbye: what the command line starts and what other
programs embed with ``handle = await nursery.start(run_agent, config)``."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress

import attrs
import trio

import trio_afrender
from trio_afrender.agent.agent_dependencies import AgentDependencies, open_agent_dependencies
from trio_afrender.agent.connect import check_server, make_connect
from trio_afrender.agent.dispatcher import Dispatcher
from trio_afrender.agent.handle import AgentHandle, RunView
from trio_afrender.agent.host_actions import HostActions
from trio_afrender.agent.journal_format import PendingState
from trio_afrender.agent.loop_watchdog import LoopWatchdog
from trio_afrender.agent.memory_guard import guard_memory
from trio_afrender.agent.outbox import Outbox
from trio_afrender.agent.recovery import recover
from trio_afrender.agent.server_instructions import make_plan
from trio_afrender.agent.session import Session, SessionSettings
from trio_afrender.agent.shutdown import Shutdown
from trio_afrender.backoff import Backoff
from trio_afrender.config import Config
from trio_afrender.errors import LinkRefused
from trio_afrender.hostinfo.rates import until_tick
from trio_afrender.protocol.messages import GpuCard, HostResources, Register, TaskExec, TaskKey
from trio_afrender.task.gpu_slots import GpuAllocator, host_gpu_allocations
from trio_afrender.task.launch import AgentEnvironment
from trio_afrender.task.status_rules import StopCause, StopKind
from trio_afrender.task.task_control import TaskControl
from trio_afrender.task.tools import TaskDependencies
from trio_afrender.transport.interfaces import Connect

__all__ = ("AgentHandle", "RunView", "run_agent")

logger = logging.getLogger(__name__)

ONLINE, NIMBY_OWNER, NIMBY = 1, 2, 4
FIRST_SAMPLE_TIMEOUT = 2.0
SAMPLE_TIMEOUT = 60.0
"""Seconds that a measurement may take: it may be behind a slow disk or driver."""
FINAL_COMMAND_TIMEOUT = 10.0
"""Seconds to see how a reboot command ends; it goes on without us."""
GPU_START_TIMEOUT = 30.0
"""Seconds in which a GPU's driver may start up, before its host counts as one without."""
CLEANUP_INTERVAL = 1.0
"""Seconds between two rounds of removing the folders of finished runs."""


async def run_agent(
    config: Config,
    *,
    connect: Connect | None = None,
    outside: AbstractAsyncContextManager[AgentDependencies] | None = None,
    task_status: trio.TaskStatus[AgentHandle] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Be a render until drained or cancelled; `started` with an `AgentHandle`.

    Takes no signals and sets nothing process-wide. `connect` and `outside` replace the real
    server and the real host. Cancelled, it ends every task's process tree before it returns.

    Raises `LinkRefused` when the server will not have us, `StoreInUse` and `StoreError` for the
    store folder, `ConfigError` for settings that cannot work.
    """
    if connect is None:
        check_server(config)
    async with outside if outside is not None else open_agent_dependencies(config) as opened:
        if connect is None:
            connect = make_connect(
                config, remembered=opened.remembered, remember=opened.save_server_identity
            )
        await _Agent(config, connect, opened).run(task_status)


class _Agent:
    def __init__(self, config: Config, connect: Connect, outside: AgentDependencies) -> None:
        self.config = config
        self.over = trio.Event()
        self._outside = outside
        self._settings = SessionSettings.of(config.timing)
        self._pulse = LoopWatchdog(trio.current_time)
        self._errands = HostActions(config, outside, lambda: self._session.reregister())
        self._at_last = ""
        self._outbox = Outbox(journal=outside.journal, ended=outside.history.note)
        self._dispatcher = Dispatcher(self._outbox, wake=self._wake, forget=self._forget)
        self._session = Session(
            connect,
            self._outbox,
            self._dispatcher,
            settings=self._settings,
            backoff=Backoff(jitter=outside.jitter),
            make_register=self._make_register,
            instruct=self._instruct,
            connect_timeout=config.timing.connect,
            pulse=self._pulse,
        )
        self._launched = int(outside.wall())
        self._resources: HostResources | None = None
        self._resources_text = ""
        self._idle_since = trio.current_time()
        self._cards = GpuAllocator(
            config.gpu,
            self._known_cards,
            outside.environ.get("CUDA_VISIBLE_DEVICES", ""),
            host_gpu_allocations(),
        )
        self._gpus: tuple[GpuCard, ...] | None = None
        self._patience = trio.current_time() + GPU_START_TIMEOUT
        self._forgotten, self._to_remove = trio.open_memory_channel[TaskExec](math.inf)
        self._ending = Shutdown(
            config, self._dispatcher, self._outbox, self._session, announce=self._announce
        )
        self._scope = trio.CancelScope()

    @property
    def state(self) -> str:
        if self.over.is_set():
            return "closed"
        return "draining" if self._ending.begun else self._session.state

    def check(self) -> tuple[str, ...]:
        self._dispatcher.probe(self._pulse)
        return self._pulse.overdue()

    def views(self) -> tuple[RunView, ...]:
        return tuple(
            RunView(
                run=handle.task.run,
                key=handle.task.key,
                name=handle.task.name,
                pid=handle.pid,
                percent=handle.percent,
                activity=handle.activity,
                suspended=handle.suspension.reason,
            )
            for handle in self._dispatcher.running.values()
        )

    async def run(self, task_status: trio.TaskStatus[AgentHandle]) -> None:
        with trio.move_on_after(FIRST_SAMPLE_TIMEOUT):
            await self._measure()
        refused: LinkRefused | None = None
        try:
            tools = self._make_tools()
            going_on = await recover(self._outside, self._outbox, tools)
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                nursery.start_soon(self._keep_journal)
                nursery.start_soon(self._outside.history.run)
                await nursery.start(self._dispatcher.run, tools)
                self._dispatcher.continue_numbering(going_on)
                self._start(nursery, self._watch_host)
                self._start(nursery, self._outside.meters.run, self._settings.period)
                self._start(nursery, self._errands.run, lambda reason: self.drain(reason, None))
                self._start(nursery, self._guard_memory)
                self._start(nursery, self._remove_places)
                self._start(nursery, self._ending.run, nursery.cancel_scope)
                task_status.started(AgentHandle(self))
                try:
                    await self._guard(self._session.run)
                except LinkRefused as error:
                    refused = error
                nursery.cancel_scope.cancel()
            if self._at_last:
                with trio.move_on_after(FINAL_COMMAND_TIMEOUT):
                    await self._errands.launched(self._at_last)
        finally:
            self.over.set()
        if refused is not None:
            raise refused

    def _start(
        self, nursery: trio.Nursery, run: Callable[..., Awaitable[None]], *args: object
    ) -> None:
        nursery.start_soon(self._guard, run, *args)

    async def _guard(self, run: Callable[..., Awaitable[None]], *args: object) -> None:
        """A bug of ours ends the agent, not the renders: the next agent finds them with the supervisor."""
        try:
            await run(*args)
        except LinkRefused:
            raise
        except Exception:
            self._dispatcher.leave()
            raise

    # -- ending ---------------------------------------------------------------------------------

    def leave(self, reason: str) -> None:
        logger.info(
            "leaving %s running tasks to the supervisor: %s", len(self._dispatcher.running), reason
        )
        self._dispatcher.leave()
        self._scope.cancel()

    def drain(self, reason: str, budget: float | None) -> None:
        self._ending.drain(reason, budget)

    def stop_now(self, reason: str) -> None:
        self._ending.stop_now(reason)

    # -- what the session asks for --------------------------------------------------------------

    def _make_register(self) -> Register:
        config, facts = self.config, self._outside.facts
        running = tuple(
            handle.task
            for handle in self._dispatcher.running.values()
            if handle.cause is None or not handle.cause.kind.discards_outcome
        )
        return Register(
            name=config.name,
            user_name=config.user_name or facts.user,
            host_name=facts.name,
            engine=f"trio_afrender {trio_afrender.__version__}",
            os=facts.os,
            state=self._state(),
            priority=config.priority,
            capacity=config.capacity,
            max_tasks=min(config.max_tasks, self._cards.slots or config.max_tasks),
            services=config.services,
            time_launch=self._launched,
            address=facts.address,
            netifs=facts.netifs,
            resources=self._resources,
            running=running,
            undelivered=self._outbox.undelivered(),
        )

    def _state(self) -> int:
        """What the server should think of us: a render that takes no task is one for nobody."""
        if self._ending.begun or self._dispatcher.pausing:
            return ONLINE | NIMBY
        return ONLINE | {"nimby": NIMBY_OWNER, "NIMBY": NIMBY}.get(self.config.nimby, 0)

    def _instruct(self, instruction: str, command: str) -> None:
        plan = make_plan(instruction, command, self.config)
        if plan.refusal:
            logger.warning("refused: %s", plan.refusal)
            if instruction == "sleep":
                self._session.reregister()
            return
        logger.info('the server says "%s" %s', instruction, command)
        if plan.launch:
            self._errands.launch(plan.launch)
        if plan.sleep:
            self._errands.sleep(plan.sleep)
        self._at_last = plan.final_command or self._at_last
        if plan.leave:
            self._ending.drain(plan.leave, finish=plan.finish)

    def _find(self, which: TaskKey | str) -> list[TaskControl]:
        return [
            handle
            for handle in self._dispatcher.running.values()
            if which in (handle.task.run, handle.task.key)
        ]

    def suspend_task(self, which: TaskKey | str, reason: str) -> bool:
        found = self._find(which)
        for handle in found:
            handle.suspension.change(reason)
        return bool(found)

    def stop_task(self, which: TaskKey | str, reason: str) -> bool:
        found = self._find(which)
        for handle in found:
            handle.stop(StopCause(kind=StopKind.USER, text=f"stopped on this host: {reason}"))
        return bool(found)

    # -- housekeeping ---------------------------------------------------------------------------

    def _wake(self) -> None:
        self._session.wake()

    def _announce(self) -> None:
        """Tell the server how we are now."""
        self._outbox.put_state(self._state())
        self._wake()

    def _forget(self, task: TaskExec) -> None:
        if not self.config.keep_runs:
            self._forgotten.send_nowait(task)

    async def _remove_places(self) -> None:
        """Folders of finished runs, a second's worth at a time."""
        async for task in self._to_remove:
            await trio.sleep(CLEANUP_INTERVAL)
            tasks = [task]
            with suppress(trio.WouldBlock):
                while True:
                    tasks.append(self._to_remove.receive_nowait())
            await self._outside.remove_places(tasks)

    async def _guard_memory(self) -> None:
        def pause(text: str) -> None:
            self._dispatcher.pausing = text
            self._outbox.put_state(self._state())
            self._wake()

        await guard_memory(
            self.config.memory_guard,
            self._outside.read_headroom,
            self._outside.usage_reader,
            self._dispatcher.running.values,
            pause,
            lambda seconds: self._pulse.expect_within("the memory guard", seconds),
        )

    async def _keep_journal(self) -> None:
        def now() -> PendingState:
            running = (handle.task for handle in self._dispatcher.running.values())
            return self._outbox.held(running)

        await self._outside.journal.run(saved=self._wake, now=now)

    def _make_tools(self) -> TaskDependencies:
        return TaskDependencies(
            config=self.config,
            spawn=self._outside.spawn,
            plugins=self._outside.plugins,
            open_run_folder=self._outside.open_run_folder,
            image_worker=self._outside.image_worker,
            adopt=self._dispatcher.adopt,
            dismiss=self._outside.dismiss,
            resources=lambda: self._resources_text,
            usage_reader=self._outside.usage_reader,
            read_headroom=self._outside.read_headroom,
            gpus=self._cards,
            examine=self._outside.examine,
            gpus_unclaimed=self._outside.cards_unclaimed,
            period=self._settings.period,
            wall=self._outside.wall,
            new_token=self._outside.new_token,
            environment=AgentEnvironment.of(self._outside.environ, self.config.redact),
        )

    async def _measure(self) -> None:
        measured = await self._outside.measure()
        meters = self._outside.meters.latest()
        self._resources = attrs.evolve(measured, custom=(*measured.custom, *meters))
        if measured.gpus or "gpus" not in measured.stale:
            self._gpus = measured.gpus or self._gpus or ()
        self._cards.look_again()
        figures = attrs.asdict(self._resources)
        self._resources_text = json.dumps({"host_resources": figures})

    def _known_cards(self) -> tuple[GpuCard, ...] | None:
        """All cards that were ever seen: one whose driver is sick now still has its tasks.

        None while the driver starts up; one that never answers is no driver in the end.
        """
        if self._gpus is None and trio.current_time() >= self._patience:
            return ()
        return self._gpus

    async def _watch_host(self) -> None:
        """Measure every period, beside the heartbeat and never in its way."""
        while True:
            period = self._settings.period()
            self._pulse.expect_within("the host's measurement", 2 * period + SAMPLE_TIMEOUT)
            await trio.sleep(until_tick(trio.current_time(), period))
            await self._measure()
            if self._resources is not None:
                self._outbox.put_resources(self._resources)
                self._wake()
            self._leave_when_idle()

    def _leave_when_idle(self) -> None:
        """Exit when the server said so for a render that has had no task for a while."""
        now = trio.current_time()
        if self._dispatcher.running or self._outbox.holds:
            self._idle_since = now
        limit = self._settings.exit_no_task
        if limit > 0 and now - self._idle_since >= limit:
            self.drain(f"no task for {limit:g} s", None)
