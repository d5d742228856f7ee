"""The working part of a run: its process, its checks, its post commands and files."""

from __future__ import annotations

import math
import os
from functools import partial

import attrs
import trio

from trio_afrender.child.base import Launch
from trio_afrender.errors import SpawnError
from trio_afrender.messages import BlockFlags, TaskFile, TaskStatus, TaskUpdate
from trio_afrender.output.redact import Redactor
from trio_afrender.plugins.base import Conclusion, PluginTask
from trio_afrender.task.attendance import Attendance
from trio_afrender.task.command import make_launch
from trio_afrender.task.events import FilesFound, Listened, LogLine, TaskEvent
from trio_afrender.task.figures import usage_words
from trio_afrender.task.images import Finding, inspect
from trio_afrender.task.listening import Listening
from trio_afrender.task.measuring import Measuring
from trio_afrender.task.parsing import Parsing
from trio_afrender.task.place import OWN_SLOT, Place
from trio_afrender.task.record import Record
from trio_afrender.task.shortage import Shortage
from trio_afrender.task.supervise import ProcessEnd, supervise
from trio_afrender.task.thumbnails import Thumbnails, paint, wanted_of
from trio_afrender.task.verdict import Facts, StopCause, StopKind, judge

__all__ = ("Work",)

MAX_WINDOW = 1024 * 1024
"""Bytes: what fits into a frame whatever they are."""
CONSOLE = "This render runs without redirection (-nor): the output is on its console.\n"
SHELL_HINTS = {
    126: "the shell found the command but may not execute it",
    127: "the shell did not find the command",
}


class Work:
    """One run that has its place and its plugins."""

    def __init__(
        self,
        plugins: PluginTask,
        place: Place,
        record: Record,
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
        self._late = False  # whether what follows the own process was stopped for its limit
        self._cut = False  # and whether that left out a post command
        self._sent_files: set[str] = set()
        self._parsed_files: tuple[str, ...] = ()
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
        self._parsing = Parsing(
            plugins,
            place,
            self._handle,
            self._why,
            publish=self._publish,
            resources=self._tools.resources,
            found_on_the_fly=self._thumbnails.announce,
        )
        self._attendance = Attendance(
            limits=self._limits,
            stuck=self._tools.config.stuck_of(service, plugins.facts.stuck),
            log=place.log,
            handle=self._handle,
            why=self._why,
            tools=self._tools,
            progressed=(lambda: self._parsing.progressed) if plugins.facts.has_parser else None,
            say=self._say,
            remark=self._make_remark,
        )
        self._shortage = Shortage(self._tools.read_room, self._tools.gauge, self._handle)
        self._measuring = Measuring(
            self._tools.gauge,
            self._handle,
            self._why,
            period=self._tools.period,
            publish=lambda: self._publish(self._parsing.status),
            beside=self._shortage.look,
        )
        self._listening = Listening(
            self._handle,
            place.view.reader if plugins.facts.has_parser else place.log.reader,
            self._publish_listened,
            record.secrets,
            period=self._tools.config.timing.heartbeat,
            on_disk=place.log.folder is not None,
        )

    async def do(self) -> TaskStatus:
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
        status = await self._follow_up(end)
        cause = self._handle.cause
        if not status.success and not (end.stopped and cause is not None and cause.kind.wanted):
            await self._tell_shortage()
        return status

    async def _tell_shortage(self) -> None:
        """Say of a run that failed whether the host had no memory for it, and who had it all."""
        if await self._shortage.conclude():
            self._why.add("memory", self._shortage.sentence)
            self._record.note(f"{self._shortage.sentence}\n{self._shortage.table}")

    async def _follow_up(self, end: ProcessEnd) -> TaskStatus:
        """Checks, post commands and thumbnails, within the limit for all that follows."""
        allowed = self._limits.post_time or math.inf
        deadline = trio.current_time() + allowed
        async with trio.open_nursery() as nursery:
            if allowed < math.inf:
                nursery.start_soon(self._watch_post_time, allowed)
            status = await self._conclude(end)
            nursery.cancel_scope.cancel()
        if not await self._thumbnails.finish(deadline):
            text = f"the limit post_time is {allowed:g} s: the rest of the thumbnails is left out"
            self._why.add("rule", text)
        return status

    async def _watch_post_time(self, allowed: float) -> None:
        await trio.sleep(allowed)
        text = f"what follows its end took {allowed:g} s, the limit post_time is {allowed:g} s"
        self._why.add("rule", f"{text}: the rest of it is stopped")
        self._late = self._handle.cause is None
        self._handle.stop(StopCause(kind=StopKind.LIMIT, text=text))

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
        async with trio.open_nursery() as nursery:
            if self._plugins.facts.has_parser:
                nursery.start_soon(self._parsing.follow, child.pid, over)
            nursery.start_soon(self._publish, TaskStatus.Percent)
            nursery.start_soon(self._measuring.follow, child, over)
            attend = partial(self._attendance.attend, child, over, own=post_limit is None)
            nursery.start_soon(attend)
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
                over.set()
        self._remark = ""
        if end.status is None:
            self._tools.adopt(child, end.leftovers)
        self._handle.pid = None
        raw = end.status.raw if end.status else 0
        await self._parsing.finish(f"{raw}:{self._stop_time}", verdict=post_limit is None)
        return end

    async def _say(self, text: str) -> None:
        """Put a line into the task's log now."""
        await self._events.send(LogLine(run=self._handle.task.run, text=self._redact(text)))

    async def _make_remark(self, text: str) -> None:
        """Tell the server what we think of a run that goes on; '' takes it back."""
        self._remark = text
        await self._publish(self._parsing.status)

    async def _conclude(self, end: ProcessEnd) -> TaskStatus:
        """What the service says of the end, the post commands, and the status that follows."""
        stop = self._handle.cause if end.stopped else None
        success = stop is not None and stop.kind is StopKind.PARSER_SUCCESS
        if success:
            self._handle.cause = None  # what follows a success may run: checks, thumbnails
        code = end.status.code if end.status else None
        if not success and (stop is not None or code is None):
            if stop is None:
                await self._explain(end)
            await self._record.note_plugins(self._plugins)
            return judge(self._facts(end, stop, exit_ok=False))
        wanted = bool(BlockFlags.CHECKRENDEREDFILES & self._handle.task.block_flags)
        clean = not self._parsing.flags & {"fatalerror", "error", "badresult"}
        said = await self._plugins.conclude(
            None if success else code, check_files=wanted, post=clean
        )
        if not said.exit_ok and code in SHELL_HINTS:
            self._why.add("rule", f"exit code {code}: {SHELL_HINTS[code]}")
        self._parsed_files = said.parsed_files
        facts = self._facts(end, stop, exit_ok=said.exit_ok, files_ok=said.files_ok)
        if wanted and judge(facts).success and not await self._inspect_images():
            facts = attrs.evolve(facts, files_ok=False)
        log: str | None = said.log
        if said.post and judge(facts).success:
            post_ok = await self._post(said)
            facts = attrs.evolve(facts, post_ok=post_ok, post_in_time=not self._cut)
            log = None  # it may have grown
        status = judge(facts)
        if not status.success:
            await self._explain(end)
        await self._record.note_plugins(self._plugins, log)
        return status

    async def _explain(self, end: ProcessEnd) -> None:
        """Say what kind of error it was, when rules know; never of a run that we ended."""
        if end.status is None:
            return
        for found in await self._plugins.explain(end.status.code, end.status.signal):
            blame = "; the host is to blame" if found.host_to_blame else ""
            self._why.add("class", f"{found.name}: {found.note}{blame}")

    def _facts(
        self, end: ProcessEnd, stop: StopCause | None, *, exit_ok: bool, files_ok: bool = True
    ) -> Facts:
        flags = self._parsing.flags
        return Facts(
            stop=stop,
            exit=end.status,
            exit_ok=exit_ok,
            fatalerror="fatalerror" in flags,
            error="error" in flags,
            badresult="badresult" in flags,
            finishedsuccess="finishedsuccess" in flags,
            files_ok=files_ok,
            give_backs=self._handle.give_backs,
        )

    async def _inspect_images(self) -> bool:
        """Look at the images that the task should have made; False if one cannot be right."""
        level, painter = self._tools.config.check_images, self._tools.painter
        facts, kinds = self._plugins.facts, self._tools.config.thumbnail_extensions
        paths = [
            os.path.join(facts.working_directory, name)  # noqa: PTH118 - a text
            for name in facts.files
            if name.rpartition(".")[2].casefold() in kinds
        ]
        if level == "off" or not paths:
            return True
        if painter is None:
            if level == "error":
                self._record.note("images: not looked at, OpenImageIO is not installed")
            return True
        limit = self._tools.config.post_limit
        found: tuple[Finding, ...] = ()
        with self._handle.stoppable():
            found, left = await inspect(paths, painter, limit if limit > 0 else math.inf)
            if left:
                self._record.note(f"images: there was no time to look at {left} of {len(paths)}")
        bad = level == "error" and any(finding.serious for finding in found)
        for finding in found:
            self._record.note(f"{'error' if bad and finding.serious else 'warning'}: {finding}")
        if bad:
            self._why.add("files", str(next(finding for finding in found if finding.serious)))
        return not bad

    async def _post(self, said: Conclusion) -> bool:
        """Run the service's post commands; False at the first that fails. A stop skips them."""
        limit = said.post_limit if said.post_limit > 0 else math.inf
        for number, command in enumerate(said.post):
            if (ours := wanted_of(command, self._tools)) is not None:
                # Its failure is a line in the log: the task has done what it should.
                with self._handle.stoppable():
                    self._record.note(await paint(ours, self._tools, limit))
                continue
            try:
                end = await self._process(command, f"post-{number}", post_limit=limit)
            except SpawnError as error:
                self._why.add("post", f"{command}: {error}")
                return False
            if end is None or (end.stopped and self._handle.cause is not None):
                self._why.add("post", "stopped: the rest of the post commands is left out")
                self._cut = self._late
                return True
            if end.stopped or end.status is None or end.status.code != 0:
                self._why.add("post", f"{command}: {'time limit' if end.stopped else end.status}")
                return False
        return True

    async def _finish(self, status: TaskStatus) -> None:
        self._record.last = self._update(status, self._parsed_files)
        files, self._record.output = await self._place.close_up(
            self._sent_files,
            viewed=self._plugins.facts.has_parser,
            limit=min(self._tools.config.window, MAX_WINDOW),
            redactor=Redactor(self._record.secrets),
        )
        if self._tools.config.console:
            self._record.output = CONSOLE
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
        launch, keep = self._make_launch(command), self._place.keep(slot)
        if keep is None or launch.console:
            return launch
        keep = attrs.evolve(
            keep,
            patience=self._tools.config.timing.unattended,
            grace=self._grace,
            attach=self._handle.inherited,
        )
        return attrs.evolve(launch, keep=keep)

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
            limit=min(self._tools.config.window, MAX_WINDOW),
            redactor=Redactor(self._record.secrets),
        )
        return (
            CONSOLE
            if self._tools.config.console
            else text or "The task has printed nothing so far.\n"
        )
