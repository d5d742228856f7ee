"""What follows the end of a task's own process, up to the status of the run.

In this order: the service's checks of exit status and rendered files, the check of rendered images,
the service's post commands, the remaining thumbnails. All of it together has one time limit, the
limit ``post_time``. The status itself is decided in `status_rules`.
"""

from __future__ import annotations

import math
import os

import attrs
import trio

from trio_afrender.errors import SpawnError, StoreError, is_exhausted
from trio_afrender.plugins.interfaces import Conclusion, ErrorClass, PluginTask
from trio_afrender.protocol.messages import BlockFlags, TaskStatus
from trio_afrender.task.cause import (
    PARSER_STOPS,
    describe_class,
    describe_missing,
    name_cause,
)
from trio_afrender.task.image_checks import ImageFinding, check_images
from trio_afrender.task.process_lifecycle import ProcessEnd
from trio_afrender.task.process_runner import ProcessRunner
from trio_afrender.task.run_state import RunState
from trio_afrender.task.status_rules import RunFacts, StopCause, StopKind, decide_status
from trio_afrender.task.task_info import read_own_checks
from trio_afrender.task.thumbnails import Thumbnails, make_thumbnail, read_thumbnail_command

__all__ = ("Completion",)

LAST_LINES = 20
"""Lines before a stop by a limit in which the cause is searched: a program that waits for something, or
does nothing any more, has printed that last."""


class Completion:
    """The steps between the end of a run's own process and its status."""

    def __init__(
        self,
        state: RunState,
        plugins: PluginTask,
        thumbnails: Thumbnails,
        processes: ProcessRunner,
    ) -> None:
        self.parsed_files: tuple[str, ...] = ()
        self._state = state
        self._control = state.control
        self._dependencies = state.dependencies
        self._why = state.why
        self._plugins = plugins
        self._thumbnails = thumbnails
        self._processes = processes
        limits = state.config.limits_of(state.task.service, plugins.facts.limits)
        self._time_limit = limits.post_time or math.inf
        own, problems = read_own_checks(state.task.data_strings)
        state.note(*problems)
        self._checks = state.config.checks_of(state.task.service, plugins.facts.checks, own)
        self._finding = ""  # what the steps found to be wrong, in a sentence
        self._timed_out = False  # the time limit stopped the run
        self._post_timed_out = False  # and a post command was not run or not finished because of it

    async def run(self, end: ProcessEnd) -> TaskStatus:
        """Do what follows `end` and return the status of the run.

        A stop ends the step under way and leaves out the rest; what then decides the status is in
        `RunFacts`.
        """
        deadline = trio.current_time() + self._time_limit
        if self._time_limit == math.inf:
            status = await self._run_steps(end)
        else:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._stop_at_time_limit)
                status = await self._run_steps(end)
                nursery.cancel_scope.cancel()
        # The frame does not depend on thumbnails, so they come after the status: a late one is a line
        # in the log, never an error (test_a_thumbnail_that_takes_too_long_costs_no_frame).
        if not await self._thumbnails.finish(deadline):
            text = f"the limit post_time is {self._time_limit:g} s"
            self._why.add("rule", f"{text}: the remaining thumbnails are not made")
        cause, shortage = self._control.cause, self._processes.monitors.memory_shortage
        stopped_on_request = end.stopped and cause is not None and cause.kind.requested
        if not status.success and not stopped_on_request and await shortage.conclude():
            self._why.lead("memory", shortage.sentence)
            self._state.note(f"{shortage.sentence}\n{shortage.table}")
        return status

    async def _stop_at_time_limit(self) -> None:
        await trio.sleep(self._time_limit)
        text = f"the steps after the process reached the limit post_time of {self._time_limit:g} s"
        self._why.add("rule", f"{text}: the remaining ones are stopped")
        self._finding = self._finding or text
        # An earlier stop, by the server for example, decides the status, not this limit.
        self._timed_out = self._control.cause is None
        self._control.stop(StopCause(kind=StopKind.LIMIT, text=text))

    async def _run_steps(self, end: ProcessEnd) -> TaskStatus:
        """Run the service's checks and post commands; return the status that follows."""
        stop = self._control.cause if end.stopped else None
        success = stop is not None and stop.kind is StopKind.PARSER_SUCCESS
        if success:
            # The parser ended the process because the work is done. Without this reset every step
            # below would count as stopped and be left out.
            self._control.clear_stop()
        code = end.status.code if end.status else None
        if not success and (stop is not None or code is None):
            # Stopped, killed by a signal, or not reaped: services check normal exits only.
            facts = self._facts(end, stop, exit_ok=False)
            await self._explain(facts)
            await self._state.note_plugins(self._plugins)
            return decide_status(facts)
        check_files = bool(BlockFlags.CHECKRENDEREDFILES & self._state.task.block_flags)
        # A flag of the parser decides the status already; post commands are for good frames.
        clean = not self._state.flags & {"fatalerror", "error", "badresult"}
        # None: the process was stopped because the work is done, so its exit code means nothing.
        conclusion = await self._plugins.run_end_checks(
            None if success else code, check_files=check_files, post=clean
        )
        self._finding = conclusion.finding or self._finding
        self.parsed_files = conclusion.parsed_files
        facts = self._facts(end, stop, exit_ok=conclusion.exit_ok, files_ok=conclusion.files_ok)
        if check_files and decide_status(facts).success and not await self._check_images():
            facts = attrs.evolve(facts, files_ok=False)
        # Files that the program missed make a good run an error, if the settings say so.
        parsed, level = self._state.parsed, self._checks.assets
        if level != "off" and parsed.missing_assets:
            text = describe_missing(parsed.missing_assets, parsed.missing_names)
            text = f"{text} (checks.assets is {level})"
            if level == "error" and decide_status(facts).success:
                self._finding = text
                facts = attrs.evolve(facts, assets_ok=False)
            else:
                self._why.add("assets", text)
        log: str | None = conclusion.log
        if conclusion.post and decide_status(facts).success:
            post_ok = await self._run_post_commands(conclusion)
            facts = attrs.evolve(facts, post_ok=post_ok, post_in_time=not self._post_timed_out)
            log = None  # ask again: the post commands may have added to it
        status = decide_status(facts)
        if not status.success:
            await self._explain(facts)
        await self._state.note_plugins(self._plugins, log)
        return status

    async def _explain(self, facts: RunFacts) -> None:
        """Begin the reasons with the cause and the classes of the error, unless the run was stopped on
        request: then its output does not contain the cause."""
        stop, status = facts.stop, facts.exit
        if stop is not None and stop.kind.requested:
            return
        classes: tuple[ErrorClass, ...] = ()
        upto = self._state.printed_before_stop
        if stop is None and status is not None:
            classes = await self._plugins.explain(status.code, status.signal)
        elif stop is not None and stop.kind in PARSER_STOPS:
            classes = await self._plugins.explain(None, None, upto=upto)
        elif stop is not None and stop.kind in (
            StopKind.LIMIT,
            StopKind.STUCK,
            StopKind.STUCK_HOST,
        ):
            classes = await self._plugins.explain(None, None, upto=upto, last_lines=LAST_LINES)
        # Redacted before a quotation is cut: a part of a secret is not recognized any more.
        redact, parsed = self._state.redact, self._state.parsed
        classes = tuple(attrs.evolve(each, quote=redact(each.quote)) for each in classes)
        text, report = redact(parsed.deciding_text), redact(parsed.report)
        parsed = attrs.evolve(parsed, deciding_text=text, report=report)
        cause = name_cause(facts, parsed, classes, self._finding)
        self._why.lead("cause", cause)
        for found in classes:
            self._why.lead("class", describe_class(found, cause))

    def _facts(
        self, end: ProcessEnd, stop: StopCause | None, *, exit_ok: bool, files_ok: bool = True
    ) -> RunFacts:
        flags = self._state.flags
        return RunFacts(
            stop=stop,
            exit=end.status,
            exit_ok=exit_ok,
            fatalerror="fatalerror" in flags,
            error="error" in flags,
            badresult="badresult" in flags,
            finishedsuccess="finishedsuccess" in flags,
            files_ok=files_ok,
            give_backs=self._state.give_backs,
        )

    async def _check_images(self) -> bool:
        """Check the images that the task should have rendered; False if one cannot be right."""
        config, facts = self._state.config, self._plugins.facts
        level, image_worker = config.check_images, self._dependencies.image_worker
        paths = [
            os.path.join(facts.working_directory, name)  # noqa: PTH118 - a text
            for name in facts.files
            if name.rpartition(".")[2].casefold() in config.thumbnail_extensions
        ]
        if level == "off" or not paths:
            return True
        if image_worker is None:
            if level == "error":
                self._state.note(text := "images: not checked, OpenImageIO is not installed")
                self._why.add("image", text)
            return True
        found: tuple[ImageFinding, ...] = ()
        with self._control.stoppable():
            limit = config.post_limit if config.post_limit > 0 else math.inf
            found, left = await check_images(paths, image_worker, limit)
            if left:
                self._state.note(text := f"images: {left} were not checked in time")
                self._why.add("image", text)
        serious = [finding for finding in found if finding.serious]
        bad = level == "error" and bool(serious)
        for finding in found:
            self._state.note(f"{'error' if bad and finding.serious else 'warning'}: {finding}")
            if not bad:
                self._why.add("image", str(finding))
        if bad:
            others = len(serious) - 1
            more = f", and {others} more image{'s' if others > 1 else ''}" if others else ""
            self._finding = f"{serious[0]}{more}"
        return not bad

    async def _run_post_commands(self, conclusion: Conclusion) -> bool:
        """Run the service's post commands; False at the first that fails. A stop leaves out the rest."""
        limit = conclusion.post_limit if conclusion.post_limit > 0 else math.inf
        # A faulty image is a reason, too, unless its check has named it.
        checked = bool(BlockFlags.CHECKRENDEREDFILES & self._state.task.block_flags)
        notes_faults = not checked and self._state.config.check_images != "off"
        for number, command in enumerate(conclusion.post):
            request = read_thumbnail_command(command, self._dependencies)
            if request is not None:
                # The task has done its work whether or not the thumbnail can be made, so a failure
                # is a line in the log.
                with self._control.stoppable():
                    if problem := await make_thumbnail(request, self._dependencies, limit):
                        self._state.note(f"no thumbnail: {problem}")
                        if problem.image_is_faulty and notes_faults:
                            self._why.add("image", str(problem))
                continue
            try:
                end = await self._processes.run(command, f"post-{number}", limit=limit)
            except (SpawnError, StoreError) as error:
                if is_exhausted(error):
                    raise
                self._why.add("post", f"{command}: {error}")
                return False
            if end is None or (end.stopped and self._control.cause is not None):
                # Stopped together with the run, not for its own time limit: not a failed command.
                # (test_a_stop_by_the_server_among_the_post_commands_is_no_error)
                self._why.add("post", "stopped: the remaining post commands are not run")
                self._post_timed_out = self._timed_out
                return True
            if end.stopped or end.status is None or end.status.code != 0:
                self._why.add("post", f"{command}: {'time limit' if end.stopped else end.status}")
                return False
        return True
