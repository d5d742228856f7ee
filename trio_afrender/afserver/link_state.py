"""What outlives a link: who the server says we are, and what our tasks said last."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from trio_afrender.afserver.pacing import PollSchedule
from trio_afrender.protocol.messages import TaskKey, TaskUpdate

__all__ = ("Identity", "LinkState", "Save")

_log = logging.getLogger(__name__)

Save = Callable[[str], Awaitable[None]]
"""Keeps a text for the next agent of the same name on this host. Raises OSError."""


@attrs.frozen(slots=True, kw_only=True)
class Identity:
    """One render on one server.

    `time_launch` is the time that was said when it registered, 0 when it is not registered; `id`
    0 beside it means that the answer has not been heard.
    """

    server: str = ""
    name: str = ""
    id: int = 0
    time_launch: int = 0
    paused: bool = False
    """Whether we may have asked the server to pause this render: it keeps that for ever."""

    @classmethod
    def read(cls, text: str, *, server: str, name: str) -> Identity:
        """The identity that was written, if it is that of `name` on `server`; else a blank one."""
        blank = cls(server=server, name=name)
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return blank
        fields = attrs.asdict(blank)
        if not isinstance(found, dict) or found.keys() != fields.keys():
            return blank
        if any(type(found[key]) is not type(value) for key, value in fields.items()):
            return blank
        identity = cls(**found)
        return identity if (identity.server, identity.name) == (server, name) else blank

    def write(self) -> str:
        return json.dumps(attrs.asdict(self)) + "\n"


async def _forget(_: str) -> None:
    pass


@attrs.define(eq=False)
class LinkState:
    """Shared by all links of one render to one server, one after the other."""

    identity: Identity = attrs.field(factory=Identity)
    save: Save = _forget
    pace: PollSchedule = attrs.field(factory=PollSchedule)
    latest: dict[str, TaskUpdate] = attrs.field(factory=dict)
    """The newest progress of each run."""
    moved: set[str] = attrs.field(factory=set)
    """Runs whose progress changed since the server last heard of it."""
    asked: dict[TaskKey, str] = attrs.field(factory=dict)
    """Outputs that somebody asked for, until an answer shows that they arrived."""
    unconfirmed_since: float | None = None
    """When the answer to a request was given up; None when nothing is in doubt."""
    pausing: bool = False
    """Whether the server is to give us nothing."""
    paused: bool = False
    """Whether it has said that it does not."""
    introduced: bool = False
    """Whether the user's wish for nimby has been told: later the server's word counts."""

    async def save_identity(self, **changes: Any) -> None:  # noqa: ANN401 - fields of Identity
        """Change the identity, and keep it if it is another one now."""
        identity = attrs.evolve(self.identity, **changes)
        if identity == self.identity:
            return
        self.identity = identity
        try:
            await self.save(identity.write())
        except OSError as error:
            _log.warning("the render's id cannot be kept: %s", error.strerror or error)

    def forget(self, runs: set[str]) -> None:
        """Keep progress of no other runs than these."""
        for run in self.latest.keys() - runs:
            del self.latest[run]
        self.moved &= runs
