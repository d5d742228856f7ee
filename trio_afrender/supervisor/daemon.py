"""The supervisor process: accepts agents, assigns trees to pool processes, and reaps these.

It has one thread and one loop around `epoll`. It ends when no agent is connected and no tree is left.
A task supervisor that is killed leaves its tree to this process, which is a subreaper too, and kills
the tree at once: no process could prove any more that it is empty.
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

from trio_afrender.message_framing import PROTOCOL_VERSION, FrameError, encode
from trio_afrender.supervisor.cgroup import find_base, remove_stale
from trio_afrender.supervisor.channel import Channel, FdChannel
from trio_afrender.supervisor.listening_socket import ListeningSocket
from trio_afrender.supervisor.paths import socket_path
from trio_afrender.supervisor.peer_credentials import SUPERVISOR_NAME
from trio_afrender.supervisor.prctl import adopt_orphans, set_name, set_oom_score
from trio_afrender.supervisor.process_pool import PoolProcess, fork_pool_process, get_folders
from trio_afrender.supervisor.process_tree import find_below, kill_groups, list_children
from trio_afrender.supervisor.run_folders import make_folders
from trio_afrender.supervisor.signal_pipe import SignalPipe
from trio_afrender.supervisor.task_supervisor import HostCapabilities
from trio_afrender.supervisor.unix_sockets import BACKLOG, listen, supervisor_path
from trio_afrender.user_switch import CAPABILITIES, find_missing_capabilities, keep_from_programs

__all__ = ("main",)

logger: logging.Logger = logging.getLogger(__name__)

LOCK_TIMEOUT = 10.0
"""Seconds for an earlier supervisor of the same store to end."""
OOM_SCORE = -900
"""The oom_score_adj of supervisor and task supervisors: the kernel kills nearly all others first."""
MEMORY_RETRY_DELAY = 0.1
"""Seconds before the loop continues after an internal error."""
KILL_INTERVAL = 0.01
"""Seconds between two KILLs to the tree of a killed task supervisor."""
MAX_OUTPUT_FDS = 2
CLOSE_DELAY = 0.3
"""Seconds between an agent's end of a connection and ours. The agent waits for ours: if no tree is
left, the supervisor ends within this time, and has ended when the agent sees the connection close."""
REMOVAL_DELAY = 1.5
"""Seconds more if nothing but the removal of folders keeps this process; the agent waits as long."""
FIRST_AGENT_TIMEOUT = 60.0
"""Seconds for the agent that started it to connect; that may be killed before."""
MAX_IDLE = 16
"""Idle pool processes at most, about 1 MB of memory each."""
IDLE_TIMEOUT = 5.0
"""Seconds after which an idle pool process is dismissed."""


class SupervisorDaemon:
    """Owns the listening socket and the pool of task supervisors. `run` returns when it is over."""

    def __init__(self, listener: socket.socket, lock: int, host: HostCapabilities) -> None:
        self._listener = ListeningSocket(listener, reserve=True)
        self._lock = lock  # never closed: the lock of the store ends with this process
        self._host = host
        self._wakeup = SignalPipe()
        # `epoll` keeps its set between calls: with a thousand trees, a `poll` set made anew in each
        # turn would take more time than everything else.
        self._poll = select.epoll()
        self._poll.register(self._wakeup.descriptor, select.EPOLLIN)
        self._poll.register(self._listener, select.EPOLLIN)
        self._accepting = True
        """Whether the listening socket is polled."""
        self._agents: list[FdChannel] = []
        self._closing_agents: dict[FdChannel, float] = {}
        """Agents that have closed their end, and when ours is closed (monotonic time)."""
        self._pool: dict[int, PoolProcess] = {}
        """All pool processes by pid, until they are reaped or dismissed."""
        self._pool_by_fd: dict[int, PoolProcess] = {}
        """Pool processes by descriptor, without those whose channel has ended."""
        self._idle: list[PoolProcess] = []
        self._dismissed: set[int] = set()
        """Pool processes that were dismissed and are not reaped yet."""
        self._remover: PoolProcess | None = None
        """The pool process that removes folders now. One at a time, so that a disk that hangs holds
        one process."""
        self._to_remove: list[str] = []
        self._has_orphans = False
        self._term_received = False
        self._had_agent = False
        self._started = time.monotonic()

    def run(self) -> None:
        """Serve until no agent and no tree is left."""
        while not self._is_over():
            try:
                self._run_once()
            except Exception:
                # An error here must not end this process: it is the last one that can prove the end
                # of a tree whose task supervisor is killed.
                logger.exception("internal error of the supervisor")
                time.sleep(MEMORY_RETRY_DELAY)
        for process in list(self._pool.values()):
            self._dismiss(process)
        with contextlib.suppress(ChildProcessError):
            while True:
                # A dismissed pool process ends as soon as it reads that, unless a signal stops it.
                pid, raw = os.waitpid(-1, os.WUNTRACED)
                if os.WIFSTOPPED(raw):
                    os.kill(pid, signal.SIGCONT)

    def _run_once(self) -> None:
        self._wait()
        self._reap()
        for process in list(self._idle):
            if time.monotonic() >= process.idle_since + IDLE_TIMEOUT:
                self._dismiss(process)
        self._close_agents()
        if self._has_orphans:
            # This process forks nothing but the pool. So any other child is an adopted member of
            # the tree of a killed task supervisor, or an idle pool process that has been dismissed.
            orphans = [pid for pid in list_children(os.getpid()) if pid not in self._pool]
            for orphan in orphans:
                kill_groups((orphan, *find_below(orphan)))
            self._has_orphans = bool(orphans)
            if not orphans:
                remove_stale(self._host.cgroups)

    def _close_agents(self) -> None:
        """Close our end of connections whose agents wait no longer for the end of this process."""
        if self._is_over():
            return  # its end closes them
        removes = self._remover is not None and len(self._pool) == len(self._idle) + 1
        delay = REMOVAL_DELAY if removes and not self._agents else 0.0
        for agent, close_at in list(self._closing_agents.items()):
            if time.monotonic() >= close_at + delay:
                del self._closing_agents[agent]
                agent.close()

    def _is_over(self) -> bool:
        if len(self._pool) > len(self._idle) or self._has_orphans:
            return False
        # Before the first agent it waits for the one that started it, which connects in a moment.
        awaited = not self._had_agent and time.monotonic() < self._started + FIRST_AGENT_TIMEOUT
        return self._term_received or not (self._agents or awaited)

    def _wait(self) -> None:
        """Wait for signals, pool processes, agents, or the next timeout, and serve them."""
        timeout = IDLE_TIMEOUT if self._idle or not self._had_agent else -1.0
        if pause := self._listener.pause_left:
            timeout = pause if timeout < 0 else min(timeout, pause)
        elif not self._accepting:
            self._poll.register(self._listener, select.EPOLLIN)
            self._accepting = True
        if self._has_orphans or self._closing_agents:
            timeout = KILL_INTERVAL
        ready = {descriptor for descriptor, _ in self._poll.poll(timeout)}
        self._wakeup.clear()
        self._term_received = self._wakeup.take_term() or self._term_received
        for descriptor in ready & self._pool_by_fd.keys():
            self._receive_from_pool(self._pool_by_fd[descriptor])
        # Connected agents before new ones: the requests of an agent that has died are executed
        # before its successor gets the list of trees.
        for agent in [each for each in self._agents if each.fileno() in ready]:
            self._receive_from_agent(agent)
        if self._listener.fileno() in ready:
            self._accept()

    def _unregister(self, channel: FdChannel) -> None:
        """Stop polling a channel. May be called again."""
        # Needed before each close: `epoll` watches the open file, not the descriptor, and a child
        # that is being forked still has a descriptor of the same open file.
        with contextlib.suppress(FileNotFoundError):
            self._poll.unregister(channel)

    # -- agents ---------------------------------------------------------------------------------

    def _accept(self) -> None:
        sock = self._listener.accept()
        if sock is None:
            if self._listener.pause_left:
                self._poll.unregister(self._listener)
                self._accepting = False
            return
        agent = FdChannel(sock)
        try:
            self._poll.register(agent, select.EPOLLIN)
        except OSError as error:  # the kernel has no memory for another one
            logger.warning("cannot serve an agent: %s", error.strerror)
            agent.close()
            return
        self._agents.append(agent)
        self._had_agent = True
        agent.put(
            {
                "keeper": PROTOCOL_VERSION,
                "pid": os.getpid(),
                "cgroups": self._host.cgroups,
                "protected": self._host.oom_scores is not None,
                "lacking": self._host.lacking,
                "records": [each.record for each in self._pool.values() if each.record],
            }
        )
        agent.flush()
        if agent.waiting:
            # More records than the socket takes at once
            # (test_an_agent_gets_the_records_of_all_trees_however_many_there_are).
            self._poll.modify(agent, select.EPOLLIN | select.EPOLLOUT)

    def _receive_from_agent(self, agent: FdChannel) -> None:
        try:
            for message in agent.receive():
                match message.get("op"):
                    case "start":
                        self._start_tree(agent, message)
                    case "remove":
                        self._to_remove += get_folders(message)
                        self._remove_folders()
        except FrameError:
            agent.over = True
        waited = agent.waiting
        agent.flush()
        if waited and not agent.waiting:
            self._poll.modify(agent, select.EPOLLIN)
        if agent.over:
            self._agents.remove(agent)
            self._unregister(agent)
            self._closing_agents[agent] = time.monotonic() + CLOSE_DELAY

    def _start_tree(self, agent: FdChannel, message: dict[str, object]) -> None:
        """Assign a tree to a pool process; report a failure on the socket of the tree."""
        outputs = message.get("outputs")
        count = outputs if isinstance(outputs, int) and 0 <= outputs <= MAX_OUTPUT_FDS else 0
        descriptors = agent.take(1 + count)
        step = "store"
        with contextlib.ExitStack() as stack:
            for descriptor in descriptors:
                stack.callback(os.close, descriptor)  # the pool process has copies of them
            try:
                spec = _get_spec(message, descriptors)
                record, sent = str(spec.get("record", "")), list(descriptors)
                if record:
                    make_folders((os.path.dirname(record),))  # noqa: PTH120 - a text
                    # Bound here, before the start is confirmed: a later agent finds the tree at
                    # every moment, also while its leader is being started.
                    sent.append(stack.enter_context(listen(socket_path(record))).fileno())
                step = ""
                self._assign(agent.frame, sent).record = record
            except (OSError, FrameError, ValueError, TypeError) as error:
                logger.warning("cannot start a tree: %s", error)
                if not descriptors:
                    return
                text = error.strerror if isinstance(error, OSError) else str(error)
                number = error.errno if isinstance(error, OSError) else None
                failure = {"text": text or repr(error), "step": step, "number": number or 0}
                # In place of the task supervisor, which reports a failure there. Without a copy of
                # the descriptor: the failure may be that there is none left.
                sock = socket.socket(fileno=descriptors[0])
                try:
                    channel = Channel(sock)
                    channel.put({"failed": failure})
                    channel.flush()
                finally:
                    sock.detach()

    # -- the pool -------------------------------------------------------------------------------

    def _assign(self, frame: bytes, descriptors: list[int]) -> PoolProcess:
        """Send a start message to an idle pool process, or to a new one. Raises `OSError`."""
        while True:
            process = self._idle.pop() if self._idle else self._fork()
            try:
                process.send(frame, descriptors)
            except (BrokenPipeError, ConnectionResetError):
                # Killed a moment ago
                # (test_a_tree_is_not_assigned_to_a_pool_process_that_was_just_killed).
                self._retire(process)
            except OSError:
                # It may have got a part of the message, so it cannot be used again.
                self._idle.append(process)
                self._dismiss(process)
                raise
            else:
                return process

    def _remove_folders(self) -> None:
        """Have a pool process remove the folders that are queued, unless one does so already."""
        if self._remover is None and self._to_remove:
            message = encode({"op": "remove", "folders": self._to_remove})
            # Without a process they stay queued until the next request.
            with contextlib.suppress(OSError):
                self._remover = self._assign(message, [])
                self._to_remove = []

    def _fork(self) -> PoolProcess:
        """Return a new pool process. Raises `OSError`."""
        process = fork_pool_process(self._host)
        try:
            self._add(process)
        except OSError:
            process.close()  # it ends when it reads that
            raise
        return process

    def _add(self, process: PoolProcess) -> None:
        self._poll.register(process, select.EPOLLIN)
        self._pool[process.pid] = self._pool_by_fd[process.fileno()] = process

    def _receive_from_pool(self, process: PoolProcess) -> None:
        """Note that its tree is over, or that its channel has ended: then it is dead or dying."""
        for message in process.receive():
            if "idle" in message:
                process.record, process.idle_since = "", time.monotonic()
                self._idle.append(process)
                self._end_removal(process)
        if process.over:
            # The kernel closes the descriptors of a process before it can be reaped, so it stays in
            # the pool until `_reap` finds it.
            self._retire(process)
        while len(self._idle) > MAX_IDLE:
            self._dismiss(self._idle[0])

    def _end_removal(self, process: PoolProcess) -> None:
        if process is self._remover:
            self._remover = None
            self._remove_folders()

    def _dismiss(self, process: PoolProcess) -> None:
        """Close the channel of a pool process, which ends when it reads that."""
        if process in self._idle and self._pool.pop(process.pid, None) is not None:
            # One that a signal has stopped would read it never, and `run` waits for its end.
            self._dismissed.add(process.pid)
            os.kill(process.pid, signal.SIGCONT)
        self._retire(process)
        process.close()

    def _retire(self, process: PoolProcess) -> None:
        """Assign no tree to a pool process and stop polling it. May be called again."""
        if process in self._idle:
            self._idle.remove(process)
        self._pool_by_fd.pop(process.fileno(), None)
        self._unregister(process)

    def _reap(self) -> None:
        """Reap dead children. A pool process that was not dismissed may leave members behind."""
        while True:
            try:
                pid, raw = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if os.WIFSTOPPED(raw):
                # A task supervisor that is stopped reads no output, sees no end and answers no
                # request: its tree hangs with it.
                if pid in self._pool or pid in self._dismissed:
                    logger.warning("task supervisor %s was stopped: continued", pid)
                    os.kill(pid, signal.SIGCONT)
                continue
            self._dismissed.discard(pid)
            process = self._pool.pop(pid, None)
            if process is not None:
                self._has_orphans = True
                self._retire(process)
                process.close()
                logger.error(
                    "task supervisor %s ended with wait status %s: killing its tree", pid, raw
                )
                self._end_removal(process)


def _get_spec(message: dict[str, object], descriptors: list[int]) -> dict[str, object]:
    spec = message.get("spec")
    if len(descriptors) - 1 != message.get("outputs") or not isinstance(spec, dict):
        raise FrameError("an invalid start message")
    return spec


def main(argv: list[str]) -> int:
    """Start the supervisor of the store `argv[0]` in the background, and return.

    Returns 0 once agents can connect, 1 after a sentence on stderr.
    """
    store = argv[0]
    try:
        lock = _lock(supervisor_path(store, "lock"))
        listener = listen(supervisor_path(store, "sock"))
        ready, listening = os.pipe()
        pid = os.fork()
    except OSError as error:
        print(f"the supervisor of {store}: {error.strerror or error}", file=sys.stderr)  # noqa: T201
        return 1
    if pid != 0:
        os.close(listening)
        os.read(ready, 1)
        return 0
    os.close(ready)
    _detach(store)
    try:
        adopt_orphans()
        # A task of the agent's own user must not have the right to become another one.
        keep_from_programs()
        set_name(SUPERVISOR_NAME)
        # Again: agents are shown the process that has called it last, see `peer_credentials`.
        listener.listen(BACKLOG)
        os.close(listening)  # the end of the pipe: agents can connect
        supervisor = SupervisorDaemon(listener, lock, _probe_host())
        # A garbage collection writes into every object that it looks at, and a page that is written
        # after a fork is copied. Frozen objects are left out, so pool processes share them.
        gc.collect()
        gc.freeze()
        supervisor.run()
    except BaseException:  # noqa: BLE001 - the last frame of this process: nothing else reports it
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            Path(supervisor_path(store, "sock")).unlink()
        os._exit(0)


def _lock(path: str) -> int:
    """Lock the store's supervisor file; return its descriptor. Blocks while an earlier one ends.

    Raises `OSError`: it does not end in `LOCK_TIMEOUT`.
    """
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
    """Leave session, terminal and folder of the agent; write stderr to a log in the store."""
    # Ctrl+C in a terminal signals the whole process group of the agent, and must not reach the
    # process that outlives it.
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
    for descriptor in {nothing, log}:
        if descriptor > 2:
            os.close(descriptor)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)


def _probe_host() -> HostCapabilities:
    """Find out what this host permits, and lower the OOM score of this process if it can."""
    base = find_base()
    remove_stale(str(base or ""))
    score: int | None = None
    with contextlib.suppress(OSError, ValueError):
        score = int(Path("/proc/self/oom_score_adj").read_text())
    scores = None
    if score is not None:
        scores = divide_scores(score, lowered=set_oom_score(OOM_SCORE))
    lacking = tuple(CAPABILITIES)
    with contextlib.suppress(OSError):
        lacking = find_missing_capabilities()
    return HostCapabilities(cgroups=str(base or ""), oom_scores=scores, lacking=lacking)


def divide_scores(score: int, *, lowered: bool) -> tuple[int, int] | None:
    """Return the OOM scores of tasks and of task supervisors; None: both keep `score`.

    `score` is what the supervisor was started with, `lowered` whether it could set its own.
    """
    if lowered:
        return max(score, 0), OOM_SCORE
    # A unit file may protect an agent whose user may not lower a score. That protection is not meant
    # for tasks. It can be taken off for a task's start and set again: see `set_oom_score`.
    return (0, score) if score < 0 else None
