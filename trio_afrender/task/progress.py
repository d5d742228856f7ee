"""Follows a run's log with its parser, and turns what the parser says into progress.

The parser may be slower than the renderer: it reads behind, in pieces, and the renderer never
waits for it. It is not called more often than it pays: what was printed meanwhile goes in one call.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import trio

from trio_afrender.plugins.interfaces import ParserState, PluginTask
from trio_afrender.protocol.messages import TaskStatus, TaskUpdate
from trio_afrender.task.reasons import ReasonLog
from trio_afrender.task.run_folder import RunFolder
from trio_afrender.task.status_rules import StopCause, StopKind
from trio_afrender.task.task_control import TaskControl

__all__ = ("ProgressReader", "shorten")

CALL_INTERVAL = 0.1
"""Seconds between two calls while output keeps coming: ten updates a second are plenty."""
TICK_INTERVAL = 1.0
MAX_BYTES_PER_CALL = 8 * 1024 * 1024
"""Bytes of log a call may cover, so that even a slow parser answers within its time limit."""

STOP_FLAGS = (
    ("error", StopKind.PARSER_ERROR, "the parser saw an error"),
    ("fatalerror", StopKind.PARSER_FATAL_ERROR, "the parser saw a fatal error"),
    ("finishedsuccess", StopKind.PARSER_SUCCESS, "the parser saw that the work is done"),
)


def shorten(text: str, limit: int = 1000) -> str:
    """Foreign text for one field: bounded, so that an update stays below the frame's limit."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


class ProgressReader:
    """The parser's view of one run, over all its processes."""

    def __init__(
        self,
        plugins: PluginTask,
        place: RunFolder,
        handle: TaskControl,
        why: ReasonLog,
        *,
        publish: Callable[[TaskStatus], Awaitable[None]],
        resources: Callable[[], str],
        found_on_the_fly: Callable[[tuple[str, ...]], None],
    ) -> None:
        self.state = ParserState()
        self.flags: set[str] = set()
        """Names of the parser's flags that were ever set while the task's own process ran."""
        self._plugins = plugins
        self._place = place
        self._handle = handle
        self._why = why
        self._publish = publish
        self._resources = resources
        self._found_on_the_fly = found_on_the_fly
        self._published: tuple[TaskStatus, ParserState] | None = None
        self.progressed = -math.inf
        """When percent or frame moved last, in trio's time."""
        self._seen = 0  # log size at the last call: beyond `consumed` by the unfinished line

    @property
    def status(self) -> TaskStatus:
        """The status of a run that goes on."""
        return TaskStatus.Warning if "warning" in self.flags else TaskStatus.Percent

    async def follow(self, pid: int, over: trio.Event) -> None:
        """Parse what comes until `over`; then return at once, with the rest unparsed."""
        ticks = self._plugins.facts.wants_ticks
        while not over.is_set():
            grown = await self._wait_for_output(over, TICK_INTERVAL if ticks else None)
            if over.is_set():
                return
            if grown or ticks:
                await self._parse_piece("RUN", pid)
            if self._seen >= self._place.log.size:
                await _wait_first(over.wait, CALL_INTERVAL)

    async def finish(self, mode: str, *, verdict: bool) -> None:
        """Parse all that is left, the unfinished line too, and make the last call with `mode`.

        Without `verdict` (post commands) the parser's flags no longer count.
        """
        log = self._place.log
        before = set(self.flags)
        while self._plugins.facts.has_parser and not self._plugins.disabled_reason:
            if log.size - self.state.consumed <= MAX_BYTES_PER_CALL:
                await self._call(log.size, mode, 0)
                break
            consumed = self.state.consumed
            await self._parse_piece("RUN", 0)
            if self.state.consumed == consumed:
                # One unfinished line longer than a piece: the last call takes it whole.
                await self._call(log.size, mode, 0)
                break
        if not verdict:
            self.flags = before

    def update(
        self,
        status: TaskStatus,
        *,
        started: float | None,
        redact: Callable[[str], str],
        parsed_files: tuple[str, ...] = (),
    ) -> TaskUpdate:
        """What the server should know now; `redact` goes over texts that the task wrote."""
        state = self.state
        return TaskUpdate(
            run=self._handle.task.run,
            **self._handle.task.key._asdict(),
            status=status,
            percent=min(max(state.percent, 0), 100),
            frame=state.frame,
            percentframe=min(max(state.percentframe, 0), 100),
            progress_changed=state.progress_changed,
            activity=redact(shorten(state.activity)),
            report=redact(shorten(state.report, 10_000)),
            resources=shorten(state.resources, 10_000),
            parsed_files=parsed_files,
            started=started,
        )

    async def _wait_for_output(self, over: trio.Event, tick: float | None) -> bool:
        """Wait for unparsed output, `over` or a tick; return whether there is output."""
        log, consumed = self._place.log, self._seen
        if log.size <= consumed:
            await _wait_first(over.wait, tick, lambda: log.wait_beyond(consumed))
        return log.size > consumed

    async def _parse_piece(self, mode: str, pid: int) -> None:
        await self._call(
            min(self._place.log.size, self.state.consumed + MAX_BYTES_PER_CALL), mode, pid
        )

    async def _call(self, upto: int, mode: str, pid: int) -> None:
        self._seen = upto
        state = await self._plugins.parse(upto, mode=mode, pid=pid, resources=self._resources())
        if (state.percent, state.frame, state.percentframe) != (
            self.state.percent,
            self.state.frame,
            self.state.percentframe,
        ):
            self.progressed = trio.current_time()
        self.state = state
        self.flags.update(
            name
            for name in ("warning", "error", "badresult", "fatalerror", "finishedsuccess")
            if getattr(state, name)
        )
        await self._place.view.apply(state.consumed, state.replaced)
        if state.files_onthefly:
            self._found_on_the_fly(state.files_onthefly)
        if mode == "RUN":
            self._act()
            await self._tell()

    def _act(self) -> None:
        """Stop the process when the parser says so; the first stop of all counts."""
        if self._handle.cause is not None:
            return
        for flag, kind, text in STOP_FLAGS:
            if flag in self.flags:
                self._why.add("rule", f"{text}: the task is stopped")
                self._handle.stop(StopCause(kind=kind, text=text))
                return

    async def _tell(self) -> None:
        status = self.status
        self._handle.percent, self._handle.activity = self.state.percent, self.state.activity
        if (status, self.state) != self._published:
            self._published = (status, self.state)
            await self._publish(status)


async def _wait_first(
    event: Callable[[], Awaitable[object]],
    seconds: float | None,
    other: Callable[[], Awaitable[object]] | None = None,
) -> None:
    """Wait for `event`, `other` or `seconds`, whichever comes first."""
    with trio.move_on_after(float("inf") if seconds is None else seconds):
        if other is None:
            await event()
            return
        async with trio.open_nursery() as nursery:

            async def run(what: Callable[[], Awaitable[object]]) -> None:
                await what()
                nursery.cancel_scope.cancel()

            nursery.start_soon(run, event)
            nursery.start_soon(run, other)
