"""Requests that supervisors cannot execute at once, because the host has no descriptor left."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from trio_afrender.message_framing import FrameReader
from trio_afrender.supervisor import daemon as supervisor_daemon
from trio_afrender.supervisor import task_supervisor
from trio_afrender.supervisor.cgroup import Cgroup
from trio_afrender.supervisor.channel import Channel, FdChannel
from trio_afrender.supervisor.daemon import SupervisorDaemon
from trio_afrender.supervisor.process_pool import PoolProcess
from trio_afrender.supervisor.protocol import LaunchSpec
from trio_afrender.supervisor.signal_pipe import SignalPipe
from trio_afrender.supervisor.task_supervisor import HostCapabilities, TaskSupervisor

PID = 4711


class Host:
    """A tree of one process, and what was sent to it. `failing`: nothing can be looked up."""

    def __init__(self) -> None:
        self.failing = False
        self.sent: list[str] = []

    def find(self) -> list[int]:
        if self.failing:
            raise OSError(errno.EMFILE, "Too many open files")
        return [PID]

    def send(self, *numbers: signal.Signals) -> list[int]:
        found = self.find()
        self.sent += [number.name for number in numbers]
        return found

    def stop(self) -> list[int]:
        return self.send(signal.SIGSTOP)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host()
    monkeypatch.setattr(task_supervisor, "find_below", made.find)
    monkeypatch.setattr(task_supervisor, "signal_below", made.send)
    monkeypatch.setattr(task_supervisor, "stop_below", made.stop)
    return made


@pytest.fixture
def supervisor() -> Iterator[TaskSupervisor]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        made = TaskSupervisor(
            LaunchSpec(argv=("render",), cwd="/", environment={}),
            agent=theirs,
            listener=None,
            outputs=(),
            host=HostCapabilities(oom_scores=None),
            wakeup=cast("SignalPipe", None),
            cgroup=None,
        )
        made._state.pid = PID
        yield made


def ask(supervisor: TaskSupervisor, op: str) -> None:
    supervisor._answer(cast("Channel", supervisor._channel), {"op": op, "id": 1})


def test_a_resume_that_failed_half_way_is_repeated(host: Host, supervisor: TaskSupervisor) -> None:
    ask(supervisor, "suspend")
    assert supervisor._state.suspended
    with pytest.MonkeyPatch.context() as failing:

        def fail(*_: object) -> list[int]:
            raise OSError(errno.EMFILE, "Too many open files")

        failing.setattr(task_supervisor, "signal_below", fail)
        ask(supervisor, "resume")
    assert supervisor._state.suspended
    supervisor._repeat_delayed()
    assert host.sent == ["SIGSTOP", "SIGCONT"]
    assert not supervisor._state.suspended


class FrozenGroup(Cgroup):
    """A cgroup without files: what was written to it. `failing`: it cannot be opened."""

    def __init__(self) -> None:
        super().__init__("/nowhere")
        self.failing = False
        self.written: list[str] = []

    def outside(self, pids: Iterable[int]) -> list[int]:
        return []

    def _write(self, name: str, text: str) -> None:
        if self.failing:
            raise OSError(errno.EMFILE, "Too many open files")
        self.written.append(f"{name} {text}")


@pytest.mark.parametrize("op", ["term", "resume"])
def test_a_frozen_tree_is_thawed_also_if_that_failed_first(
    host: Host, supervisor: TaskSupervisor, op: str
) -> None:
    """A frozen process does not handle TERM."""
    supervisor._cgroup = group = FrozenGroup()
    ask(supervisor, "suspend")
    group.failing = True
    ask(supervisor, op)
    assert supervisor._state.suspended
    assert host.sent == []
    group.failing = False
    supervisor._repeat_delayed()
    assert group.written == ["cgroup.freeze 1", "cgroup.freeze 0"]
    assert host.sent == (["SIGTERM", "SIGCONT"] if op == "term" else [])
    assert not supervisor._state.suspended


@pytest.mark.parametrize("op", ["term", "kill", "resume"])
def test_a_delayed_suspension_does_not_follow_a_later_request(
    host: Host, supervisor: TaskSupervisor, op: str
) -> None:
    host.failing = True
    ask(supervisor, "suspend")
    host.failing = False
    ask(supervisor, op)
    before = list(host.sent)
    supervisor._repeat_delayed()
    assert host.sent == before
    assert "SIGSTOP" not in host.sent


@pytest.mark.parametrize("op", ["suspend", "resume"])
def test_a_suspension_waits_longer_than_its_agent(
    host: Host, supervisor: TaskSupervisor, op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent notes it as done when it waits no longer, and asks no more."""
    if op == "resume":
        ask(supervisor, "suspend")
    monkeypatch.setattr(task_supervisor, "REQUEST_TIMEOUT", 0.0)
    host.failing = True
    ask(supervisor, op)
    supervisor._repeat_delayed()
    host.failing = False
    supervisor._repeat_delayed()
    assert host.sent[-1] == {"suspend": "SIGSTOP", "resume": "SIGCONT"}[op]


def test_delayed_requests_keep_their_order(host: Host, supervisor: TaskSupervisor) -> None:
    host.failing = True
    ask(supervisor, "suspend")
    ask(supervisor, "term")
    host.failing = False
    supervisor._repeat_delayed()
    assert host.sent[-2:] == ["SIGTERM", "SIGCONT"]
    assert not supervisor._state.suspended


def test_a_stop_without_an_agent_that_failed_is_repeated(
    host: Host, supervisor: TaskSupervisor
) -> None:
    supervisor._drop_agent()
    supervisor._agent_left_at -= 3600
    host.failing = True
    with pytest.raises(OSError, match="Too many open files"):
        supervisor._act_on_time()
    host.failing = False
    supervisor._act_on_time()
    assert host.sent == ["SIGTERM", "SIGCONT"]
    assert supervisor._grace_until < float("inf")


class Agent:
    """An agent that sends one tree with too few descriptors."""

    frame = b""

    def __init__(self, descriptor: int) -> None:
        self.descriptors = [descriptor]

    def take(self, count: int) -> list[int]:
        return self.descriptors[:count]


def test_a_failed_start_is_reported_without_another_descriptor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "dup", fail)
    ours, theirs = socket.socketpair()
    with ours:
        daemon = object.__new__(SupervisorDaemon)
        daemon._start_tree(cast("FdChannel", Agent(theirs.detach())), {"op": "start"})
        [answer] = FrameReader().feed(ours.recv(4096))
        failure = {"text": "an invalid start message", "step": "store", "number": 0}
        assert answer["failed"] == failure
        assert ours.recv(1) == b"", "the descriptor is closed"


def test_folders_stay_queued_until_a_process_removes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon, sent = object.__new__(SupervisorDaemon), list[bytes]()
    daemon._remover, daemon._to_remove = None, ["/a", "/b"]

    def fail(frame: bytes, descriptors: list[int]) -> PoolProcess:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    def assign(frame: bytes, descriptors: list[int]) -> PoolProcess:
        sent.append(frame)
        return cast("PoolProcess", object())

    monkeypatch.setattr(daemon, "_assign", fail)
    daemon._remove_folders()
    assert daemon._to_remove == ["/a", "/b"]
    monkeypatch.setattr(daemon, "_assign", assign)
    daemon._remove_folders()
    assert daemon._to_remove == []
    assert [message["folders"] for message in FrameReader().feed(sent[0])] == [["/a", "/b"]]


@pytest.mark.parametrize(
    ("state", "closed_after"), [("removes", 1.5), ("holds a tree", 0.0), ("ends", None)]
)
def test_an_agent_sees_the_end_of_a_supervisor_that_removes_folders(
    monkeypatch: pytest.MonkeyPatch, state: str, closed_after: float | None
) -> None:
    """It waits for the end of the connection, and the store must have no process left then."""
    now = [100.0]
    monkeypatch.setattr(supervisor_daemon, "time", SimpleNamespace(monotonic=lambda: now[0]))
    daemon, process = object.__new__(SupervisorDaemon), cast("PoolProcess", object())
    daemon._pool, daemon._agents = {PID: process}, []
    daemon._idle = [process] if state == "ends" else []
    daemon._remover = process if state == "removes" else None
    daemon._had_agent, daemon._has_orphans, daemon._term_received = True, False, False
    ours, theirs = socket.socketpair()
    with ours, theirs:
        daemon._closing_agents = {FdChannel(theirs): now[0]}
        closed: float | None = None
        for seconds in (0.0, 1.4, 1.5, 60.0):
            now[0] = 100.0 + seconds
            daemon._close_agents()
            if closed is None and not daemon._closing_agents:
                closed = seconds
                assert ours.recv(1) == b""
    assert closed == closed_after
