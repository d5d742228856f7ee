"""Channels of users who listen to the output of a task or wait for an answer about a run.

Sending never waits: a listener that reads slowly delays neither the farm nor other listeners.
"""

from __future__ import annotations

from contextlib import suppress

import attrs
import trio

from trio_afrender.protocol.messages import TaskKey

__all__ = ("Answers", "Listener", "Listeners")

_PIECES = 256
"""Pieces of text that wait for a listener before further ones are left out."""


@attrs.define(slots=True, eq=False)
class Listener:
    """The channel of one listener. Text that does not fit is left out and counted."""

    send: trio.MemorySendChannel[str]
    missed: int = 0
    """Characters left out since the last piece that was delivered."""

    def publish(self, text: str) -> None:
        """Deliver a piece of text, after a mark if text before it was left out."""
        try:
            # One place stays for the mark at the end.
            if self.send.statistics().current_buffer_used >= _PIECES:
                self.missed += len(text)
            else:
                self.send.send_nowait(self._mark + text)
                self.missed = 0
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the listener has just left, or the task ended before this piece arrived

    def end(self) -> None:
        """Close the channel, after a mark if text at the end was left out. May be called again."""
        if self.missed:
            with suppress(trio.BrokenResourceError):  # the listener has just left
                self.send.send_nowait(self._mark)
            self.missed = 0
        self.send.close()

    @property
    def _mark(self) -> str:
        return f"\n[{self.missed} characters were left out here]\n" if self.missed else ""


class Listeners:
    """All listeners of a farm, by task."""

    def __init__(self) -> None:
        self._of: dict[TaskKey, set[Listener]] = {}

    def add(self, key: TaskKey) -> tuple[Listener, trio.MemoryReceiveChannel[str]]:
        """Add a listener of a task. The caller removes it and closes the channel it gets."""
        send, receive = trio.open_memory_channel[str](_PIECES + 1)
        listener = Listener(send)
        self._of.setdefault(key, set()).add(listener)
        return listener, receive

    def remove(self, key: TaskKey, listener: Listener) -> None:
        """Remove a listener and close its sending end."""
        listener.send.close()
        listeners = self._of.get(key, set())
        listeners.discard(listener)
        if not listeners:
            self._of.pop(key, None)

    def publish(self, key: TaskKey, text: str) -> None:
        """Deliver new output of a task."""
        for listener in self._of.get(key, ()):
            listener.publish(text)

    def end(self, key: TaskKey) -> None:
        """Close the channels of a task that is over. Text that waits in them can still be read."""
        for listener in self._of.get(key, ()):
            listener.end()


class Answers:
    """Requests for the output of runs that wait for an answer. The end of a run answers None."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[trio.MemorySendChannel[str | None]]] = {}

    async def wait(self, run: str) -> str | None:
        """Wait for the next answer about a run."""
        send, receive = trio.open_memory_channel[str | None](1)
        self._waiting.setdefault(run, []).append(send)
        try:
            return await receive.receive()
        finally:
            # The caller may have been cancelled; after an answer `give` has removed the list.
            waiting = self._waiting.get(run, [])
            if send in waiting:
                waiting.remove(send)
            if not waiting:
                self._waiting.pop(run, None)

    def give(self, run: str, answer: str | None) -> None:
        """Answer all requests for a run."""
        for send in self._waiting.pop(run, ()):
            # Never full: each channel gets one answer, and has room for it.
            send.send_nowait(answer)
