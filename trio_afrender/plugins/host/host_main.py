"""The plugin host process: services, parsers or meters run in it. Forked by `forkserver_main`.

One thread reads requests; each run has a thread of its own, which makes the run's objects and works
off its requests one after another. The process may be killed at any moment: it holds nothing that
the agent cannot build again.

It ends with the agent, also while a plugin holds the interpreter lock and no thread of ours can
run: the kernel kills the whole process group when the agent closes its end of a pipe
(`parent_death`).
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import socket
import sys
import threading
import time
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
from trio_afrender.plugins.lookup import is_foreign
from trio_afrender.plugins.meters.meter_worker import MeterWorker
from trio_afrender.plugins.task_worker import TaskWorker
from trio_afrender.supervisor.run_folders import make_folders
from trio_afrender.tasklog.segments import open_reader
from trio_afrender.user_switch import UserIds, become_user, drop_capabilities

__all__ = ("serve_agent", "serve_link")

Message = dict[str, Any]

RECEIVE_SIZE = 256 * 1024
"""Bytes asked of the socket at once."""
MEMORY_LIMIT_FACTOR = 1.25
"""Of the memory limit, what may be asked of the system."""
BASE_MEMORY = 64 * 1024 * 1024
"""Bytes that a host has anyway."""
KEPT_THREADS = 16
"""Idle threads of the shared host: as many as tiny tasks run at once."""
THREAD_STACK_SIZE = 8 * 1024 * 1024
DUMP_AFTER = 0.9
"""Of the time limit of a call."""
SWITCH_INTERVAL = 0.001
"""Seconds a busy thread keeps the interpreter from the one that reads requests."""


class _Host:
    """Reads requests, hands them to the threads of their runs, sends replies."""

    def __init__(self, link: socket.socket, agent_pipe: int | None) -> None:
        self._link = link
        self._agent_pipe = agent_pipe
        self._sending = threading.Lock()
        self._runs: dict[int, _Thread] = {}
        self._threads = 0
        self._idle: list[_Thread] = []
        """Threads that may hold another run. A plugin may leave anything behind in its thread, a
        priority, a trace function, an event loop: so only where all code is our own."""
        self.settings = PluginSettings()
        self.folders: tuple[Path, ...] = ()
        self.shared = False
        self.memory = _Memory()
        self._memory_limit = 0
        self.dump_after = 0.0
        """Seconds of a call after which it prints where its threads are."""
        self.log: Path | None = None
        """The only log that this host reads, where its parents may not be entered any more."""

    def serve(self) -> None:
        """Hand out requests until the agent is gone. Raises `ProtocolError`, `OSError`."""
        frames = PluginFrameReader()
        while data := self._link.recv(RECEIVE_SIZE):
            for message in frames.feed(data):
                self._handle(message)

    def send(self, message: Message) -> None:
        """Send a message, from any thread."""
        try:
            frame = pack(message)
        except (ProtocolError, ValueError, TypeError) as error:
            frame = pack({"id": message.get("id"), "error": {"text": f"the reply: {error}"}})
        try:
            with self._sending:  # a large frame goes in several steps: others must not get between
                self._link.sendall(frame)
        except OSError:
            os._exit(0)  # the agent is gone

    def _handle(self, message: Message) -> None:
        op = message["op"]
        if op == "ping":
            self.send({"id": message["id"], "value": None})
        elif op == "setup":  # the first message
            self.settings = load_plugin_settings(message["settings"])
            self.folders = tuple(map(Path, message["folders"]))
            self.shared = message["shared"]
            self._memory_limit = message["memory"]
            self.dump_after = message["time"] * DUMP_AFTER
            if message["user"] is not None:
                self._become(message["user"])
            elif hasattr(os, "geteuid") and os.geteuid() != 0:
                with contextlib.suppress(OSError):  # there are none on other systems than Linux
                    drop_capabilities()
        elif op == "close":
            if (thread := self._runs.pop(message["run"], None)) is not None:
                # A thread in the middle of a call may never come back to take another run.
                keep = thread.idle and self.shared and len(self._idle) < KEPT_THREADS
                thread.put({"op": "close", "end": not keep})
                if keep:  # it drops the objects before it takes the next request
                    self._idle.append(thread)
                else:
                    self._threads -= 1
        elif op == "abandon":  # a call that does not come back: its thread is lost
            self._runs.pop(message["run"], None)
        else:
            run = message["run"]
            if run not in self._runs and self._idle:
                self._runs[run] = self._idle.pop()
            elif run not in self._runs:
                self._threads += 1
                # Before the thread starts: its stack is memory that it must be allowed to take.
                _limit_memory(self._memory_limit, self._threads + 1)
                self._runs[run] = _Thread(self, run)
                _start_patiently(self._runs[run])
            self._runs[run].put(message)

    def _become(self, user: Message) -> None:
        """Become the user of a task, before any thread starts and any plugin is imported."""
        # Opened while its parents can be entered; the folder itself is readable for the group. What
        # this process has open, no process of that user can reach: the kernel protects a process
        # that has changed its user (PR_SET_DUMPABLE).
        handle = os.open(user["log"], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.log = Path(f"/proc/self/fd/{handle}")
        uid, gid, *groups = user["ids"]
        become_user(UserIds(uid, gid, tuple(groups)))
        os.environ.update(user["variables"])
        # The kernel remembers which user has set up the pipe, and signals no process of another one.
        if self._agent_pipe is not None:
            die_with_parent(self._agent_pipe)

    def memory_text(self) -> str:
        """The sentence added to a `MemoryError`."""
        limit = f"{self._memory_limit // 2**20} MiB"
        return f"a plugin host may have {limit} of memory: the setting plugin_memory"


def _start_patiently(thread: threading.Thread) -> None:
    """Start a thread; while the host has none left, try again after growing pauses, for 3 s.

    Raises `RuntimeError`. Other runs continue meanwhile, but get no new requests.
    """
    for pause in (0.05, 0.1, 0.3, 0.5, 1.0, 1.0):
        try:
            thread.start()
        except RuntimeError:
            time.sleep(pause)
        else:
            return
    thread.start()


class _Thread(threading.Thread):
    """Holds the objects of one run after another, and makes the calls on them."""

    def __init__(self, host: _Host, run: int) -> None:
        super().__init__(daemon=True)  # a call that never returns must not keep the process
        self._host = host
        self._run = run
        self._requests: SimpleQueue[Message] = SimpleQueue()
        # Each counter has one writer: the reading thread, and this one.
        self._put = self._done = 0
        self._worker: TaskWorker | None = None
        self._meter: MeterWorker | None = None

    @property
    def idle(self) -> bool:
        """Whether all requests have been worked off. Asked by the thread that puts them."""
        return self._put == self._done

    def put(self, request: Message) -> None:
        self._put += 1
        self._requests.put(request)

    def run(self) -> None:
        if not self._host.shared:
            # Sent before plugin code runs: the agent finds the stack of a call that hangs by it.
            self._host.send({"thread": threading.get_ident(), "run": self._run})
        # Only for systems without signals that ask for it (`forkserver_main`). The timer is C and
        # needs no interpreter lock.
        dumps = not self._host.shared and not hasattr(signal, "SIGUSR1")
        while True:
            request = self._requests.get()
            if request["op"] == "close":
                self._worker = self._meter = None
                self._done += 1
                if request["end"]:
                    return
                continue
            if dumps:
                faulthandler.dump_traceback_later(self._host.dump_after, repeat=True, file=2)
            try:
                reply = self._answer(request)
            finally:
                if dumps:
                    faulthandler.cancel_dump_traceback_later()
            self._done += 1  # before the reply, which may be answered by a close at once
            resident = self._host.memory.resident()
            self._host.send({"id": request["id"], "resident": resident, **reply})

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
            return {"value": None, "position": 0, "problems": []}
        problems = [*worker.problems()]
        if any("MemoryError" in problem for problem in problems):
            # Python's own text does not say that there is a limit, or where it is set.
            problems.append(self._host.memory_text())
        return {"value": value, "position": worker.position, "problems": problems}

    def _open(self, request: Message) -> object:
        """Make the objects of the run; None: a shared host was asked to run foreign code."""
        spec, host = load_spec(request["spec"]), self._host
        names = (("service", spec.service), ("parser", spec.parser))
        # By name, before anything is loaded: foreign code must not even be imported here.
        if host.shared and any(is_foreign(kind, name, host.folders) for kind, name in names):
            return None
        if not host.shared and (store_dir := spec.task_info.get("store_dir")):
            # Foreign code may write there before the task starts, which would make it.
            with contextlib.suppress(OSError):
                make_folders((str(store_dir),))
        reader = open_reader(host.log or Path(request["folder"]))
        worker = TaskWorker(spec, reader, host.settings, host.folders, copied=True)
        if host.shared and not worker.ours:
            return None  # one of our services may name a foreign parser itself
        self._worker = worker
        return dump_facts(worker.facts)

    def _do(self, request: Message) -> object:
        op = request["op"]
        if op == "open_meter":
            self._meter = MeterWorker(request["name"], self._host.settings, self._host.folders)
            return None
        if op == "measure" and self._meter is not None:
            return attrs.asdict(self._meter.measure())
        if op == "open":
            return self._open(request)
        if self._worker is None:
            raise PluginError("the run has no objects")
        worker = self._worker
        if op == "parse":
            for upto in request.get("earlier", ()):
                worker.parse(upto, pid=request["pid"], resources=request["resources"])
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
            fields = {name: request[name] for name in ("upto", "last_lines")}
            found = worker.explain(request["code"], request["signal"], **fields)
            return [attrs.astuple(one) for one in found]
        if op == "log":
            return worker.log()
        raise PluginError(f"no such request: {op}")


class _Memory:
    """This process's own figures. The file stays open: they are sent with each reply."""

    def __init__(self) -> None:
        self._statm: int | None = None
        self._page = 0
        with contextlib.suppress(OSError, AttributeError):  # Windows has neither
            self._page = os.sysconf("SC_PAGE_SIZE")
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
    """Let an allocation beyond the limit fail in the thread that asked for it.

    The agent checks what is resident, which finds a slow leak. This is for a call that takes all
    memory at once, so its limit is higher; the stacks of threads do not count as a plugin's.
    """
    try:
        import resource

        stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
        stacks = threads * (THREAD_STACK_SIZE if stack == resource.RLIM_INFINITY else stack)
        # DATA, not AS: code and files that are only mapped do not count.
        most = resource.getrlimit(resource.RLIMIT_DATA)[1]
        wanted = int(limit * MEMORY_LIMIT_FACTOR) + stacks + BASE_MEMORY
        if most != resource.RLIM_INFINITY:
            wanted = min(wanted, most)
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, most))
    except (ImportError, AttributeError, OSError, ValueError):
        return  # not on this platform: then the agent's look at it has to do


def serve_agent(link_fd: int, agent_pipe: int) -> NoReturn:
    """Be a plugin host for the agent at the other end of a socket. Never returns."""
    link = socket.socket(fileno=link_fd)
    os.set_inheritable(link_fd, False)
    die_with_parent(agent_pipe)

    def close_ours() -> None:
        for fd in (link_fd, agent_pipe):
            with contextlib.suppress(OSError):
                os.close(fd)

    # A process that a plugin forks would hold the socket open: our end would not be seen.
    os.register_at_fork(after_in_child=close_ours)
    serve_link(link, agent_pipe)


def serve_link(link: socket.socket, agent_pipe: int | None = None) -> NoReturn:
    """Serve the agent at the other end of a socket until it closes it. Never returns.

    `agent_pipe` is the pipe of `die_with_parent`, where there is one.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    route_prints()
    host = _Host(link, agent_pipe)
    host.send({"hello": os.getpid()})
    try:
        host.serve()
    except BaseException:  # noqa: BLE001 - the agent reads what we print, and sees us end
        traceback.print_exc()
        sys.stderr.flush()
    # At once: no plugin's exit handler, no thread that never ends may keep us.
    os._exit(0)
