"""The events of an agent's runs, for the program that embeds it."""

from __future__ import annotations

import gc
from collections.abc import Iterable

import attrs
import pytest
import trio
from support.agent import CONFIG, begin, expect_task, keep_reading, make_task, open_stage
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_afrender import (
    AgentEvent,
    AgentEvents,
    RunLogLine,
    RunOutcome,
    RunProgress,
    RunStarted,
    TaskStatus,
    TaskUpdate,
)
from trio_afrender.agent import run_events
from trio_afrender.agent.run_events import RunEventHub
from trio_afrender.protocol.messages import Events, RunRef, TaskExec, Update

NIMBY = 4
"""The bit of a render's state."""


async def read_until_outcome(events: AgentEvents) -> list[AgentEvent]:
    found: list[AgentEvent] = []
    with trio.fail_after(100):
        async for event in events:
            found.append(event)
            if isinstance(event, RunOutcome):
                return found
    raise AssertionError("the stream ended")


async def test_a_run_from_its_start_to_its_outcome(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        with stage.agent.events() as events:
            link, child = await begin(stage)
            async with keep_reading(link):
                await child.write(b"PROGRESS: 50%\n")
                await trio.sleep(1)
                child.exit(3)
                found = await read_until_outcome(events)
    first, last = found[0], found[-1]
    assert isinstance(first, RunStarted)
    assert (first.run, first.key, first.continued) == ("r1", make_task().key, False)
    assert first.task.command_block == "render 0"
    progress = [event for event in found if isinstance(event, RunProgress)]
    assert progress[-1].update.percent == 50
    lines = [event.text for event in found if isinstance(event, RunLogLine)]
    assert any("exit code 3" in line for line in lines)
    assert isinstance(last, RunOutcome)
    assert (last.update.status, last.update.exit_code) == (TaskStatus.FinishedError, 3)
    assert "PROGRESS: 50%" in last.update.output
    assert last.reported
    assert (last.missed_lines, last.missed_output) == (0, 0)


async def test_a_stream_begins_with_the_runs_that_are_there(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await begin(stage)
        with stage.agent.events() as events:
            event = await anext(events)
            assert isinstance(event, RunStarted)
            assert event.continued
            assert isinstance(await anext(events), RunProgress)


async def test_the_stream_ends_with_the_agent(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        events = stage.agent.events()
        await begin(stage)
        stage.agent.stop_now("enough")
        with trio.fail_after(100):
            found = [event async for event in events]
        assert isinstance(found[-1], RunOutcome)
        assert [event async for event in stage.agent.events()] == []


async def test_runs_that_are_left_have_no_outcome(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        events = stage.agent.events()
        await begin(stage)
        stage.agent.leave("upgrade")
        with trio.fail_after(100):
            kinds = {type(event) async for event in events}
    assert kinds == {RunStarted, RunProgress}


async def test_a_run_that_the_server_takes_away(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        with stage.agent.events() as events:
            link, _ = await begin(stage)
            async with keep_reading(link):
                await link.send(Events(closes=(RunRef.of(make_task()),)))
                found = await read_until_outcome(events)
    outcome = found[-1]
    assert isinstance(outcome, RunOutcome)
    assert not outcome.reported


async def test_a_reader_with_too_many_outcomes_stops_new_tasks(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_events, "MAX_OUTCOMES", 2)
    async with open_stage(attrs.evolve(CONFIG, max_tasks=4)) as stage:
        link = await stage.server.accept()
        await link.welcome()
        with stage.agent.events() as events:
            for number in range(2):
                await link.send(Events(tasks=(make_task(f"r{number}", number),)))
                (await stage.host.spawn.next()).exit(0)
                await expect_task(link, over=True, run=f"r{number}")
            await link.send(Events(tasks=(make_task("r2", 2),)))
            refused = await expect_task(link, over=True, run="r2")
            assert refused.status is TaskStatus.GiveBack
            assert "2 outcomes to read" in refused.why[0].text
            runs = [(await read_until_outcome(events))[-1].run for _ in range(2)]
            assert runs == ["r0", "r1"], "none is lost; the task that was refused is no run"
            await link.send(Events(tasks=(make_task("r3", 3),)))
            (await stage.host.spawn.next()).exit(0)
            done = await expect_task(link, over=True, run="r3")
            assert done.status.success
            await read_until_outcome(events)


async def test_a_stream_that_is_closed_or_dropped_stops_nothing(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_events, "MAX_OUTCOMES", 1)
    async with open_stage() as stage:
        link = await stage.server.accept()
        await link.welcome()
        for end_stream in (AgentEvents.close, lambda stream: None):
            stream = stage.agent.events()
            await link.send(Events(tasks=(make_task(),)))
            (await stage.host.spawn.next()).exit(0)
            await link.expect(Update, lambda update: bool((update.state or 0) & NIMBY))
            end_stream(stream)
            assert stream.unread_outcomes == (end_stream is not AgentEvents.close)
            del stream
            gc.collect()
            await link.expect(Update, lambda update: not (update.state or NIMBY) & NIMBY)
            await link.send(Events(closes=(RunRef.of(make_task()),)))


# The stream by itself.


def put_lines(hub: RunEventHub, task: TaskExec, lines: Iterable[str]) -> None:
    hub.logged(task, "\n".join(lines))


def update_of(
    task: TaskExec, status: TaskStatus = TaskStatus.Percent, **fields: int | str
) -> TaskUpdate:
    return TaskUpdate(run=task.run, **task.key._asdict(), status=status, **fields)  # type: ignore[arg-type]  # each by its name


@pytest.fixture
def hub() -> RunEventHub:
    return RunEventHub(lambda reason: None)


async def take(events: AgentEvents, number: int) -> list[AgentEvent]:
    return [await anext(events) for _ in range(number)]


async def test_progress_is_conflated(hub: RunEventHub) -> None:
    events, task, other = hub.open(()), make_task(), make_task("r2", 1)
    for percent in (10, 20, 30):
        hub.progressed(update_of(task, percent=percent))
        hub.progressed(update_of(other, percent=percent + 1))
    first, second = await take(events, 2)
    assert isinstance(first, RunProgress)
    assert isinstance(second, RunProgress)
    assert (first.run, first.update.percent, first.missed) == ("r1", 30, 2)
    assert (second.run, second.update.percent, second.missed) == ("r2", 31, 2)
    hub.progressed(update_of(task, percent=40))
    (third,) = await take(events, 1)
    assert isinstance(third, RunProgress)
    assert third.missed == 0


async def test_an_outcome_replaces_progress(hub: RunEventHub) -> None:
    events, task = hub.open(()), make_task()
    hub.progressed(update_of(task, percent=10))
    hub.ended(update_of(task, TaskStatus.FinishedSuccess), task, reported=True)
    hub.close()
    assert [type(event) async for event in events] == [RunOutcome]


async def test_the_oldest_lines_are_left_out_and_counted(
    hub: RunEventHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_events, "MAX_LOG_LINES", 3)
    events, task, other = hub.open(()), make_task(), make_task("r2", 1)
    put_lines(hub, other, ["only one"])
    put_lines(hub, task, map(str, range(5)))
    lines = await take(events, 3)
    assert [(line.text, line.missed) for line in lines if isinstance(line, RunLogLine)] == [
        ("2", 2),
        ("3", 0),
        ("4", 0),
    ]
    hub.ended(update_of(other, TaskStatus.FinishedSuccess), other, reported=True)
    (outcome,) = await take(events, 1)
    assert isinstance(outcome, RunOutcome)
    assert outcome.missed_lines == 1
    put_lines(hub, task, ["5"])
    assert [event.text for event in await take(events, 1) if isinstance(event, RunLogLine)] == ["5"]


async def test_long_lines_are_left_out_by_their_size(
    hub: RunEventHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_events, "MAX_LOG_SIZE", 100)
    events, task = hub.open(()), make_task()
    put_lines(hub, task, ["a" * 60, "b" * 60, "c" * 30])
    first, second = await take(events, 2)
    assert isinstance(first, RunLogLine)
    assert isinstance(second, RunLogLine)
    assert (first.text[0], first.missed, second.text[0]) == ("b", 1, "c")


async def test_output_beyond_the_limit_is_left_out(
    hub: RunEventHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_events, "MAX_OUTPUT", 15)
    events = hub.open(())
    for number in range(2):
        task = make_task(f"r{number}", number)
        update = update_of(task, TaskStatus.FinishedSuccess, output="x" * 10)
        hub.ended(update, task, reported=True)
    found = [event for event in await take(events, 2) if isinstance(event, RunOutcome)]
    assert [(len(event.update.output), event.missed_output) for event in found] == [
        (10, 0),
        (0, 10),
    ]


async def test_two_readers_get_everything(hub: RunEventHub) -> None:
    first, second, task = hub.open(()), hub.open(()), make_task()
    hub.started(task, continued=False)
    hub.close()
    assert len([event async for event in first]) == 1
    assert len([event async for event in second]) == 1


async def test_a_reader_that_waits_is_woken(hub: RunEventHub) -> None:
    events, task, found = hub.open(()), make_task(), list[AgentEvent]()

    async def read() -> None:
        found.extend([event async for event in events])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        hub.started(task, continued=False)
        await wait_all_tasks_blocked()
        assert len(found) == 0
        hub.close()
    assert len(found) == 1


async def test_a_cancelled_reader_loses_nothing(hub: RunEventHub) -> None:
    events, task = hub.open(()), make_task()
    with trio.move_on_after(0):
        await anext(events)
    hub.started(task, continued=False)
    assert isinstance(await anext(events), RunStarted)
