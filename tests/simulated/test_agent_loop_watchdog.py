"""When an agent counts as hanging, and what a service manager is told."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio
from support.agent import begin, open_stage
from trio.testing import MockClock

from trio_afrender.agent.loop_watchdog import LoopWatchdog
from trio_afrender.cli.systemd_notify import report_to_manager


def test_a_broken_promise_is_named() -> None:
    now = [0.0]
    pulse = LoopWatchdog(lambda: now[0])
    pulse.expect_within("one", 5)
    pulse.expect_within("two")
    now[0] = 5.0
    assert pulse.overdue() == ()
    now[0] = 9.0
    assert pulse.overdue() == ("one has not run for 9 s",)
    pulse.expect_within("one", 5)
    assert pulse.overdue() == ()


async def test_a_working_agent_never_looks_hung(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await begin(stage)
        for _ in range(100):
            await trio.sleep(10)
            assert stage.agent.check() == ()


async def test_a_server_that_is_away_is_no_complaint(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        link, _ = await begin(stage)
        stage.server.refuse(True)
        await link.cut()
        for _ in range(100):
            await trio.sleep(10)
            assert stage.agent.check() == ()


async def test_a_hanging_measurement_is_a_complaint(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await begin(stage)
        stage.host.stuck = True
        for _ in range(20):
            await trio.sleep(10)
        assert any("measurement" in each for each in stage.agent.check())


@attrs.define
class Agent:
    """As much of an agent's handle as a service manager is told."""

    state: str = "online"
    running: tuple[object, ...] = ()
    late: tuple[str, ...] = ()
    over: trio.Event = attrs.field(factory=trio.Event)

    def check(self) -> tuple[str, ...]:
        return self.late

    async def finished(self) -> None:
        await self.over.wait()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd listens on. Datagrams on one host are there as soon as they are sent."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


def heard(manager: socket.socket) -> list[str]:
    said = []
    while True:
        try:
            said.append(manager.recv(4096).decode())
        except BlockingIOError:
            return said


async def test_the_watchdog_is_fed_while_the_loops_turn(
    manager: socket.socket, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    agent = Agent()
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "30000000"}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(report_to_manager, agent, environ)
        await trio.sleep(28)
        said = heard(manager)
        assert said[0] == "READY=1"
        assert said.count("WATCHDOG=1") == 6  # at 0, 1, 3, 7, 15, 25
        assert "STATUS=online, 0 tasks running" in said
        agent.late, agent.running = ("the session has not run for 99 s",), (object(),)
        await trio.sleep(30)
        assert heard(manager) == ["STATUS=online, 1 task running"]
        assert caplog.text.count("the session has not run") == 1
        agent.late, agent.state = (), "draining"
        await trio.sleep(10)
        assert heard(manager) == ["WATCHDOG=1", "STATUS=draining, 1 task running", "STOPPING=1"]
        agent.over.set()
    assert heard(manager) == ["STOPPING=1"]


async def test_what_an_agent_comes_to_is_told_soon(
    manager: socket.socket, autojump_clock: MockClock
) -> None:
    agent = Agent(state="connecting")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(report_to_manager, agent, {"NOTIFY_SOCKET": manager.getsockname()})
        await trio.sleep(0.5)
        agent.state = "online"
        await trio.sleep(1)
        assert heard(manager) == [
            "READY=1",
            "STATUS=connecting, 0 tasks running",
            "STATUS=online, 0 tasks running",
        ]
        agent.over.set()


async def test_no_manager_nothing_to_say(autojump_clock: MockClock) -> None:
    await report_to_manager(Agent(), {"WATCHDOG_USEC": "1000000"})
    assert trio.current_time() == 0


async def test_a_manager_that_is_away_harms_nobody(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    agent = Agent()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(report_to_manager, agent, {"NOTIFY_SOCKET": str(tmp_path / "none")})
        await trio.sleep(30)
        agent.over.set()


@pytest.mark.parametrize(
    ("extra", "fed"),
    [({"WATCHDOG_PID": "1"}, False), ({"WATCHDOG_USEC": "soon"}, False), ({}, True)],
)
async def test_whose_watchdog_it_is(
    extra: dict[str, str], fed: bool, manager: socket.socket, autojump_clock: MockClock
) -> None:
    agent = Agent()
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "3000000", **extra}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(report_to_manager, agent, environ)
        await trio.sleep(5)
        agent.over.set()
    assert ("WATCHDOG=1" in heard(manager)) is fed
