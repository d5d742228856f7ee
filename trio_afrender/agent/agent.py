"""One render agent: connect its parts, run them until a drain or a cancellation.

The command line starts it, and other programs embed it with
``handle = await nursery.start(run_agent, config)``.

One nursery holds all parts: journal, history, dispatcher, measurements, meters, host actions, memory
guard, cleanup, shutdown and session. The end of the session, or a finished drain, cancels it.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial

import attrs
import trio

from trio_afrender.agent.agent_counters import PREFIX, AgentCounters, collect_host
from trio_afrender.agent.agent_dependencies import AgentDependencies, open_agent_dependencies
from trio_afrender.agent.connect import check_server, make_connect
from trio_afrender.agent.dispatcher import Dispatcher
from trio_afrender.agent.handle import AgentHandle, RunView
from trio_afrender.agent.host_actions import HostActions
from trio_afrender.agent.loop_watchdog import LoopWatchdog
from trio_afrender.agent.memory_guard import guard_memory
from trio_afrender.agent.outbox import Outbox
from trio_afrender.agent.run_events import AgentEvents
from trio_afrender.agent.server_instructions import make_plan
from trio_afrender.agent.session import Session, SessionSettings
from trio_afrender.agent.shutdown import Shutdown
from trio_afrender.agent.takeover import recover
from trio_afrender.backoff import Backoff
from trio_afrender.config import Config
from trio_afrender.errors import LinkRefused
from trio_afrender.hostinfo.rates import next_tick
from trio_afrender.metrics.families import MetricFamily, counter, gauge
from trio_afrender.protocol.messages import (
    NIMBY,
    NIMBY_OWNER,
    ONLINE,
    PAUSED,
    GpuCard,
    HostResources,
    Register,
    TaskExec,
    TaskKey,
    TaskUpdate,
)
from trio_afrender.task.gpu_slots import GpuAllocator, host_gpu_allocations
from trio_afrender.task.run_state import RunState
from trio_afrender.task.status_rules import StopCause, StopKind
from trio_afrender.task.task_environment import AgentEnvironment
from trio_afrender.tasklog.io_threads import hold_descriptors, wait_out
from trio_afrender.transport.interfaces import Connect
from trio_afrender.version import __version__

__all__ = ("AgentHandle", "RunView", "run_agent")

logger: logging.Logger = logging.getLogger(__name__)

FIRST_SAMPLE_TIMEOUT = 2.0
"""Seconds that the register waits for the first measurement of the host."""
SAMPLE_TIMEOUT = 60.0
"""Seconds that a measurement may take, which may wait for a slow disk or driver."""
FINAL_COMMAND_TIMEOUT = 10.0
"""Seconds to wait for the exit code of a reboot command, which outlives the agent."""
GPU_START_TIMEOUT = 30.0
"""Seconds for a GPU's driver to start up. After that the host counts as one without GPUs."""
CLEANUP_INTERVAL = 1.0
"""Seconds between two removals of the folders of finished runs."""


async def run_agent(
    config: Config,
    *,
    connect: Connect | None = None,
    outside: AbstractAsyncContextManager[AgentDependencies] | None = None,
    task_status: trio.TaskStatus[AgentHandle] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a render agent until it is drained or cancelled; `started` with an `AgentHandle`.

    It handles no signals and changes no process-wide state. `connect` and `outside` replace the
    real server and the real host. After a cancellation it ends the process tree of every task
    before it returns.

    Raises `LinkRefused` if the server rejects this render for good, `StoreInUse` and `StoreError`
    for the state directory, `ConfigError` for settings that cannot work.
    """
    if connect is None:
        check_server(config)
    opening = outside if outside is not None else open_agent_dependencies(config)
    async with opening as dependencies:
        if connect is None:
            connect = make_connect(
                config,
                identity=dependencies.server_identity,
                save_identity=dependencies.save_server_identity,
            )
        await _Agent(config, connect, dependencies).run(task_status)


class _Agent:
    def __init__(self, config: Config, connect: Connect, dependencies: AgentDependencies) -> None:
        self.config = config
        self.over = trio.Event()
        """Set when the agent has ended."""
        self._settings = SessionSettings.of(config.timing)
        self._resources: HostResources | None = None
        self._resources_text = ""
        self._gpus: tuple[GpuCard, ...] | None = None
        self._gpu_deadline = trio.current_time() + GPU_START_TIMEOUT
        self._gpu_allocator = GpuAllocator(
            config.gpu,
            self._known_gpus,
            dependencies.environ.get("CUDA_VISIBLE_DEVICES", ""),
            host_gpu_allocations(),
        )
        self._dependencies = attrs.evolve(
            dependencies,
            gpus=self._gpu_allocator,
            resources=lambda: self._resources_text,
            period=self._settings.period,
            environment=AgentEnvironment.of(dependencies.environ, config.redact),
        )
        self._watchdog = LoopWatchdog(trio.current_time)
        self._host_actions = HostActions(
            config,
            self._dependencies,
            registrations=lambda: self._session.registrations,
            still_awake=lambda reason: self._session.reregister(reason),
        )
        self._final_command = ""
        """A shell command to start after the render has left the farm."""
        self._counters = AgentCounters(trio.current_time)

        def note_ended(update: TaskUpdate, task: TaskExec | None) -> None:
            self._idle_since = trio.current_time()
            self._counters.note_ended(update)
            dependencies.history.note(update, task)

        # Unlimited: the sender must not wait, and the channel holds at most the closed runs of one
        # cleanup interval.
        self._forgotten, self._to_remove = trio.open_memory_channel[TaskExec](math.inf)
        self._outbox = Outbox(
            journal=dependencies.journal, ended=note_ended, delivered=self._counters.note_closed
        )
        self._dispatcher = Dispatcher(
            config,
            self._dependencies,
            self._outbox,
            wake=self._wake,
            forget=self._forgotten.send_nowait,
            announce=self._put_state,
            counters=self._counters,
        )
        self._session = Session(
            connect,
            self._outbox,
            self._dispatcher,
            settings=self._settings,
            backoff=Backoff(dependencies.jitter),
            make_register=self._make_register,
            instruct=self._instruct,
            load_files=dependencies.load_files,
            connect_timeout=config.timing.connect,
            watchdog=self._watchdog,
        )
        self._launched = int(dependencies.wall())
        self._idle_since = trio.current_time()
        self._shutdown = Shutdown(
            config, self._dispatcher, self._outbox, self._session, announce=self._put_state
        )
        self._scope = trio.CancelScope()

    @property
    def state(self) -> str:
        if self.over.is_set():
            return "closed"
        return "draining" if self._shutdown.begun else self._session.state

    def check(self) -> tuple[str, ...]:
        self._dispatcher.probe(self._watchdog)
        return self._watchdog.overdue()

    def views(self) -> tuple[RunView, ...]:
        return tuple(
            RunView(
                run=state.task.run,
                key=state.task.key,
                name=state.task.name,
                pid=state.pid,
                percent=state.parsed.percent,
                activity=state.activity,
                suspended=state.control.suspension.reason,
            )
            for state in self._dispatcher.running.values()
        )

    def metrics(self) -> tuple[MetricFamily, ...]:
        state = self.state
        session, sizes = self._session, self._outbox.sizes()
        figures = [
            *self._counters.collect(),
            gauge(f"{PREFIX}up", "Whether the agent is registered.", float(state == "online")),
            gauge(f"{PREFIX}draining", "Whether it is ending.", float(state == "draining")),
            gauge(
                f"{PREFIX}accepting",
                "Whether it takes new tasks.",
                float(state == "online" and not self._dispatcher.unavailable),
            ),
            gauge(f"{PREFIX}runs_running", "Runs in progress.", len(self._dispatcher.running)),
            gauge(f"{PREFIX}max_tasks", "The most runs at once.", self.config.max_tasks),
            gauge(
                f"{PREFIX}hanging_loops",
                "Loops of the agent that hang, as the watchdog counts.",
                len(self._watchdog.overdue()),
            ),
            counter(
                f"{PREFIX}registrations",
                "How often the server has accepted a register.",
                session.registrations,
            ),
            counter(
                f"{PREFIX}links_failed",
                "Links to the server that ended by an error or were not opened.",
                session.failed_links,
            ),
            gauge(
                f"{PREFIX}outbox_outcomes",
                "Outcomes that the server has not closed yet.",
                sizes["outcomes"],
            ),
            gauge(
                f"{PREFIX}outbox_entries",
                "Lines, files and listened texts that were not acknowledged yet.",
                sizes["entries"],
            ),
            gauge(
                f"{PREFIX}outbox_updates",
                "Updates that were sent and not acknowledged yet.",
                sizes["updates"],
            ),
            counter(
                f"{PREFIX}helper_failures",
                "Processes beside the agent that were lost or replaced.",
                self._dependencies.helper_failures(),
                "helper",
            ),
            *collect_host(self._resources),
        ]
        return tuple(figure.labelled("render", self.config.name) for figure in figures)

    def open_events(self) -> AgentEvents:
        return self._dispatcher.open_events()

    async def run(self, task_status: trio.TaskStatus[AgentHandle]) -> None:
        # The register contains the host's figures, and a server may compare them with the needs of
        # tasks. A slow driver must not keep the agent from registering, though.
        with trio.move_on_after(FIRST_SAMPLE_TIMEOUT):
            await wait_out("the host's measurement", self._measure)
        refused: LinkRefused | None = None
        try:
            opened = self._dependencies
            continued = await recover(
                opened.journal.held,
                opened.inherited,
                self._outbox,
                opened,
                opened.read_stored_output,
            )
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                await nursery.start(self._dispatcher.run)
                self._dispatcher.continue_runs(continued)
                # After these runs: a journal that is rewritten has what the dispatcher has.
                self._start(nursery, self._write_journal)
                self._start(nursery, opened.history.run)
                self._start(nursery, self._measure_host)
                self._start(nursery, opened.meters.run, self._settings.period)
                self._start(
                    nursery, self._host_actions.run, lambda reason: self.drain(reason, None)
                )
                self._start(
                    nursery,
                    guard_memory,
                    self.config.memory_guard,
                    opened.headroom.read,
                    opened.usage_reader,
                    self._dispatcher.running.values,
                    partial(self._dispatcher.set_unavailable, "memory"),
                    partial(self._watchdog.expect_within, "the memory guard"),
                )
                if opened.inherited.unkillable:
                    self._start(nursery, self._await_earlier, opened.inherited.unkillable)
                self._start(nursery, self._remove_run_folders)
                self._start(nursery, self._shutdown.run, nursery.cancel_scope)
                task_status.started(AgentHandle(self))
                # A refusal is raised after the nursery, when the process trees of all tasks have
                # ended.
                try:
                    await self._leave_on_error(self._session.run)
                except LinkRefused as error:
                    refused = error
                nursery.cancel_scope.cancel()
            if self._final_command:
                with trio.move_on_after(FINAL_COMMAND_TIMEOUT):
                    await self._host_actions.launched(self._final_command)
        finally:
            self.over.set()
            self._dispatcher.end_events()
        if refused is not None:
            raise refused

    def _start(
        self, nursery: trio.Nursery, run: Callable[..., Awaitable[None]], *args: object
    ) -> None:
        nursery.start_soon(self._leave_on_error, run, *args)

    async def _leave_on_error(self, run: Callable[..., Awaitable[None]], *args: object) -> None:
        """Run a part of the agent; if it fails, leave the tasks to the supervisor.

        A bug of the agent ends the agent, not the renders: the next agent takes them over.
        """
        try:
            # Of what it has too little of now the host may have enough again in a moment.
            await wait_out(getattr(run, "__qualname__", repr(run)), partial(run, *args))
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
        self._shutdown.drain(reason, budget)

    def stop_now(self, reason: str) -> None:
        self._shutdown.stop_now(reason)

    # -- callbacks of the session ---------------------------------------------------------------

    def _make_register(self) -> Register:
        config, facts = self.config, self._dependencies.facts
        return Register(
            name=config.name,
            user_name=config.user_name or facts.user,
            host_name=facts.name,
            engine=f"trio_afrender {__version__}",
            os=facts.os,
            state=self._state(),
            priority=config.priority,
            capacity=config.capacity,
            max_tasks=min(config.max_tasks, self._gpu_allocator.slots or config.max_tasks),
            services=config.services,
            time_launch=self._launched,
            address=facts.address,
            netifs=facts.netifs,
            resources=self._resources,
            running=self._list_running(),
            undelivered=self._outbox.undelivered(),
        )

    def _list_running(self) -> tuple[TaskExec, ...]:
        """Return the tasks that run here for the server."""
        # A run whose outcome is discarded still has processes, but the server has given it up.
        return tuple(
            state.task
            for state in self._dispatcher.running.values()
            if not state.control.discards_outcome
        )

    def _state(self) -> int:
        """Return the render's state bits for the server."""
        # NIMBY: the server hands out no tasks that this render would only give back. PAUSED marks it
        # as passing, because an afserver would keep a NIMBY for ever.
        if self._shutdown.begun or self._dispatcher.unavailable:
            return ONLINE | NIMBY | PAUSED
        return ONLINE | {"nimby": NIMBY_OWNER, "NIMBY": NIMBY}.get(self.config.nimby, 0)

    def _instruct(self, instruction: str, command: str) -> None:
        plan = make_plan(instruction, command, self.config)
        if plan.refusal:
            logger.warning("refused: %s", plan.refusal)
            # The server counts the render as asleep from its order on, and gives it no tasks until
            # it registers again.
            if instruction == "sleep":
                self._session.reregister(plan.refusal)
            return
        logger.info('instruction of the server: "%s" %s', instruction, command)
        if plan.launch:
            self._host_actions.launch(plan.launch)
        if plan.sleep:
            self._host_actions.sleep(plan.sleep)
        self._final_command = plan.final_command or self._final_command
        if plan.leave:
            self._shutdown.drain(plan.leave, finish=plan.finish)

    def _find(self, which: TaskKey | str) -> list[RunState]:
        return [
            state
            for state in self._dispatcher.running.values()
            if which in (state.task.run, state.task.key)
        ]

    def suspend_task(self, which: TaskKey | str, reason: str) -> bool:
        found = self._find(which)
        for state in found:
            state.control.suspension.change(reason)
        return bool(found)

    def stop_task(self, which: TaskKey | str, reason: str) -> bool:
        found = self._find(which)
        for state in found:
            state.control.stop(
                StopCause(kind=StopKind.USER, text=f"stopped on this host: {reason}")
            )
        return bool(found)

    # -- housekeeping ---------------------------------------------------------------------------

    async def _write_journal(self) -> None:
        # An outcome is sent only after its record is durable, so each write may make one sendable.
        await self._dependencies.journal.run(
            saved=self._wake, now=lambda: self._outbox.held(self._list_running())
        )

    def _wake(self) -> None:
        self._session.wake()

    def _put_state(self) -> None:
        self._outbox.put_state(self._state())
        self._wake()

    async def _remove_run_folders(self) -> None:
        """Remove the folders of closed runs, unless they are to be kept."""
        async for task in self._to_remove:
            # All runs of one interval are removed by one call, which needs one thread.
            await trio.sleep(CLEANUP_INTERVAL)
            tasks = [task]
            with suppress(trio.WouldBlock):
                while True:
                    tasks.append(self._to_remove.receive_nowait())
            if not self.config.keep_runs:
                await self._dependencies.remove_run_folders(tasks)

    async def _await_earlier(self, pids: tuple[int, ...]) -> None:
        """Start no task until the processes of an earlier agent that survived KILL are gone."""
        with self._dispatcher.held_by(pids):
            await self._dependencies.wait_gone(pids)

    async def _measure(self) -> None:
        measured = await self._dependencies.measure()
        meters = self._dependencies.meters.latest()
        self._resources = attrs.evolve(measured, custom=(*measured.custom, *meters))
        # A measurement without GPUs counts only if the driver has answered. Once seen, a GPU stays
        # in the list: one whose driver fails now still has its tasks.
        if measured.gpus or "gpus" not in measured.stale:
            self._gpus = measured.gpus or self._gpus or ()
        self._gpu_allocator.look_again()
        figures = attrs.asdict(self._resources)
        self._resources_text = json.dumps({"host_resources": figures})

    def _known_gpus(self) -> tuple[GpuCard, ...] | None:
        """Return the GPUs of this host; None while their driver starts up.

        A driver that does not answer within `GPU_START_TIMEOUT` counts as missing.
        """
        if self._gpus is None and trio.current_time() >= self._gpu_deadline:
            return ()
        return self._gpus

    async def _measure_host(self) -> None:
        """Measure the host every period. A measurement that hangs delays no heartbeat.

        Drains the agent after `SessionSettings.exit_no_task` seconds without a task.
        """
        while True:
            period = self._settings.period()
            self._watchdog.expect_within("the host's measurement", 2 * period + SAMPLE_TIMEOUT)
            await trio.sleep_until(next_tick(trio.current_time(), period))
            await self._measure()
            hold_descriptors()  # again, where they had to be freed
            self._dispatcher.check_event_readers()
            if self._resources is not None:
                self._outbox.put_resources(self._resources)
                self._wake()
            now, limit = trio.current_time(), self._settings.exit_no_task
            if self._dispatcher.running or self._outbox.holds:
                self._idle_since = now
            # The server may ask renders without tasks to leave (``exit_no_task_time``).
            if limit > 0 and now - self._idle_since >= limit:
                self.drain(f"no task for {limit:g} s", None)
