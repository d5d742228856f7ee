"""When an agent counts as hanging, and what it reports to a service manager."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
from support.agent import CONFIG, begin, open_stage
from trio.testing import MockClock

from trio_afrender import run_agent
from trio_afrender.agent.loop_watchdog import LoopWatchdog
from trio_afrender.cli.systemd_notify import report_to_manager
from trio_afrender.protocol.messages import Ack, Events, Register, Registered, Update
from trio_afrender.testing import MemoryHost
from trio_afrender.transport.interfaces import Link


def test_a_late_loop_is_named() -> None:
    now = [0.0]
    watchdog = LoopWatchdog(lambda: now[0])
    watchdog.expect_within("one", 5)
    watchdog.expect_within("two")
    now[0] = 5.0
    assert watchdog.overdue() == ()
    now[0] = 9.0
    assert watchdog.overdue() == ("one has not run for 9 s",)
    watchdog.expect_within("one", 5)
    assert watchdog.overdue() == ()


async def test_a_working_agent_never_counts_as_hanging(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await begin(stage)
        for _ in range(100):
            await trio.sleep(10)
            assert stage.agent.check() == ()


async def test_an_agent_without_a_server_does_not_count_as_hanging(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        link, _ = await begin(stage)
        stage.server.refuse(True)
        await link.cut()
        for _ in range(100):
            await trio.sleep(10)
            assert stage.agent.check() == ()


async def test_a_hanging_measurement_is_reported(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await begin(stage)
        stage.host.stuck = True
        for _ in range(20):
            await trio.sleep(10)
        assert any("measurement" in each for each in stage.agent.check())


@attrs.define
class Agent:
    """The part of an agent's handle that is reported to a service manager."""

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
    """The socket of systemd. A datagram on one host arrives as soon as it is sent."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


def receive_all(manager: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(manager.recv(4096).decode())
        except BlockingIOError:
            return messages


async def test_the_watchdog_is_fed_while_the_loops_run(
    manager: socket.socket, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    agent = Agent()
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "30000000"}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(report_to_manager, agent, environ)
        await trio.sleep(28)
        messages = receive_all(manager)
        assert messages[0] == "READY=1"
        assert messages.count("WATCHDOG=1") == 6  # at 0, 1, 3, 7, 15, 25
        assert "STATUS=online, 0 tasks running" in messages
        agent.late, agent.running = ("the session has not run for 99 s",), (object(),)
        await trio.sleep(30)
        assert receive_all(manager) == ["STATUS=online, 1 task running"]
        assert caplog.text.count("the session has not run") == 1
        agent.late, agent.state = (), "draining"
        await trio.sleep(10)
        assert receive_all(manager) == [
            "WATCHDOG=1",
            "STATUS=draining, 1 task running",
            "STOPPING=1",
        ]
        agent.over.set()
    assert receive_all(manager) == ["STOPPING=1"]


async def test_a_change_of_state_is_reported_within_a_second(
    manager: socket.socket, autojump_clock: MockClock
) -> None:
    agent = Agent(state="connecting")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(report_to_manager, agent, {"NOTIFY_SOCKET": manager.getsockname()})
        await trio.sleep(0.5)
        agent.state = "online"
        await trio.sleep(1)
        assert receive_all(manager) == [
            "READY=1",
            "STATUS=connecting, 0 tasks running",
            "STATUS=online, 0 tasks running",
        ]
        agent.over.set()


def fill_queue(manager: socket.socket) -> int:
    """Send until the manager takes nothing more; return the number of datagrams that it has.

    Its queue may be longer (net.unix.max_dgram_qlen) than what the buffer of one sender holds.
    """
    waiting, before = 0, -1
    with ExitStack() as senders:
        while waiting > before:
            before = waiting
            unit = senders.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            unit.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    unit.sendto(b"STATUS=other", manager.getsockname())
                    waiting += 1
    return waiting


async def test_what_the_manager_did_not_take_is_sent_again(
    manager: socket.socket, autojump_clock: MockClock
) -> None:
    """Its queue is full while many units start; without READY=1 it would stop the agent."""
    agent, waiting = Agent(), fill_queue(manager)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(report_to_manager, agent, {"NOTIFY_SOCKET": manager.getsockname()})
        await trio.sleep(2)
        assert receive_all(manager) == ["STATUS=other"] * waiting
        await trio.sleep(20)
        assert receive_all(manager) == ["READY=1", "STATUS=online, 0 tasks running"]
        agent.over.set()


async def test_without_a_manager_nothing_is_sent(autojump_clock: MockClock) -> None:
    await report_to_manager(Agent(), {"WATCHDOG_USEC": "1000000"})
    assert trio.current_time() == 0


async def test_a_missing_manager_is_no_error(tmp_path: Path, autojump_clock: MockClock) -> None:
    agent = Agent()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(report_to_manager, agent, {"NOTIFY_SOCKET": str(tmp_path / "none")})
        await trio.sleep(30)
        agent.over.set()


@pytest.mark.parametrize(
    ("extra", "fed"),
    [({"WATCHDOG_PID": "1"}, False), ({"WATCHDOG_USEC": "soon"}, False), ({}, True)],
)
async def test_the_watchdog_of_another_process_is_not_fed(
    extra: dict[str, str], fed: bool, manager: socket.socket, autojump_clock: MockClock
) -> None:
    agent = Agent()
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "3000000", **extra}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(report_to_manager, agent, environ)
        await trio.sleep(5)
        agent.over.set()
    assert ("WATCHDOG=1" in receive_all(manager)) is fed


@attrs.define(eq=False)
class SlowLink:
    """A link on a line that takes minutes for an update, or whose server acknowledges nothing."""

    seconds: float
    sent: int = 0

    async def register(self, register: Register) -> Registered:
        await trio.lowlevel.checkpoint()
        return Registered(id=1)

    async def send(self, update: Update) -> None:
        self.sent += 1
        await trio.sleep(self.seconds)

    async def receive(self) -> Events | Ack:
        await trio.sleep_forever()
        raise AssertionError

    async def deregister(self, reason: str) -> None:
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("seconds", [120.0, 0.0])
async def test_an_agent_that_waits_for_its_server_does_not_count_as_hanging(
    autojump_clock: MockClock, seconds: float
) -> None:
    """Sixteen updates are sent, then their acknowledgements are waited for."""
    link, host = SlowLink(seconds), MemoryHost()

    @asynccontextmanager
    async def connect() -> AsyncIterator[Link]:
        await trio.lowlevel.checkpoint()
        yield link

    async with trio.open_nursery() as nursery:
        run = partial(run_agent, CONFIG, connect=connect, outside=host.open())
        agent = await nursery.start(run)
        for _ in range(100):
            await trio.sleep(10)
            assert agent.check() == ()
        nursery.cancel_scope.cancel()
    assert link.sent == (16 if not seconds else 9)
