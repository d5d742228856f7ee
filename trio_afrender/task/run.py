"""The boundary of one run: whatever happens inside, the server gets one outcome and no process
is left.

A run obtains, in this order, and gives back in the reverse order: GPUs, its folder with the log, its
plugins (service, command, environment, parser). `RunExecution` does the work with them.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, ExitStack

import attrs
import trio

from trio_afrender.errors import PluginError, StoreError
from trio_afrender.plugins.interfaces import PluginSpec
from trio_afrender.protocol.messages import TaskStatus, TaskUpdate
from trio_afrender.task.events import LogLine, TaskEvent
from trio_afrender.task.execution import RunExecution
from trio_afrender.task.gpu_slots import make_gpu_variables, make_no_gpu_variables
from trio_afrender.task.run_state import RunState
from trio_afrender.task.task_control import TaskControl
from trio_afrender.task.task_info import make_task_info
from trio_afrender.task.tools import TaskDependencies

__all__ = ("run_task",)

logger = logging.getLogger(__name__)

MAX_LOG_PIECE = 256 * 1024
"""Characters of log in one message: plugins may write a lot."""


async def run_task(
    control: TaskControl,
    dependencies: TaskDependencies,
    events: trio.MemorySendChannel[TaskEvent],
) -> None:
    """Run the task of `control` and send its events, the outcome last. Closes `events`.

    A run that was closed or superseded sends no outcome. Raises nothing but cancellation: a bug
    in here becomes an outcome too. Cancelled, it leaves no process behind, and no outcome.
    """
    run_state = RunState(control, dependencies)
    async with events:
        try:
            status = await _execute(run_state, events)
        except Exception as error:
            # The server must get an outcome for each run, and other runs must not end with this one.
            logger.exception("task %s: internal error", control.task.key)
            run_state.why.add("bug", f"internal error of the agent: {error!r}")
            started = run_state.started is not None
            status = TaskStatus.FinishedError if started else TaskStatus.FailedToStart
        finally:
            if control.inherited and run_state.started is None and not control.leaving:
                # An earlier agent's tree that was never taken over, for example because its plugins
                # failed. Its supervisor would let it run on with no run that owns it.
                with trio.CancelScope(shield=True):
                    await dependencies.dismiss(control.task)
            # Before the outcome is sent: the next run of this key only needs the empty tree.
            control.done.set()
        if control.cause is None or not control.cause.kind.discards_outcome:
            await _send_outcome(run_state, status, events)


async def _execute(run_state: RunState, events: trio.MemorySendChannel[TaskEvent]) -> TaskStatus:
    """Obtain what the run needs, execute it, give everything back; return the status."""
    control, dependencies = run_state.control, run_state.dependencies
    task, gpus = control.task, dependencies.gpus
    if control.predecessor is not None:
        with control.stoppable():
            await control.predecessor.done.wait()
        control.predecessor = None  # or each run of a key would keep all earlier ones in memory
    try:
        async with AsyncExitStack() as stack:
            # Until the GPUs of an inherited run are read from its folder, a new task could be given
            # the same ones (test_an_inherited_run_keeps_its_gpu).
            blocked = stack.enter_context(ExitStack())
            if control.inherited:
                blocked.enter_context(gpus.blocked())
            stack.callback(lambda: gpus.free(run_state.gpus))
            if not control.inherited:
                await _take_gpus(run_state, events)
                if control.cause is not None:
                    return run_state.stopped_early()
            # A stopped run that is inherited goes through here: its tree lives and must be ended.
            run_folder = await stack.enter_async_context(dependencies.open_run_folder(task))
            if control.inherited:
                run_state.gpus = await run_folder.recorded_gpus()
                gpus.hold(run_state.gpus)
                blocked.close()
            elif run_state.gpus:
                await run_folder.record_gpus(run_state.gpus)
            spec = PluginSpec(
                service=task.service,
                # Without redirection there is no log that a parser could read.
                parser="" if dependencies.config.console else task.parser,
                task_info=make_task_info(task, run_folder.files_dir),
            )
            plugins = await stack.enter_async_context(
                dependencies.plugins.open_task(spec, run_folder.log)
            )
            refusal: TaskStatus | None = None
            if plugins.facts.skip:
                run_state.why.add("rule", "the service skips the task")
                refusal = TaskStatus.Skip
            elif not plugins.facts.command.strip():
                refusal = run_state.refuse(TaskStatus.FailedToStart, "the command is empty")
            if refusal is not None:
                await run_state.note_plugins(plugins)
                return refusal
            return await RunExecution(plugins, run_folder, run_state, events).run()
    except StoreError as error:
        # A full or broken disk is this host's fault: another host can try.
        return run_state.refuse(TaskStatus.GiveBack, str(error))
    except PluginError as error:
        run_state.note(error.details)
        return run_state.refuse(TaskStatus.FailedToStart, str(error))


async def _take_gpus(run_state: RunState, events: trio.MemorySendChannel[TaskEvent]) -> None:
    """Wait for the GPUs of this run, if it gets some of its own. A stop ends the wait."""
    control, gpus = run_state.control, run_state.dependencies.gpus
    if not gpus.rule.tasks_per_card or control.cause is not None:
        return
    if not gpus.assigns_to(control.task.service):
        run_state.gpu_variables = make_no_gpu_variables() if gpus.gpus() else {}
        return
    # Reported only if there is a wait: for each task it would be one more update.
    waiting = gpus.is_busy()
    if waiting:
        await _send_activity(run_state, "waits for a GPU: all are in use", events)
    with control.stoppable():
        run_state.gpus = await gpus.take()
    if run_state.gpus:
        run_state.gpu_variables = make_gpu_variables(run_state.gpus)
        text = f"has GPU {', '.join(run_state.gpus)}"
        run_state.why.add("rule", text)
        if waiting:
            await _send_activity(run_state, text, events)


async def _send_activity(
    run_state: RunState, activity: str, events: trio.MemorySendChannel[TaskEvent]
) -> None:
    """Report the activity of a run that has no process yet."""
    task = run_state.control.task
    run_state.control.activity = activity
    key = task.key._asdict()
    await events.send(TaskUpdate(run=task.run, **key, status=TaskStatus.Percent, activity=activity))


async def _send_outcome(
    run_state: RunState, status: TaskStatus, events: trio.MemorySendChannel[TaskEvent]
) -> None:
    """Send the run's log, then its outcome."""
    run, text = run_state.control.task.run, run_state.log_text()
    for start in range(0, len(text), MAX_LOG_PIECE):
        await events.send(LogLine(run=run, text=text[start : start + MAX_LOG_PIECE]))
    key = run_state.control.task.key._asdict()
    last = run_state.last or TaskUpdate(run=run, **key, status=status)
    end = run_state.end.status if run_state.end else None
    await events.send(
        attrs.evolve(
            last,
            status=status,
            # Many programs end without having printed 100 %.
            percent=100 if status.success and run_state.started else last.percent,
            output=run_state.output,
            exit_code=end.code if end else None,
            exit_signal=end.signal if end else None,
            started=run_state.started,
            finished=run_state.finished or run_state.dependencies.wall(),
            why=run_state.why.steps(),
            leftovers=run_state.end.leftovers if run_state.end else (),
        )
    )
