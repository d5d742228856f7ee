"""The working part of a run: its process, its checks, its post commands and files."""

from __future__ import annotations

import math
from functools import partial

import attrs
import trio

from trio_afrender.errors import SpawnError
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
"""Bytes: what fits into a frame whatever they are."""
NO_REDIRECTION_NOTE = "This render runs without redirection (-nor): the output is on its console.\n"


class RunExecution:
    """One run that has its place and its plugins."""

    def __init__(
        self,
        plugins: PluginTask,
        place: RunFolder,
        record: RunState,
        events: trio.MemorySendChannel[TaskEvent],
    ) -> None:
        self._plugins = plugins
        self._place = place
        self._record = record
        self._events = events
        self._handle = record.handle
        self._tools = record.tools
        self._why = record.why
        self._stop_time = 0
        self._sent_files: set[str] = set()
        service = self._handle.task.service
        self._limits = self._tools.config.limits_of(service, plugins.facts.limits)
        self._remark = ""  # what we have to say of a run that goes on
        self._environment, record.secrets = self._tools.environment.make(
            plugins.facts.environment,
            self._handle.task,
            token=self._tools.new_token(),
            stop_file=place.stop_file,
        )
        self._environment.update(record.card_variables)
        self._redact = Redactor(record.secrets).redact if record.secrets else str
        self._thumbnails = Thumbnails(plugins, record, self._make_launch, self._collect)
        self._parsing = ProgressReader(
            plugins,
            place,
            self._handle,
            self._why,
            publish=self._publish,
            resources=self._tools.resources,
            found_on_the_fly=self._thumbnails.announce,
        )
        self._aftermath = Completion(
            plugins,
            record,
            self._thumbnails,
            flags=lambda: self._parsing.flags,
            run_post=self._run_post,
            allowed=self._limits.post_time or math.inf,
        )
        self._attendance = ProcessMonitors(
            limits=self._limits,
            stuck=self._tools.config.stuck_of(service, plugins.facts.stuck),
            log=place.log,
            handle=self._handle,
            why=self._why,
            tools=self._tools,
            progressed=(lambda: self._parsing.progressed) if plugins.facts.has_parser else None,
            warn=self._say,
            remark=self._make_remark,
        )
        self._shortage = MemoryShortage(
            self._tools.read_room, self._tools.usage_reader, self._handle
        )
        self._measuring = UsageMonitor(
            self._tools.usage_reader,
            self._handle,
            self._why,
            period=self._tools.period,
            publish=lambda: self._publish(self._parsing.status),
            beside=self._shortage.look,
        )
        self._listening = LiveOutput(
            self._handle,
            place.view.reader if plugins.facts.has_parser else place.log.reader,
            self._publish_listened,
            record.secrets,
            period=self._tools.config.timing.heartbeat,
            on_disk=place.log.folder is not None,
        )

    async def run(self) -> TaskStatus:
        """Run the command and all that follows; return the status."""
        wanted = self._plugins.facts.working_directory
        if wanted and not self._handle.inherited and not await self._place.is_folder(wanted):
            named = self._handle.task.working_directory
            mapped = f" (the server's {named})" if named != wanted else ""
            text = f"working folder {wanted}{mapped} is missing or cannot be entered"
            return self._record.refuse(TaskStatus.FailedToStart, text)
        self._handle.output = self._read_output
        try:
            async with trio.open_nursery() as helpers:
                helpers.start_soon(self._listening.run)
                helpers.start_soon(self._thumbnails.run)
                status = await self._render()
                helpers.cancel_scope.cancel()
        finally:
            self._handle.output = None
        await self._catch_up()
        await self._listening.flush(last=True)
        await self._finish(status)
        return status

    async def _render(self) -> TaskStatus:
        """The task's own process, the checks, the post commands."""
        end: ProcessEnd | None = None
        try:
            end = await self._process(self._plugins.facts.command, OWN_SLOT)
        except SpawnError as error:
            return self._record.refuse(TaskStatus.FailedToStart, str(error))
        if end is None:
            return self._record.stopped_early()
        self._record.finish(end)
        status = await self._aftermath.follow(end)
        cause = self._handle.cause
        if not status.success and not (end.stopped and cause is not None and cause.kind.wanted):
            await self._tell_shortage()
        return status

    async def _tell_shortage(self) -> None:
        """Say of a run that failed whether the host had no memory for it, and who had it all."""
        if await self._shortage.conclude():
            self._why.add("memory", self._shortage.sentence)
            self._record.note(f"{self._shortage.sentence}\n{self._shortage.table}")

    async def _process(
        self, command: str, slot: str, *, post_limit: float | None = None
    ) -> ProcessEnd | None:
        """Run one command to its end and parse its last words; None when a stop came first.

        `slot` names it within the run: there a later agent finds it. With `post_limit` it is a post
        command, and that is how many seconds it may take.
        """
        lives = self._handle.inherited and slot == OWN_SLOT
        if self._handle.cause is not None and not lives:
            return None
        child = await self._tools.spawn(self._make_kept(command, slot))
        # No checkpoint from here to `supervise`, which is what terminates and reaps.
        if post_limit is None:
            self._record.begin(child.started)
            if child.started is not None:
                self._handle.ran_before = max(0.0, self._tools.wall() - child.started)
                self._why.add(
                    "inherited", "the agent was restarted, the task went on", (child.pid,)
                )
        self._handle.pid = child.pid
        over = trio.Event()
        async with trio.open_nursery() as followers, trio.open_nursery() as companions:
            if self._plugins.facts.has_parser:
                followers.start_soon(self._parsing.follow, child.pid, over)
            self._tell_start(followers)
            companions.start_soon(self._measuring.follow, child)
            self._attendance.begin(companions, child, own=post_limit is None)
            try:
                end = await supervise(
                    child,
                    self._place.log,
                    self._handle,
                    self._why,
                    timing=self._tools.config.timing,
                    grace=self._grace,
                    limit=math.inf if post_limit is None else post_limit,
                    before_term=self._before_term,
                    at_exit=partial(self._measuring.close, child),
                )
            finally:
                over.set()  # a parser's call under way is waited for
                companions.cancel_scope.cancel()
        self._remark = ""
        if end.status is None:
            self._tools.adopt(child, end.leftovers)
        self._handle.pid = None
        raw = end.status.raw if end.status else 0
        await self._parsing.finish(f"{raw}:{self._stop_time}", verdict=post_limit is None)
        return end

    def _tell_start(self, followers: trio.Nursery) -> None:
        """Say that it runs. Does not wait: a busy dispatcher hears of it a little later."""
        try:
            self._events.send_nowait(self._update(TaskStatus.Percent))
        except trio.WouldBlock:
            followers.start_soon(self._publish, TaskStatus.Percent)

    async def _run_post(self, command: str, number: int, limit: float) -> ProcessEnd | None:
        return await self._process(command, f"post-{number}", post_limit=limit)

    async def _say(self, text: str) -> None:
        """Put a line into the task's log now."""
        await self._events.send(LogLine(run=self._handle.task.run, text=self._redact(text)))

    async def _make_remark(self, text: str) -> None:
        """Tell the server what we think of a run that goes on; '' takes it back."""
        self._remark = text
        await self._publish(self._parsing.status)

    async def _finish(self, status: TaskStatus) -> None:
        self._record.last = self._update(status, self._aftermath.parsed_files)
        files, self._record.output = await self._place.collect_final(
            self._sent_files,
            viewed=self._plugins.facts.has_parser,
            limit=min(self._tools.config.window, MAX_OUTPUT_WINDOW),
            redactor=Redactor(self._record.secrets),
        )
        if self._tools.config.console:
            self._record.output = NO_REDIRECTION_NOTE
        await self._send_files(files)

    # -- stopping -------------------------------------------------------------------------------

    @property
    def _grace(self) -> float:
        wish = self._plugins.facts.grace
        return self._tools.config.timing.grace if wish is None else wish

    async def _before_term(self) -> None:
        """Say why in the chain and in ``AF_STOP_FILE``."""
        cause, now = self._handle.cause, self._tools.wall()
        self._stop_time = int(now)
        await self._measuring.freeze()
        text = cause.text if cause else "time limit of the post command, or the agent is ending"
        self._why.add("asked", text)
        try:
            await self._place.write_stop(text, self._grace, now + self._grace)
        except OSError as error:
            # A full disk is a reason to be stopped, never one to go on.
            self._why.add("note", f"AF_STOP_FILE could not be written: {error.strerror or error}")

    # -- output ---------------------------------------------------------------------------------

    def _make_launch(self, command: str) -> Launch:
        config = self._tools.config
        return make_launch(
            command,
            shell=config.shell,
            cwd=self._plugins.facts.working_directory or self._place.work_dir,
            environment=self._environment,
            nice=config.nice,
            console=config.console,
        )

    def _make_kept(self, command: str, slot: str) -> Launch:
        """As `_make_launch`, for what may outlive this agent."""
        launch, persistence = self._make_launch(command), self._place.persistence(slot)
        if persistence is None or launch.console:
            return launch
        persistence = attrs.evolve(
            persistence,
            agent_timeout=self._tools.config.timing.unattended,
            grace=self._grace,
            attach=self._handle.inherited,
        )
        return attrs.evolve(launch, persistence=persistence)

    async def _publish(self, status: TaskStatus) -> None:
        await self._events.send(self._update(status))

    def _update(self, status: TaskStatus, parsed_files: tuple[str, ...] = ()) -> TaskUpdate:
        update = self._parsing.update(
            status,
            started=self._record.started,
            redact=self._redact,
            parsed_files=parsed_files,
        )
        if self._remark and status is TaskStatus.Percent:
            update = attrs.evolve(update, status=TaskStatus.Warning)
        if self._remark:
            update = attrs.evolve(update, activity=self._remark)
        if (usage := self._handle.usage) is None:
            return update
        words = f"{update.resources} {usage_words(usage)}".lstrip()
        return attrs.evolve(update, resources=words, usage=usage)

    async def _publish_listened(self, text: str) -> None:
        await self._events.send(Listened(run=self._handle.task.run, text=text))

    async def _collect(self) -> None:
        """Send the files that appeared in the run's files folder."""
        await self._send_files(await self._place.collect(self._sent_files))

    async def _send_files(self, files: tuple[TaskFile, ...]) -> None:
        if files:
            self._sent_files.update(file.name for file in files)
            await self._events.send(FilesFound(run=self._handle.task.run, files=files))

    async def _catch_up(self) -> None:
        """Show what was printed after the parser was dropped, or what no parser consumed."""
        if (lost := self._place.log.lost) > 0:
            self._why.add("gap", f"{lost} bytes of output could not be stored")
        if (size := self._place.log.size) > self._parsing.state.consumed:
            await self._place.view.apply(size, ())

    async def _read_output(self) -> str:
        """The output so far, for `Events.outputs`; never empty."""
        text = await self._place.read_window(
            viewed=self._plugins.facts.has_parser,
            limit=min(self._tools.config.window, MAX_OUTPUT_WINDOW),
            redactor=Redactor(self._record.secrets),
        )
        return (
            NO_REDIRECTION_NOTE
            if self._tools.config.console
            else text or "The task has printed nothing so far.\n"
        )
