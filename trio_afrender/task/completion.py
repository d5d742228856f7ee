"""What follows a task's own process: what the service says of its end, the look at rendered images,
the post commands, the last thumbnails; and the status that comes of it all.
"""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from typing import TypeAlias

import attrs
import trio

from trio_afrender.errors import SpawnError
from trio_afrender.plugins.interfaces import Conclusion, PluginTask
from trio_afrender.protocol.messages import BlockFlags, TaskStatus
from trio_afrender.task.image_checks import ImageFinding, inspect
from trio_afrender.task.process_lifecycle import ProcessEnd
from trio_afrender.task.run_state import RunState
from trio_afrender.task.status_rules import RunFacts, StopCause, StopKind, decide_status
from trio_afrender.task.thumbnails import Thumbnails, make_thumbnails, wanted_of

__all__ = ("Completion", "RunPost")

SHELL_HINTS = {
    126: "the shell found the command but may not execute it",
    127: "the shell did not find the command",
}

RunPost: TypeAlias = Callable[[str, int, float], Awaitable[ProcessEnd | None]]
"""Runs a post command, the number of it, within so many seconds; None when a stop came first. Raises
`SpawnError`."""


class Completion:
    """All that is between the end of a run's own process and its status."""

    def __init__(
        self,
        plugins: PluginTask,
        record: RunState,
        thumbnails: Thumbnails,
        *,
        flags: Callable[[], AbstractSet[str]],
        run_post: RunPost,
        allowed: float,
    ) -> None:
        """`allowed` seconds for all of it, the limit post_time; `flags` are the parser's."""
        self.parsed_files: tuple[str, ...] = ()
        self._plugins = plugins
        self._record = record
        self._handle = record.handle
        self._tools = record.tools
        self._why = record.why
        self._thumbnails = thumbnails
        self._flags = flags
        self._run_post = run_post
        self._allowed = allowed
        self._late = False  # whether it was stopped for its limit
        self._cut = False  # and whether that left out a post command

    async def follow(self, end: ProcessEnd) -> TaskStatus:
        """Do what is to be done after `end`; return the status."""
        deadline = trio.current_time() + self._allowed
        async with trio.open_nursery() as nursery:
            if self._allowed < math.inf:
                nursery.start_soon(self._watch_time)
            status = await self._conclude(end)
            nursery.cancel_scope.cancel()
        if not await self._thumbnails.finish(deadline):
            text = f"the limit post_time is {self._allowed:g} s"
            self._why.add("rule", f"{text}: the rest of the thumbnails is left out")
        return status

    async def _watch_time(self) -> None:
        await trio.sleep(self._allowed)
        text = f"what follows its end took {self._allowed:g} s, the limit post_time is {self._allowed:g} s"
        self._why.add("rule", f"{text}: the rest of it is stopped")
        self._late = self._handle.cause is None
        self._handle.stop(StopCause(kind=StopKind.LIMIT, text=text))

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
            return decide_status(self._facts(end, stop, exit_ok=False))
        wanted = bool(BlockFlags.CHECKRENDEREDFILES & self._handle.task.block_flags)
        clean = not self._flags() & {"fatalerror", "error", "badresult"}
        said = await self._plugins.run_end_checks(
            None if success else code, check_files=wanted, post=clean
        )
        if not said.exit_ok and code in SHELL_HINTS:
            self._why.add("rule", f"exit code {code}: {SHELL_HINTS[code]}")
        self.parsed_files = said.parsed_files
        facts = self._facts(end, stop, exit_ok=said.exit_ok, files_ok=said.files_ok)
        if wanted and decide_status(facts).success and not await self._inspect_images():
            facts = attrs.evolve(facts, files_ok=False)
        log: str | None = said.log
        if said.post and decide_status(facts).success:
            post_ok = await self._post(said)
            facts = attrs.evolve(facts, post_ok=post_ok, post_in_time=not self._cut)
            log = None  # it may have grown
        status = decide_status(facts)
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
    ) -> RunFacts:
        flags = self._flags()
        return RunFacts(
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
        level, image_worker = self._tools.config.check_images, self._tools.image_worker
        facts, kinds = self._plugins.facts, self._tools.config.thumbnail_extensions
        paths = [
            os.path.join(facts.working_directory, name)  # noqa: PTH118 - a text
            for name in facts.files
            if name.rpartition(".")[2].casefold() in kinds
        ]
        if level == "off" or not paths:
            return True
        if image_worker is None:
            if level == "error":
                self._record.note("images: not looked at, OpenImageIO is not installed")
            return True
        limit = self._tools.config.post_limit
        found: tuple[ImageFinding, ...] = ()
        with self._handle.stoppable():
            found, left = await inspect(paths, image_worker, limit if limit > 0 else math.inf)
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
                    self._record.note(await make_thumbnails(ours, self._tools, limit))
                continue
            try:
                end = await self._run_post(command, number, limit)
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
