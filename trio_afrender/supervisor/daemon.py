"""The supervisor itself: a fork server with one thread, one socket, and a list of its children.

It ends when no agent is connected and no parent is left. A parent that died unlawfully (killed, out
of memory) leaves its tree to the supervisor, which is a subreaper too, and kills it at once: nobody could
ever prove that it is empty.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import logging
import os
import select
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

from trio_afrender.message_framing import PROTOCOL_VERSION, FrameError
from trio_afrender.supervisor.cgroup import find_base, remove_stale
from trio_afrender.supervisor.channel import Channel, FdChannel
from trio_afrender.supervisor.paths import socket_path
from trio_afrender.supervisor.prctl import adopt_orphans, set_name, set_oom_score
from trio_afrender.supervisor.process_pool import PoolProcess, fork_pool_process
from trio_afrender.supervisor.process_tree import find_below, kill_groups, list_children
from trio_afrender.supervisor.signal_pipe import SignalPipe
from trio_afrender.supervisor.task_supervisor import HostCapabilities
from trio_afrender.supervisor.unix_sockets import listen, peer_uid, supervisor_path

__all__ = ("main",)

logger = logging.getLogger(__name__)

LOCK_TIMEOUT = 10.0
"""Seconds for a supervisor before us to finish its end."""
OOM_SCORE = -900
"""The oom_score_adj of supervisor and parents: the kernel takes nearly anybody else first."""
MEMORY_RETRY_DELAY = 0.1
KILL_INTERVAL = 0.01
"""Seconds between two KILLs to what a dead parent left."""
MAX_OUTPUT_FDS = 2
CLOSE_DELAY = 0.3
"""Seconds after which an agent that goes learns that we stay: there are trees."""
MAX_IDLE = 16
"""Parents without a tree that wait for the next one, each about a megabyte."""
IDLE_TIMEOUT = 5.0
"""Seconds that they wait."""


class SupervisorDaemon:
    """Owns the listening socket and the processes that are parents of trees."""

    def __init__(self, listener: socket.socket, lock: int, host: HostCapabilities) -> None:
        self._listener = listener
        self._lock = lock
        self._host = host
        self._wakeup = SignalPipe()
        self._poll = select.epoll()
        """Of whatever may say something: with a thousand trees, made anew each turn, it would cost more
        than all else."""
        self._poll.register(self._wakeup.descriptor, select.EPOLLIN)
        self._poll.register(listener, select.EPOLLIN)
        self._agents: list[FdChannel] = []
        self._leavers: dict[FdChannel, float] = {}
        self._workers: dict[int, PoolProcess] = {}
        self._lines: dict[int, PoolProcess] = {}
        """The same by their descriptors, without those that are dead and about to be reaped."""
        self._idle: list[PoolProcess] = []
        self._orphans = False
        self._leaving = False
        self._met = False  # an agent has been here: before that nobody can be missed

    def run(self) -> None:
        """Serve until nobody needs us."""
        while not self._is_over():
            try:
                self._turn()
            except Exception:
                # A bug of ours. What must not happen for it is that trees lose who proves their end.
                logger.exception("internal error of the supervisor")
                time.sleep(MEMORY_RETRY_DELAY)
        for worker in list(self._workers.values()):
            self._forget(worker)
        with contextlib.suppress(ChildProcessError):
            while True:  # each ends as soon as it reads that
                os.waitpid(-1, 0)

    def _turn(self) -> None:
        self._wait()
        self._reap()
        self._dismiss_idle()
        self._part()
        if self._orphans:
            self._sweep()

    def _is_over(self) -> bool:
        if len(self._workers) > len(self._idle) or self._orphans:
            return False
        return self._leaving or (self._met and not self._agents)

    def _wait(self) -> None:
        ready = {descriptor for descriptor, _ in self._poll.poll(self._patience())}
        self._wakeup.clear()
        self._leaving = self._wakeup.take_term() or self._leaving
        for descriptor in ready & self._lines.keys():
            self._hear(self._lines[descriptor])
        # Those who are here first: what a dead agent has asked for is done before the next one
        # learns what there is.
        for agent in [each for each in self._agents if each.fileno() in ready]:
            self._listen(agent)
        if self._listener.fileno() in ready:
            self._accept()

    def _hang_up(self, line: FdChannel) -> None:
        """Listen to it no more. Before it is closed: a child that is being forked still has it open."""
        with contextlib.suppress(FileNotFoundError):  # done before
            self._poll.unregister(line)

    def _patience(self) -> float:
        if self._orphans or self._leavers:
            return KILL_INTERVAL
        return IDLE_TIMEOUT if self._idle else -1.0

    # -- agents ---------------------------------------------------------------------------------

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            sock, _ = self._listener.accept()
            if peer_uid(sock) not in (os.getuid(), 0):
                sock.close()
                return
            agent = FdChannel(sock)
            self._agents.append(agent)
            self._poll.register(agent, select.EPOLLIN)
            self._met = True
            agent.put(
                {
                    "keeper": PROTOCOL_VERSION,
                    "pid": os.getpid(),
                    "cgroups": self._host.cgroups,
                    "protected": self._host.oom_scores is not None,
                    "records": [each.record for each in self._workers.values() if each.record],
                }
            )
            agent.flush()
            if agent.waiting:
                self._poll.modify(agent, select.EPOLLIN | select.EPOLLOUT)

    def _listen(self, agent: FdChannel) -> None:
        try:
            for message in agent.receive():
                if message.get("op") == "start":
                    self._start(agent, message)
        except FrameError:
            agent.over = True
        agent.flush()
        if not agent.waiting:
            self._poll.modify(agent, select.EPOLLIN)
        if agent.over:
            # It waits for our end, which may be a moment away: a parent still cleans up.
            self._agents.remove(agent)
            self._hang_up(agent)
            self._leavers[agent] = time.monotonic() + CLOSE_DELAY

    def _part(self) -> None:
        for agent, until in list(self._leavers.items()):
            if time.monotonic() >= until:
                del self._leavers[agent]
                agent.close()

    def _start(self, agent: FdChannel, message: dict[str, object]) -> None:
        """Give one tree to a parent. Whatever goes wrong, the agent hears of it on the tree's own line."""
        outputs = message.get("outputs")
        count = outputs if isinstance(outputs, int) and 0 <= outputs <= MAX_OUTPUT_FDS else 0
        descriptors = agent.take(1 + count)
        with contextlib.ExitStack() as stack:
            for descriptor in descriptors:
                stack.callback(os.close, descriptor)
            try:
                words = _check(message, descriptors)
                record, handed = str(words.get("record", "")), list(descriptors)
                if record:
                    handed.append(stack.enter_context(listen(socket_path(record))).fileno())
                self._hand_over(agent.frame, handed).record = record
            except (OSError, FrameError, ValueError, TypeError) as error:
                logger.exception("cannot start a tree")
                if descriptors:
                    _refuse(descriptors[0], error)

    # -- parents --------------------------------------------------------------------------------

    def _hand_over(self, frame: bytes, descriptors: list[int]) -> PoolProcess:
        """Have an idle process be the parent of a tree, or a new one. Raises `OSError`."""
        while self._idle:
            worker = self._idle.pop()
            try:
                worker.send(frame, descriptors)
            except (BrokenPipeError, ConnectionResetError):  # killed a moment ago
                self._part_with(worker)
            else:
                return worker
        worker = fork_pool_process(self._host)
        self._admit(worker)
        worker.send(frame, descriptors)
        return worker

    def _admit(self, worker: PoolProcess) -> None:
        self._workers[worker.pid] = self._lines[worker.fileno()] = worker
        self._poll.register(worker, select.EPOLLIN)

    def _hear(self, worker: PoolProcess) -> None:
        """It says that its tree is empty, or it is dead (`_reap` sees to that)."""
        for message in worker.receive():
            if "idle" in message:
                worker.record, worker.idle_since = "", time.monotonic()
                self._idle.append(worker)
        if worker.over:  # `_reap` does the rest
            self._part_with(worker)
        while len(self._idle) > MAX_IDLE:
            self._forget(self._idle[0])

    def _forget(self, worker: PoolProcess) -> None:
        """Let it go: it ends when it reads that."""
        if worker in self._idle:
            self._workers.pop(worker.pid)
        self._part_with(worker)
        worker.close()

    def _part_with(self, worker: PoolProcess) -> None:
        """Expect nothing of it any more. May be called again."""
        if worker in self._idle:
            self._idle.remove(worker)
        self._lines.pop(worker.fileno(), None)
        self._hang_up(worker)

    def _dismiss_idle(self) -> None:
        for worker in list(self._idle):
            if time.monotonic() >= worker.idle_since + IDLE_TIMEOUT:
                self._forget(worker)

    def _reap(self) -> None:
        """Collect parents that have ended, and see whether they left anything behind."""
        while True:
            try:
                pid, raw = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            worker = self._workers.pop(pid, None)
            if worker is not None:
                self._part_with(worker)
                worker.close()
                logger.error("the parent %s of a tree ended with %s: ending its tree", pid, raw)
                self._orphans = True

    def _sweep(self) -> None:
        """Kill what a dead parent had: our children that are no parents, and all below them."""
        strays = [pid for pid in list_children(os.getpid()) if pid not in self._workers]
        for stray in strays:
            kill_groups((stray, *find_below(stray)))
        self._orphans = bool(strays)
        if not strays:
            remove_stale(self._host.cgroups)


def _check(message: dict[str, object], descriptors: list[int]) -> dict[str, object]:
    words = message.get("spec")
    if len(descriptors) - 1 != message.get("outputs") or not isinstance(words, dict):
        raise FrameError("a start that is none")
    return words


def _refuse(descriptor: int, error: Exception) -> None:
    """Say on the line that a parent would have had why there is none."""
    with contextlib.closing(Channel(socket.socket(fileno=os.dup(descriptor)))) as channel:
        text = error.strerror if isinstance(error, OSError) else str(error)
        channel.put({"failed": {"text": text or repr(error)}})
        channel.flush()


def main(argv: list[str]) -> int:
    """Be the supervisor of the store `argv[0]`: return in the starter once agents can connect.

    Returns 0, or 1 with a sentence on stderr.
    """
    store = argv[0]
    try:
        lock = _lock(supervisor_path(store, "lock"))
        listener = listen(supervisor_path(store, "sock"))
    except OSError as error:
        print(f"the supervisor of {store}: {error.strerror or error}", file=sys.stderr)  # noqa: T201
        return 1
    if os.fork() != 0:
        return 0
    _detach(store)
    try:
        adopt_orphans()
        set_name("af:supervisor")
        supervisor = SupervisorDaemon(listener, lock, _look_at_host())
        gc.collect()
        gc.freeze()  # what is shared with the parents then stays shared
        supervisor.run()
    except BaseException:  # noqa: BLE001 - to the log, nobody else would ever see it
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            Path(supervisor_path(store, "sock")).unlink()
        os._exit(0)


def _lock(path: str) -> int:
    """Wait for the end of a supervisor before us. Raises `OSError`: it does not end."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.01)
        else:
            return handle


def _detach(store: str) -> None:
    """Belong to nobody: a session of our own, no folder, no terminal, a log in the store."""
    os.setsid()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        log = os.open(supervisor_path(store, "log"), flags, 0o600)
    except OSError:
        log = nothing
    os.dup2(log, 2)
    _close_std(nothing, log)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)


def _close_std(*descriptors: int) -> None:
    for descriptor in {each for each in descriptors if each > 2}:
        os.close(descriptor)


def _look_at_host() -> HostCapabilities:
    base = find_base()
    remove_stale(str(base or ""))
    score: int | None = None
    with contextlib.suppress(OSError, ValueError):
        score = int(Path("/proc/self/oom_score_adj").read_text())
    scores = None
    if score is not None:
        scores = divide_scores(score, lowered=set_oom_score(OOM_SCORE))
    return HostCapabilities(cgroups=str(base or ""), oom_scores=scores)


def divide_scores(score: int, *, lowered: bool) -> tuple[int, int] | None:
    """What tasks get and what we have, of `score` that we were started with; None: all the same.

    Whoever protects the agent (a unit file, for a user who could not) does not mean its tasks. What
    was given that way may be taken off and put on again.
    """
    if lowered:
        return max(score, 0), OOM_SCORE
    return (0, score) if score < 0 else None
