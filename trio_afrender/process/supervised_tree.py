"""A tree that a parent of its own holds, beside the agent: a `Child` at the other end of a socket.

The parent (`supervisor.parent`) tells its whole state whenever that changed, so nothing is lost by
connecting late, and an agent that comes back goes on where the one before it was.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Final, final

import trio

from trio_afrender.message_framing import FrameError, FrameReader, encode
from trio_afrender.process.exit_status import REAPED_ELSEWHERE, make_status
from trio_afrender.process.interfaces import ExitStatus, FinalUsage, TreeSignal
from trio_afrender.process.pipe import Pipe
from trio_afrender.supervisor.paths import end_path
from trio_afrender.supervisor.protocol import TreeState
from trio_afrender.tasklog.interfaces import RunLog
from trio_afrender.tasklog.segments import MissingRange
from trio_afrender.tasklog.supervised_log import SupervisedLog

__all__ = ("SupervisedOutput", "SupervisedTree", "read_exit_record")

ANSWER_TIMEOUT = 10.0
"""Seconds that a parent may take to answer: it may be in the middle of a write to a slow disk."""
SIGNAL_OPERATIONS: Final = {
    TreeSignal.TERM: "term",
    TreeSignal.KILL: "kill",
    TreeSignal.SUSPEND: "suspend",
    TreeSignal.RESUME: "resume",
}


def read_exit_record(record: str) -> TreeState | None:
    """Return how a tree ended whose parent has gone; None when there is no (whole) word of it."""
    # It lies where the task may write: whatever stands there that is no word of ours is none.
    with suppress(OSError, ValueError, TypeError, RecursionError):
        words = json.loads(Path(end_path(record)).read_text())
        if isinstance(words, dict):
            return TreeState.from_json(words)
    return None


@final
class SupervisedTree:
    """Made by `child.supervisor`; its `listen` runs in the supervisor's nursery for as long as it lives."""

    def __init__(
        self,
        sock: socket.socket | None,
        *,
        state: TreeState | None = None,
        pipe: Pipe | None = None,
        end_strays: Callable[[float], Awaitable[tuple[int, ...]]],
        attached: bool = False,
    ) -> None:
        self.state = state if state is not None else TreeState()
        self._raw = sock
        self._sock = trio.socket.from_stdlib_socket(sock) if sock is not None else None
        self._pipe = pipe
        self._output = SupervisedOutput(self) if pipe is None else pipe
        self._end_strays = end_strays
        self._attached = attached
        self._known = trio.Event()
        self._changed = trio.Event()
        self._sending = trio.Lock()
        self._answers: dict[int, dict[str, object] | None] = {}
        self._numbers = count(1)
        self.failure: dict[str, object] | None = None
        """Why nothing was started."""
        self.lost = False
        """The parent is gone, without a word of the end."""
        self._left = False
        self._swept = False

    # -- what the parent says -------------------------------------------------------------------

    async def listen(self) -> None:
        """Take what the parent says until it, or we, close the socket."""
        if self._sock is None:
            return
        frames = FrameReader()
        try:
            with suppress(OSError, FrameError, trio.ClosedResourceError):
                while data := await self._sock.recv(65536):
                    for message in frames.feed(data):
                        self._take(message)
                    self._wake()
        finally:
            self._close()  # cancelled: the parent must see that nobody listens any more
        if not (self._left or self._is_final):
            self.lost = True
        self._known.set()
        self._wake()

    def _take(self, message: dict[str, object]) -> None:
        match message:
            case {"state": dict(state)}:
                self.state = TreeState.from_json(state)
                self._known.set()
            case {"failed": dict(failure)}:
                self.failure = failure
                self._known.set()
            case {"re": int(number)} if number in self._answers:
                self._answers[number] = message

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    @property
    def is_known(self) -> bool:
        """Whether the parent has said anything, or is gone."""
        return self._known.is_set()

    async def known(self) -> None:
        """Wait for the first word of the parent, or its end."""
        await self._known.wait()

    async def changed(self) -> None:
        """Wait for the next word of the parent, or its end."""
        await self._changed.wait()

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.lost or self._sock is None or self._sock.fileno() < 0

    @property
    def _is_final(self) -> bool:
        return self.state.empty and self.state.raw is not None

    async def _ask(self, op: str, seconds: float = ANSWER_TIMEOUT) -> dict[str, object]:
        """Put a request and wait for its answer; an empty one when there is none."""
        number = next(self._numbers)
        self._answers[number] = None
        try:
            await self._say(op, number)
            with trio.move_on_after(seconds):
                while (answer := self._answers[number]) is None and not self.over:
                    await self.changed()
                return answer or {}
            return {}
        finally:
            del self._answers[number]

    async def _say(self, op: str, number: int = 0) -> None:
        if self._sock is None:
            await trio.lowlevel.checkpoint()
            return
        data = encode({"op": op, "id": number})
        if not self._sending.locked():  # as a rule it fits at once
            data = self._put(data)
        if not data:
            await trio.lowlevel.checkpoint()
            return
        with trio.CancelScope(deadline=trio.current_time() + ANSWER_TIMEOUT, shield=True):
            async with self._sending:
                with suppress(OSError, trio.ClosedResourceError):
                    while data:
                        data = data[await self._sock.send(data) :]

    def _put(self, data: bytes) -> bytes:
        """Send what the socket takes now; return the rest."""
        if self._raw is None:
            return data
        try:
            return data[self._raw.send(data) :]
        except BlockingIOError:
            return data
        except OSError:  # closed, by whomever: nobody is told
            return b""

    def abandon(self) -> None:
        """End a tree that nobody waits for any more, without waiting."""
        if self._raw is not None:
            with suppress(OSError):
                self._raw.send(encode({"op": "kill"}) + encode({"op": "release"}))
        self._close()

    # -- the tree -------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        return self.state.pid

    @property
    def output(self) -> Pipe | SupervisedOutput:
        return self._output

    @property
    def started(self) -> float | None:
        return self.state.started if self._attached else None

    @property
    def suspended(self) -> bool:
        return self._attached and self.state.suspended

    @property
    def external_stop_reason(self) -> str:
        if self.lost:
            return "the parent of its process tree was killed: nobody knows how it would have ended"
        return f"stopped: {self.state.unattended}" if self.state.unattended else ""

    @property
    def final_usage(self) -> FinalUsage | None:
        state = self.state
        if state.raw is None:
            return None
        return FinalUsage(cpu=state.cpu, peak=state.peak, oom_kills=state.oom_kills)

    async def exited(self) -> None:
        await trio.lowlevel.checkpoint()
        while self.state.raw is None and not self.lost:
            await self.changed()

    async def wait_empty(self) -> None:
        await trio.lowlevel.checkpoint()
        while not (self.state.empty or self.lost):
            await self.changed()

    async def members(self) -> tuple[int, ...]:
        """As `Child.members`, of this moment."""
        if self.state.empty or self.lost:
            await trio.lowlevel.checkpoint()
            return ()
        return _pids(await self._ask("members"))

    async def signal_tree(self, signal: TreeSignal) -> tuple[int, ...]:
        """Signal all members; return their pids, the leader's first."""
        if self.state.empty or self.lost:
            await trio.lowlevel.checkpoint()
            return ()
        return _pids(await self._ask(SIGNAL_OPERATIONS[signal]))

    async def kill_until_empty(self, deadline: float) -> tuple[int, ...]:
        """As `Child.empty`. The proof is the parent's: it has no child any more.

        Without a parent (somebody killed it) it is that no process has the run's token.
        """
        if self.lost:
            return await self._sweep(deadline)
        if not self.state.empty:
            with trio.move_on_after(deadline):
                await self._ask("kill")
                await self.wait_empty()
            return await self._find_left(deadline)
        await trio.lowlevel.checkpoint()
        return ()

    async def _find_left(self, deadline: float) -> tuple[int, ...]:
        if self.lost:  # in the meantime
            return await self._sweep(deadline)
        if self.state.empty:
            return ()
        return _pids(await self._ask("members", 1.0)) or (self.pid,)

    async def _sweep(self, deadline: float) -> tuple[int, ...]:
        if self._swept:
            await trio.lowlevel.checkpoint()
            return ()
        left = await self._end_strays(deadline)
        self._swept = not left
        return left

    async def reap(self) -> ExitStatus:
        """Return the leader's status and let the parent go. May be called again."""
        await self.exited()
        await self._say("release")
        self._close()
        return make_status(REAPED_ELSEWHERE if self.state.raw is None else self.state.raw)

    async def detach(self) -> bool:
        if self._pipe is not None or self.over:
            await trio.lowlevel.checkpoint()
            return False
        self._left = True
        self._close()
        await self._output.aclose()
        return True

    async def held(self) -> tuple[bytes, tuple[MissingRange, ...]]:
        """The end of the output, which no disk took; and what is gone for good."""
        answer = await self._ask("held")
        gone = answer.get("gone")
        ranges = (MissingRange(*each) for each in gone) if isinstance(gone, list) else ()
        return str(answer.get("held", "")).encode("latin-1"), tuple(ranges)

    def _close(self) -> None:
        if self._sock is not None:
            self._sock.close()


@final
class SupervisedOutput:
    """An `OutputPipe` of which somebody else has the descriptor: `pump` follows the log."""

    def __init__(self, child: SupervisedTree) -> None:
        self._child = child
        self._closed = trio.Event()

    async def pump(self, log: RunLog) -> None:
        """Tell `log` of all that its writer stored, until the pipe has ended. Safe to cancel."""
        if not isinstance(log, SupervisedLog):
            raise TypeError("the parent of a tree writes logs on disk alone")
        await trio.lowlevel.checkpoint()
        while not self._closed.is_set():
            state = self._child.state
            log.follow(state.size, state.lost, state.trouble)
            if state.eof or self._child.over:
                if state.lost and not self._child.over:
                    log.hold(*await self._child.held())
                return
            await self._child.changed()
        raise trio.ClosedResourceError("this pipe has been closed")

    async def aclose(self) -> None:
        """Follow no more. May be called again."""
        self._closed.set()
        self._child._wake()  # noqa: SLF001 - whoever follows waits there
        await trio.lowlevel.checkpoint()


def _pids(answer: dict[str, object]) -> tuple[int, ...]:
    pids = answer.get("pids")
    return tuple(pid for pid in pids if isinstance(pid, int)) if isinstance(pids, list) else ()
