"""The working part of a run: its processes, and what reads, measures and limits them.

A run has one process tree of its own and then one for each post command. `_run_process` opens two
nurseries around `supervise` for each of them:

- followers: the parser, which reads the log behind the process. It returns by itself after `over` is
  set, because a parser call under way must finish before the last call of all can be made.
- companions: measurements, suspension, limits, stuck detection. They end with the process, by
  cancellation.

The listeners' output and the thumbnails run beside all processes of the run.
"""

from __future__ import annotations

import math
from functools import partial

import attrs
import trio

from trio_afrender.errors import SpawnError, StoreError
from trio_afrender.plugins.interfaces import PluginTask
from trio_afrender.process.interfaces import Launch
from trio_afrender.protocol.messages import TaskFile, TaskStatus, TaskUpdate
from trio_afrender.task.completion import Completion
from trio_afrender.task.events import FilesFound, Listened, LogLine, TaskEvent
from trio_afrender.task.launch import make_launch
from trio_afrender.task.live_output import LiveOutput
from trio_afrender.task.monitors import ProcessMonitors
from trio_afrender.task.monitors.memory_shortage import MemoryShortage
from trio_afrender.task.monitors.usage import UsageMonitor
from trio_afrender.task.process_lifecycle import ProcessEnd, supervise
from trio_afrender.task.progress import ProgressReader
from trio_afrender.task.run_folder import OWN_SLOT, RunFolder
from trio_afrender.task.run_state import RunState
from trio_afrender.task.thumbnails import Thumbnails
from trio_afrender.task.usage_totals import usage_words
from trio_afrender.tasklog.redact import Redactor

__all__ = ("RunExecution",)

MAX_OUTPUT_WINDOW = 1024 * 1024
"""Bytes of output in one message: fits into a frame of 8 MiB even if each byte is escaped."""
NO_REDIRECTION_NOTE = "This render runs without redirection (-nor): the output is on its console.\n"


class RunExecution:
    """One run that has its folder and its plugins. Used once: `run`."""

    def __init__(
        self,
        plugins: PluginTask,
        run_folder: RunFolder,
        run_state: RunState,
        events: trio.MemorySendChannel[TaskEvent],
    ) -> None:
        self._plugins = plugins
        self._run_folder = run_folder
        self._run_state = run_state
        self._events = events
        self._control = control = run_state.control
        self._dependencies = dependencies = run_state.dependencies
        self._why = why = run_state.why
        self._stop_time = 0
        self._sent_files: set[str] = set()
        config, service = dependencies.config, control.task.service
        self._limits = config.limits_of(service, plugins.facts.limits)
        self._notice = ""  # replaces the activity in updates, with status warning; set if stuck
        self._environment, run_state.secrets = dependencies.environment.make(
            plugins.facts.environment,
            control.task,
            token=dependencies.new_token(),
            stop_file=run_folder.stop_file,
        )
        # After the variables of the service, which must not undo the assignment of GPUs.
        self._environment.update(run_state.gpu_variables)
        self._redact = Redactor(run_state.secrets).redact if run_state.secrets else str
        self._thumbnails = Thumbnails(
            plugins,
            run_state,
            run_folder,
            partial(self._make_launch, own_log=True),
            self._send_complete_files,
        )
        self._progress = ProgressReader(
            plugins,
            run_folder,
            control,
            why,
            publish=self._publish,
            resources=dependencies.resources,
            found_on_the_fly=self._thumbnails.announce,
        )
        self._completion = Completion(
            plugins,
            run_state,
            self._thumbnails,
            flags=lambda: self._progress.flags,
            run_post=lambda command, number, limit: self._run_process(
                command, f"post-{number}", post_limit=limit
            ),
            time_limit=self._limits.post_time or math.inf,
        )
        self._monitors = ProcessMonitors(
            limits=self._limits,
            stuck=config.stuck_of(service, plugins.facts.stuck),
            log=run_folder.log,
            control=control,
            why=why,
            dependencies=dependencies,
            progressed=(lambda: self._progress.progressed) if plugins.facts.has_parser else None,
            send_log=self._send_log,
            set_notice=self._set_notice,
        )
        self._memory_shortage = MemoryShortage(
            dependencies.read_headroom, dependencies.usage_reader, control
        )
        self._usage_monitor = UsageMonitor(
            dependencies.usage_reader,
            control,
            why,
            period=dependencies.period,
            publish=lambda: self._publish(self._progress.status),
            after_sample=self._memory_shortage.look,
        )
        self._live_output = LiveOutput(
            control,
            # Listeners see what the parser makes of the output; without a parser that is the log.
            run_folder.view.reader if plugins.facts.has_parser else run_folder.log.reader,
            lambda text: self._events.send(Listened(run=control.task.run, text=text)),
            run_state.secrets,
            period=config.timing.heartbeat,
            on_disk=run_folder.log.folder is not None,
        )

    async def run(self) -> TaskStatus:
        """Run the command and all that follows it; return the status.

        Cancelled, no process of the run is left, unless the run is `leaving` and its supervisor
        holds the tree.
        """
        control, state, folder = self._control, self._run_state, self._run_folder
        working_directory = self._plugins.facts.working_directory
        # An inherited tree runs already, whether or not its folder still exists.
        must_exist = bool(working_directory) and not control.inherited
        if must_exist and not await folder.is_folder(working_directory):
            named = control.task.working_directory
            mapped = f" (the server's {named})" if named != working_directory else ""
            text = f"working folder {working_directory}{mapped} is missing or cannot be entered"
            return state.refuse(TaskStatus.FailedToStart, text)
        control.output = self._read_output
        try:
            async with trio.open_nursery() as helpers:
                helpers.start_soon(self._live_output.run)
                helpers.start_soon(self._thumbnails.run)
                status = await self._run_to_status()
                helpers.cancel_scope.cancel()
        finally:
            control.output = None
        if (lost := folder.log.lost) > 0:
            self._why.add("gap", f"{lost} bytes of output could not be stored")
        if (size := folder.log.size) > self._progress.state.consumed:
            # Output that no parser consumed, because it was disabled or there is none, is shown as
            # it stands.
            await folder.view.apply(size, ())
        # The task that sends live output has ended; listeners still get the rest.
        await self._live_output.flush(last=True)
        await self._send_last(status)
        return status

    async def _run_to_status(self) -> TaskStatus:
        """Run the task's own process, the checks and the post commands."""
        state = self._run_state
        end: ProcessEnd | None = None
        try:
            end = await self._run_process(self._plugins.facts.command, OWN_SLOT)
        except SpawnError as error:
            return state.refuse(TaskStatus.FailedToStart, str(error))
        except StoreError as error:
            # A full or broken disk is this host's fault: another host can try.
            return state.refuse(TaskStatus.GiveBack, str(error))
        if end is None:
            return state.stopped_early()
        state.finish(end)
        status = await self._completion.run(end)
        cause = self._control.cause
        stopped_on_request = end.stopped and cause is not None and cause.kind.requested
        if not status.success and not stopped_on_request and await self._memory_shortage.conclude():
            self._why.add("memory", self._memory_shortage.sentence)
            state.note(f"{self._memory_shortage.sentence}\n{self._memory_shortage.table}")
        return status

    async def _run_process(
        self, command: str, slot: str, *, post_limit: float | None = None
    ) -> ProcessEnd | None:
        """Run one command to its end and parse all its output; None when a stop came first.

        `slot` names the process within the run: a later agent finds its tree by that name. A post
        command has `post_limit`, the seconds it may take. Raises `SpawnError`.
        """
        control, own = self._control, post_limit is None
        exists = control.inherited and slot == OWN_SLOT
        # A stop makes starting pointless, but a tree that an earlier agent started must be taken
        # over to be ended (test_a_stop_before_a_tree_was_taken_over_ends_that_tree).
        if control.cause is not None and not exists:
            return None
        tree = await self._dependencies.spawn(
            self._make_launch(command, slot, attach=control.inherited)
        )
        # No checkpoint from here to `supervise`, which is what terminates and reaps: a cancellation
        # in between would leave the tree to nothing.
        if own:
            self._run_state.begin(tree.started)
            if tree.started is not None:
                control.ran_before = max(0.0, self._dependencies.wall() - tree.started)
                text = "the agent was restarted, the task kept running"
                self._why.add("inherited", text, (tree.pid,))
        control.pid = tree.pid
        over = trio.Event()
        async with trio.open_nursery() as followers, trio.open_nursery() as companions:
            if self._plugins.facts.has_parser:
                followers.start_soon(self._progress.follow, tree.pid, over)
            try:
                # The start is reported at once, but never waited for: see the rule above.
                self._events.send_nowait(self._update(TaskStatus.Percent))
            except trio.WouldBlock:
                followers.start_soon(self._publish, TaskStatus.Percent)
            companions.start_soon(self._usage_monitor.follow, tree)
            self._monitors.begin(companions, tree, own=own)
            try:
                end = await supervise(
                    tree,
                    self._run_folder.log,
                    control,
                    self._why,
                    timing=self._dependencies.config.timing,
                    grace=self._grace,
                    limit=math.inf if post_limit is None else post_limit,
                    before_term=self._before_term,
                    at_exit=partial(self._usage_monitor.close, tree),
                )
            finally:
                over.set()
                companions.cancel_scope.cancel()
        self._notice = ""
        if end.status is None:
            # The leader survived KILL. The tree outlives the run; the agent reaps it some day.
            self._dependencies.adopt(tree, end.leftovers)
        control.pid = None
        raw = end.status.raw if end.status else 0
        # Afanasy's parsers get the raw wait status and the time of the stop as the last mode. The
        # output of a post command is parsed for what it shows, its errors do not count as the
        # task's.
        await self._progress.finish(f"{raw}:{self._stop_time}", verdict=own)
        return end

    async def _send_log(self, text: str) -> None:
        """Add a line to the task's log on the server now."""
        await self._events.send(LogLine(run=self._control.task.run, text=self._redact(text)))

    async def _set_notice(self, text: str) -> None:
        """Show `text` to the server as a warning in place of the activity; '' ends that."""
        self._notice = text
        await self._publish(self._progress.status)

    async def _send_last(self, status: TaskStatus) -> None:
        """Send the remaining files; note output and progress for the outcome."""
        config, state = self._dependencies.config, self._run_state
        state.last = self._update(status, self._completion.parsed_files)
        files, state.output = await self._run_folder.collect_final(
            self._sent_files,
            viewed=self._plugins.facts.has_parser,
            limit=min(config.window, MAX_OUTPUT_WINDOW),
            redactor=Redactor(state.secrets),
        )
        if config.console:
            state.output = NO_REDIRECTION_NOTE
        await self._send_files(files)

    # -- stopping -------------------------------------------------------------------------------

    @property
    def _grace(self) -> float:
        """Seconds between TERM and KILL: the service's, else the agent's."""
        requested = self._plugins.facts.grace
        return self._dependencies.config.timing.grace if requested is None else requested

    async def _before_term(self) -> None:
        """Note why the tree is stopped, in the reasons and in ``AF_STOP_FILE``."""
        cause, now = self._control.cause, self._dependencies.wall()
        self._stop_time = int(now)
        await self._usage_monitor.freeze()
        text = cause.text if cause else "time limit of the post command, or the agent is ending"
        self._why.add("asked", text)
        try:
            await self._run_folder.write_stop(text, self._grace, now + self._grace)
        except OSError as error:
            # A full disk is a usual reason for a stop; it must not prevent it
            # (test_a_full_store_keeps_no_task_from_being_stopped).
            self._why.add("note", f"AF_STOP_FILE could not be written: {error.strerror or error}")

    # -- output ---------------------------------------------------------------------------------

    def _make_launch(
        self, command: str, slot: str, *, attach: bool = False, own_log: bool = False
    ) -> Launch:
        """Describe a process of the run. `attach`: take over what an earlier agent left at `slot`.

        A process with a log of its own is a thumbnail command: it ends with the agent.
        """
        config = self._dependencies.config
        # A process on the console has no log that a later agent could continue, so it ends with its
        # agent.
        outlives = config.supervisor and not config.console and not own_log
        persistence = attrs.evolve(
            self._run_folder.persistence(slot, own_log=own_log),
            agent_timeout=config.timing.unattended if outlives else 0,
            grace=self._grace,
            attach=attach,
        )
        return make_launch(
            command,
            shell=config.shell,
            cwd=self._plugins.facts.working_directory or self._run_folder.work_dir,
            environment=self._environment,
            nice=config.nice,
            console=config.console,
            persistence=persistence,
        )

    async def _publish(self, status: TaskStatus) -> None:
        await self._events.send(self._update(status))

    def _update(self, status: TaskStatus, parsed_files: tuple[str, ...] = ()) -> TaskUpdate:
        """Make the update of this moment: progress, the notice if there is one, usage."""
        update = self._progress.update(
            status,
            started=self._run_state.started,
            redact=self._redact,
            parsed_files=parsed_files,
        )
        # Final statuses stay: the notice is about a run that is still running.
        if self._notice and status is TaskStatus.Percent:
            update = attrs.evolve(update, status=TaskStatus.Warning)
        if self._notice:
            update = attrs.evolve(update, activity=self._notice)
        if (usage := self._control.usage) is None:
            return update
        # Twice: as a field for our own farm, as words for an Afanasy server, which shows the text.
        words = f"{update.resources} {usage_words(usage)}".lstrip()
        return attrs.evolve(update, resources=words, usage=usage)

    async def _send_complete_files(self) -> None:
        """Send the files that appeared in the run's files folder and are complete."""
        await self._send_files(await self._run_folder.collect(self._sent_files))

    async def _send_files(self, files: tuple[TaskFile, ...]) -> None:
        if files:
            self._sent_files.update(file.name for file in files)
            await self._events.send(FilesFound(run=self._control.task.run, files=files))

    async def _read_output(self) -> str:
        """Return the output so far, for `Events.outputs`; never empty."""
        text = await self._run_folder.read_window(
            viewed=self._plugins.facts.has_parser,
            limit=min(self._dependencies.config.window, MAX_OUTPUT_WINDOW),
            redactor=Redactor(self._run_state.secrets),
        )
        return (
            NO_REDIRECTION_NOTE
            if self._dependencies.config.console
            else text or "The task has printed nothing so far.\n"
        )
