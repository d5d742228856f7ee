"""The log of a job, user, render or pool: who changed what, and when. No I/O."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable

import attrs

from trio_afrender.text import printable

__all__ = ("Actor", "NodeLog", "describe_action")

_MAX_LINES = 100
"""Lines kept of one log, the last ones."""
_MAX_LINE = 2000
"""Characters kept of one line."""


@attrs.frozen(slots=True, kw_only=True)
class Actor:
    """Who asks for a change. The names are those that the request gives, without a proof."""

    user_name: str
    host_name: str = ""
    address: str = ""
    admin: bool = False
    """Whether it may change what belongs to other users."""

    def __str__(self) -> str:
        host = f"@{self.host_name}" if self.host_name else ""
        address = f" {self.address}" if self.address else ""
        return printable(f"{self.user_name}{host}{address}")


def describe_action(actor: Actor, kind: str, what: str, name: str, info: str) -> str:
    """The text of an action for the log of a node, in the form that Afanasy's server gives it.

    `kind` is the plural name of the nodes, such as ``jobs``; `what` is the operation or ``params``.
    """
    return f"{actor}: {kind} {what}: {name}: {info}"


class NodeLog:
    """The last lines about one node, oldest first. Costs nothing until the first line."""

    __slots__ = ("_entries",)

    def __init__(self, entries: Iterable[tuple[float, str]] = ()) -> None:
        self._entries: deque[tuple[float, str]] | None = None
        for when, text in entries:
            self.add(when, text)

    def add(self, when: float, text: str) -> None:
        """Add a line; `when` is Unix time."""
        if self._entries is None:
            self._entries = deque(maxlen=_MAX_LINES)
        self._entries.append((when, text[:_MAX_LINE]))

    @property
    def entries(self) -> tuple[tuple[float, str], ...]:
        """Time and text of each line."""
        return tuple(self._entries or ())

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines with their local time, as Afanasy's server gives them."""
        return tuple(
            f"{time.strftime('%a %d %b %H:%M.%S', time.localtime(when))}: {text}"
            for when, text in self.entries
        )
