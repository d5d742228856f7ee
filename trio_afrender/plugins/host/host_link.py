"""The agent's link to a plugin host: messages over a socket, and what the process prints itself."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping

import trio

from trio_afrender.async_helpers import RepeatedEvent
from trio_afrender.errors import is_exhausted
from trio_afrender.plugins.host.forkserver import EXHAUSTED_PAUSE, receive_messages
from trio_afrender.plugins.host.host_protocol import PluginFrameReader, pack

__all__ = ("HostLink",)

logger: logging.Logger = logging.getLogger(__name__)

RECEIVE_SIZE = 256 * 1024
MAX_PRINTED_TAIL = 64 * 1024
"""Characters kept of what the process printed itself, as a dump of all its threads."""
FLOOD_SIZE = 16 * 1024
FLOOD_PAUSE = 0.05
"""Seconds between two looks at a process that prints `FLOOD_SIZE` bytes at once: the process waits then, not the agent."""


class HostLink:
    """The part of a plugin host that all systems have in common."""

    def __init__(self, pid: int, link: socket.socket, output: trio.abc.ReceiveStream) -> None:
        self.pid = pid
        self._link = link
        self._output = output
        self._frames = PluginFrameReader()
        self._backlog = bytearray()  # frames that the socket's buffer had no room for
        self._later = bytearray()  # frames for which the process is not woken
        self._writable = trio.Event()
        self._printed = ""
        self._print_seen = RepeatedEvent()
        self.printed_all: trio.Event = trio.Event()
        """Set when the process has closed its output, and `listen` has read it."""

    @property
    def printed(self) -> str:
        """The end of what the process itself printed: last words, tracebacks of a crash."""
        return self._printed

    def send(self, message: Mapping[str, object]) -> None:
        """Send a message, or as much as goes at once: `write` does the rest. Never blocks.

        Raises `ProtocolError` for a message that is too large. A process that has
        ended is noticed by `receive`.
        """
        frame = bytes(self._later) + pack(message)
        self._later.clear()
        if not self._backlog:  # else it would overtake what waits there
            # Most messages fit into the socket's buffer. Sent here they cost no switch to `write`.
            try:
                frame = frame[self._link.send(frame) :]
            except ConnectionError:
                pass
            except OSError as error:
                # The buffer is full, or the kernel has no memory for it: `write` sends it.
                if not is_exhausted(error):
                    raise
            if not frame:
                return
        self._backlog += frame
        self._writable.set()

    def send_later(self, message: Mapping[str, object]) -> None:
        """Send a message together with the next one: it is not worth waking the process for."""
        self._later += pack(message)

    async def write(self) -> None:
        """Send what did not go at once. Runs until cancelled or the process is gone."""
        while True:
            await self._writable.wait()
            self._writable = trio.Event()
            while self._backlog:
                await trio.lowlevel.wait_writable(self._link)
                try:
                    del self._backlog[: self._link.send(self._backlog)]
                except ConnectionError:
                    return
                except OSError as error:
                    if not is_exhausted(error):
                        raise
                    if not isinstance(error, BlockingIOError):
                        await trio.sleep(EXHAUSTED_PAUSE)

    async def receive(self) -> list[dict[str, object]]:
        """The next messages; empty at the end. Raises `ProtocolError` for anything else."""
        return await receive_messages(self._link, self._frames, RECEIVE_SIZE)

    async def listen(self) -> None:
        """Keep the end of what the process prints, until it has closed its output."""
        while data := await self._output.receive_some(RECEIVE_SIZE // 4):
            text = data.decode("utf-8", "replace")
            logger.debug("the plugin host printed: %s", text[:FLOOD_SIZE])
            self._printed = (self._printed + text)[-MAX_PRINTED_TAIL:]
            self._print_seen.set()
            if len(data) > FLOOD_SIZE:
                # The pipe is full meanwhile, so a plugin that prints without end is slowed down.
                await trio.sleep(FLOOD_PAUSE)
        self.printed_all.set()
