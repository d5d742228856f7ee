"""Pool of task supervisors: each holds one tree at a time, and is reused for the next one.

A fork for each task would be slow. Between two trees a pool process keeps nothing of the first: the
tree is proven empty, and its sockets, pipe and log are closed.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
from collections.abc import Mapping
from itertools import count

from trio_afrender.message_framing import FrameError
from trio_afrender.supervisor.cgroup import Cgroup, make_cgroup
from trio_afrender.supervisor.channel import FdChannel
from trio_afrender.supervisor.prctl import adopt_orphans, die_with_parent, set_name
from trio_afrender.supervisor.protocol import LaunchSpec
from trio_afrender.supervisor.run_folders import remove_folders
from trio_afrender.supervisor.signal_pipe import SignalPipe
from trio_afrender.supervisor.task_supervisor import HostCapabilities, TaskSupervisor

__all__ = ("PoolProcess", "fork_pool_process", "get_folders")

logger: logging.Logger = logging.getLogger(__name__)

CONTINUE_INTERVAL = 0.25
"""Seconds after which a pool process that does not read its next tree is continued."""
IDLE_NAME = "af:idle"
"""The command of an idle pool process in `ps`."""


class PoolProcess(FdChannel):
    """The supervisor's end of the channel to one pool process."""

    def __init__(self, pid: int, sock: socket.socket) -> None:
        super().__init__(sock)
        self.pid = pid
        self.record = ""
        """Record path of the tree that it holds now; empty for none, or for one without a record."""
        self.idle_since: float = 0.0

    def send(self, message: bytes, descriptors: list[int]) -> None:
        """Send a start message, as the agent sent it, with its descriptors; or a removal.

        The descriptors are the agent's socket, the outputs, and the listening socket at the record,
        if the tree has one. Raises `OSError`: the pool process is dead, or the kernel has no
        memory for it.
        """
        sent = socket.send_fds(self._sock, [message], descriptors)
        if sent < len(message):
            # An environment may be larger than the socket's buffer. An idle pool process does
            # nothing but read, so this does not stop the supervisor for long, unless a signal has
            # stopped that process: nothing else would continue it meanwhile.
            self._sock.settimeout(CONTINUE_INTERVAL)
            try:
                while sent < len(message):
                    try:
                        sent += self._sock.send(memoryview(message)[sent:])
                    except TimeoutError:
                        os.kill(self.pid, signal.SIGCONT)
            finally:
                self._sock.setblocking(False)


def fork_pool_process(host: HostCapabilities) -> PoolProcess:
    """Fork an idle pool process. Raises `OSError`."""
    ours, theirs = socket.socketpair()
    try:
        pid = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        raise
    if pid == 0:
        _run_pool_process(theirs, host)
    theirs.close()
    return PoolProcess(pid, ours)


def _run_pool_process(sock: socket.socket, host: HostCapabilities) -> None:
    """Supervise one tree after another until the supervisor closes `sock`. Never returns.

    Runs in the forked process: leaving by `os._exit` skips all cleanup of the supervisor's own
    objects, which exist here as copies.
    """
    code = 70
    try:
        # A fork copies all sockets of the supervisor: an agent, or another pool process, would never
        # see the end of a connection of which a copy is open here.
        os.closerange(3, sock.fileno())
        os.closerange(sock.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
        wakeup = SignalPipe()
        adopt_orphans()
        supervisor = FdChannel(sock)
        cgroups = _Cgroups(host.cgroups)
        poll = select.poll()
        poll.register(supervisor, select.POLLIN)
        while not supervisor.over:
            # One that a signal has stopped would not read that its supervisor has been killed. Before
            # anything that may wait, and before it shows that it is idle.
            die_with_parent(on=True)
            set_name(IDLE_NAME)
            cgroups.prepare()
            poll.modify(supervisor, select.POLLIN | (select.POLLOUT if supervisor.waiting else 0))
            poll.poll()
            die_with_parent(on=False)
            supervisor.flush()
            for message in supervisor.receive():
                if message.get("op") == "remove":
                    remove_folders(get_folders(message))
                else:
                    _supervise(message, supervisor, host, wakeup, cgroups.take())
                supervisor.put({"idle": os.getpid()})
                supervisor.flush()
        cgroups.close()
        code = 0
    except OSError as error:  # it got no descriptor, or no memory: its supervisor takes another one
        logger.error("a task supervisor could not continue: %s", error)  # noqa: TRY400 - no fault of the code
    except BaseException:
        logger.exception("internal error of a task supervisor")
    finally:
        os._exit(code)


class _Cgroups:
    """Makes the cgroup of the next tree while its pool process is idle.

    Each tree gets a new one: `memory.peak` of a used one would include the tree before.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self._numbers = count(1)
        self._ready: Cgroup | None = None

    def prepare(self) -> None:
        # Ahead of time: the kernel has one lock for all changes to cgroups, so this may wait for
        # other programs of the host, and a task should not.
        if self._ready is None:
            self._ready = make_cgroup(self._base, f"{os.getpid()}-{next(self._numbers)}")

    def take(self) -> Cgroup | None:
        """Return the prepared cgroup, which is the caller's from then on; None where there is none."""
        self.prepare()
        ready, self._ready = self._ready, None
        return ready

    def close(self) -> None:
        if self._ready is not None:
            self._ready.remove()


def get_folders(message: Mapping[str, object]) -> list[str]:
    """Return the paths in a message that asks for the removal of folders."""
    folders = message.get("folders")
    return [str(each) for each in folders] if isinstance(folders, list) else []


def _supervise(
    message: dict[str, object],
    supervisor: FdChannel,
    host: HostCapabilities,
    wakeup: SignalPipe,
    cgroup: Cgroup | None,
) -> None:
    """Hold the tree that a start message describes, until it is over. Raises `FrameError`."""
    data = message.get("spec")
    if not isinstance(data, dict):
        raise FrameError("a start message without a spec")
    spec = LaunchSpec.from_json(data)
    # In the order of `PoolProcess.send`.
    (agent,) = supervisor.take(1)
    outputs = supervisor.take(int(str(message.get("outputs", 0))))
    listening = supervisor.take(1 if spec.record else 0)
    TaskSupervisor(
        spec,
        agent=socket.socket(fileno=agent),
        listener=socket.socket(fileno=listening[0]) if listening else None,
        outputs=tuple(outputs),
        host=host,
        wakeup=wakeup,
        cgroup=cgroup,
    ).run()
