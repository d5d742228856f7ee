"""The fork server, the process that plugin hosts are forked from; the agent runs it by ``python -m``.

It has imported all the code that a host needs and runs no plugin itself. So a new host is up within
milliseconds and shares most of its memory. It has one thread: a fork copies no other.

Requests: ``fork`` with three descriptors (the host's socket, the pipe that the agent holds, its output) is answered by
``pid``; ``reap`` of a pid that was killed is answered by its ``status`` once it has ended. Until
then the pid stays the host's, so that the agent never signals another process of that number.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import select
import signal
import socket
import sys
import traceback
from typing import NoReturn

from trio_afrender.errors import PluginError, ProtocolError
from trio_afrender.plugins.host.host_main import serve_agent
from trio_afrender.plugins.host.host_protocol import PluginFrameReader, pack
from trio_afrender.plugins.host.parent_death import die_with_parent
from trio_afrender.plugins.loader import claim_packages
from trio_afrender.plugins.lookup import load_class
from trio_afrender.plugins.task_worker import remember_base

__all__ = ("main",)

RECEIVE_SIZE = 4096
DESCRIPTOR_COUNT = 3
"""Sent with a fork request: socket, agent pipe, output."""
REAP_POLL_MS = 5
"""Milliseconds between two looks at hosts that are dying."""


class _ForkServerMain:
    def __init__(self, control: socket.socket, agent_pipe: int) -> None:
        self._control = control
        self._agent_pipe = agent_pipe
        self._dying: set[int] = set()

    def serve(self) -> None:
        """Answer requests until the agent is gone. Raises `ProtocolError`, `OSError`."""
        frames = PluginFrameReader()
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        while True:
            # Only while hosts are dying, which takes milliseconds. Otherwise this process never wakes up.
            ready = poll.poll(REAP_POLL_MS if self._dying else None)
            self._reap()
            if not ready:
                continue
            # The agent sends one fork request at a time, so all descriptors are those of one message.
            data, fds, _, _ = socket.recv_fds(self._control, RECEIVE_SIZE, DESCRIPTOR_COUNT)
            if not data:
                return
            for message in frames.feed(data):
                if message["op"] == "reap" and isinstance(pid := message["pid"], int):
                    self._dying.add(pid)
                    self._reap()
                    continue
                answer: dict[str, object] = {"id": message["id"]}
                try:
                    answer["pid"] = self._fork(*fds)
                except (
                    OSError
                ) as error:  # too many processes, no memory: only this host is not made
                    answer |= {"error": str(error), "errno": error.errno}
                for fd in fds:
                    os.close(fd)
                fds.clear()
                self._control.sendall(pack(answer))

    def _fork(self, link: int, agent_pipe: int, output: int) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            # From here on this is the host: it may keep nothing open of the fork server.
            os.setsid()  # a group of its own: the agent kills it with what its plugins have started
            self._control.close()
            os.close(self._agent_pipe)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(output)
            serve_agent(link, agent_pipe)
        except BaseException:  # noqa: BLE001 - the agent reads what we print, and sees us end
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(1)

    def _reap(self) -> None:
        for pid in tuple(self._dying):
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                ended, status = pid, 0
            if ended:
                self._dying.discard(pid)
                self._control.sendall(pack({"reaped": pid, "status": status}))


def main() -> NoReturn:
    """Serve the agent at the other end of the socket in argv. Never returns."""
    control = socket.socket(fileno=int(sys.argv[1]))
    agent_pipe = int(sys.argv[2])
    os.set_inheritable(control.fileno(), False)
    die_with_parent(agent_pipe)
    faulthandler.enable(2)
    faulthandler.register(signal.SIGUSR1, 2, all_threads=True)
    claim_packages()  # this process imports nothing but for plugins
    # Whatever is imported here costs its time and its memory once, not once for each host.
    for kind in ("service", "parser"):
        with contextlib.suppress(PluginError, OSError):
            load_class(kind, "generic")  # most tasks need it: imported here, hosts share it
    with contextlib.suppress(PluginError):
        remember_base()
    gc.collect()
    gc.freeze()  # memory that is shared with the hosts is not touched by the collector
    try:
        _ForkServerMain(control, agent_pipe).serve()
    except (OSError, ProtocolError):
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
