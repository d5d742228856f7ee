"""Requests that a task supervisor cannot execute at once, because the host has no descriptor left."""

from __future__ import annotations

import errno
import signal
import socket
from collections.abc import Iterator
from typing import cast

import pytest

from trio_afrender.supervisor import task_supervisor
from trio_afrender.supervisor.channel import Channel
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
