"""The service and parser of one run, living in a plugin host: a `PluginTask`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import TypeAlias, TypeVar

import attrs
import trio

from trio_afrender.errors import PluginError
from trio_afrender.plugins.host.host_protocol import (
    Request,
    load_classes,
    load_conclusion,
    load_text,
    load_texts,
)
from trio_afrender.plugins.host.plugin_run import Feed, PluginRun, feed_request
from trio_afrender.plugins.interfaces import (
    Conclusion,
    ErrorClass,
    ParserState,
    PluginSpec,
    ServiceFacts,
)

__all__ = ("HostTask", "OpenRun")

T = TypeVar("T")
OpenRun: TypeAlias = Callable[[PluginSpec, Path], AbstractAsyncContextManager[PluginRun]]

BYTES_PER_REQUEST = 1024 * 1024
"""Bytes of log in one request: the time limit is for that much."""


class HostTask:
    """A `PluginTask`. Each method may be called from any task of trio; cancelled, the call under way
    still continues to its end."""

    def __init__(
        self, run: PluginRun, facts: ServiceFacts, stack: AsyncExitStack, open_run: OpenRun
    ) -> None:
        self.facts = facts
        self._run = run
        self._stack = stack
        self._open_run = open_run
        self._base: PluginRun | None = None
        self._base_failed = False
        self._making_base = trio.Lock()

    @property
    def disabled_reason(self) -> str:
        return self._run.disabled

    async def parse(
        self, upto: int, *, mode: str = "RUN", pid: int = 0, resources: str = ""
    ) -> ParserState:
        """Feed the log up to `upto`, step by step. The result of a cancelled call is returned by
        the next one."""
        run = self._run
        await trio.lowlevel.checkpoint()
        if not self.facts.has_parser:
            return ParserState(consumed=upto)
        if mode == "RUN" and upto <= run.position and not self.facts.wants_ticks:
            return run.take_state()
        # A call can be cancelled between two steps: the next one continues where it was.
        step = run.position
        while not run.disabled:
            step = min(step + BYTES_PER_REQUEST, upto)
            more = step < upto
            feed = Feed(step, "RUN" if more else mode, pid, resources, more)
            reply = await run.call(feed_request(feed), feed)
            if reply is None or reply.error is not None or not more:
                break  # an error does not move `position`: the next call starts there again
        return run.take_state()

    async def run_end_checks(
        self, code: int | None, *, check_files: bool, post: bool
    ) -> Conclusion:
        default = Conclusion(exit_ok=code in (0, None))
        if self.facts.settled:
            await trio.lowlevel.checkpoint()
            return attrs.evolve(default, log=self.facts.log)
        fields = {"code": code, "check_files": check_files, "post": post}
        return await self._ask("conclude", load_conclusion, default, **fields)

    async def explain(
        self,
        code: int | None,
        signal: int | None,
        *,
        upto: int | None = None,
        last_lines: int = 0,
    ) -> tuple[ErrorClass, ...]:
        fields = {"code": code, "signal": signal, "upto": upto, "last_lines": last_lines}
        return await self._ask("explain", load_classes, (), **fields)

    async def on_the_fly(self, files: tuple[str, ...]) -> tuple[str, ...]:
        return await self._ask("on_the_fly", load_texts, (), files=files)

    async def log(self) -> str:
        if self.disabled_reason:
            await trio.lowlevel.checkpoint()
            return ""  # lost with the objects; `problems` has the reason
        if self.facts.settled:
            await trio.lowlevel.checkpoint()
            return self.facts.log
        return await self._ask("log", load_text, "")

    def problems(self) -> tuple[str, ...]:
        own = self._run.take_problems()
        return own if self._base is None else own + self._base.take_problems()

    async def _ask(self, op: str, load: Callable[[object], T], default: T, **fields: object) -> T:
        """A method's result: of the service, else of the base class, else `default`."""
        request = Request(op, fields, load)
        reply = await self._run.call(request)
        if reply is None:  # the run's own plugins were disabled
            # The base class judges by exit code and files, as for a service without code of its own.
            async with self._making_base:  # several methods may need it at once
                if self._base is None and not self._base_failed:
                    spec = attrs.evolve(self._run.spec, service="service", parser="")
                    try:
                        opening = self._open_run(spec, self._run.folder)
                        self._base = await self._stack.enter_async_context(opening)
                    except PluginError as error:
                        self._base_failed = (
                            True  # not tried again: each try may take its time limit
                        )
                        self._run.report(f"the base class cannot be used instead: {error}")
            if self._base is not None:
                reply = await self._base.call(request)
        if reply is None or reply.error is not None:
            return default
        value: T = reply.value
        return value
