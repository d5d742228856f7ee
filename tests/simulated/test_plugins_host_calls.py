"""Hanging calls in a plugin host, in virtual time: which runs they cost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import cast

import attrs
import pytest
import trio
from support.plugins import make_spec
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_afrender.config import PluginSettings
from trio_afrender.errors import PluginError
from trio_afrender.plugins.host import host as host_module
from trio_afrender.plugins.host.connection import HostProcess
from trio_afrender.plugins.host.host import HostDied, PendingCall, PluginHost, restart_delay
from trio_afrender.plugins.host.host_protocol import CallLimits, HostFailure, Request
from trio_afrender.plugins.host.plugin_run import PluginRun

LIMITS = CallLimits(time=10.0, memory=2**30)


@attrs.define(eq=False)
class FakeHostProcess:
    """A host process. The test sends its replies."""

    pid: int = 1
    printed: str = "last output"
    alive: bool = True
    """Whether it answers pings."""
    cpu: float = 0.0
    runnable: bool = False
    memory: int = 0
    printed_all: trio.Event = attrs.field(factory=trio.Event)
    sent: list[Mapping[str, object]] = attrs.field(factory=list)
    _messages: list[dict[str, object]] = attrs.field(factory=list)
    _changed: trio.Event = attrs.field(factory=trio.Event)

    def send(self, message: Mapping[str, object]) -> None:
        self.sent.append(message)
        if message["op"] == "setup":
            self.reply({"hello": 1})
            self.reply({"thread": 77, "run": 5})
        elif message["op"] == "ping" and self.alive:
            self.reply({"id": message["id"], "value": None})

    def send_later(self, message: Mapping[str, object]) -> None:
        self.sent.append(message)

    def reply(self, message: dict[str, object]) -> None:
        self._messages.append(message)
        self._changed.set()
        self._changed = trio.Event()

    async def receive(self) -> list[dict[str, object]]:
        while not self._messages:
            await self._changed.wait()
        messages, self._messages = self._messages, []
        return messages

    async def listen(self) -> None:
        await trio.sleep_forever()

    write = exited = listen

    def resident(self) -> int:
        return self.memory

    def cpu_usage(self) -> tuple[float, bool]:
        return self.cpu, self.runnable

    async def where_is(self, thread: int) -> str:
        await trio.lowlevel.checkpoint()
        return f"the stack of thread {thread}"


@asynccontextmanager
async def running(*, shared: bool) -> AsyncIterator[tuple[PluginHost, FakeHostProcess]]:
    process = FakeHostProcess()
    host = PluginHost(cast("HostProcess", process), LIMITS, shared=shared)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(run, host))
        yield host, process
        nursery.cancel_scope.cancel()


async def run(host: PluginHost, *, task_status: trio.TaskStatus[PluginHost]) -> None:
    await host.run(PluginSettings(), [], task_status)
    host.release()


def call(host: PluginHost, run: int) -> PendingCall:
    return host.call(run, Request("parse", {}, lambda value: value), lambda _: None)


def reply_to(process: FakeHostProcess, run: int) -> None:
    number = next(each["id"] for each in reversed(process.sent) if each.get("run") == run)
    process.reply({"id": number, "value": "done", "position": 0, "problems": []})


async def test_an_own_host_fails_with_its_call(autojump_clock: MockClock) -> None:
    async with running(shared=False) as (host, _):
        started = trio.current_time()
        pending = call(host, 5)
        await pending.done.wait()
        assert trio.current_time() - started == pytest.approx(LIMITS.time, abs=0.5)
        assert pending.failure is not None
        assert pending.failure.run == 5
        assert "the call parse does not come back" in pending.failure.text
        assert pending.failure.details == "the stack of thread 77"
        with pytest.raises(HostDied):
            call(host, 5)


async def test_a_call_without_processor_time_has_a_longer_limit(autojump_clock: MockClock) -> None:
    async with running(shared=False) as (host, process):
        process.runnable = True
        started = trio.current_time()
        pending = call(host, 5)
        await pending.done.wait()
        assert trio.current_time() - started == pytest.approx(3 * LIMITS.time, abs=0.5)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("before", [0.0, 5.0])
async def test_time_in_which_the_agent_did_not_run_does_not_count(
    before: float, shared: bool, autojump_clock: MockClock
) -> None:
    """It was stopped, and has not read the replies that the host has sent meanwhile."""
    async with running(shared=shared) as (host, process):
        process.alive = False  # its answer to the ping is late as well
        pending = call(host, 5)
        await trio.sleep(before)
        autojump_clock.jump(100.0)
        await wait_all_tasks_blocked()
        await trio.sleep(4.0)
        assert not pending.done.is_set()
        reply_to(process, 5)
        await pending.done.wait()
        assert pending.reply is not None
        assert host.failure is None


async def test_a_call_that_hangs_is_given_up_although_the_agent_did_not_run(
    autojump_clock: MockClock,
) -> None:
    async with running(shared=False) as (host, _):
        pending = call(host, 5)
        autojump_clock.jump(100.0)
        started = trio.current_time()
        await pending.done.wait()
        assert trio.current_time() - started == pytest.approx(LIMITS.time, abs=0.5)


async def test_a_hanging_call_of_the_shared_host_costs_its_run_alone(
    autojump_clock: MockClock,
) -> None:
    async with running(shared=True) as (host, process):
        started = trio.current_time()
        hanging, other = call(host, 1), call(host, 2)
        await trio.sleep(1.0)
        reply_to(process, 2)
        await other.done.wait()
        assert other.reply is not None
        await hanging.done.wait()
        assert trio.current_time() - started == pytest.approx(3 * LIMITS.time, abs=0.5)
        assert hanging.failure is not None
        assert hanging.failure.run == 1
        assert host.failure is None
        assert {"op": "abandon", "run": 1} in process.sent
        later = call(host, 2)
        reply_to(process, 2)
        await later.done.wait()
        assert later.reply is not None


async def test_the_shared_host_is_replaced_when_many_threads_are_lost(
    autojump_clock: MockClock,
) -> None:
    async with running(shared=True) as (host, _):
        hanging = [call(host, run) for run in range(host_module.MAX_STUCK_CALLS)]
        for pending in hanging:
            await pending.done.wait()
        await host.ended.wait()
        assert host.failure is not None
        assert host.failure.run is None
        assert "calls that do not come back" in host.failure.text


async def test_a_shared_host_in_which_nothing_runs_fails_for_all(autojump_clock: MockClock) -> None:
    async with running(shared=True) as (host, process):
        process.alive = False
        started = trio.current_time()
        calls = [call(host, 1), call(host, 2)]
        for pending in calls:
            await pending.done.wait()
            assert pending.failure is not None
            assert pending.failure.run is None
            assert "does not answer" in pending.failure.text
        assert trio.current_time() - started == pytest.approx(LIMITS.time, abs=1.0)


@pytest.mark.parametrize("shared", [True, False])
async def test_memory_is_the_fault_of_a_run_only_in_its_own_host(
    shared: bool, autojump_clock: MockClock
) -> None:
    async with running(shared=shared) as (host, process):
        process.memory = LIMITS.memory + 1
        pending = call(host, 4)
        await pending.done.wait()
        assert pending.failure is not None
        assert pending.failure.run == (None if shared else 4)
        assert "the setting plugin_memory" in pending.failure.text


async def test_an_idle_host_is_not_checked(autojump_clock: MockClock) -> None:
    async with running(shared=True) as (host, process):
        pending = call(host, 1)
        reply_to(process, 1)
        await pending.done.wait()
        process.memory = LIMITS.memory + 1
        await trio.sleep(1000.0)
        assert host.failure is None
        assert not any(each["op"] == "ping" for each in process.sent)


async def test_a_cancelled_call_does_not_hide_that_a_host_has_failed(
    autojump_clock: MockClock,
) -> None:
    """The next one, too, waits for the end of that host, and reports it."""
    asked: list[float] = []

    async def get_host(run: PluginRun) -> PluginHost:
        await trio.lowlevel.checkpoint()
        asked.append(trio.current_time())
        raise PluginError("no host here")

    run = PluginRun(1, make_spec("generic"), Path("/"), get_host)
    run.host = host = PluginHost(cast("HostProcess", FakeHostProcess()), LIMITS, shared=True)
    host.failure = HostFailure("died")
    request, begun = Request("log", {}, lambda value: value), trio.current_time()
    with trio.move_on_after(1):
        await run.call(request)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.call, request)
        await trio.sleep(1)
        host.release()
    assert asked == [begun + 2]
    assert "the plugin host died and was restarted" in "\n".join(run.take_problems())


def test_the_first_restarts_cost_no_delay() -> None:
    assert [restart_delay([100.0] * n, 100.0) for n in (0, 3, 4, 5, 20)] == [0, 0, 0.25, 0.5, 5.0]
    assert restart_delay([10.0] * 9, 100.0) == 0.0


def test_a_host_that_was_cancelled_takes_no_call() -> None:
    """Else its next caller would write to a socket that is closed."""
    host = PluginHost(cast("HostProcess", FakeHostProcess()), LIMITS, shared=True)
    host.release()
    with pytest.raises(HostDied):
        host.call(5, Request("log", {}, lambda value: value), lambda call: None)
