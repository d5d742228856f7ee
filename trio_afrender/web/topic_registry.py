"""The topics that viewers have open: each is fed once, and ends a while after its last viewer."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import attrs
import trio

from trio_afrender.errors import LinkRefused
from trio_afrender.web.farm_watch import FarmWatch
from trio_afrender.web.topic import Topic
from trio_afrender.web.topic_feeds import FEEDS, Feed

__all__ = ("MAX_TOPICS", "TooManyTopics", "TopicRegistry", "UnknownTopic")

_log = logging.getLogger(__name__)

MAX_TOPICS = 256
"""Topics of single jobs, tasks and renders at once."""
_LINGER = 20.0
"""Seconds for which a topic is fed on without viewers: a user who reloads the page comes back."""
_NAME = re.compile(r"([a-z]{1,10})((?:\.(?:0|[1-9][0-9]{0,8})){0,3})")
"""Each number in one spelling alone: two topics of one job would take its changes from each other."""


class UnknownTopic(Exception):
    """There is no such topic. The message is for the client."""


class TooManyTopics(Exception):
    """More is watched than this page serves. The message is for the client."""


@attrs.define(slots=True, eq=False)
class _Entry:
    topic: Topic
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    viewers: int = 0


@attrs.define(slots=True, eq=False)
class TopicRegistry:
    """Opens topics. `nursery` runs their feeds, `tables` are topics that are always there."""

    watch: FarmWatch
    nursery: trio.Nursery
    tables: Mapping[str, Topic]
    _entries: dict[str, _Entry] = attrs.field(factory=dict)

    @contextmanager
    def open(self, name: str) -> Iterator[Topic]:
        """Watch a topic. Raises `UnknownTopic` and `TooManyTopics`."""
        if (table := self.tables.get(name)) is not None:
            yield table
            return
        entry = self._entries.get(name)
        # What has ended may be there again: a job with the same id, a task that was added.
        if entry is None or entry.topic.ended:
            match = _NAME.fullmatch(name)
            numbers = tuple(map(int, match[2].split(".")[1:])) if match else ()
            found = FEEDS.get(match[1]) if match else None
            if found is None or len(numbers) not in found[1]:
                raise UnknownTopic(f'there is no topic "{name[:60]}"')
            if len(self._entries) >= MAX_TOPICS:
                raise TooManyTopics(f"{MAX_TOPICS} jobs, tasks and renders are watched already")
            entry = self._entries[name] = _Entry(found[2](name, self.watch.changed.set))
            self.nursery.start_soon(self._run, name, entry, found[0], numbers)
        entry.viewers += 1
        try:
            yield entry.topic
        finally:
            entry.viewers -= 1
            if not entry.viewers:
                self.nursery.start_soon(self._end_later, name, entry)

    async def _run(self, name: str, entry: _Entry, feed: Feed, numbers: tuple[int, ...]) -> None:
        with entry.scope:
            try:
                await feed(self.watch, entry.topic, numbers)
            except LinkRefused as refusal:
                entry.topic.end(refusal.reason)
            except Exception:  # noqa: BLE001 - one topic must not end the page, or the farm
                _log.exception("topic %s: its feed has failed", name)
                entry.topic.end("internal error: the log of the program has the reason")
        if self._entries.get(name) is entry and entry.topic.ended:
            del self._entries[name]

    async def _end_later(self, name: str, entry: _Entry) -> None:
        await trio.sleep(_LINGER)
        if not entry.viewers:
            entry.scope.cancel()
            if self._entries.get(name) is entry:
                del self._entries[name]
