"""Who listens to a task's output, and who waits for an answer. A slow one holds up nobody."""

from __future__ import annotations

import attrs
import trio

from trio_afrender.protocol.messages import TaskKey

__all__ = ("Answers", "Listener", "Listeners")

_PIECES = 256
"""Pieces of text that wait for a listener before it misses some."""


@attrs.define(slots=True, eq=False)
class Listener:
    """One listener's channel. What does not fit is left out, and it is told how much."""

    send: trio.MemorySendChannel[str]
    missed: int = 0

    def hear(self, text: str) -> None:
        mark = f"\n[{self.missed} characters were left out here]\n" if self.missed else ""
        try:
            self.send.send_nowait(mark + text)
        except trio.WouldBlock:
            self.missed += len(text)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it is about to leave, or the task was over before this came
        else:
            self.missed = 0


class Listeners:
    """All listeners of a farm, by task."""

    def __init__(self) -> None:
        self._of: dict[TaskKey, set[Listener]] = {}

    def add(self, key: TaskKey) -> tuple[Listener, trio.MemoryReceiveChannel[str]]:
        send, receive = trio.open_memory_channel[str](_PIECES)
        listener = Listener(send)
        self._of.setdefault(key, set()).add(listener)
        return listener, receive

    def remove(self, key: TaskKey, listener: Listener) -> None:
        listener.send.close()
        listeners = self._of.get(key, set())
        listeners.discard(listener)
        if not listeners:
            self._of.pop(key, None)

    def hear(self, key: TaskKey, text: str) -> None:
        for listener in self._of.get(key, ()):
            listener.hear(text)

    def end(self, key: TaskKey) -> None:
        """Close the channels of a task that is over; what waits in them can still be read."""
        for listener in self._of.get(key, ()):
            listener.send.close()


class Answers:
    """Waits for one answer about a run; the end of the run answers None."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[trio.MemorySendChannel[str | None]]] = {}

    async def wait(self, run: str) -> str | None:
        send, receive = trio.open_memory_channel[str | None](1)
        self._waiting.setdefault(run, []).append(send)
        try:
            return await receive.receive()
        finally:
            waiting = self._waiting.get(run, [])
            if send in waiting:
                waiting.remove(send)
            if not waiting:
                self._waiting.pop(run, None)

    def give(self, run: str, answer: str | None) -> None:
        for send in self._waiting.pop(run, ()):
            send.send_nowait(answer)
