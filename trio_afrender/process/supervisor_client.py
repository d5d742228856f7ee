"""The agent's end of its supervisor: start it, or find the one that is there; have it start trees."""

from __future__ import annotations

import array
import errno
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import final

import trio

import trio_afrender
from trio_afrender.errors import SpawnError
from trio_afrender.message_framing import PROTOCOL_VERSION, FrameError, FrameReader, encode
from trio_afrender.process.interfaces import Launch, Persistence
from trio_afrender.process.launch_errors import check_launch, explain_launch_error
from trio_afrender.process.leftover_processes import kill_leftovers
from trio_afrender.process.pipe import Pipe, open_pipe
from trio_afrender.process.supervised_tree import SupervisedTree, read_exit_record
from trio_afrender.supervisor.paths import socket_path
from trio_afrender.supervisor.protocol import LaunchSpec, LogSpec, TreeState
from trio_afrender.supervisor.unix_sockets import connect, supervisor_path
from trio_afrender.tasklog.local_log import MAX_HELD, SEGMENT_SIZE

__all__ = (
    "SupervisorClient",
    "SupervisorError",
    "can_supervise",
    "find_task_supervisors",
    "has_record",
    "open_supervisor",
    "stop_trees",
)

logger = logging.getLogger(__name__)

START_TIMEOUT = 20.0
"""Seconds that a supervisor may take to start: its interpreter may be on a slow share."""
MAX_START_TRIES = 3
"""Parents that may be killed, one after another, before a task is said not to start."""
IDENTIFY_TIMEOUT = 10.0
"""Seconds that a parent may take to say who it is: a host may be busy, and a tree that is not found is
ended."""
SEND_TIMEOUT = 10.0
"""Seconds that a living supervisor may take to take a message."""
CLOSE_TIMEOUT = 2.0
BOOT_CODE = "import sys; sys.path.insert(0, sys.argv[1]); from trio_afrender.supervisor.daemon import main; sys.exit(main(sys.argv[2:]))"  # fmt: skip


class SupervisorError(Exception):
    """There is no supervisor, and none can be started."""


def can_supervise() -> bool:
    """Whether this platform has what a supervisor needs."""
    return sys.platform == "linux" and Path("/proc/self/task").is_dir()


def has_record(record: str) -> bool:
    """Whether a tree lives at `record`, or has left word of its end there. Blocks for a moment."""
    return read_exit_record(record) is not None or _find_parent(socket_path(record)) is not None


def find_task_supervisors(folder: Path) -> tuple[int, ...]:
    """The pids of the parents whose trees have their records in `folder`. Blocks for a moment."""
    found = (_find_parent(str(path)) for path in folder.glob("*.sock"))
    return tuple(pid for pid in found if pid is not None)


def stop_trees(folder: Path, deadline: float) -> bool:
    """Have the trees with records in `folder` killed; wait until they are proven empty.

    Blocks, for `deadline` seconds at most; False when that was not enough.
    """
    dismissed = []
    with ExitStack() as stack:
        for path in folder.glob("*.sock"):
            with suppress(OSError):  # nobody listens any more
                sock = stack.enter_context(closing(connect(str(path))))
                sock.sendall(encode({"op": "kill"}) + encode({"op": "release"}))
                dismissed.append(sock)
        until = time.monotonic() + deadline
        return all(_is_over(sock, until) for sock in dismissed)


def _is_over(sock: socket.socket, until: float) -> bool:
    """Wait until the parent closes the line: it does when its tree is empty."""
    try:
        while (left := until - time.monotonic()) > 0:
            sock.settimeout(left)
            if not sock.recv(65536):
                return True
    except TimeoutError:
        return False
    except OSError:
        return True
    return False


def _find_parent(path: str) -> int | None:
    """Ask who listens at `path`; None when nobody does."""
    frames = FrameReader()
    with suppress(OSError, FrameError), closing(connect(path)) as sock:
        sock.settimeout(IDENTIFY_TIMEOUT)
        while data := sock.recv(65536):
            for message in frames.feed(data):
                if isinstance(state := message.get("state"), dict):
                    return TreeState.from_json(state).parent
    return None


@final
class SupervisorClient:
    """A connection to the supervisor of one store. Made by `open_supervisor`."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._nursery: trio.Nursery | None = None
        self._sock: trio.socket.SocketType | None = None
        self._lock = trio.Lock()
        self.facts: dict[str, object] = {}
        """What the supervisor said of itself: ``pid``, ``cgroups``, ``protected``, ``records``."""

    async def connect(self) -> None:
        """Find the supervisor of this store, or start one. Raises `SupervisorError`."""
        async with self._lock:
            await self._connect()

    async def _connect(self) -> None:
        path = supervisor_path(str(self._store), "sock")
        problem = "it does not answer"
        with trio.move_on_after(START_TIMEOUT):
            for _ in range(4):  # one may just be ending
                try:
                    sock = await trio.to_thread.run_sync(connect, path)
                except OSError:
                    problem = await self._start()
                    continue
                self._sock = trio.socket.from_stdlib_socket(sock)
                if await self._greet():
                    return
        raise SupervisorError(f"the supervisor of {self._store} cannot be had: {problem}")

    async def _start(self) -> str:
        """Start one; return what it complained of, empty when it is up."""
        root = Path(trio_afrender.__file__).parents[1]
        # Isolated, and without site packages: it must not depend on what may change below it.
        command = [
            sys.executable,
            "-I",
            "-S",
            "-c",
            BOOT_CODE,
            str(root),
            str(self._store.absolute()),
        ]
        try:
            result = await trio.run_process(
                command,
                env={"PATH": os.environ.get("PATH", os.defpath)},
                capture_stderr=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                check=False,
                start_new_session=True,
            )
        except OSError as error:
            return error.strerror or str(error)
        return result.stderr.decode(errors="replace").strip()

    async def _greet(self) -> bool:
        assert self._sock is not None  # noqa: S101 - connected just now
        frames = FrameReader()
        try:
            while data := await self._sock.recv(65536):
                for message in frames.feed(data):
                    if message.get("keeper") != PROTOCOL_VERSION:
                        raise SupervisorError(
                            f"the supervisor of {self._store} is of another version: it ends with its tasks"
                        )
                    self.facts = message
                    return True
        except (OSError, FrameError):
            pass
        self._sock.close()
        return False

    async def spawn(self, launch: Launch) -> SupervisedTree:
        """Start a tree, or take one over (`Keep.attach`). Raises `SpawnError`.

        Cancelled, nothing stays of it.
        """
        check_launch(launch)
        if launch.persistence is not None and launch.persistence.attach:
            found = await self._attach(launch, launch.persistence)
            if found is not None:
                return found
        for _ in range(MAX_START_TRIES):
            child = await self._try_spawn(launch)
            if child is not None:
                return child
            # Somebody killed the parent. What it may have started is ended before the next try.
            await _make_sweep(launch)(SEND_TIMEOUT)
        raise SpawnError(
            f'cannot start "{launch.argv[0]}": its parents were killed before they could'
        )

    async def _try_spawn(self, launch: Launch) -> SupervisedTree | None:
        """Start a tree; None when its parent died before it could say anything."""
        with ExitStack() as stack:
            try:
                child, handed = _open_child(launch, stack)
            except OSError as error:
                raise SpawnError(explain_launch_error(launch, error)) from error
            try:
                await self._send(_say_start(launch, len(handed) - 1), handed)
                stack.close()  # or we would never see the end of what the parent has
                self._begin(child)
                # A tree that is about to be there is not given up lightly: an agent that leaves just
                # now would end it. Only an exec on a share that hangs takes longer than this.
                with trio.CancelScope(deadline=trio.current_time() + SEND_TIMEOUT, shield=True):
                    await child.known()
                if not child.is_known:
                    await child.known()
                _check_started(launch, child)
            except BaseException:
                child.abandon()
                with trio.CancelScope(shield=True):
                    await child.output.aclose()
                raise
        if child.pid:
            return child
        child.abandon()
        await child.output.aclose()
        return None

    async def _attach(self, launch: Launch, keep: Persistence) -> SupervisedTree | None:
        """Take over what stands at the record, None when nothing does."""
        try:
            sock = await trio.to_thread.run_sync(connect, socket_path(keep.record))
        except OSError:
            state = await trio.to_thread.run_sync(read_exit_record, keep.record)
            if state is None:
                return None
            return SupervisedTree(None, state=state, end_strays=_make_sweep(launch), attached=True)
        child = SupervisedTree(sock, end_strays=_make_sweep(launch), attached=True)
        self._begin(child)
        await child.known()
        return child

    def _begin(self, child: SupervisedTree) -> None:
        assert self._nursery is not None  # noqa: S101 - open for as long as anybody has us
        self._nursery.start_soon(child.listen)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Hear what parents say while this is open."""
        problem: Exception | None = None
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                yield
            except Exception as error:  # noqa: BLE001 - raised again below, as it is: not in a group
                problem = error
            finally:
                nursery.cancel_scope.cancel()
                await self.aclose()
        if problem is not None:
            raise problem

    async def _send(self, frame: bytes, descriptors: Sequence[int]) -> None:
        """Hand over a message whole, to another supervisor if this one is gone. Raises `SpawnError`."""
        async with self._lock:
            # Half a message would spoil the connection for all; a supervisor always takes it soon.
            with trio.CancelScope(shield=True):
                for last in (False, True):
                    try:
                        with trio.fail_after(SEND_TIMEOUT):
                            await self._send_whole(frame, descriptors)
                    except (OSError, trio.ClosedResourceError, trio.TooSlowError) as error:
                        if last:
                            raise SpawnError(f"the supervisor does not answer: {error}") from error
                        logger.warning("the supervisor is gone (%s): starting another one", error)
                        await self._reconnect()
                    else:
                        return

    async def _reconnect(self) -> None:
        if self._sock is not None:
            self._sock.close()
        try:
            await self._connect()
        except SupervisorError as error:
            raise SpawnError(str(error)) from error

    async def _send_whole(self, frame: bytes, descriptors: Sequence[int]) -> None:
        if self._sock is None:
            raise trio.ClosedResourceError("no supervisor")
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        sent = await self._sock.sendmsg([frame], rights)
        while sent < len(frame):
            sent += await self._sock.send(memoryview(frame)[sent:])

    async def aclose(self) -> None:
        """Let the supervisor go; without trees it ends, and that is waited for."""
        if self._sock is not None:
            with trio.move_on_after(CLOSE_TIMEOUT, shield=True), suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
                while await self._sock.recv(65536):
                    pass
            self._sock.close()


@asynccontextmanager
async def open_supervisor(store: Path) -> AsyncIterator[SupervisorClient]:
    """Have the supervisor of `store`, a folder of ours alone. Raises `SupervisorError`.

    Leaving lets it go: it goes on for as long as it has trees.
    """
    supervisor = SupervisorClient(store)
    await supervisor.connect()
    async with supervisor.open():
        yield supervisor


def _open_child(launch: Launch, stack: ExitStack) -> tuple[SupervisedTree, list[int]]:
    """Make our end, and the descriptors of the other one, which `stack` closes. Raises `OSError`."""
    ours, theirs = socket.socketpair()
    stack.enter_context(theirs)
    ours.setblocking(False)
    sweep = _make_sweep(launch)
    if launch.persistence is not None:
        return SupervisedTree(ours, end_strays=sweep), [theirs.fileno()]
    try:
        reader, writer = open_pipe()
    except OSError:
        ours.close()
        raise
    stack.callback(os.close, writer)
    child = SupervisedTree(ours, pipe=Pipe(reader), end_strays=sweep)
    # One that prints where we do: then nobody writes into the pipe, which ends at once.
    return child, [theirs.fileno(), *((1, 2) if launch.console else (writer,))]


def _say_start(launch: Launch, outputs: int) -> bytes:
    spec = _make_spec(launch).to_json()
    return encode({"op": "start", "outputs": outputs, "spec": spec})


def _make_spec(launch: Launch) -> LaunchSpec:
    keep = launch.persistence
    if keep is None:
        return LaunchSpec(
            argv=launch.argv,
            cwd=launch.cwd,
            environment=launch.environment,
            nice=launch.nice,
            grace=0,
        )
    return LaunchSpec(
        argv=launch.argv,
        cwd=launch.cwd,
        environment=launch.environment,
        nice=launch.nice,
        record=keep.record,
        log=LogSpec(folder=keep.log, quota=keep.quota, segment=SEGMENT_SIZE, held=MAX_HELD),
        agent_timeout=keep.agent_timeout,
        grace=keep.grace,
    )


def _make_sweep(launch: Launch) -> Callable[[float], Awaitable[tuple[int, ...]]]:
    """For a tree whose parent was killed: nothing but the token tells who belonged to it."""

    async def sweep(deadline: float) -> tuple[int, ...]:
        _found, left = await kill_leftovers(launch.environment["AF_TASK_TOKEN"], 0.0, deadline)
        return left

    return sweep


def _check_started(launch: Launch, child: SupervisedTree) -> None:
    if child.failure is not None:
        raise SpawnError(_explain(launch, child.failure))


def _explain(launch: Launch, failure: dict[str, object]) -> str:
    """The sentence for what the parent could not do."""
    number, step = failure.get("number"), failure.get("step")
    if step == "environment":
        return explain_launch_error(launch, ValueError("embedded null byte or an empty name"))
    number = number if isinstance(number, int) else 0
    if step == "log" or "text" in failure:
        text = failure.get("text") or os.strerror(number)
        return f'cannot start "{launch.argv[0]}": {text}'
    error = OSError(number, os.strerror(number))
    if step == "folder":
        error.filename = launch.cwd
    elif number == errno.ENOTDIR:
        error = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    return explain_launch_error(launch, error)
