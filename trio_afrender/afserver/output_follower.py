"""Follow the output of a task: what it has printed so far, then what it prints, then the rest.

A server sends pieces of the output of a running task to a monitor that listens, and on request the
whole output so far, as events that the monitor polls. A render begins to send pieces some heartbeats
after the request, so the whole output is asked for once they come: it contains the first of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from trio_afrender.afserver.remote_nodes import integer_of, objects_of, text_of

__all__ = ("OutputPieces", "is_error_text", "read_output_events")

_ERROR_TEXTS = (
    "ERROR: Can't get file",
    "ERROR: Can't get ouput of a running task.",  # codespell:ignore ouput
    "ERROR: the render has not sent the output",
    "ERROR: there is no monitor",
    "Retrieving running task output from render",
)
"""Beginnings of what a server writes in place of an output. A program may print "ERROR: ..." too,
so the whole beginnings are compared."""
_OVERLAP = 4096
"""Characters at the end of what was printed that are searched in the stored output."""
_HEAD = 64
"""Characters of a piece that are searched in the whole output."""
_MAX_PLACES = 1000
"""Places where they are found: an output may repeat itself."""


def is_error_text(text: str) -> bool:
    """Whether a text in place of an output is the server's, not the task's."""
    return text.startswith(_ERROR_TEXTS)


def read_output_events(
    events: Mapping[str, Any], key: tuple[int, int, int]
) -> tuple[str | None, str]:
    """The whole output of a task among the events of one poll, None without; and its new pieces."""
    whole = None
    for each in objects_of(events, "tasks_outputs"):
        if _is_about(each, key) and not is_error_text(text_of(each, "data")):
            whole = text_of(each, "data")
    pieces = [
        text_of(each, "data")
        for each in objects_of(events, "tasks_listens")
        if _is_about(each, key)
    ]
    return whole, "".join(pieces)


def _is_about(message: Mapping[str, Any], key: tuple[int, int, int]) -> bool:
    pos = message.get("pos")
    if not isinstance(pos, dict):
        return False
    return key == (integer_of(pos, "job"), integer_of(pos, "block"), integer_of(pos, "task"))


@attrs.define(slots=True)
class OutputPieces:
    """Joins the whole output and the pieces of one run of a task into one text without repeats."""

    _printed: int = 0
    _tail: str = ""
    """The end of what has been printed."""
    early: str = ""
    """Pieces from before the whole output."""
    begun: bool = False
    """Whether the whole output has come."""

    def add(self, whole: str | None, pieces: str) -> str:
        """Take what a poll has brought; return what is to be printed now."""
        if self.begun:
            return self._print(pieces)
        self.early += pieces
        if whole is None:
            return ""
        self.begun = True
        return self.finish(whole + _without_overlap(whole, self.early))

    def restart(self) -> None:
        """Begin again with a whole output and pieces: some may have been lost with a connection."""
        self.early, self.begun = "", False

    def finish(self, final: str) -> str:
        """Return what is missing of a whole output, such as the stored one of a run that is over."""
        if final[: self._printed].endswith(self._tail):
            return self._print(final[self._printed :])
        # Pieces were lost, or the stored output is shortened in the middle: what follows the end of
        # the printed text, else its last line, is missing.
        for tail in (self._tail, self._tail.splitlines(keepends=True)[-1]):
            if (at := final.rfind(tail)) >= 0:
                return self._print(final[at + len(tail) :])
        return ""

    def _print(self, text: str) -> str:
        self._printed += len(text)
        self._tail = (self._tail + text)[-_OVERLAP:]
        return text


def _without_overlap(whole: str, after: str) -> str:
    """The part of `after` that is not in `whole`, whose end it may repeat."""
    head = after[:_HEAD]
    at = whole.find(head) if head else -1
    for _ in range(_MAX_PLACES):
        if at < 0:
            break
        rest = whole[at : at + len(after)]
        if after.startswith(rest):
            return after[len(rest) :]
        at = whole.find(head, at + 1)
    # Only less than the head may overlap.
    for length in range(min(len(whole), len(head)), 0, -1):
        if whole.endswith(after[:length]):
            return after[length:]
    return after
