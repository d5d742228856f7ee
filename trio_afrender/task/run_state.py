"""The state of one run: what is known of it, and the events that report it.

Other modules read the fields; only the methods here write them
(`test_the_state_of_a_run_has_one_writer`). The run's parts share this object, and the agent holds it
in its list of runs. What the agent asks of the run goes through `control`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

import attrs
import trio

from trio_afrender.async_helpers import RepeatedEvent, flatten
from trio_afrender.config import Config, Limits, SentAmounts
from trio_afrender.plugins.interfaces import ParserState, PluginTask
from trio_afrender.process.interfaces import Launch, ProcessTree
from trio_afrender.protocol.messages import TaskExec, TaskStatus, TaskUpdate, TaskUsage
from trio_afrender.task.collected_files import FileBatch, SentFiles
from trio_afrender.task.dependencies import TaskDependencies
from trio_afrender.task.events import FilesFound, LogLine, TaskEvent, redact_event
from trio_afrender.task.process_lifecycle import ProcessEnd
from trio_afrender.task.reasons import ReasonLog
from trio_afrender.task.run_folder import RunFolder
from trio_afrender.task.status_rules import RunFacts, cap_retries, decide_status
from trio_afrender.task.task_control import TaskControl
from trio_afrender.task.usage_totals import usage_sentence, usage_words
from trio_afrender.tasklog.redact import Redactor, find_secrets
from trio_afrender.text import fit_names, json_size, shorten

__all__ = ("MAX_PARSED_FILES", "RunState")

logger: logging.Logger = logging.getLogger(__name__)

MAX_EXCEPTION_TEXT = 300
"""Characters of an exception in the agent's log; the task's log has all of it."""
MAX_ACTIVITY, MAX_REPORT = 1000, 10_000
"""Characters of a parser's texts, so that an update fits into a frame."""
MAX_OUTPUT_WINDOW = 1024 * 1024
"""Bytes of output in one message: fits into a frame of 8 MiB even if each byte is escaped."""
MAX_PARSED_FILES = 256 * 1024
"""Bytes of an outcome's list of rendered files. An outcome that does not fit into a frame would be sent
again for ever."""
NO_REDIRECTION_NOTE = "This render runs without redirection (-nor): the output is on its console.\n"
PARSER_FLAGS = ("warning", "error", "badresult", "fatalerror", "finishedsuccess")


@attrs.define(eq=False)
class RunState:
    """One run, from the moment it is accepted until its tree is empty and its outcome sent."""

    task: TaskExec
    config: Config
    dependencies: TaskDependencies
    events: trio.MemorySendChannel[TaskEvent]
    """Closed by `run_task`."""
    control: TaskControl = attrs.field(factory=TaskControl)
    predecessors: tuple[RunState, ...] = ()
    """Older runs of the same key: this one starts only when the trees of all of them are empty."""
    give_backs: int = 0
    """How often in a row this host has given this task back before."""
    inherited: bool = False
    """An earlier agent started it: its process tree is taken over."""

    done: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set when no process of the run is left."""
    why: ReasonLog = attrs.field(init=False)
    gpus: tuple[str, ...] = attrs.field(default=(), init=False)
    """Names of the GPUs that the run has for itself."""
    folder: RunFolder | None = attrs.field(default=None, init=False)
    has_parser: bool = attrs.field(default=False, init=False)
    secrets: tuple[str, ...] = attrs.field(default=(), init=False)
    """Values that are redacted in all texts of the run."""
    exhausted: str = attrs.field(default="", init=False)
    """Why this host had nothing left for the run; empty if it had."""
    grace: float = attrs.field(default=0.0, init=False)
    """Seconds between TERM and KILL: the service's, else the agent's."""
    pid: int | None = attrs.field(default=None, init=False)
    """The leader of the tree that runs now."""
    started_at: float | None = attrs.field(default=None, init=False)
    """Unix time at which the task's own process started."""
    stopped_at: int = attrs.field(default=0, init=False)
    """Unix time of the last stop of a process of the run."""
    printed_before_stop: int | None = attrs.field(default=None, init=False)
    """Size of the log at that moment: what a program prints when it is stopped is no cause."""
    finished_at: float | None = attrs.field(default=None, init=False)
    """`started_at` plus the duration by trio's clock, which does not jump as a wall clock can."""
    end: ProcessEnd | None = attrs.field(default=None, init=False)
    """The end of the task's own process, not of a post command."""
    parsed: ParserState = attrs.field(factory=ParserState, init=False)
    """The parser's last state."""
    flags: set[str] = attrs.field(factory=set, init=False)
    """Names of the parser's flags that were ever set while a process of the run ran."""
    progressed_at: float = attrs.field(default=-math.inf, init=False)
    """When percent or frame last changed, in trio's time."""
    activity: str = attrs.field(default="", init=False)
    usage: TaskUsage | None = attrs.field(default=None, init=False)
    """What the tree uses, as measured last."""
    io_bytes: int = attrs.field(default=0, init=False)
    """Bytes in read and write calls of the tree, pipes and caches included: shows activity."""
    members: frozenset[tuple[int, float]] = attrs.field(default=frozenset(), init=False)
    """Pid and start time of each process measured last."""
    sent_files: SentFiles = attrs.field(init=False)
    """The files that were sent to the server."""
    _measured: RepeatedEvent = attrs.field(factory=RepeatedEvent, init=False)
    _began: float = attrs.field(default=0.0, init=False)
    _notice: str = attrs.field(default="", init=False)
    _gpu_variables: Mapping[str, str] = attrs.field(factory=dict, init=False)
    _environment: Mapping[str, str] = attrs.field(factory=dict, init=False)
    _working_directory: str = attrs.field(default="", init=False)
    _redactor: Redactor | None = attrs.field(default=None, init=False)
    _notes: list[str] = attrs.field(factory=list, init=False)
    _log: LogRoom = attrs.field(init=False)
    _limits: Limits = attrs.field(init=False)
    _last: TaskUpdate | None = attrs.field(default=None, init=False)
    _output: str = attrs.field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        self.why = ReasonLog(self.dependencies.wall, self.redact)
        self._limits = self.config.limits
        sent = self.config.sent
        self.sent_files = SentFiles(most=sent.files, most_bytes=sent.file_bytes)
        self._log = LogRoom(size=sent.log, lines=sent.log_lines)
        # A run can be refused before its service is known, with a text that quotes its command.
        environment = self.dependencies.environment
        own = find_secrets(self.task.environment, environment.redact)
        self.hide((*environment.secrets, *own))

    # -- preparation ----------------------------------------------------------------------------

    def forget_predecessors(self) -> None:
        """Drop the older runs, or each run of a key would keep all earlier ones in memory."""
        self.predecessors = ()

    def assign_gpus(self, gpus: tuple[str, ...], variables: Mapping[str, str]) -> None:
        """Note the GPUs of the run, and the variables that make its processes use these only."""
        self.gpus, self._gpu_variables = gpus, variables

    def prepare(self, folder: RunFolder, plugins: PluginTask) -> None:
        """Note where the run works, and make the environment of its processes."""
        facts = plugins.facts
        self.folder, self.has_parser = folder, facts.has_parser
        outside = self.dependencies
        if folder.user is not None and outside.image_worker_of is not None:
            worker = outside.image_worker_of(folder.user)
            self.dependencies = attrs.evolve(outside, image_worker=worker)
        self.grace = self.config.timing.grace if facts.grace is None else facts.grace
        self._working_directory = facts.working_directory or folder.work_dir
        self._limits = self.config.limits_of(self.task.service, facts.limits)
        environment, secrets = self.dependencies.environment.make(
            facts.environment,
            self.task,
            token=self.dependencies.run_token(self.task.run),
            stop_file=folder.stop_file,
            user=folder.user,
        )
        # After the variables of the service, which must not undo the assignment of GPUs.
        self._environment = {**environment, **self._gpu_variables}
        self.hide((*secrets, *facts.secrets))

    def hide(self, secrets: tuple[str, ...]) -> None:
        """Redact these values, too, in all that leaves the run from now on."""
        if new := [secret for secret in secrets if secret not in self.secrets]:
            self.secrets = (*self.secrets, *dict.fromkeys(new))
            self._redactor = Redactor(self.secrets)

    def make_launch(
        self, command: str, slot: str, *, attach: bool = False, own_log: bool = False
    ) -> Launch:
        """Describe a process of the run. `attach`: take over what an earlier agent left at `slot`.

        A process with a log of its own is a thumbnail command: it ends with the agent.
        """
        assert self.folder is not None  # noqa: S101 - set by `prepare`
        config = self.config
        # A process on the console has no log that a later agent could continue, so it ends with its
        # agent.
        outlives = config.supervisor and not config.console and not own_log
        return Launch(
            argv=(*config.shell, command),
            cwd=self._working_directory,
            environment=self._environment,
            nice=config.nice,
            processes=self._limits.processes,
            files=self._limits.files,
            console=config.console,
            user=self.folder.user,
            umask=config.tasks.file_mask(),
            persistence=attrs.evolve(
                self.folder.persistence(slot, own_log=own_log),
                agent_timeout=config.timing.unattended if outlives else 0,
                grace=self.grace,
                attach=attach,
            ),
        )

    # -- processes ------------------------------------------------------------------------------

    def started(self, tree: ProcessTree, *, own: bool) -> None:
        """Note the start of a process: the task's own one, or a post command."""
        self.pid = tree.pid
        if not own:
            return
        # The two clocks are read once, here: what was before this agent is known in Unix time only.
        now = self.dependencies.wall()
        self.started_at = now if tree.started is None else tree.started
        self._began = trio.current_time() - max(0.0, now - self.started_at)
        if tree.started is not None:
            text = "the agent was restarted while the task was running"
            self.why.add("inherited", text, (tree.pid,))

    def running_seconds(self) -> float:
        """Return for how long the task's own process has run, suspensions left out."""
        return trio.current_time() - self._began - self.control.suspension.seconds()

    def stopping(self) -> str:
        """Note that a process is about to be stopped; return why."""
        self.stopped_at, cause = int(self.dependencies.wall()), self.control.cause
        self.printed_before_stop = self.folder.log.size if self.folder is not None else None
        text = cause.text if cause else "time limit of the post command, or the agent is ending"
        self.why.add("asked", text)
        return text

    def ended(self, end: ProcessEnd, *, own: bool) -> None:
        """Note the end of a process."""
        self.pid, self._notice = None, ""
        if end.refused_forks:
            limit = self._limits.processes
            text = f"the kernel refused {end.refused_forks} processes or threads"
            self.why.add("rule", f"{text}: the limit processes is {limit}")
        if own:
            self.end = end
            if self.started_at is not None:
                # test_a_clock_that_jumps_makes_no_task_shorter
                self.finished_at = self.started_at + trio.current_time() - self._began

    def progressed(self, parsed: ParserState, *, count_flags: bool = True) -> None:
        """Note the parser's state after a call. Without `count_flags` new flags do not count."""
        old = self.parsed
        if (parsed.percent, parsed.frame, parsed.percentframe) != (
            old.percent,
            old.frame,
            old.percentframe,
        ):
            self.progressed_at = trio.current_time()
        self.hide(parsed.masks)
        self.parsed, self.activity = parsed, parsed.activity
        if count_flags:
            self.flags.update(name for name in PARSER_FLAGS if getattr(parsed, name))

    def measured(
        self, usage: TaskUsage, io_bytes: int, members: frozenset[tuple[int, float]]
    ) -> None:
        """Note a measurement of the process tree, and wake the tasks that wait for one."""
        self.usage, self.io_bytes, self.members = usage, io_bytes, members
        self._measured.set()

    async def measurement(self) -> None:
        """Wait for the next measurement of the process tree."""
        await self._measured.wait()

    # -- log and status -------------------------------------------------------------------------

    def note(self, *texts: str) -> None:
        """Add texts to the task's log; empty ones are left out."""
        for text in texts:
            # Redacted before it may be cut: a part of a secret is not recognized any more.
            if text.strip() and (kept := self._log.take(self.redact(text.rstrip("\n")))):
                self._notes.append(kept)

    async def note_plugins(self, plugins: PluginTask, log: str | None = None) -> None:
        """Add the plugins' log text and problems to the task's log.

        `log` is that text if the caller has it; if None, the plugins are asked for it.
        """
        # The log first: asking for it may add to the problems. Disabled plugins return none; then
        # the text from the construction of the service is used.
        text = await plugins.log() if log is None else log
        texts = (text or plugins.facts.log, *plugins.problems())
        self.note(*texts)
        for each in texts:
            # The exception at the end of the last traceback. Also in the agent's log: the task's own
            # log is seldom read if the task succeeded.
            _, found, rest = each.rpartition("Traceback (most recent call last):\n")
            raised = next((line for line in rest.splitlines() if not line.startswith(" ")), "")
            if found and raised:
                task = self.task
                names = f"{task.service} / {task.parser or 'no parser'}"
                redacted = self.redact(raised)[:MAX_EXCEPTION_TEXT]
                logger.warning("task %s: a plugin (%s) raised %s", task.key, names, redacted)
                self.why.add("plugin", f"a plugin ({names}) raised {redacted}")

    def refuse(self, status: TaskStatus, text: str) -> TaskStatus:
        """Return the status of a run that never got a process, for the reason `text`."""
        self.why.add("refused", text)
        return cap_retries(status, self.give_backs)

    def give_back(self, error: Exception) -> TaskStatus:
        """Return the status of a run for which this host has nothing left (`errors.is_exhausted`).

        It is not counted: the task has done nothing wrong, however often that happens.
        """
        first = flatten(error)[0] if isinstance(error, ExceptionGroup) else error
        self.exhausted = str(first) or repr(first)
        self.why.add("refused", f"the host has too little of something: {self.exhausted}")
        return TaskStatus.GiveBack

    def stopped_early(self) -> TaskStatus:
        """Return the status of a run that was stopped before it had a process."""
        cause = self.control.cause
        if cause is None:
            return TaskStatus.FailedToStart
        self.why.add("asked", f"{cause.text}, before anything was started")
        return decide_status(RunFacts(stop=cause, give_backs=self.give_backs))

    @property
    def status(self) -> TaskStatus:
        """The status of the run while it is running."""
        return TaskStatus.Warning if "warning" in self.flags else TaskStatus.Percent

    def redact(self, text: str) -> str:
        """Return `text` without the secrets of the run."""
        return self._redactor.redact(text) if self._redactor is not None else text

    def log_text(self) -> str:
        """Return the end of the task's log, redacted: notes, reasons, peak usage."""
        peak = ""
        if self.usage is not None:
            took: float | None = None
            if self.finished_at is not None and self.started_at is not None:
                took = self.finished_at - self.started_at
            peak = f"Used at most: {usage_sentence(self.usage, took)}"
        parts = [*self._notes, self._log.left_out(self.config.sent), self.why.text(), peak]
        text = "\n".join(filter(None, parts))
        return self.redact(text) + "\n" if text else ""

    async def read_output(self) -> str:
        """Return the output so far, for `Events.outputs`; never empty."""
        if self.folder is None:
            return "The task is being prepared.\n"
        if self.config.console:
            return NO_REDIRECTION_NOTE
        redactor = Redactor(self.secrets)
        text = await self.folder.read_window(
            viewed=self.has_parser,
            limit=min(self.config.window, MAX_OUTPUT_WINDOW),
            redactor=redactor,
        )
        self.hide(redactor.learned)
        return text or "The task has printed nothing so far.\n"

    # -- events ---------------------------------------------------------------------------------

    def update(
        self, status: TaskStatus | None = None, parsed_files: tuple[str, ...] = ()
    ) -> TaskUpdate:
        """Make the update of this moment: progress, the notice if there is one, usage."""
        parsed, notice = self.parsed, self._notice
        if status is None:
            status = TaskStatus.Warning if notice else self.status
        resources = shorten(self.redact(parsed.resources), MAX_REPORT)
        if self.usage is not None:
            # Twice: as a field for our own farm, as words for an Afanasy server, which shows the text.
            resources = f"{resources} {usage_words(self.usage)}".lstrip()
        return TaskUpdate(
            run=self.task.run,
            **self.task.key._asdict(),
            status=status,
            # Any parser may be wrong about a percentage; the server expects 0 to 100.
            percent=min(max(parsed.percent, 0), 100),
            frame=parsed.frame,
            percentframe=min(max(parsed.percentframe, 0), 100),
            progress_changed=parsed.progress_changed,
            activity=notice or shorten(self.redact(self.activity), MAX_ACTIVITY),
            report=shorten(self.redact(parsed.report), MAX_REPORT),
            resources=resources,
            parsed_files=parsed_files,
            started=self.started_at,
            usage=self.usage,
        )

    async def send(self, event: TaskEvent) -> None:
        """Send an event without secrets. All that leaves the run goes through here."""
        await self.events.send(self._redacted(event))

    def send_nowait(self, event: TaskEvent) -> None:
        """As `send`; raises `trio.WouldBlock` if the agent has not received the events before it."""
        self.events.send_nowait(self._redacted(event))

    def _redacted(self, event: TaskEvent) -> TaskEvent:
        return redact_event(event, self._redactor) if self._redactor is not None else event

    async def publish(self) -> None:
        """Send the update of this moment."""
        await self.send(self.update())

    async def show_activity(self, activity: str) -> None:
        """Report what a run does that has no process yet."""
        self.activity = activity
        await self.publish()

    async def show_notice(self, notice: str) -> None:
        """Show a short text as a warning in place of the activity; '' ends that."""
        self._notice = notice
        await self.publish()

    async def send_log(self, text: str) -> None:
        """Add text to the task's log on the server now."""
        if kept := self._log.take(self.redact(text)):
            await self.send(LogLine(run=self.task.run, text=kept))

    async def send_files(self, batch: FileBatch) -> None:
        """Send files to the server, once each."""
        self.sent_files.add(batch)
        if batch.left_out:
            self.why.add("rule", batch.left_out)
        if batch.files:
            await self.send(FilesFound(run=self.task.run, files=batch.files))

    def concluded(self, status: TaskStatus, output: str, parsed_files: tuple[str, ...]) -> None:
        """Note progress and output for the outcome of a run that has had its process."""
        most = self.config.sent.parsed_files
        named = fit_names(parsed_files[:most], MAX_PARSED_FILES, json_size)
        if (left := len(parsed_files)) > len(named):
            limit = f"{most} names (sent.parsed_files) and {MAX_PARSED_FILES} bytes"
            text = (
                f"of {left} rendered files the first {len(named)} are named: the limits are {limit}"
            )
            self.why.add("rule", text)
        self._last = self.update(status, named)
        self._output = NO_REDIRECTION_NOTE if self.config.console else output

    def outcome(self, status: TaskStatus) -> TaskUpdate:
        """Make the last update of the run."""
        key, end = self.task.key._asdict(), self.end
        last = self._last or TaskUpdate(run=self.task.run, **key, status=status)
        cause, report = self.why.cause, last.report
        if cause and report and report not in cause and not self.parsed.missing_assets:
            cause = f"{cause}; {report}"
        return attrs.evolve(
            last,
            status=status,
            # Shown for the task by an Afanasy server, which shows no reasons but in the log.
            report=shorten(cause, MAX_REPORT) or report,
            # Many programs end without having printed 100 %.
            percent=100 if status.success and self.started_at else last.percent,
            output=self._output,
            exit_code=end.status.code if end and end.status else None,
            exit_signal=end.status.signal if end and end.status else None,
            started=self.started_at,
            finished=self.finished_at or self.dependencies.wall(),
            why=self.why.steps(),
            leftovers=end.leftovers if end else (),
        )


@attrs.define(kw_only=True)
class LogRoom:
    """How much text a run may still add to the task's log on the server."""

    size: int
    """Bytes of UTF-8."""
    lines: int
    dropped: int = 0
    """Lines that were left out."""

    def take(self, text: str) -> str:
        """Return the lines of `text` that fit, from the first on; count the others as left out."""
        count = text.count("\n") + 1
        if not self.dropped and count <= self.lines and len(text) * 4 <= self.size:
            self.lines -= count
            self.size -= len(text.encode("utf-8", "surrogatepass"))
            return text
        kept = []
        # After the first line that does not fit none is taken: the log has no holes but at its end.
        for line in text.split("\n"):
            price = len(line.encode("utf-8", "surrogatepass")) + 1
            if self.dropped or not self.lines or price > self.size:
                self.dropped += 1
                continue
            self.lines -= 1
            self.size -= price
            kept.append(line)
        return "\n".join(kept)

    def left_out(self, sent: SentAmounts) -> str:
        """Return a sentence about what was left out; empty if nothing was."""
        if not self.dropped:
            return ""
        return (
            f"{self.dropped} more lines were left out: the limits are {sent.log} bytes (sent.log)"
            f" and {sent.log_lines} lines (sent.log_lines)"
        )
