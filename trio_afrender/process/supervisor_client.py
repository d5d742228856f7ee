"""The agent's connection to its supervisor: start or find the supervisor, start or take over trees.

The supervisor is only needed to start a tree. From then on the agent talks to the tree's task
supervisor (`supervised_tree`), so running trees do not depend on the supervisor.
"""

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
from functools import partial
from pathlib import Path
from typing import final

import trio

from trio_afrender.async_helpers import open_bare_nursery
from trio_afrender.errors import AfRenderError, SpawnError, StoreError, is_exhausted
from trio_afrender.message_framing import PROTOCOL_VERSION, FrameError, FrameReader, encode
from trio_afrender.process.interfaces import Launch
from trio_afrender.process.launch_errors import check_launch, explain_launch_error
from trio_afrender.process.leftover_processes import kill_leftovers
from trio_afrender.process.procfs import continue_stopped, read_facts
from trio_afrender.process.supervised_tree import SupervisedTree, read_exit_record
from trio_afrender.supervisor.paths import socket_path
from trio_afrender.supervisor.peer_credentials import get_peer
from trio_afrender.supervisor.protocol import LaunchSpec, LogSpec, TreeState
from trio_afrender.supervisor.unix_sockets import connect, supervisor_path
from trio_afrender.tasklog.io_threads import call_in_thread, retry_exhausted
from trio_afrender.tasklog.writer import MAX_HELD, SEGMENT_SIZE
from trio_afrender.user_switch import CAPABILITIES

__all__ = (
    "SupervisorClient",
    "SupervisorError",
    "find_task_supervisors",
    "has_record",
    "open_supervisor",
    "stop_trees",
)

logger: logging.Logger = logging.getLogger(__name__)

START_TIMEOUT = 20.0
"""Seconds for a supervisor to start: its interpreter may be on a slow share."""
MAX_START_TRIES = 3
"""Task supervisors that may be killed one after another before a task counts as not startable."""
IDENTIFY_TIMEOUT = 10.0
"""Seconds for a task supervisor to send its state: the host may be busy, and a tree that is not found
is killed."""
SEND_TIMEOUT = 10.0
"""Seconds for a supervisor to read a message, and for a task supervisor to start its tree."""
WATCH_INTERVAL = 5.0
"""Seconds between two looks whether the supervisor was stopped by a signal."""
ANSWER_INTERVAL = 0.25
"""Seconds between two such looks while its answer or its end is awaited."""
CLOSE_TIMEOUT = 2.0
"""Seconds for a supervisor without trees to end."""
# With -I the interpreter ignores PYTHONPATH and the current folder, so the folder of this package is
# an argument.
BOOT_CODE = "import sys; sys.path.insert(0, sys.argv[1]); from trio_afrender.supervisor.daemon import main; sys.exit(main(sys.argv[2:]))"  # fmt: skip


class SupervisorError(AfRenderError):
    """The supervisor cannot be reached, and none can be started."""


def has_record(record: str) -> bool:
    """Whether a tree runs at `record`, or its last state is stored there. Blocks.

    For some seconds at most, if the task supervisor does not answer. Raises `OSError` where the host
    has nothing left to look with.
    """
    # Socket first, as in `SupervisorClient._attach`: a task supervisor stores the last state before it
    # removes its socket.
    if _find_task_supervisor(socket_path(record)) is not None:
        return True
    return read_exit_record(record) is not None


def find_task_supervisors(folder: Path) -> tuple[int, ...]:
    """Return the pids of the task supervisors of trees with a record in `folder`. Blocks.

    Raises as `has_record`.
    """
    found = (_find_task_supervisor(str(path)) for path in folder.glob("*.sock"))
    return tuple(pid for pid in found if pid is not None)


def stop_trees(folder: Path, deadline: float) -> bool:
    """Have the trees with a record in `folder` killed, and wait until they are proven empty.

    Blocks, for `deadline` seconds at most; False when that was not enough. Raises as `has_record`.
    """
    stopping = []
    with ExitStack() as stack:
        for path in folder.glob("*.sock"):
            try:
                sock = stack.enter_context(closing(connect(str(path))))
                sock.sendall(encode({"op": "kill"}) + encode({"op": "release"}))
                stopping.append(sock)
            except OSError as error:
                if is_exhausted(error):
                    raise
                # A socket without a task supervisor.
        # All have been asked before the first is waited for, so they end at the same time.
        until = time.monotonic() + deadline
        return all(_wait_closed(sock, until) for sock in stopping)


def _wait_closed(sock: socket.socket, until: float) -> bool:
    """Wait until the task supervisor closes the socket: it does that when its tree is empty."""
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


def _find_task_supervisor(path: str) -> int | None:
    """Return the pid of the task supervisor that listens at `path`; None without one.

    Raises as `has_record`: a tree that could not be looked for would be taken for one that has ended.
    """
    frames = FrameReader()
    try:
        with closing(connect(path)) as sock:
            sock.settimeout(IDENTIFY_TIMEOUT)
            # One of an earlier version sends it without being asked.
            sock.sendall(encode({"op": "state"}))
            while data := sock.recv(65536):
                for message in frames.feed(data):
                    if isinstance(state := message.get("state"), dict):
                        return TreeState.from_json(state).parent
    except (OSError, FrameError) as error:
        if is_exhausted(error):
            raise
    return None


@final
class SupervisorClient:
    """A connection to the supervisor of one store. Made by `open_supervisor`."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._nursery: trio.Nursery | None = None
        self.restarts: int = 0
        """How many supervisors were started in place of one that was lost."""
        self._sock: trio.socket.SocketType | None = None
        self._raw: socket.socket | None = None
        """`_sock` without trio, for what is sent without waiting."""
        self._pid = 0
        """The process at the other end, as the kernel names it."""
        self._lock = trio.Lock()
        self._listening: dict[SupervisedTree, int | None] = {}
        """The trees that are held now, each with the pid of the supervisor that started it."""
        self.facts: dict[str, object] = {}
        """First message of the supervisor: ``pid``, ``cgroups``, ``protected``, ``lacking``,
        ``records``."""

    @property
    def description(self) -> str:
        """What holds the trees, for the log."""
        facts = self.facts
        cgroups = f"cgroups below {facts['cgroups']}" if facts.get("cgroups") else "no cgroups"
        protected = "protected" if facts.get("protected") else "not protected"
        return (
            f"tasks are held by the supervisor (pid {facts.get('pid')}), each by a task supervisor"
            f" that adopts its orphans; {cgroups}; {protected} when memory is short"
        )

    async def _connect(self) -> None:
        """Connect to the supervisor of this store, or start one. Raises `SupervisorError`."""
        path = supervisor_path(str(self._store), "sock")
        problem = "it does not answer"
        with trio.move_on_after(START_TIMEOUT):
            for _ in range(4):  # the supervisor that was found may be ending just now
                try:
                    sock = await call_in_thread(partial(connect, path))
                except OSError:
                    problem = await self._start()
                    continue
                self._sock, self._raw = trio.socket.from_stdlib_socket(sock), sock
                self._pid = get_peer(sock)[0]
                async with open_bare_nursery() as nursery:
                    nursery.start_soon(self._keep_running)
                    if await self._receive_facts():
                        return
        raise SupervisorError(f"the supervisor of {self._store} cannot be reached: {problem}")

    async def _start(self) -> str:
        """Start a supervisor; return its error text, empty when agents can connect."""
        root = Path(__file__).parents[2]
        # Isolated (-I) and without site packages (-S): it outlives upgrades of both, and variables
        # such as PYTHONPATH must not decide what it imports.
        command = [
            sys.executable,
            "-I",
            "-S",
            "-c",
            BOOT_CODE,
            str(root),
            str(self._store.absolute()),
        ]
        # The starter returns when the supervisor listens, so the caller can connect right after it.
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
        except (OSError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not is_exhausted(error):
                raise
            return getattr(error, "strerror", None) or str(error)
        return result.stderr.decode(errors="replace").strip()

    async def _receive_facts(self) -> bool:
        """Receive the first message; False when the supervisor closed the socket. It is ending."""
        assert self._sock is not None  # noqa: S101 - connected just now
        frames = FrameReader()
        try:
            while data := await self._sock.recv(65536):
                for message in frames.feed(data):
                    if message.get("keeper") != PROTOCOL_VERSION:
                        raise SupervisorError(
                            f"the supervisor of {self._store} has another version; it ends with its tasks"
                        )
                    self.facts = message
                    return True
        except (OSError, FrameError):
            pass
        self._sock.close()
        return False

    async def _keep_running(self) -> None:
        """Continue the supervisor whenever a signal has stopped it, until cancelled."""
        while True:
            self._continue_stopped()
            await trio.sleep(ANSWER_INTERVAL)

    def _continue_stopped(self) -> None:
        if continue_stopped(self._pid):
            logger.warning("the supervisor (pid %s) was stopped: continued", self._pid)

    async def _watch(self) -> None:
        while True:
            # At multiples of the interval, at which the agent wakes up anyway for its measurements.
            await trio.sleep(WATCH_INTERVAL - trio.current_time() % WATCH_INTERVAL)
            self._continue_stopped()
            # A supervisor continues its own task supervisors at once, as long as it lives itself.
            lives = True
            with suppress(OSError):  # no descriptor is left now
                facts = read_facts(self._pid)
                lives = facts is not None and facts.alive
            for tree, supervisor in self._listening.items():
                if supervisor != self._pid or not lives:
                    continue_stopped(tree.state.parent)

    async def spawn(self, launch: Launch) -> SupervisedTree:
        """Start a tree, or take one over (`Persistence.attach`). Raises `SpawnError`.

        Raises `StoreError` if the folders of the run cannot be made. Cancelled, a tree that was just
        started is killed.
        """
        check_launch(launch)
        if launch.user is not None and (lacking := self.lacking):
            text = f'cannot start "{launch.argv[0]}" as user "{launch.user.name}"'
            raise SpawnError(f"{text}: the supervisor lacks {', '.join(lacking)}")
        if launch.persistence.attach:
            found = await self._attach(launch)
            if found is not None:
                return found
            # Never started, or its supervisors have been killed since the agent found them. The
            # task must not run twice.
            await _make_killer(launch)(SEND_TIMEOUT)
        for _ in range(MAX_START_TRIES):
            tree = await retry_exhausted(partial(self._try_spawn, launch))
            if tree is not None:
                return tree
            # The task supervisor was killed. It may have started the leader before that, and the
            # task must not run twice.
            await _make_killer(launch)(SEND_TIMEOUT)
        raise SpawnError(
            f'cannot start "{launch.argv[0]}": '
            f"{MAX_START_TRIES} task supervisors were killed before they could"
        )

    @property
    def lacking(self) -> tuple[str, ...]:
        """The capabilities without which the supervisor starts no tree of another user."""
        lacking = self.facts.get("lacking")
        # An earlier version does not know other users: it would start the tree as its own.
        return tuple(map(str, lacking)) if isinstance(lacking, list) else tuple(CAPABILITIES)

    async def remove_folders(self, folders: Sequence[Path]) -> None:
        """Have the folders of ended runs removed, and do not wait for that. Raises nothing.

        What is not removed, because the supervisor was killed, the next agent removes at its start.
        """
        paths = [str(folder) for folder in folders]
        with suppress(SpawnError):
            await self._send(encode({"op": "remove", "folders": paths}), ())

    async def _try_spawn(self, launch: Launch) -> SupervisedTree | None:
        """Start a tree; None when its task supervisor ended before it sent a message."""
        with ExitStack() as stack:
            try:
                ours, theirs = socket.socketpair()
            except OSError as error:  # no descriptor is left
                raise SpawnError(explain_launch_error(launch, error)) from error
            stack.enter_context(theirs)
            ours.setblocking(False)
            tree = _make_tree(launch, ours)
            descriptors = [theirs.fileno(), *((1, 2) if launch.console else ())]
            try:
                spec = _make_spec(launch).to_json()
                start = {"op": "start", "outputs": len(descriptors) - 1, "spec": spec}
                await self._send(encode(start), descriptors)
                # Our copy of what was sent: while it is open, the tree's socket would never end here.
                stack.close()
                self._listen_to(tree)
                # Shielded: an agent that detaches at this moment would else kill a tree that has
                # just been started. Only an exec on a share that hangs takes longer than this.
                until = trio.current_time() + SEND_TIMEOUT
                while not tree.has_message and (now := trio.current_time()) < until:
                    with trio.CancelScope(deadline=now + ANSWER_INTERVAL, shield=True) as waiting:
                        await tree.wait_first_message()
                    if waiting.cancelled_caught:
                        self._continue_stopped()
                if not tree.has_message:
                    await tree.wait_first_message()
                _check_started(launch, tree)
            except BaseException:
                tree.abandon()
                with trio.CancelScope(shield=True):
                    await tree.output.aclose()
                raise
        if tree.pid:
            return tree
        tree.abandon()
        await tree.output.aclose()
        return None

    async def _attach(self, launch: Launch) -> SupervisedTree | None:
        """Take over the tree at the record, or the end of one; None without both."""
        # Socket first: a task supervisor stores the last state before it removes its socket. In the
        # other order a tree that ends in between would be found by neither look.
        record = launch.persistence.record
        # Twice: a task supervisor whose tree is over closes connections without an answer, after it
        # has removed its socket (test_a_tree_that_ends_while_it_is_attached_is_not_started_again).
        for _ in range(2):
            try:
                sock = await call_in_thread(partial(connect, socket_path(record)))
            except OSError as error:
                if is_exhausted(error):
                    raise SpawnError(explain_launch_error(launch, error)) from error
                state = await call_in_thread(partial(read_exit_record, record))
                if state is None or await self._is_disproved(launch):
                    return None
                return _make_tree(launch, None, state, attached=True)
            tree = _make_tree(launch, sock, attached=True)
            attach = encode({"op": "attach", "token": launch.environment["AF_TASK_TOKEN"]})
            with suppress(OSError):  # it ends just now: `listen` finds out
                await retry_exhausted(partial(_send_now, sock, attach))
            self._listen_to(tree)
            with trio.move_on_after(SEND_TIMEOUT):
                await tree.wait_first_message()
            if tree.pid:
                return tree
            closed = tree.has_message
            tree.abandon()
            await tree.output.aclose()
            if not closed:
                break
        # What listens there is not the task supervisor of this run, or it has another token.
        folder = Path(record).parent
        await retry_exhausted(partial(call_in_thread, partial(stop_trees, folder, SEND_TIMEOUT)))
        return None

    @staticmethod
    async def _is_disproved(launch: Launch) -> bool:
        """Whether a tree still lived that has ended by its record, which a task can write itself.

        What lived is killed. The run's other trees, those of its post commands, are left alone.
        """
        folder = Path(launch.persistence.record).parent
        others = await retry_exhausted(
            partial(call_in_thread, partial(find_task_supervisors, folder))
        )
        token = launch.environment["AF_TASK_TOKEN"]
        found, _left = await kill_leftovers(token, 0.0, SEND_TIMEOUT, spared=others)
        if found:
            logger.warning("%s: it has not ended, as its record says: killed %s", folder, found)
        return bool(found)

    def _listen_to(self, tree: SupervisedTree) -> None:
        assert self._nursery is not None  # noqa: S101 - `open` is entered before a caller gets this
        self._nursery.start_soon(self._listen, tree)

    async def _listen(self, tree: SupervisedTree) -> None:
        # Whose child the task supervisor of a tree is that was taken over is not known.
        self._listening[tree] = None if tree.attached else self._pid
        try:
            await tree.listen()
        finally:
            del self._listening[tree]

    async def _hold_listeners(self, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        # Shielded: a cancelled agent still kills its trees, and the proof that they are empty is a
        # message (test_a_cancelled_agent_gets_the_end_of_its_trees).
        with trio.CancelScope(shield=True) as scope:
            async with trio.open_nursery() as self._nursery:
                task_status.started(scope)
                await trio.sleep_forever()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Connect, and receive the messages of task supervisors while this is open; `aclose` at the end.

        Raises `SupervisorError`.
        """
        await self._connect()
        async with open_bare_nursery() as nursery:
            listening: trio.CancelScope = await nursery.start(self._hold_listeners)
            nursery.start_soon(self._watch)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()
                listening.cancel()
                await self.aclose()

    async def _send(self, frame: bytes, descriptors: Sequence[int]) -> None:
        """Send a message whole, to a new supervisor if this one has ended. Raises `SpawnError`.

        A cancellation comes before anything is sent. Sent at once, it is no point of scheduling.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        sent = 0
        if self._raw is not None and not self._lock.locked():
            # As a rule the socket takes it at once. What it does not take now is sent below, as is
            # what a supervisor that has ended did not get.
            with suppress(OSError):
                sent = self._raw.sendmsg([frame], _make_rights(descriptors))
        if sent == len(frame):
            return
        self._continue_stopped()
        # Shielded: half a message would make all later ones unreadable. A supervisor that runs reads
        # it soon.
        with trio.CancelScope(shield=True):
            # Nothing comes between the two halves: a free lock is taken without a pause.
            async with self._lock:
                # One more try, with a new supervisor: the old one was killed, or ended because it
                # had no tree and no other agent.
                for last in (False, True):
                    try:
                        with trio.fail_after(SEND_TIMEOUT):
                            await self._send_rest(frame, descriptors, sent)
                    except (OSError, trio.ClosedResourceError, trio.TooSlowError) as error:
                        if last:
                            raise SpawnError(f"the supervisor does not answer: {error}") from error
                        sent = 0
                        logger.warning("lost the supervisor (%s): starting another one", error)
                        self.restarts += 1
                        if self._sock is not None:
                            self._sock.close()
                        try:
                            await self._connect()
                        except SupervisorError as failure:
                            raise SpawnError(str(failure)) from failure
                    else:
                        return

    async def _send_rest(self, frame: bytes, descriptors: Sequence[int], sent: int) -> None:
        if self._sock is None:
            raise trio.ClosedResourceError("no supervisor")
        if not sent:
            sent = await self._sock.sendmsg([frame], _make_rights(descriptors))
        # A large environment does not fit at once. The rest goes without descriptors: they must
        # arrive once.
        while sent < len(frame):
            sent += await self._sock.send(memoryview(frame)[sent:])

    async def aclose(self) -> None:
        """Close the connection. A supervisor without trees ends, and this waits for its end.

        So a store has no process left when a program without tasks returns.
        """
        if self._sock is not None:
            with trio.move_on_after(CLOSE_TIMEOUT, shield=True), suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
                async with open_bare_nursery() as nursery:
                    # One that is stopped would stay for ever: nothing else continues it.
                    nursery.start_soon(self._keep_running)
                    while await self._sock.recv(65536):
                        pass
            self._sock.close()


@asynccontextmanager
async def open_supervisor(store: Path) -> AsyncIterator[SupervisorClient]:
    """Connect to the supervisor of `store`, a private folder; start one if there is none.

    Leaving the context closes the connection; the supervisor runs on as long as it has trees. Raises
    `SupervisorError`.
    """
    supervisor = SupervisorClient(store)
    async with supervisor.open():
        yield supervisor


def _make_rights(descriptors: Sequence[int]) -> list[tuple[int, int, array.array[int]]]:
    # SCM_RIGHTS: the kernel passes the descriptors with the first bytes of the message.
    if not descriptors:
        return []
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]


async def _send_now(sock: socket.socket, data: bytes) -> None:
    sock.send(data)
    await trio.lowlevel.checkpoint()


def _make_tree(
    launch: Launch,
    sock: socket.socket | None,
    state: TreeState | None = None,
    *,
    attached: bool = False,
) -> SupervisedTree:
    return SupervisedTree(
        sock,
        state=state,
        kill_leftovers=_make_killer(launch),
        attached=attached,
    )


def _make_spec(launch: Launch) -> LaunchSpec:
    persistence = launch.persistence
    log = LogSpec(
        folder=persistence.log,
        quota=persistence.quota,
        segment=SEGMENT_SIZE,
        held=MAX_HELD,
        group=launch.user.ids.gid if launch.user is not None else -1,
    )
    return LaunchSpec(
        argv=launch.argv,
        cwd=launch.cwd,
        environment=launch.environment,
        nice=launch.nice,
        record=persistence.record,
        log=None if launch.console else log,
        agent_timeout=persistence.agent_timeout,
        grace=persistence.grace,
        folders=persistence.folders,
        processes=launch.processes,
        files=launch.files,
        user=launch.user.ids if launch.user is not None else None,
        umask=launch.umask,
    )


def _make_killer(launch: Launch) -> Callable[[float], Awaitable[tuple[int, ...]]]:
    """Return a function that kills the processes of a tree whose task supervisor was killed.

    They have other parents then, so only the token identifies them.
    """

    async def kill_by_token(deadline: float) -> tuple[int, ...]:
        _found, left = await kill_leftovers(launch.environment["AF_TASK_TOKEN"], 0.0, deadline)
        return left

    return kill_by_token


def _check_started(launch: Launch, tree: SupervisedTree) -> None:
    """Raise the `StoreError` or `SpawnError` for a failure that was reported, if one was."""
    failure = tree.failure
    if failure is None:
        return
    number, step = failure.get("number"), failure.get("step")
    number = number if isinstance(number, int) else 0
    error = OSError(number, os.strerror(number))
    if step == "store":
        raise StoreError.of(Path(launch.persistence.record).parent, error) from error
    if step == "environment":
        text = explain_launch_error(launch, ValueError("an invalid text"))
    elif step == "user" and launch.user is not None:
        text = f'cannot start "{launch.argv[0]}" as user "{launch.user.name}": {error.strerror}'
    elif step == "log" or "text" in failure:
        text = f'cannot start "{launch.argv[0]}": {failure.get("text") or error.strerror}'
    else:
        # As `Popen` would raise it: the filename distinguishes a bad folder from a bad program, and
        # a file in the place of a folder of the program's path is a program that does not exist.
        if step == "folder":
            error.filename = launch.cwd
        elif number == errno.ENOTDIR:
            error = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        text = explain_launch_error(launch, error)
    raise SpawnError(text) from error
