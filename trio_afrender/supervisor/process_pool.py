"""Processes that are parents of trees, one tree after another: a fork for each would be dear.

Between two trees nothing of the first is left: it is proven empty, what was open is closed.
"""

from __future__ import annotations

import logging
import os
import select
import socket
from itertools import count

from trio_afrender.message_framing import FrameError
from trio_afrender.supervisor.cgroup import Cgroup, make_cgroup
from trio_afrender.supervisor.channel import FdChannel
from trio_afrender.supervisor.prctl import adopt_orphans, set_name
from trio_afrender.supervisor.protocol import LaunchSpec
from trio_afrender.supervisor.signal_pipe import SignalPipe
from trio_afrender.supervisor.task_supervisor import HostCapabilities, TaskSupervisor

__all__ = ("PoolProcess", "fork_pool_process")

logger = logging.getLogger(__name__)

IDLE_NAME = "af:idle"


class PoolProcess(FdChannel):
    """The supervisor's end of one."""

    def __init__(self, pid: int, sock: socket.socket) -> None:
        super().__init__(sock)
        self.pid = pid
        self.record = ""
        """Of the tree that it holds now."""
        self.idle_since = 0.0

    def send(self, message: bytes, descriptors: list[int]) -> None:
        """Hand it a tree, as the agent said it: the agent's socket comes with it, the outputs, and the
        record's socket. Raises `OSError`: it is dead."""
        sent = socket.send_fds(self._sock, [message], descriptors)
        if sent < len(message):
            self._sock.setblocking(True)  # it reads at once
            try:
                self._sock.sendall(memoryview(message)[sent:])
            finally:
                self._sock.setblocking(False)


def fork_pool_process(host: HostCapabilities) -> PoolProcess:
    """Fork one. Raises `OSError`."""
    ours, theirs = socket.socketpair()
    try:
        pid = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        raise
    if pid == 0:
        _work(theirs, host)
    theirs.close()
    return PoolProcess(pid, ours)


def _work(sock: socket.socket, host: HostCapabilities) -> None:
    """In the forked child: never returns."""
    code = 70
    try:
        _close_others({0, 1, 2, sock.fileno()})
        wakeup = SignalPipe()
        adopt_orphans()
        supervisor = FdChannel(sock)
        cgroups = _Cgroups(host.cgroups)
        while not supervisor.over:
            set_name(IDLE_NAME)
            cgroups.prepare()
            _wait(supervisor)
            for message in supervisor.receive():
                _supervise(message, supervisor, host, wakeup, cgroups.take())
                supervisor.put({"idle": os.getpid()})
                supervisor.flush()
        cgroups.close()
        code = 0
    except BaseException:
        logger.exception("the parent of a tree failed")
    finally:
        os._exit(code)


def _wait(supervisor: FdChannel) -> None:
    poll = select.poll()
    poll.register(supervisor, select.POLLIN)
    poll.poll()


class _Cgroups:
    """Has the cgroup of the next tree ready: to make one may wait for whatever else changes cgroups on
    the host. Each tree gets a new one, or it would be told the peak of the one before."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._numbers = count(1)
        self._ready: Cgroup | None = None

    def prepare(self) -> None:
        if self._ready is None:
            self._ready = make_cgroup(self._base, f"{os.getpid()}-{next(self._numbers)}")

    def take(self) -> Cgroup | None:
        self.prepare()
        ready, self._ready = self._ready, None
        return ready

    def close(self) -> None:
        if self._ready is not None:
            self._ready.remove()


def _supervise(
    message: dict[str, object],
    supervisor: FdChannel,
    host: HostCapabilities,
    wakeup: SignalPipe,
    cgroup: Cgroup | None,
) -> None:
    words = message.get("spec")
    if not isinstance(words, dict):
        raise FrameError("a tree without a spec")
    spec = LaunchSpec.from_json(words)
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


def _close_others(kept: set[int]) -> None:
    """Close every descriptor but those: what a child holds open never ends for the others."""
    low = 0
    for descriptor in sorted(kept):
        if low < descriptor:  # an empty range from 0 means all of them to some Pythons
            os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))
