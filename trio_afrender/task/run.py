"""One run from start to outcome: `run_task` has its steps in their order.

It is the boundary of the run: whatever happens inside, the server gets one outcome and no process is
left. What a run obtains it gives back in the reverse order: GPUs, its folder with the log, its plugins
(service, command, environment, parser).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import trio

from trio_afrender.async_helpers import flatten
from trio_afrender.errors import PluginError, StoreError, is_device_failure, is_exhausted
from trio_afrender.plugins.interfaces import PluginSpec, PluginTask
from trio_afrender.protocol.messages import TaskStatus
from trio_afrender.task.collected_files import FileBatch
from trio_afrender.task.completion import Completion
from trio_afrender.task.events import LogLine
from trio_afrender.task.gpu_slots import make_gpu_variables, make_no_gpu_variables
from trio_afrender.task.live_output import LiveOutput
from trio_afrender.task.process_runner import ProcessRunner
from trio_afrender.task.run_folder import RunFolder
from trio_afrender.task.run_state import MAX_OUTPUT_WINDOW, RunState
from trio_afrender.task.task_info import make_task_info, read_own_checks
from trio_afrender.task.task_users import TaskUserError
from trio_afrender.task.thumbnails import Thumbnails
from trio_afrender.tasklog.io_threads import retry_exhausted
from trio_afrender.tasklog.redact import Redactor

__all__ = ("run_task",)

logger: logging.Logger = logging.getLogger(__name__)

MAX_LOG_PIECE = 256 * 1024
"""Characters of log in one message: plugins may write a lot."""


class NotStarted(Exception):
    """The run ends before it has a process, with `status`."""

    def __init__(self, status: TaskStatus) -> None:
        super().__init__(status.name)
        self.status = status


async def run_task(state: RunState) -> None:
    """Run a task and send its events, the outcome last. Closes `state.events`.

    A run that was closed or superseded sends no outcome. Raises nothing but cancellation: a bug
    in here becomes an outcome too. Cancelled, it leaves no process behind, and no outcome; a run that
    is `leaving` leaves its tree to the supervisor.
    """
    async with state.events:
        try:
            async with AsyncExitStack() as stack:
                if state.predecessors:
                    with state.control.stoppable():
                        # Each of them: one that was superseded while it waited itself ends before
                        # those that it waited for (test_a_third_run_of_a_key_waits_for_the_tree_of_the_first).
                        for older in state.predecessors:
                            await older.done.wait()
                    state.forget_predecessors()
                run_folder = await stack.enter_async_context(_open_folder_with_gpus(state))
                plugins = await stack.enter_async_context(_open_plugins(state, run_folder))
                live_output = LiveOutput(state, run_folder)
                async with trio.open_nursery() as helpers:
                    thumbnails = Thumbnails(state, run_folder, plugins, helpers)
                    processes = ProcessRunner(state, run_folder, plugins, thumbnails)
                    completion = Completion(state, plugins, thumbnails, processes)
                    with live_output.sent_in(helpers):
                        end = await processes.run_own(plugins.facts.command)
                        status = end if isinstance(end, TaskStatus) else await completion.run(end)
                    helpers.cancel_scope.cancel()
                await _collect_results(
                    state, run_folder, plugins, live_output, status, completion.parsed_files
                )
        except NotStarted as refusal:
            status = refusal.status
        except Exception as error:  # noqa: BLE001 - logged, unless it is the host's or a plugin's
            # The server must get an outcome for each run, and other runs must not end with this one.
            status = _explain_error(state, error)
        finally:
            if state.inherited and state.started_at is None and not state.control.leaving:
                # An earlier agent's tree that was never taken over, for example because its plugins
                # failed. Its supervisor would let it run on with no run that owns it.
                with trio.CancelScope(shield=True):
                    await _dismiss(state)
            # Before the outcome is sent: the next run of this key only needs the empty tree.
            state.done.set()
        if not state.control.discards_outcome:
            run, text = state.task.run, state.log_text()
            for start in range(0, len(text), MAX_LOG_PIECE):
                await state.send(LogLine(run=run, text=text[start : start + MAX_LOG_PIECE]))
            await state.send(state.outcome(status))


async def _dismiss(state: RunState) -> None:
    """End what an earlier agent has left running."""
    try:
        await retry_exhausted(partial(state.dependencies.dismiss, state.task))
    except OSError as error:
        problem = error.strerror or error
        logger.warning("task %s: its processes cannot be ended now: %s", state.task.key, problem)
        state.why.add("sweep", f"its processes cannot be ended now: {problem}")


def _explain_error(state: RunState, error: Exception) -> TaskStatus:
    """Return the status of a run that an error has ended, and note the error."""
    if is_exhausted(error):
        return state.give_back(error)
    first = flatten(error)[0] if isinstance(error, ExceptionGroup) else error
    # A full or broken disk is this host's fault: another host can try.
    if is_device_failure(error):
        return state.refuse(TaskStatus.GiveBack, f"a device of this host has failed: {first}")
    match first:
        case StoreError():
            return state.refuse(TaskStatus.GiveBack, str(first))
        case TaskUserError():
            return state.refuse(TaskStatus.FailedToStart, str(first))
        case PluginError():
            state.note(first.details)
            return state.refuse(TaskStatus.FailedToStart, str(first))
    logger.error("task %s: internal error", state.task.key, exc_info=error)
    state.why.add("bug", f"internal error of the agent: {error!r}")
    ran = state.started_at is not None
    return TaskStatus.FinishedError if ran else TaskStatus.FailedToStart


@asynccontextmanager
async def _open_folder_with_gpus(state: RunState) -> AsyncIterator[RunFolder]:
    """Open the folder of the run and get it its GPUs; an inherited run has those it has recorded."""
    gpus, open_run_folder = state.dependencies.gpus, state.dependencies.open_run_folder
    user = await state.dependencies.find_user(state.task, state.inherited)
    async with AsyncExitStack() as stack:
        stack.callback(lambda: gpus.free(state.gpus))
        if state.inherited:
            # A stopped run that is inherited goes through here too: its tree lives and must be ended.
            # Until the GPUs of an inherited run are read from its folder, a new task could be given
            # the same ones (test_an_inherited_run_keeps_its_gpu).
            with gpus.blocked():
                run_folder = await stack.enter_async_context(open_run_folder(state.task, user))
                recorded = await run_folder.recorded_gpus()
                state.assign_gpus(recorded, {})
                gpus.hold(recorded)
        else:
            await _take_gpus(state)
            if state.control.cause is not None:
                raise NotStarted(state.stopped_early())
            run_folder = await stack.enter_async_context(open_run_folder(state.task, user))
            if state.gpus:
                await run_folder.record_gpus(state.gpus)
        yield run_folder


async def _take_gpus(state: RunState) -> None:
    """Wait for the GPUs of this run, if it gets some of its own. A stop ends the wait."""
    gpus = state.dependencies.gpus
    if not gpus.rule.tasks_per_card or state.control.cause is not None:
        return
    if not gpus.assigns_to(state.task.service):
        state.assign_gpus((), make_no_gpu_variables() if gpus.gpus() else {})
        return
    # Reported only if there is a wait: for each task it would be one more update.
    waiting = gpus.is_busy()
    if waiting:
        known = gpus.gpus() is not None and not gpus.allocations.unknown
        why = "all are in use" if known else "it is not known yet which are free"
        await state.show_activity(f"waits for a GPU: {why}")
    with state.control.stoppable():
        taken = await gpus.take()
        state.assign_gpus(taken, make_gpu_variables(taken) if taken else {})
    if state.gpus:
        text = f"has GPU {', '.join(state.gpus)}"
        state.why.add("rule", text)
        if waiting:
            await state.show_activity(text)


@asynccontextmanager
async def _open_plugins(state: RunState, run_folder: RunFolder) -> AsyncIterator[PluginTask]:
    """Create service and parser, and prepare the run for its command. Raises `NotStarted`."""
    task = state.task
    own, _ = read_own_checks(task.data_strings)  # what is wrong with them is noted at the end
    spec = PluginSpec(
        service=task.service,
        # Without redirection there is no log that a parser could read.
        parser="" if state.config.console else task.parser,
        task_info=make_task_info(task, run_folder.files_dir),
        user=run_folder.user,
        assets=state.config.asset_checks(task.service, own),
    )
    # Written while the plugins are made, in another process: a thread that makes file calls beside a
    # busy event loop delays it at each of them.
    state.dependencies.recorder.write_now()
    async with state.dependencies.plugins.open_task(spec, run_folder.log) as plugins:
        facts = plugins.facts
        state.prepare(run_folder, plugins)
        if spec.parser not in ("", "none") and not facts.has_parser:
            text = f'the parser "{spec.parser}" cannot be loaded: the output is not parsed'
            state.why.add("parser", text)
        if facts.skip:
            state.why.add("rule", "the service skips the task")
            await state.note_plugins(plugins)
            raise NotStarted(TaskStatus.Skip)
        if not facts.command.strip():
            status = state.refuse(TaskStatus.FailedToStart, "the command is empty")
            await state.note_plugins(plugins)
            raise NotStarted(status)
        # An inherited tree runs already, whether or not its folder still exists.
        folder = "" if state.inherited else facts.working_directory
        exists = not folder
        if folder:
            # A mount may hang for ever, and no limit holds before there is a process.
            with state.control.stoppable():
                exists = await run_folder.is_folder(folder)
            if state.control.cause is not None:
                raise NotStarted(state.stopped_early())
        if not exists:
            named = task.working_directory
            mapped = f" (the server's {named})" if folder != named else ""
            text = f"working folder {folder}{mapped} is missing or cannot be entered"
            raise NotStarted(state.refuse(TaskStatus.FailedToStart, text))
        yield plugins


async def _collect_results(
    state: RunState,
    run_folder: RunFolder,
    plugins: PluginTask,
    live_output: LiveOutput,
    status: TaskStatus,
    parsed_files: tuple[str, ...],
) -> None:
    """Send the remaining output and files; note output and progress for the outcome."""
    if (lost := run_folder.log.lost) > 0:
        state.why.add("gap", f"{lost} bytes of output could not be stored")
    if (size := run_folder.log.size) > state.parsed.consumed:
        # Output that no parser consumed, because it was disabled or there is none, is shown as it
        # stands.
        await run_folder.view.apply(size, ())
    # The task that sends live output has ended; listeners still get the rest.
    await retry_exhausted(partial(live_output.flush, last=True))
    batch, output = FileBatch(), ""
    # The thread that looks for files is the most expensive step here. Nothing can have come since the tree
    # left nothing: settled plugins make no post commands and no thumbnails, and run no foreign code.
    if not (plugins.facts.settled and state.end is not None and state.end.left_nothing):
        redactor = Redactor(state.secrets)
        # The work is done: what the host has too little of now must not cost it.
        batch, output = await retry_exhausted(
            partial(
                run_folder.collect_final,
                state.sent_files,
                viewed=state.has_parser,
                limit=min(state.config.window, MAX_OUTPUT_WINDOW),
                redactor=redactor,
            )
        )
        state.hide(redactor.learned)
    state.concluded(status, output, parsed_files)
    await state.send_files(batch)
    while batch.more:
        collect = partial(
            run_folder.collect_final,
            state.sent_files,
            viewed=False,
            limit=0,
            redactor=Redactor(state.secrets),
        )
        batch, _ = await retry_exhausted(collect)
        await state.send_files(batch)
