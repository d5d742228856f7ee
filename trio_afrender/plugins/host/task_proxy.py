"""The service and parser of one run, living in the plugin host: a `PluginTask`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import TypeAlias, TypeVar

import attrs
import trio

from trio_afrender.errors import PluginError
from trio_afrender.plugins.error_rules import ErrorClass
from trio_afrender.plugins.host.calls import HostReply, Request
from trio_afrender.plugins.host.host_protocol import (
    load_classes,
    load_conclusion,
    load_state,
    load_text,
    load_texts,
)
from trio_afrender.plugins.host.plugin_run import Call, Feed, PluginRun
from trio_afrender.plugins.interfaces import Conclusion, ParserState, PluginSpec, ServiceFacts

__all__ = ("HostTask", "OpenRun", "feed_request")

T = TypeVar("T")
OpenRun: TypeAlias = Callable[[PluginSpec, Path], AbstractAsyncContextManager[PluginRun]]

_FEED = tuple(field.name for field in attrs.fields(Feed))

BYTES_PER_REQUEST = 1024 * 1024
"""Bytes of log in one request: the time limit is for that much."""


def feed_request(feed: Feed) -> Request:
    return Request("parse", {name: getattr(feed, name) for name in _FEED}, load_state)


class HostTask:
    """Each method may be called from any task; cancelled, the call is still made to its end."""

    def __init__(
        self,
        run: PluginRun,
        facts: ServiceFacts,
        stack: AsyncExitStack,
        open_run: OpenRun,
        begin: Callable[[PluginRun, Call], None],
    ) -> None:
        """`begin` makes a call; its `done` tells when it has come to its end."""
        self.facts = facts
        self._run = run
        self._stack = stack
        self._open_run = open_run
        self._begin = begin
        self._base: PluginRun | None = None
        self._base_failed = False
        self._making_base = trio.Lock()

    @property
    def disabled_reason(self) -> str:
        """Why there are no plugins any more, empty while there are."""
        return self._run.dropped

    async def parse(
        self, upto: int, *, mode: str = "RUN", pid: int = 0, resources: str = ""
    ) -> ParserState:
        """Feed the log up to `upto`, step by step. What a cancelled call saw, the next returns."""
        run = self._run
        await trio.lowlevel.checkpoint()
        if not self.facts.has_parser:
            return ParserState(consumed=upto)
        if mode == "RUN" and upto <= run.position and not self.facts.wants_ticks:
            return run.take_state()
        step = run.position
        while not run.dropped:
            step = min(step + BYTES_PER_REQUEST, upto)
            more = step < upto
            feed = Feed(step, "RUN" if more else mode, pid, resources, more)
            answer = await self._call(run, feed_request(feed), feed)
            if answer is None or answer.error is not None or not more:
                break
        return run.take_state()

    async def run_end_checks(
        self, code: int | None, *, check_files: bool, post: bool
    ) -> Conclusion:
        """See `PluginTask`, as for all that follow."""
        default = Conclusion(exit_ok=code in (0, None))
        if self.facts.settled:
            await trio.lowlevel.checkpoint()
            return attrs.evolve(default, log=self._own_log())
        fields = {"code": code, "check_files": check_files, "post": post}
        return await self._ask("conclude", load_conclusion, default, **fields)

    async def explain(self, code: int | None, signal: int | None) -> tuple[ErrorClass, ...]:
        return await self._ask("explain", load_classes, (), code=code, signal=signal)

    async def on_the_fly(self, files: tuple[str, ...]) -> tuple[str, ...]:
        return await self._ask("on_the_fly", load_texts, (), files=files)

    async def log(self) -> str:
        if self.disabled_reason:
            await trio.lowlevel.checkpoint()
            return ""  # what it would have said went with it; `problems` tells why
        if self.facts.settled:
            await trio.lowlevel.checkpoint()
            return self._own_log()
        return await self._ask("log", load_text, "")

    def _own_log(self) -> str:
        """What the service itself said when it was made."""
        return self._run.facts.log if self._run.facts is not None else ""

    def problems(self) -> tuple[str, ...]:
        own = self._run.take_problems()
        return own if self._base is None else own + self._base.take_problems()

    async def _ask(self, op: str, read: Callable[[object], T], default: T, **fields: object) -> T:
        """A method's answer: of the service, else of the base class, else `default`."""
        request = Request(op, fields, read)
        answer = await self._call(self._run, request)
        if answer is None and (base := await self._get_base()) is not None:
            answer = await self._call(base, request)
        if answer is None or answer.error is not None:
            return default
        value: T = answer.value
        return value

    async def _call(
        self, run: PluginRun, request: Request, feed: Feed | None = None
    ) -> HostReply | None:
        while run.pending is not None:
            await run.pending.done.wait()
        call = Call(request, feed)
        self._begin(run, call)
        await call.done.wait()
        return call.answer

    async def _get_base(self) -> PluginRun | None:
        """An object of the base class to go on with when the run's own were dropped."""
        async with self._making_base:
            if self._base is None and not self._base_failed:
                spec = attrs.evolve(self._run.spec, service="service", parser="")
                try:
                    opening = self._open_run(spec, self._run.folder)
                    self._base = await self._stack.enter_async_context(opening)
                except PluginError as error:
                    self._base_failed = True
                    self._run.tell(f"the base class cannot stand in: {error}")
        return self._base
