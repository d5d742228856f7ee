"""What is asked of a plugin host, what comes back, and what may come between: values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs

from trio_afrender.errors import PluginError, ProtocolError

__all__ = (
    "CallLimits",
    "Caller",
    "HostDied",
    "HostFailure",
    "HostReply",
    "MovedError",
    "PendingCall",
    "Request",
    "read_answer",
)


@attrs.frozen
class CallLimits:
    """How much plugins may take."""

    time: float
    """Seconds for one call."""
    memory: int
    """Bytes the host may have resident."""
    start: float = 60.0
    """Seconds a host may take to come up."""
    exit: float = 0.5
    """Seconds a host that has closed its socket may take to end by itself."""

    @property
    def look(self) -> float:
        """Seconds between two looks at calls that take long."""
        return min(0.25, self.time / 4)


class Caller(Protocol):
    """Whose call it is: a run."""

    number: int

    @property
    def time_limit(self) -> float:
        """Seconds of silence after which its objects are better made anew in another host."""
        ...

    grown: float
    """Bytes by which the host grew while its calls were under way."""


@attrs.frozen(eq=False)
class Request:
    """What is asked; `read` makes a value of the answer and raises `ProtocolError`."""

    op: str
    fields: Mapping[str, object]
    read: Callable[[object], Any]


@attrs.frozen
class HostReply:
    """What came back: a value, or an error."""

    value: Any = None
    error: PluginError | None = None
    position: int = 0
    problems: tuple[str, ...] = ()


@attrs.frozen
class HostFailure:
    """What ended a host."""

    text: str
    run: int | None = None
    """The run that is to blame, when that is sure."""
    details: str = ""
    died: bool = False
    """Whether it ended by itself: then whose calls were under way is all there is to go by."""
    retired: bool = False
    """Whether nothing is wrong: it is not needed any more."""


class HostDied(Exception):
    """The host has ended, or is about to, before it answered."""


class MovedError(Exception):
    """The host is silent because of another's call: this one is better made elsewhere."""


@attrs.define(eq=False)
class PendingCall:
    """A call that is under way."""

    caller: Caller
    request: Request
    started: float
    then: Callable[[PendingCall], None]
    """Called once, when there is an answer or there will be none here."""
    answer: HostReply | None = None
    moved: bool = False
    """Whether nobody waits for it any more."""
    _told: bool = False

    def tell(self) -> None:
        """Let whoever asked go on."""
        if not self._told:
            self._told = True
            self.then(self)


def read_answer(request: Request, message: Mapping[str, object]) -> HostReply:
    """The answer that a message of the host brings. Raises `ProtocolError`."""
    position, problems = message.get("position"), message.get("problems")
    if type(position) is not int or not isinstance(problems, list):
        raise ProtocolError("an answer without its parts")
    return HostReply(
        value=request.read(message.get("value")),
        position=position,
        problems=tuple(str(problem) for problem in problems),
    )
