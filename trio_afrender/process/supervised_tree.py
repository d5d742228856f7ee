"""A process tree that a task supervisor holds: a `ProcessTree` at the agent's end of its socket.

The task supervisor (`supervisor.task_supervisor`) sends its whole state after every change. So an
agent that connects late misses nothing, and a later agent continues where an earlier one stopped.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from typing import Final, final

import trio

from trio_afrender.async_helpers import RepeatedEvent
from trio_afrender.errors import is_exhausted
from trio_afrender.message_framing import FrameError, FrameReader, encode
from trio_afrender.process.exit_status import UNKNOWN_STATUS, make_status
from trio_afrender.process.interfaces import ExitStatus, FinalUsage, TreeSignal
from trio_afrender.process.procfs import continue_stopped
from trio_afrender.safe_files import read_regular
from trio_afrender.supervisor.paths import end_path
from trio_afrender.supervisor.process_tree import find_below
from trio_afrender.supervisor.protocol import TreeState
from trio_afrender.tasklog.interfaces import RunLog
from trio_afrender.tasklog.segments import MissingRange
from trio_afrender.tasklog.supervised_log import SupervisedLog

__all__ = ("SupervisedOutput", "SupervisedTree", "read_exit_record")

MAX_END_RECORD = 1024 * 1024
"""Bytes of the last state of a tree; it lists the pids of what could not be killed."""
_MAX_NUMBER = 2**50
"""No count of bytes, time or pid in such a record is as large."""
CONTINUE_INTERVAL = 1.0
"""Seconds without an answer after which a task supervisor that a signal has stopped is continued."""
ANSWER_TIMEOUT = 10.0
"""Seconds for a task supervisor to answer: it may be in the middle of a write to a slow disk."""
MEMORY_PAUSE = 0.05
"""Seconds before a request is sent again for which the kernel had no memory."""
MAX_SEEN = 16
"""Members that `members` looks for itself: each takes about 20 us of the event loop."""
SIGNAL_OPERATIONS: Final = {
    TreeSignal.TERM: "term",
    TreeSignal.KILL: "kill",
    TreeSignal.SUSPEND: "suspend",
    TreeSignal.RESUME: "resume",
}


def read_exit_record(record: str) -> TreeState | None:
    """Return the last state of a tree whose task supervisor has ended; None without a valid one."""
    # The task can write to this folder, and the write may have been cut short: anything that cannot
    # be parsed counts as missing.
    with suppress(OSError, ValueError, TypeError, RecursionError):
        data = json.loads(read_regular(end_path(record), MAX_END_RECORD))
        if isinstance(data, dict):
            state = TreeState.from_json(data)
            return state if _is_end(state) else None
    return None


def _is_end(state: TreeState) -> bool:
    """Whether a state that was read is one of a tree that has ended, with values of the right types."""
    # Its last state is all that is known of such a tree: without a status, or with a text in its place,
    # the end would be waited for, or fail, at every start of an agent.
    if type(state.raw) is not int or state.raw > 0xFFFF or state.empty is not True:
        return False
    nothing = TreeState()
    return all(_fits(getattr(state, name), getattr(nothing, name)) for name in TreeState.__slots__)


def _fits(value: object, default: object) -> bool:
    """Whether a value of a record is of the type of its default, and a number one that can be."""
    if isinstance(default, str | bool):
        return type(value) is type(default)
    kinds = (int,) if type(default) is int else (int, float)
    if type(value) not in kinds:
        return value is None and default is None
    assert isinstance(value, int | float)  # noqa: S101 - repeats the test above for mypy
    return 0 <= value < _MAX_NUMBER


@final
class SupervisedTree:
    """Made by `SupervisorClient`, in whose nursery `listen` runs as long as the tree is in use.

    `sock` is None for a tree whose task supervisor has ended: `state` is its last one then.
    `kill_leftovers` kills by the run's token, within so many seconds, and returns the pids that are
    left.
    """

    def __init__(
        self,
        sock: socket.socket | None,
        *,
        state: TreeState | None = None,
        kill_leftovers: Callable[[float], Awaitable[tuple[int, ...]]],
        attached: bool = False,
    ) -> None:
        self.state: TreeState = state if state is not None else TreeState()
        self._raw = sock
        self._sock = trio.socket.from_stdlib_socket(sock) if sock is not None else None
        self._output = SupervisedOutput(self)
        self._kill_by_token = kill_leftovers
        self.attached = attached
        """Whether an earlier agent started it."""
        self._first_message = trio.Event()
        self._changed = RepeatedEvent()
        self._sending = trio.Lock()
        self._answers: dict[int, dict[str, object] | None] = {}
        self._numbers = count(1)
        self.failure: dict[str, object] | None = None
        """Why the leader could not be started."""
        self.lost: bool = False
        """The task supervisor ended before it reported the end of the tree: it was killed."""
        self._detached = False
        self._leftovers_killed = False

    # -- messages of the task supervisor --------------------------------------------------------

    async def listen(self) -> None:
        """Receive messages until the task supervisor, or this end, closes the socket."""
        if self._sock is None:
            return
        frames = FrameReader()
        try:
            with suppress(OSError, FrameError, trio.ClosedResourceError):
                while data := await self._sock.recv(65536):
                    for message in frames.feed(data):
                        self._take(message)
                    # Once for each read: several states in one read wake the waiting tasks once.
                    self._changed.set()
        finally:
            # Cancelled: the task supervisor must see that its agent has gone.
            self._close()
        if not (self._detached or (self.state.empty and self.state.raw is not None)):
            self.lost = True
        self._first_message.set()
        self._changed.set()

    def _take(self, message: dict[str, object]) -> None:
        match message:
            case {"state": dict(state)}:
                self.state = TreeState.from_json(state)
                self._first_message.set()
            case {"failed": dict(failure)}:
                self.failure = failure
                self._first_message.set()
            # An answer after the timeout of its request is dropped.
            case {"re": int(number)} if number in self._answers:
                self._answers[number] = message

    @property
    def has_message(self) -> bool:
        """Whether a state or a failure has been received, or the task supervisor has ended."""
        return self._first_message.is_set()

    async def wait_first_message(self) -> None:
        """Wait until `has_message`."""
        await self._first_message.wait()

    async def wait_change(self) -> None:
        """Wait for the next message, or for the end of the task supervisor."""
        await self._changed.wait()

    @property
    def over(self) -> bool:
        """Whether no message will come any more."""
        return self.lost or self._sock is None or self._sock.fileno() < 0

    async def _request(self, op: str, seconds: float = ANSWER_TIMEOUT) -> dict[str, object]:
        """Send a request and return its answer; an empty one when none comes in time."""
        number = next(self._numbers)
        self._answers[number] = None
        try:
            await self._send(op, number)
            with trio.move_on_after(seconds):
                while (answer := self._answers[number]) is None and not self.over:
                    with trio.move_on_after(CONTINUE_INTERVAL) as waiting:
                        await self.wait_change()
                    if waiting.cancelled_caught:
                        # Its own supervisor continues it at once, unless that was killed.
                        continue_stopped(self.state.parent)
                return answer or {}
            return {}
        finally:
            del self._answers[number]

    async def _send(self, op: str, number: int = 0) -> None:
        """Send a request whole, for `ANSWER_TIMEOUT` at most. A closed socket is no error."""
        if self._sock is None:
            await trio.lowlevel.checkpoint()
            return
        data = encode({"op": op, "id": number})
        if self._raw is not None and not self._sending.locked():
            # As a rule the socket takes it at once. What it does not take now, because it is full or
            # the kernel has no memory for it, is sent below.
            try:
                data = data[self._raw.send(data) :]
            except OSError as error:
                if not is_exhausted(error):
                    data = b""
        if not data:
            await trio.lowlevel.checkpoint()
            return
        # Shielded: half a request would make all later ones unreadable.
        with trio.CancelScope(deadline=trio.current_time() + ANSWER_TIMEOUT, shield=True):
            async with self._sending:
                with suppress(trio.ClosedResourceError):
                    while data:
                        try:
                            data = data[await self._sock.send(data) :]
                        except OSError as error:
                            if not is_exhausted(error):
                                return
                            await trio.sleep(MEMORY_PAUSE)

    def abandon(self) -> None:
        """Have the tree killed, without waiting, and close the socket."""
        if self._raw is not None:
            # One send, without waiting: these few bytes fit into the socket's buffer.
            with suppress(OSError):
                self._raw.send(encode({"op": "kill"}) + encode({"op": "release"}))
        self._close()

    # -- the tree -------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        return self.state.pid

    @property
    def output(self) -> SupervisedOutput:
        return self._output

    @property
    def started(self) -> float | None:
        return self.state.started if self.attached else None

    @property
    def suspended(self) -> bool:
        return self.attached and self.state.suspended

    @property
    def external_stop_reason(self) -> str:
        if self.lost:
            return "its task supervisor was killed, so its exit status is unknown"
        return f"stopped: {self.state.unattended}" if self.state.unattended else ""

    @property
    def final_usage(self) -> FinalUsage | None:
        state = self.state
        if state.raw is None:
            return None
        return FinalUsage(
            cpu=state.cpu,
            peak=state.peak,
            oom_kills=state.oom_kills,
            refused_forks=state.refused_forks,
        )

    @property
    def closed_windows(self) -> None:
        return None

    @property
    def left_nothing(self) -> bool:
        # A post command of an earlier agent may have written there since its end was stored.
        return self.state.bare and not self.attached

    async def exited(self) -> None:
        await trio.lowlevel.checkpoint()
        while self.state.raw is None and not self.lost:
            await self.wait_change()

    async def wait_empty(self) -> None:
        await trio.lowlevel.checkpoint()
        while not (self.state.empty or self.lost):
            await self.wait_change()

    async def members(self) -> tuple[int, ...]:
        """As `ProcessTree.members`, but of this moment."""
        if self.state.empty or self.lost:
            await trio.lowlevel.checkpoint()
            return ()
        # A small tree is looked at here: a request wakes up two processes, for each tree and period.
        continue_stopped(self.state.parent)
        pids = find_below(self.state.parent, MAX_SEEN)
        if len(pids) <= MAX_SEEN:
            await trio.lowlevel.checkpoint()
            return tuple(sorted(pids, key=lambda pid: pid != self.pid))
        return _pids(await self._request("members"))

    async def signal_tree(self, signal: TreeSignal) -> tuple[int, ...]:
        """Signal all members; return their pids, the leader's first."""
        if self.state.empty or self.lost:
            await trio.lowlevel.checkpoint()
            return ()
        return _pids(await self._request(SIGNAL_OPERATIONS[signal]))

    async def kill_until_empty(self, deadline: float) -> tuple[int, ...]:
        """As `ProcessTree.kill_until_empty`; the proof is that the task supervisor has no child.

        If the task supervisor was killed, the proof is that no process has the run's token.
        """
        if self.state.empty and not self.lost:
            await trio.lowlevel.checkpoint()
            return ()
        if not self.lost:
            with trio.move_on_after(deadline):
                # One request: the task supervisor repeats KILL by itself until the tree is empty.
                await self._request("kill")
                await self.wait_empty()
        if self.lost:  # maybe only now: killed while this task waited for it
            if self._leftovers_killed:
                await trio.lowlevel.checkpoint()
                return ()
            left = await self._kill_by_token(deadline)
            self._leftovers_killed = not left
            return left
        if self.state.empty:
            return ()
        # No answer is no proof of an empty tree, so the leader is reported then.
        return _pids(await self._request("members", 1.0)) or (self.pid,)

    async def reap(self) -> ExitStatus:
        """Return the leader's status and release the task supervisor. May be called again."""
        await self.exited()
        # Only now may the task supervisor forget the tree and take the next one.
        await self._send("release")
        self._close()
        return make_status(UNKNOWN_STATUS if self.state.raw is None else self.state.raw)

    async def detach(self) -> bool:
        # Also a tree that may not outlive its agent: its task supervisor stops it, and its record says
        # why, so the next agent gives the task back. Stopped by this agent, it would count as failed
        # (test_a_tree_that_may_not_outlive_its_agent_is_stopped).
        if self.over:
            await trio.lowlevel.checkpoint()
            return False
        self._detached = True
        self._close()
        await self._output.aclose()
        return True

    async def held(self) -> tuple[bytes, tuple[MissingRange, ...]]:
        """Return the end of the output that no disk took, and the ranges that are lost."""
        answer = await self._request("held")
        gone = answer.get("gone")
        ranges = (MissingRange(*each) for each in gone) if isinstance(gone, list) else ()
        return str(answer.get("held", "")).encode("latin-1"), tuple(ranges)

    def _close(self) -> None:
        if self._sock is not None:
            self._sock.close()


@final
class SupervisedOutput:
    """The output of a tree whose pipe the task supervisor reads: `pump` follows the log on disk."""

    def __init__(self, tree: SupervisedTree) -> None:
        self._tree = tree
        self._closed = trio.Event()

    async def pump(self, log: RunLog) -> None:
        """Report to `log` what the task supervisor has stored, until the pipe has ended.

        Safe to cancel. Raises `TypeError` for a log that is not on disk, and
        `trio.ClosedResourceError` after `aclose`.
        """
        if not isinstance(log, SupervisedLog):
            raise TypeError("a task supervisor writes logs on disk only")
        await trio.lowlevel.checkpoint()
        while not self._closed.is_set():
            state = self._tree.state
            log.follow(state.size, state.lost, state.trouble)
            if state.eof or self._tree.over:
                # Before the task supervisor is released: bytes that no disk took are in its memory.
                if state.lost and not self._tree.over:
                    log.hold(*await self._tree.held())
                return
            await self._tree.wait_change()
        raise trio.ClosedResourceError("this pipe has been closed")

    async def aclose(self) -> None:
        """End a running `pump`. May be called again."""
        self._closed.set()
        self._tree._changed.set()  # noqa: SLF001 - `pump` waits there
        await trio.lowlevel.checkpoint()


def _pids(answer: dict[str, object]) -> tuple[int, ...]:
    pids = answer.get("pids")
    return tuple(pid for pid in pids if isinstance(pid, int)) if isinstance(pids, list) else ()
