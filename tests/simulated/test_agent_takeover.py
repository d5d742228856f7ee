"""An agent that is killed, and the next one on the same host."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import attrs
import pytest
import trio
from support.agent import begin, expect_task, make_task, open_stage
from trio.testing import MockClock

from trio_afrender.agent.journal_format import PendingState, make_record
from trio_afrender.process.interfaces import TreeSignal
from trio_afrender.protocol.messages import Events, RunRef, TaskExec, TaskStatus, Update
from trio_afrender.testing import MemoryHost, open_scripted_server
from trio_afrender.testing.memory_host import MemoryJournal


async def test_an_outcome_outlives_its_agent(autojump_clock: MockClock) -> None:
    host = MemoryHost()
    async with open_scripted_server() as server:
        async with open_stage(host=host, server=server):
            link = await server.accept()
            await link.welcome()
            await link.send(Events(tasks=(make_task("r1"),)))
            child = await host.spawn.next()
            await child.write(b"frame 1\n")
            child.exit(0)
            outcome = await expect_task(link, over=True)
            # The agent ends before the server closes the run.
        async with open_stage(host=host, server=server) as second:
            link = await server.accept()
            register = await link.welcome()
            assert [task.run for task in register.undelivered] == ["r1"]
            assert register.running == ()
            again = await expect_task(link, over=True)
            assert again == outcome
            assert again.output == "frame 1\n"
            await link.send(Events(closes=(RunRef.of(again),)))
            await link.expect(Update)
            second.agent.drain("test")
            await second.agent.finished()
        async with open_stage(host=host, server=server):
            register = await (await server.accept()).welcome()
            assert register.undelivered == (), "a closed run stays closed"


async def test_a_run_that_lost_its_agent_is_given_back_with_its_output(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    host = MemoryHost()
    async with open_scripted_server() as server:
        async with open_stage(host=host, server=server):
            link = await server.accept()
            await link.welcome()
            await link.send(Events(tasks=(make_task("r1"),)))
            child = await host.spawn.next()
            await child.write(b"half a frame\n")
            await expect_task(link)
        async with open_stage(host=host, server=server):
            link = await server.accept()
            await link.welcome()
            log = await link.expect(Update, lambda update: bool(update.log))
            assert "The agent was killed" in log.log[0].text
            found = [task for task in log.tasks if task.status.terminal]
            outcome = found[0] if found else await expect_task(link, over=True)
            assert outcome.status is TaskStatus.GiveBack
            assert outcome.output.startswith("half a frame\n")
            assert outcome.why[0].event == "crash"
    assert "lost its agent" in caplog.text


async def test_an_outcome_of_a_refused_task_is_delivered_by_the_next_agent(
    autojump_clock: MockClock,
) -> None:
    host = MemoryHost()
    async with open_scripted_server() as server:
        async with open_stage(host=host, server=server) as first:
            link = await server.accept()
            await link.welcome()
            await link.send(Events(tasks=(make_task("r1"),)))
            await host.spawn.next()
            first.agent.drain("maintenance")
            await link.send(Events(tasks=(make_task("r2"),)))
            refused = await link.expect(Update, lambda u: any(t.run == "r2" for t in u.tasks))
            assert refused.tasks[0].status is TaskStatus.GiveBack
        async with open_stage(host=host, server=server):
            register = await (await server.accept()).welcome()
            assert "r2" in [task.run for task in register.undelivered]


@pytest.mark.parametrize("service", ["generic", "no-such-service"])
async def test_a_continued_run_whose_plugins_fail_is_ended(
    autojump_clock: MockClock, service: str
) -> None:
    """Its tree is alive: an agent that cannot load its plugins must end the tree too."""
    host = MemoryHost(inherited=frozenset({"r1"}))
    task = attrs.evolve(make_task("r1"), service=service)
    host.journal += make_record(Events(tasks=(task,)))
    async with open_stage(host=host) as stage:
        link = await stage.server.accept()
        register = await link.welcome()
        if service == "generic":
            assert [task.run for task in register.running] == ["r1"]
            child = await host.spawn.next()
            child.exit(0)
        outcome = await expect_task(link, over=True)
    expected = TaskStatus.FinishedSuccess if service == "generic" else TaskStatus.FailedToStart
    assert outcome.status is expected
    assert host.dismissed == ([] if service == "generic" else ["r1"])


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
async def test_a_stored_output_that_cannot_be_read_keeps_no_agent_from_starting(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A task may take the rights from its own log; else no later agent would start."""
    host = MemoryHost()
    host.journal += make_record(Events(tasks=(make_task("r1"),)))

    async def fail(*_: object) -> str:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(MemoryHost, "_read_stored_output", fail)
    async with open_stage(host=host) as stage:
        link = await stage.server.accept()
        await link.welcome()
        outcome = await expect_task(link, over=True)
    assert outcome.status is TaskStatus.GiveBack
    assert f"its output cannot be read: {os.strerror(number)}" in outcome.why[1].text


async def test_a_closed_run_that_still_ends_is_not_in_a_compact_journal(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its close is written already. The next agent would give it back, and list it as its own."""
    states: list[Callable[[], PendingState]] = []

    async def run(
        _: MemoryJournal, *, saved: Callable[[], None], now: Callable[[], PendingState]
    ) -> None:
        states.append(now)
        await trio.sleep_forever()

    monkeypatch.setattr(MemoryJournal, "run", run)
    async with open_stage() as stage:
        link, child = await begin(stage)
        child.dies_of = {TreeSignal.KILL}
        [now] = states
        assert list(now().tasks) == ["r1"]
        await link.send(Events(closes=(RunRef.of(make_task("r1")),)))
        await child.signalled()
        assert [view.run for view in stage.agent.running] == ["r1"]
        assert now().tasks == {}


async def test_a_continued_run_is_ended_although_a_descriptor_was_missing(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = MemoryHost(inherited=frozenset({"r1"}))
    task = attrs.evolve(make_task("r1"), service="no-such-service")
    host.journal += make_record(Events(tasks=(task,)))
    dismiss, failures = MemoryHost._dismiss, [errno.EMFILE, errno.ENOMEM]

    async def fail(host: MemoryHost, task: TaskExec) -> None:
        if failures:
            number = failures.pop()
            await trio.lowlevel.checkpoint()
            raise OSError(number, os.strerror(number))
        await dismiss(host, task)

    monkeypatch.setattr(MemoryHost, "_dismiss", fail)
    async with open_stage(host=host) as stage:
        link = await stage.server.accept()
        await link.welcome()
        outcome = await expect_task(link, over=True)
    assert outcome.status is TaskStatus.FailedToStart
    assert host.dismissed == ["r1"]


async def test_a_journal_that_is_rewritten_at_the_start_has_the_runs_that_continue(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs that are given back may fill it, or the disk have refused it. An agent that is killed then
    would leave a run of which the next one knows nothing."""
    written: list[list[str]] = []

    async def run(
        _: MemoryJournal, *, saved: Callable[[], None], now: Callable[[], PendingState]
    ) -> None:
        written.append(sorted(now().tasks))
        await trio.sleep_forever()

    monkeypatch.setattr(MemoryJournal, "run", run)
    host = MemoryHost(inherited=frozenset({"r1"}))
    host.journal += make_record(Events(tasks=(make_task("r1"), make_task("r2", 2))))
    async with open_stage(host=host) as stage:
        await (await stage.server.accept()).welcome()
    assert written == [["r1", "r2"]]
