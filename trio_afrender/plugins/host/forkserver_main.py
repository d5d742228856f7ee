"""The process that plugin hosts are forked from. ``python -m`` of the agent's.

It has read all the code that a host needs and runs no plugin itself. So a new host is there within
milliseconds, whatever another one is doing, and shares most of its memory. It has one thread.

Requests: ``fork`` with three descriptors (the host's link, lifeline and output) is answered by
``pid``; ``reap`` of a pid that was killed is answered by its ``status`` once it has ended. Until
then the pid stays the host's, so that the agent never signals a stranger.
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
from typing import Any, NoReturn

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
"""That come with a fork: link, lifeline, output."""
REAP_POLL_MS = 5
"""Milliseconds between two looks at hosts that are dying."""


class _ForkServerMain:
    def __init__(self, control: socket.socket, lifeline: int) -> None:
        self._control = control
        self._lifeline = lifeline
        self._dying: set[int] = set()

    def serve(self) -> None:
        """Answer requests until the agent is gone. Raises `ProtocolError`, `OSError`."""
        frames = PluginFrameReader()
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        while True:
            ready = poll.poll(REAP_POLL_MS if self._dying else None)
            self._reap()
            if not ready:
                continue
            data, fds, _, _ = socket.recv_fds(self._control, RECEIVE_SIZE, DESCRIPTOR_COUNT)
            if not data:
                return
            for message in frames.feed(data):
                self._handle(message, fds)

    def _handle(self, message: dict[str, Any], fds: list[int]) -> None:
        if message["op"] == "reap":
            self._dying.add(message["pid"])
            self._reap()
            return
        answer: dict[str, object] = {"id": message["id"]}
        try:
            answer["pid"] = self._fork(*fds)
        except OSError as error:
            answer["error"] = str(error)
        for fd in fds:
            os.close(fd)
        fds.clear()
        self._control.sendall(pack(answer))

    def _fork(self, link: int, lifeline: int, output: int) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            # From here on it is the host: nothing of this process may be left to it.
            os.setsid()
            self._control.close()
            os.close(self._lifeline)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(output)
            serve_agent(link, lifeline)
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
    lifeline = int(sys.argv[2])
    os.set_inheritable(control.fileno(), False)
    die_with_parent(lifeline)
    faulthandler.enable(2)
    faulthandler.register(signal.SIGUSR1, 2, all_threads=True)
    claim_packages()
    for kind in ("service", "parser"):
        with contextlib.suppress(PluginError):
            load_class(kind, "generic")  # what most tasks need: not at each host's expense
    with contextlib.suppress(PluginError):
        remember_base()
    gc.collect()
    gc.freeze()  # what is shared with the hosts stays shared
    try:
        _ForkServerMain(control, lifeline).serve()
    except (OSError, ProtocolError):
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
