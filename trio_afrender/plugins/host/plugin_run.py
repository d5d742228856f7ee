"""The objects of one run in a plugin host: calls on them, and building them anew elsewhere.

A parser's state is a function of the log and of the calls that fed it. So the objects of a run can
be built in another host at any time: they are made again, and fed the same pieces of the log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import attrs
import trio

from trio_afrender.errors import PluginError, ProtocolError
from trio_afrender.plugins.diagnostics import Problems, shorten_middle
from trio_afrender.plugins.host.host import HostDied, PendingCall, PluginHost
from trio_afrender.plugins.host.host_protocol import (
    HostFailure,
    HostReply,
    Request,
    dump_spec,
    load_facts,
    load_state,
)
from trio_afrender.plugins.interfaces import ParserState, PluginSpec, ServiceFacts
from trio_afrender.plugins.validation import merge_states, without_changes

__all__ = ("Feed", "FeedHistory", "GetHost", "PluginRun", "feed_request")

MAX_FEEDS = 1024
"""Feeds kept one by one; of older ones neighbours are joined."""
MAX_JOINED = 4 * 1024 * 1024
"""Bytes of log that joined feeds may cover: they must keep within the time limit of one call."""
MAX_JOINED_CALLS = 1024
MAX_EARLIER = 64 * 1024
"""Joined calls of a run that are remembered, the latest ones."""
MAX_CRASHES = 2
"""Ends of a host with a call of the run under way, after which its plugins are disabled: the first
may be chance or a kill from outside."""
MAX_RESTARTS = 5
"""Hosts that may end within `RESTART_WINDOW` seconds between two calls of the run."""
RESTART_WINDOW = 60.0


@attrs.frozen
class Feed:
    """One call that fed a parser: with it the same piece of the log can be fed again."""

    upto: int
    mode: str = "RUN"
    pid: int = 0
    resources: str = ""
    more: bool = False
    earlier: tuple[int, ...] = ()
    """`upto` of the calls that were joined with this one, which are made before it."""


_FEED_FIELDS = tuple(field.name for field in attrs.fields(Feed))


def feed_request(feed: Feed) -> Request:
    return Request("parse", {name: getattr(feed, name) for name in _FEED_FIELDS}, load_state)


class FeedHistory:
    """All feeds of a parser, in order; bounded by joining old ones."""

    def __init__(self) -> None:
        self._feeds: list[Feed] = []
        self._limit = MAX_FEEDS

    def add(self, feed: Feed, *, exact: bool) -> None:
        """Add the last feed. `exact`: a foreign parser's, whose state may depend on the batches."""
        self._feeds.append(feed)
        if len(self._feeds) <= self._limit:
            return
        # Join neighbours in the older half.
        half = len(self._feeds) // 2
        joined: list[Feed] = []
        start = 0  # log offset at which the last feed of `joined` begins
        for feed in self._feeds[:half]:
            last = joined[-1] if joined else None
            # The last call of a process stays: parsers read its mode, and its unfinished line is fed.
            if (
                last is not None
                and last.mode == "RUN"
                and feed.upto - start <= MAX_JOINED
                and len(last.earlier) + len(feed.earlier) < MAX_JOINED_CALLS
            ):
                earlier = (*last.earlier, last.upto, *feed.earlier) if exact else ()
                joined[-1] = attrs.evolve(feed, earlier=earlier)
                continue
            start = last.upto if last is not None else 0
            joined.append(feed)
        # Of the oldest calls the batches are not remembered: they come as large batches of whole lines.
        calls = 0
        for index in reversed(range(len(joined))):
            calls += len(joined[index].earlier)
            if calls > MAX_EARLIER:
                joined[index] = attrs.evolve(joined[index], earlier=())
        self._feeds[:half] = joined
        # Where little could be joined, do not try again at each call.
        self._limit = max(MAX_FEEDS, len(self._feeds) + MAX_FEEDS // 2)

    def __iter__(self) -> Iterator[Feed]:
        return iter(tuple(self._feeds))


GetHost = Callable[["PluginRun"], Awaitable[PluginHost]]
"""Returns the host for a run, started if need be. Raises `PluginError` when it does not start."""


@attrs.define(eq=False)
class PluginRun:
    """The plugins of one run, wherever their objects are at the moment."""

    number: int
    spec: PluginSpec
    folder: Path
    get_host: GetHost
    own_host: bool = False
    """Whether the objects are made in a host of their own."""
    host: PluginHost | None = None
    """The host that holds the objects; None when they must be built first."""
    facts: ServiceFacts | None = None
    disabled: str = ""
    """Why the run has no plugins any more; empty while it has."""
    details: str = ""
    """A traceback, or the last output of the host, when it was disabled."""
    position: int = 0
    """Log offset up to which the parser has been fed."""
    _history: FeedHistory = attrs.field(factory=FeedHistory)
    _state: ParserState = attrs.field(factory=ParserState)
    _fresh: ParserState | None = None
    _pending: PendingCall | None = None
    _crashes: int = 0
    _restarts: list[float] = attrs.field(factory=list)
    _calling: trio.Lock = attrs.field(factory=trio.Lock)
    _problems: Problems = attrs.field(factory=Problems)

    # -- calls ----------------------------------------------------------------------------------

    async def open(self) -> ServiceFacts:
        """Make the objects for the first time. Raises `PluginError`, `PluginNotFound`.

        Sets `disabled` and raises when they hang, or end the host, while they are made.
        """
        async with self._calling:
            # The second time in a host of its own, when the shared one refused or ended.
            while self.facts is None:
                await self._build(await self.get_host(self))
                if self.disabled:
                    text = f'service "{self.spec.service}" could not be made: {self.disabled}'
                    raise PluginError(text, self.details)
        return self.facts

    async def call(self, request: Request, feed: Feed | None = None) -> HostReply | None:
        """Make one call on the objects, building them first if need be; None if there are none.

        Callers take turns. Cancelled, the call under way continues, and its result is kept for the
        next caller. A call that ends its host is repeated once, in a host of its own.
        """
        async with self._calling:
            # A caller before this one may have been cancelled; its call comes first.
            while self._pending is not None:
                await self._pending.done.wait()
            while not self.disabled:
                host = self.host
                if host is None or host.failure is not None:
                    if not await self._rebuild():
                        continue
                    host = self.host
                    assert host is not None  # noqa: S101 - it was built a moment ago
                try:
                    pending = host.call(self.number, request, partial(self._take, feed))
                except HostDied:
                    # Between the check and the call nothing ran, but it may be about to end.
                    continue
                except ProtocolError as too_large:
                    # The fault of the request, not of the host: another host would not take it either.
                    reply = HostReply(error=PluginError(str(too_large)))
                    self._note_reply(request, feed, reply)
                    return reply
                self._pending = pending
                await pending.done.wait()
                if pending.reply is not None:
                    return pending.reply
        return None

    def _take(self, feed: Feed | None, pending: PendingCall) -> None:
        """Record the result of a call, whether or not its caller still waits."""
        self._pending = None
        if pending.reply is not None:
            self._note_reply(pending.request, feed, pending.reply)
        elif pending.failure is not None:
            self._note_failure(pending.failure)

    def _note_reply(self, request: Request, feed: Feed | None, reply: HostReply) -> None:
        self.report(*reply.problems)
        if reply.error is not None:
            self.report(f"{request.op}: {reply.error}\n{reply.error.details}")
        elif feed is not None:
            # Only what was answered: a call that ended its host is repeated, and noted then.
            self._history.add(feed, exact=self.own_host)
            self.position = reply.position
            self._fresh = merge_states(self._fresh, reply.value)

    def _note_failure(self, failure: HostFailure) -> None:
        """A call got no reply: it hung, or its host ended."""
        if failure.run == self.number:
            self.disable(failure.text, failure.details)
            return
        self._crashes += 1
        if self._crashes >= MAX_CRASHES:
            self.disable(failure.text, failure.details)
            return
        # In the shared host any of the calls may be the cause. In a host of its own the next failure
        # is this run's.
        self.own_host = True
        self.report(
            f"the plugin host {failure.text} in a call of this task, which is repeated"
            f"\n{failure.details}".rstrip()
        )

    # -- building -------------------------------------------------------------------------------

    async def _rebuild(self) -> bool:
        """Build the objects in another host and feed the log again; False if that failed."""
        lost = self.host
        if lost is not None:
            # Two processes must not have the run's objects: both may write into its store folder.
            await lost.ended.wait()
            # Only now: the next call of one that is cancelled here must wait, too.
            self.host = None
            failure = lost.failure
            if failure is not None and failure.run == self.number:
                # The last call was answered, and left the host too large.
                self.disable(failure.text, failure.details)
            elif not self._crashes:  # else the failure of this run's call has been reported
                now = trio.current_time()
                recent = [at for at in self._restarts if now - at <= RESTART_WINDOW]
                self._restarts = [*recent, now]
                text = failure.text if failure is not None else "was ended"
                if len(self._restarts) >= MAX_RESTARTS:
                    details = failure.details if failure is not None else ""
                    self.disable(f"{text}, again and again", details)
                else:
                    self.report(f"the plugin host {text} and was restarted")
        if self.disabled:
            return False
        try:
            host = await self.get_host(self)
            return await self._build(host)
        except PluginError as error:
            self.disable(str(error), error.details)
            return False

    async def _build(self, host: PluginHost) -> bool:
        """Make the objects in `host` and bring them to where they were; False if that failed.

        Raises the plugin's own error when the objects cannot be made for the first time.
        """
        try:
            return await self._build_in(host)
        finally:
            # Nothing else knows a host of its own: it would stay until the end of the agent.
            if self.host is not host and not host.shared:
                host.close()

    async def _build_in(self, host: PluginHost) -> bool:
        fields = {"spec": dump_spec(self.spec), "folder": str(self.folder)}
        try:
            reply = await self._call_once(
                host,
                Request("open", fields, lambda facts: None if facts is None else load_facts(facts)),
            )
        except ProtocolError as too_large:
            raise PluginError(str(too_large)) from too_large
        if reply is None:
            return False
        if reply.error is not None:
            host.forget(self.number)
            if self.facts is None:
                raise reply.error  # the task fails to start, with the plugin's own error
            self.disable(f"it could not be built anew: {reply.error}", reply.error.details)
            return False
        if reply.value is None:  # foreign code, which the shared host does not run
            self.own_host = True
            host.forget(self.number)
            return False
        # The first facts stay: the task may run by them already.
        if self.facts is None:
            self.facts = reply.value
            self.report(*reply.problems)
        # The results of these calls were reported the first time: only the parser's state counts.
        for feed in self._history:
            if await self._call_once(host, feed_request(feed)) is None:
                return False
        # Last: a host that fails in the meantime, or a caller that is cancelled, leaves it None.
        self.host = host
        return True

    async def _call_once(self, host: PluginHost, request: Request) -> HostReply | None:
        """The reply to a call on objects that are being built; None if they are lost.

        Cancelled, what was built so far is dropped.
        """

        def take(pending: PendingCall) -> None:
            if pending.failure is not None:
                self._note_failure(pending.failure)

        try:
            pending = host.call(self.number, request, take)
        except HostDied:
            await host.ended.wait()
            return None
        try:
            await pending.done.wait()
        except trio.Cancelled:
            host.forget(self.number)
            raise
        return pending.reply

    # -- state ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Drop the objects. Does not wait; a call under way ends by itself or with its host."""
        if self.host is not None:
            self.host.forget(self.number)
            if not self.host.shared:
                self.host.close()

    def disable(self, reason: str, details: str = "") -> None:
        """Give up the run's plugins for good."""
        self.disabled, self.details = reason, shorten_middle(details)
        plugins = f"{self.spec.service} / {self.spec.parser or 'no parser'}"
        text = f"the plugins ({plugins}) are disabled, the output is not parsed any more: {reason}"
        self._problems.add(f"{text}\n{details}", always=True)
        if self.host is not None and not self.host.shared:
            self.host.close()  # at once: a busy loop would take a processor until the task's end

    def report(self, *problems: str) -> None:
        """Add to what `take_problems` returns, for the task's log."""
        for problem in problems:
            self._problems.add(problem)

    def take_problems(self) -> tuple[str, ...]:
        return self._problems.take()

    def take_state(self) -> ParserState:
        """The parser's state for the caller; without anything new, the last one."""
        fresh, self._fresh = self._fresh, None
        if fresh is not None:
            self._state = without_changes(fresh)
            return fresh
        return self._state
