"""The plugin host: services, parsers or meters live in it. Forked from `plugins.template`.

One thread reads requests; each run has a thread of its own, which makes the run's objects and
works off its requests one after another. Which one that is the agent says: it must know them, to
tell who is to blame. Whatever a plugin does to this process, the agent only loses the process: it
is built to be killed at any moment and keeps nothing of its own.

It ends with the agent, also while a plugin holds the interpreter lock and no thread of ours can
run: the kernel kills the whole process group when the agent's end of the lifeline is gone.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import traceback
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NoReturn

import attrs

from trio_afrender.config.settings import PluginSettings
from trio_afrender.errors import PluginError, ProtocolError
from trio_afrender.plugins.diagnostics import route_prints
from trio_afrender.plugins.host.host_protocol import (
    PluginFrameReader,
    dump_conclusion,
    dump_error,
    dump_facts,
    dump_state,
    load_plugin_settings,
    load_spec,
    pack,
)
from trio_afrender.plugins.host.parent_death import die_with_parent
from trio_afrender.plugins.meters.meter_worker import MeterWorker
from trio_afrender.plugins.task_worker import TaskWorker
from trio_afrender.tasklog.segments import open_reader

__all__ = ("serve_agent",)

Message = dict[str, Any]

RECEIVE_SIZE = 256 * 1024
"""Bytes asked of the socket at once."""
MEMORY_LIMIT_FACTOR = 1.25
"""Of the memory limit, what may be asked of the system."""
BASE_MEMORY = 64 * 1024 * 1024
"""Bytes that a host has anyway."""
THREAD_STACK_SIZE = 8 * 1024 * 1024
SWITCH_INTERVAL = 0.001
"""Seconds a busy thread keeps the interpreter from the one that reads requests."""


class _Host:
    """The requests' way in and the answers' way out."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._sending = threading.Lock()
        self._threads: dict[int, _Thread] = {}
        self._runs: dict[int, _Thread] = {}
        self.settings = PluginSettings()
        self.folders: tuple[Path, ...] = ()
        self.memory = _Memory()
        self._most_memory = 0

    def serve(self) -> None:
        """Hand out requests until the agent is gone. Raises `ProtocolError`, `OSError`."""
        frames = PluginFrameReader()
        while data := self._link.recv(RECEIVE_SIZE):
            for message in frames.feed(data):
                self._handle(message)

    def send(self, message: Message) -> None:
        """Send an answer, from any thread."""
        try:
            frame = pack(message)
        except (ProtocolError, ValueError, TypeError) as error:
            frame = pack({"id": message.get("id"), "error": {"text": f"the answer: {error}"}})
        try:
            with self._sending:
                self._link.sendall(frame)
        except OSError:
            os._exit(0)  # the agent is gone

    def _handle(self, message: Message) -> None:
        op = message["op"]
        if op == "ping":
            self.send({"id": message["id"], "value": None})
        elif op == "setup":
            self.settings = load_plugin_settings(message["settings"])
            self.folders = tuple(map(Path, message["folders"]))
            self._most_memory = message["memory"]
            self._limit_memory()
        elif op == "close":
            thread = self._runs.pop(message["run"])
            if message["end"]:
                del self._threads[thread.number]
            thread.requests.put(message)
            if message["end"]:
                self._limit_memory()
        else:
            if op in ("open", "open_meter"):
                self._runs[message["run"]] = self._get_thread(message["thread"])
            self._runs[message["run"]].requests.put(message)

    def _get_thread(self, number: int) -> _Thread:
        """The thread of that number, begun with the first run that is to use it."""
        if (thread := self._threads.get(number)) is None:
            thread = self._threads[number] = _Thread(self, number)
            self._limit_memory()
            thread.start()
        return thread

    def memory_text(self) -> str:
        """For those who ran out of it."""
        limit = f"{self._most_memory // 2**20} MiB"
        return f"plugins together may have {limit} of memory: the setting plugin_memory"

    def _limit_memory(self) -> None:
        _limit_memory(self._most_memory, len(self._threads) + 1)


class _Thread(threading.Thread):
    """Holds one run after the other, and is ended after one whose code we do not know.

    A plugin may leave anything behind in its thread: a priority, a trace function, an event loop.
    """

    def __init__(self, host: _Host, number: int) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.requests: SimpleQueue[Message] = SimpleQueue()
        self._host = host
        self._worker: TaskWorker | None = None
        self._meter: MeterWorker | None = None

    def run(self) -> None:
        # Told before plugin code runs: should it never come back, this names the thread.
        ids = [self.number, threading.get_native_id(), threading.get_ident()]
        self._host.send({"thread": ids})
        while self._work_off(self.requests.get()):
            pass

    def _work_off(self, request: Message) -> bool:
        """Answer a request; False when it was the last one."""
        if request["op"] == "close":
            self._worker = self._meter = None
            return not request["end"]
        answer = self._answer(request)
        self._host.send({"id": request["id"], "resident": self._host.memory.resident(), **answer})
        return True

    def _answer(self, request: Message) -> Message:
        try:
            value = self._do(request)
        except PluginError as error:
            return {"error": dump_error(error)}
        except BaseException as error:  # noqa: BLE001 - this thread must answer whatever happens
            text = f"{type(error).__name__}: {error}"
            return {"error": {"text": text, "details": traceback.format_exc()}}
        worker = self._meter or self._worker
        if worker is None:
            return {"error": {"text": "the run has no objects"}}
        problems = [*worker.problems()]
        if any("MemoryError" in problem for problem in problems):
            problems.append(self._host.memory_text())
        answer: Message = {"value": value, "position": worker.position, "problems": problems}
        if request["op"] == "open":
            answer["ours"] = self._worker is not None and self._worker.ours
        return answer

    def _do(self, request: Message) -> object:
        op = request["op"]
        if op == "open_meter":
            self._meter = MeterWorker(request["name"], self._host.settings, self._host.folders)
            return None
        if op == "measure" and self._meter is not None:
            return attrs.asdict(self._meter.measure())
        if op == "open":
            reader = open_reader(Path(request["folder"]))
            spec = load_spec(request["spec"])
            self._worker = TaskWorker(
                spec, reader, self._host.settings, self._host.folders, copied=True
            )
            return dump_facts(self._worker.facts)
        worker = self._worker
        if worker is None:
            raise PluginError("the run has no objects")
        if op == "parse":
            state = worker.parse(
                request["upto"],
                mode=request["mode"],
                pid=request["pid"],
                resources=request["resources"],
                more=request["more"],
            )
            return dump_state(state)
        if op == "conclude":
            fields = {name: request[name] for name in ("code", "check_files", "post")}
            return dump_conclusion(worker.run_end_checks(**fields))
        if op == "on_the_fly":
            return worker.on_the_fly(request["files"])
        if op == "explain":
            return [
                attrs.astuple(one) for one in worker.explain(request["code"], request["signal"])
            ]
        if op == "log":
            return worker.log()
        raise PluginError(f"no such request: {op}")


class _Memory:
    """This process's own figures: the file stays open, for they are told with each answer."""

    def __init__(self) -> None:
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._statm: int | None = None
        with contextlib.suppress(OSError):
            self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)

    def resident(self) -> int:
        """Bytes of memory it has; 0 where the system does not say."""
        if self._statm is None:
            return 0
        try:
            return int(os.pread(self._statm, 128, 0).split()[1]) * self._page
        except (OSError, ValueError, IndexError):
            return 0  # a plugin may have closed it, or opened something else in its place


def _limit_memory(limit: int, threads: int) -> None:
    """Let what is over the limit fail, before it takes the machine: in the thread that asked.

    The agent looks at what is resident and names who is to blame for a slow leak. This is for a
    call that takes all at once, so it comes later; the stacks of threads are not a plugin's.
    """
    try:
        import resource

        stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
        stacks = threads * (THREAD_STACK_SIZE if stack == resource.RLIM_INFINITY else stack)
        most = resource.getrlimit(resource.RLIMIT_DATA)[1]
        wanted = int(limit * MEMORY_LIMIT_FACTOR) + stacks + BASE_MEMORY
        if most != resource.RLIM_INFINITY:
            wanted = min(wanted, most)
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, most))
    except (ImportError, AttributeError, OSError, ValueError):
        return  # not on this platform: then the agent's look at it has to do


def _leave_to_the_parent(*fds: int) -> None:
    """Keep a process that a plugin forks from holding our ends open."""

    def close() -> None:
        for fd in fds:
            with contextlib.suppress(OSError):
                os.close(fd)

    os.register_at_fork(after_in_child=close)


def serve_agent(link_fd: int, lifeline_fd: int) -> NoReturn:
    """Be a plugin host for the agent at the other end of a socket. Never returns."""
    link = socket.socket(fileno=link_fd)
    os.set_inheritable(link_fd, False)
    die_with_parent(lifeline_fd)
    _leave_to_the_parent(link_fd, lifeline_fd)
    sys.setswitchinterval(SWITCH_INTERVAL)
    route_prints()
    host = _Host(link)
    host.send({"hello": os.getpid()})
    try:
        host.serve()
    except BaseException:  # noqa: BLE001 - the agent reads what we print, and sees us end
        traceback.print_exc()
        sys.stderr.flush()
    # At once: no plugin's exit handler, no thread that never ends may keep us.
    os._exit(0)
