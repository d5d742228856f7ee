"""One run as the agent knows it: all that is needed to build its objects anew elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import trio

from trio_afrender.errors import PluginError
from trio_afrender.plugins.diagnostics import Problems, shorten
from trio_afrender.plugins.host.calls import HostReply, Request
from trio_afrender.plugins.host.fault_attribution import FaultRecord
from trio_afrender.plugins.host.host import PluginHost
from trio_afrender.plugins.interfaces import ParserState, PluginSpec, ServiceFacts
from trio_afrender.plugins.validation import merge_states, without_news

__all__ = ("Call", "Feed", "FeedHistory", "PluginRun")

MAX_FEEDS = 1024
"""Calls kept one by one; of older ones neighbours are joined."""
MAX_JOINED = 4 * 1024 * 1024
"""Bytes of log that joined calls may cover: they must keep within the time limit of one."""

REBUILD_BUDGET = 0.02
"""Seconds that making a run's objects anew may take, without the log."""
REPLAY_RATE = 50e6
"""Bytes of log a second that a parser reads again then."""


@attrs.frozen
class Feed:
    """One call that fed a parser: with it the same portions can be fed again."""

    upto: int
    mode: str = "RUN"
    pid: int = 0
    resources: str = ""
    more: bool = False


class FeedHistory:
    """What a parser was fed, from the start on."""

    def __init__(self) -> None:
        self._feeds: list[Feed] = []
        self._limit = MAX_FEEDS

    def add(self, feed: Feed) -> None:
        self._feeds.append(feed)
        if len(self._feeds) > self._limit:
            self._join()

    def __iter__(self) -> Iterator[Feed]:
        return iter(tuple(self._feeds))

    def _join(self) -> None:
        """Halve the older half. The portions come out larger then, at legal places still."""
        half = len(self._feeds) // 2
        joined: list[Feed] = []
        start = 0  # where the last of `joined` begins
        for feed in self._feeds[:half]:
            last = joined[-1] if joined else None
            if last is not None and last.mode == "RUN" and feed.upto - start <= MAX_JOINED:
                joined[-1] = feed
                continue
            start = last.upto if last is not None else 0
            joined.append(feed)
        self._feeds[:half] = joined
        # When little could be joined, do not try again at each call.
        self._limit = max(MAX_FEEDS, len(self._feeds) + MAX_FEEDS // 2)


@attrs.define(eq=False)
class Call:
    """A request on its way; `request` None only makes the objects."""

    request: Request | None
    feed: Feed | None = None
    done: trio.Event = attrs.field(factory=trio.Event)
    answer: HostReply | None = None
    """None when the run has been dropped."""


@attrs.define(eq=False)
class PluginRun:
    """A run's objects, wherever they live at the moment."""

    number: int
    spec: PluginSpec
    folder: Path
    life: PluginHost | None = None
    """The host that holds the objects; None when they must be built anew."""
    facts: ServiceFacts | None = None
    error: PluginError | None = None
    """Why the objects could not be made at first."""
    dropped: str = ""
    details: str = ""
    """What was seen when it was dropped: a traceback, last words."""
    history: FeedHistory = attrs.field(factory=FeedHistory)
    suspicion: FaultRecord = attrs.field(factory=FaultRecord)
    grown: float = 0.0
    position: int = 0
    """Log offset up to which the parser's host has read."""
    state: ParserState = attrs.field(factory=ParserState)
    pending: Call | None = None
    closed: bool = False
    """Whether nobody will make a call any more."""
    _fresh: ParserState | None = None
    _problems: Problems = attrs.field(factory=Problems)

    @property
    def time_limit(self) -> float:
        """Seconds that waiting for a silent host is better than making the objects anew."""
        return REBUILD_BUDGET + self.position / REPLAY_RATE if self.life is not None else 0.0

    def drop(self, reason: str, details: str = "") -> None:
        """Give up the run's objects for good."""
        self.dropped, self.details = reason, shorten(details)
        plugins = f"{self.spec.service} / {self.spec.parser or 'no parser'}"
        text = f"the plugins ({plugins}) are dropped, the output goes on unparsed: {reason}"
        self.tell(f"{text}\n{details}")

    def tell(self, *problems: str) -> None:
        """Add to what `problems` of the task gives."""
        for problem in problems:
            self._problems.add(problem)

    def take_problems(self) -> tuple[str, ...]:
        return self._problems.take()

    def note_fed(self, feed: Feed, state: ParserState, position: int) -> None:
        """Take over what came of a call; kept for the caller, should it have gone meanwhile."""
        self.history.add(feed)
        self.position = position
        self._fresh = merge_states(self._fresh, state)

    def take_state(self) -> ParserState:
        """The state for the caller; without news, the last one."""
        fresh, self._fresh = self._fresh, None
        if fresh is not None:
            self.state = without_news(fresh)
            return fresh
        return self.state
