"""State of a render that outlives a single link: its identity on the server and its progress."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from trio_afrender.afserver.pacing import PollSchedule
from trio_afrender.protocol.messages import TaskKey, TaskUpdate

__all__ = ("Identity", "LinkState", "Save")

_log = logging.getLogger(__name__)

Save = Callable[[str], Awaitable[None]]
"""Stores a text for the next agent of the same name on this host. Raises OSError."""


@attrs.frozen(slots=True, kw_only=True)
class Identity:
    """The registration of one render on one server.

    `time_launch` is the launch time in the render's register, 0 while it is not registered. `id` is
    0 until the answer to the register has been received.
    """

    server: str = ""
    name: str = ""
    id: int = 0
    time_launch: int = 0
    paused: bool = False
    """Whether the server may have been asked to pause this render. It keeps a pause for ever."""

    @classmethod
    def read(cls, text: str, *, server: str, name: str) -> Identity:
        """Parse a stored identity; return a blank one if it is not that of `name` on `server`."""
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
        """Return the text that `read` parses."""
        return json.dumps(attrs.asdict(self)) + "\n"


@attrs.define(eq=False)
class LinkState:
    """The state that all links of one render to one server share, one link after the other."""

    identity: Identity = attrs.field(factory=Identity)
    save: Save | None = None
    """Stores the identity. None: an agent that is restarted waits until the server has given this
    render up."""
    log: Callable[[int, str], None] = _log.log
    """Logs a line about the registration at a level. A gateway sums repeated lines up."""
    pace: PollSchedule = attrs.field(factory=PollSchedule)
    latest: dict[str, TaskUpdate] = attrs.field(factory=dict)
    """The newest progress of each run."""
    unsent_progress: set[str] = attrs.field(factory=set)
    """Runs whose progress has changed since the last update that the server answered."""
    asked_outputs: dict[TaskKey, str] = attrs.field(factory=dict)
    """Outputs that the server asked for, until it has answered the update that contains them."""
    unconfirmed_since: float | None = None
    """When a request was left without an answer; None if the server has answered every request."""
    pausing: bool = False
    """Whether the server is to hand out no tasks to this render."""
    paused: bool = False
    """Whether the server has confirmed that it hands out none."""
    pause_refused: tuple[bool, float] = (False, -math.inf)
    """What the server has refused last, a pause or its end, and from when it is asked again."""
    nimby_sent: bool = False
    """Whether the configured nimby state has been sent. From then on the server's state counts."""
    _stored: Identity = attrs.field(init=False)
    """The identity that was stored last: an attempt may have failed, or been cancelled."""

    @_stored.default
    def _begin_stored(self) -> Identity:
        return self.identity

    async def save_identity(self, **changes: Any) -> None:  # noqa: ANN401 - fields of Identity
        """Change fields of the identity, and store it unless it is stored already."""
        identity = self.identity = attrs.evolve(self.identity, **changes)
        if self.save is None or identity == self._stored:
            return
        try:
            await self.save(identity.write())
            self._stored = identity
        except OSError as error:
            # Without the stored id a restarted agent waits until the server counts this render as
            # lost. Nothing else depends on it, so the link continues.
            problem = error.strerror or error
            self.log(logging.WARNING, f"the render's id cannot be stored: {problem}")

    def forget(self, runs: set[str]) -> None:
        """Drop the progress of all runs but `runs`."""
        for run in self.latest.keys() - runs:
            del self.latest[run]
        self.unsent_progress &= runs
