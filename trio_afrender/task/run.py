"""The boundary of one run: whatever happens inside, the server gets one outcome and no process
is left. The way of a task from here on:

place on disk -> service (command, folder, environment) -> `work` -> log -> outcome
"""

from __future__ import annotations

import logging
from contextlib import ExitStack

import attrs
import trio

from trio_afrender.errors import PluginError, StoreError
from trio_afrender.plugins.interfaces import PluginSpec, PluginTask
from trio_afrender.protocol.messages import TaskStatus, TaskUpdate
from trio_afrender.task.events import LogLine, TaskEvent
from trio_afrender.task.execution import RunExecution
from trio_afrender.task.gpu_slots import hidden_cards, show_cards
from trio_afrender.task.run_folder import RunFolder
from trio_afrender.task.run_state import RunState
from trio_afrender.task.task_control import TaskControl
from trio_afrender.task.task_info import make_task_info
from trio_afrender.task.tools import TaskDependencies

__all__ = ("run_task",)

logger = logging.getLogger(__name__)

MAX_LOG_PIECE = 256 * 1024
"""Characters of log sent in one piece; plugins may be talkative."""


async def run_task(
    handle: TaskControl, tools: TaskDependencies, events: trio.MemorySendChannel[TaskEvent]
) -> None:
    """Run the task of `handle` and send its events, the outcome last. Closes `events`.

    A run that was closed or superseded sends no outcome. Raises nothing but cancellation: a bug
    in here becomes an outcome too. Cancelled, it leaves no process behind, and no outcome.
    """
    record = RunState(handle, tools)
    async with events:
        try:
            status = await _live(record, events)
        except Exception as error:
            # The boundary: whatever it was, the server gets an answer and the agent goes on.
            logger.exception("task %s: internal error", handle.task.key)
            record.why.add("bug", f"internal error of the agent: {error!r}")
            started = record.started is not None
            status = TaskStatus.FinishedError if started else TaskStatus.FailedToStart
        finally:
            await _dismiss(record)
            handle.done.set()
        if handle.cause is None or not handle.cause.kind.discards_outcome:
            await _report(record, status, events)


async def _dismiss(record: RunState) -> None:
    """End a tree that was inherited and never taken over: its plugins, say, could not be made."""
    handle = record.handle
    if handle.inherited and record.started is None and not handle.leaving:
        with trio.CancelScope(shield=True):
            await record.tools.dismiss(handle.task)


async def _live(record: RunState, events: trio.MemorySendChannel[TaskEvent]) -> TaskStatus:
    handle, tools = record.handle, record.tools
    if handle.predecessor is not None:
        with handle.stoppable():
            await handle.predecessor.done.wait()
        handle.predecessor = None  # or every run of a key would keep all its ancestors alive
    with ExitStack() as unknown:
        if handle.inherited:
            unknown.enter_context(tools.gpus.awaiting())
        return await _live_with_cards(record, unknown, events)


async def _live_with_cards(
    record: RunState, unknown: ExitStack, events: trio.MemorySendChannel[TaskEvent]
) -> TaskStatus:
    """Live with GPUs of its own; close `unknown` when those of an earlier agent's run are known."""
    handle, tools = record.handle, record.tools
    try:
        if not handle.inherited:
            await _take_cards(record, events)
        if handle.cause is not None and not handle.inherited:  # its tree lives, and is to end
            return record.stopped_early()
        async with tools.open_run_folder(handle.task) as place:
            if handle.inherited:
                record.cards = await place.recorded_gpus()
                tools.gpus.hold(record.cards)
                unknown.close()
            elif record.cards:
                await place.record_gpus(record.cards)
            return await _live_at(place, record, events)
    except StoreError as error:
        return record.refuse(TaskStatus.GiveBack, str(error))
    finally:
        tools.gpus.free(record.cards)


async def _take_cards(record: RunState, events: trio.MemorySendChannel[TaskEvent]) -> None:
    """Wait for the GPUs of this run, if it is to have some of its own; a stop ends the waiting."""
    handle, room = record.handle, record.tools.gpus
    if not room.rule.tasks_per_card or handle.cause is not None:
        return
    if not room.wants(handle.task.service):
        record.card_variables = hidden_cards() if room.cards() else {}
        return
    waiting = room.is_busy()
    if waiting:
        await _tell(record, "waits for a GPU: others have them all", events)
    with handle.stoppable():
        record.cards = await room.take()
    if record.cards:
        record.card_variables = show_cards(record.cards)
        text = f"has GPU {', '.join(record.cards)}"
        record.why.add("rule", text)
        if waiting:
            await _tell(record, text, events)


async def _tell(record: RunState, activity: str, events: trio.MemorySendChannel[TaskEvent]) -> None:
    """Say what a run does that has no process yet."""
    task = record.handle.task
    record.handle.activity = activity
    key = task.key._asdict()
    await events.send(TaskUpdate(run=task.run, **key, status=TaskStatus.Percent, activity=activity))


async def _live_at(
    place: RunFolder, record: RunState, events: trio.MemorySendChannel[TaskEvent]
) -> TaskStatus:
    task = record.handle.task
    spec = PluginSpec(
        service=task.service,
        parser="" if record.tools.config.console else task.parser,
        task_info=make_task_info(task, place.files_dir),
    )
    try:
        async with record.tools.plugins.open_task(spec, place.log) as plugins:
            return await _live_with(plugins, place, record, events)
    except PluginError as error:
        record.note(error.details)
        return record.refuse(TaskStatus.FailedToStart, str(error))


async def _live_with(
    plugins: PluginTask,
    place: RunFolder,
    record: RunState,
    events: trio.MemorySendChannel[TaskEvent],
) -> TaskStatus:
    refusal: TaskStatus | None = None
    if plugins.facts.skip:
        record.why.add("rule", "the service skips the task")
        refusal = TaskStatus.Skip
    elif not plugins.facts.command.strip():
        refusal = record.refuse(TaskStatus.FailedToStart, "the command is empty")
    if refusal is not None:
        await record.note_plugins(plugins)
        return refusal
    return await RunExecution(plugins, place, record, events).run()


async def _report(
    record: RunState, status: TaskStatus, events: trio.MemorySendChannel[TaskEvent]
) -> None:
    """Send what is left of the log, then the outcome."""
    run, text = record.handle.task.run, record.log_text()
    for start in range(0, len(text), MAX_LOG_PIECE):
        await events.send(LogLine(run=run, text=text[start : start + MAX_LOG_PIECE]))
    last = record.last or TaskUpdate(run=run, **record.handle.task.key._asdict(), status=status)
    end = record.end.status if record.end else None
    await events.send(
        attrs.evolve(
            last,
            status=status,
            percent=100 if status.success and record.started else last.percent,
            output=record.output,
            exit_code=end.code if end else None,
            exit_signal=end.signal if end else None,
            started=record.started,
            finished=record.finished or record.tools.wall(),
            why=record.why.steps(),
            leftovers=record.end.leftovers if record.end else (),
        )
    )
