"""A whole agent in virtual time, against a server that the test controls."""

from __future__ import annotations

import errno
import os
from itertools import pairwise

import attrs
import pytest
import trio
from support.agent import (
    CONFIG,
    begin,
    expect_task,
    keep_reading,
    make_task,
    open_stage,
)
from trio.testing import MockClock

from trio_afrender import LinkRefused, run_agent
from trio_afrender.agent import dispatcher
from trio_afrender.agent.dispatcher import Dispatcher
from trio_afrender.process.interfaces import TreeSignal
from trio_afrender.protocol.messages import (
    NIMBY,
    ONLINE,
    PAUSED,
    Deregister,
    Events,
    Refused,
    Register,
    Registered,
    RunRef,
    TaskStatus,
    TaskUpdate,
    Update,
)
from trio_afrender.testing import (
    FakeChild,
    MemoryHost,
    open_scripted_server,
)
from trio_afrender.testing.memory_host import MemoryHistory, MemoryJournal, MemoryRunFolder


async def test_the_register_describes_the_render(autojump_clock: MockClock) -> None:
    async with open_stage(attrs.evolve(CONFIG, nimby="nimby", capacity=500)) as stage:
        link = await stage.server.accept()
        register = await link.welcome()
        assert (register.name, register.state, register.capacity) == ("n1", 3, 500)
        assert register.engine.startswith("trio_afrender ")
        assert register.running == register.undelivered == ()
        await link.expect(Update)
        assert stage.agent.state == "online"


async def test_a_task_from_exec_to_close(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(make_task(),)))
        child = await stage.host.spawn.next()
        before = trio.current_time()
        assert (await expect_task(link)).status is TaskStatus.Percent
        assert trio.current_time() == before, "a start is sent at once"
        await child.write(b"PROGRESS: 40%\n")
        assert (await expect_task(link)).percent == 40
        before = trio.current_time()
        child.exit(0)
        outcome = await expect_task(link, over=True)
        assert trio.current_time() == before, "an end is sent at once"
        assert outcome.status is TaskStatus.FinishedSuccess
        assert outcome.output == "PROGRESS: 40%\n"
        assert not stage.host.places["r1"].removed
        await link.send(Events(closes=(RunRef.of(outcome),)))
        await trio.sleep(3)
        assert stage.host.places["r1"].removed


async def test_updates_are_sent_at_least_with_each_measurement(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        link = await stage.server.accept()
        await link.welcome(Registered(id=7, heartbeat_sec=0.5, zombie_time=12.0))
        first = await link.expect(Update)
        times = []
        for _ in range(5):
            update = await link.expect(Update)
            times.append(trio.current_time())
        assert update.seq == first.seq + 5
        # The host's resources, measured every five heartbeats, are sent with a heartbeat.
        assert all(b - a <= 3.0 for a, b in pairwise(times))


async def test_resources_are_sent_every_period(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        link = await stage.server.accept()
        await link.welcome(Registered(id=7, resources_update_period=4))
        await link.expect(Update, lambda u: u.resources is not None)
        start = trio.current_time()
        await link.expect(Update, lambda u: u.resources is not None)
        assert 3.0 <= trio.current_time() - start <= 5.0


async def test_a_start_and_a_stop_in_one_message_are_applied_in_order(
    autojump_clock: MockClock,
) -> None:
    """The run is started, then stopped; in another order it would keep running."""
    async with open_stage() as stage:
        link = await stage.server.accept()
        await link.welcome()
        task = make_task()
        await link.send(Events(tasks=(task,), stops=(RunRef.of(task, "changed my mind"),)))
        outcome = await expect_task(link, over=True)
        assert outcome.status is TaskStatus.FinishedKilled
        assert "changed my mind" in outcome.why[0].text
        assert stage.agent.running == ()


async def test_a_stop_of_an_unknown_run_is_answered(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(stops=(RunRef(run="lost", job=2, block=0, task=9),)))
        outcome = await expect_task(link, over=True, run="lost")
        assert outcome.status is TaskStatus.FinishedKilled
        assert outcome.key == (2, 0, 9, 0)


async def test_a_close_of_a_running_run_kills_it_without_a_report(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        link = await stage.server.accept()
        await link.welcome()
        task = make_task()
        await link.send(Events(tasks=(task,)))
        child = await stage.host.spawn.next()
        await expect_task(link)
        await link.send(Events(closes=(RunRef.of(task),)))
        await child.signalled()
        for _ in range(5):
            update = await link.expect(Update)
            assert not [t for t in update.tasks if t.status.terminal]
        assert stage.agent.running == ()
        assert stage.host.places["r1"].removed


async def test_a_new_run_of_a_key_waits_for_the_old_tree(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        stage.host.spawn.dies_of = frozenset({TreeSignal.KILL})
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(make_task("r1"),)))
        old = await stage.host.spawn.next()
        await expect_task(link)
        asked = trio.current_time()
        await link.send(Events(tasks=(make_task("r2"),)))
        new = await stage.host.spawn.next()
        assert trio.current_time() - asked == pytest.approx(10)
        assert old.reaped
        new.exit(0)
        outcome = await expect_task(link, over=True)
        assert outcome.run == "r2", "the old run is closed, not reported"


async def test_a_repeated_exec_starts_nothing(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(make_task(),)))
        child = await stage.host.spawn.next()
        await link.send(Events(tasks=(make_task(),)))
        await trio.sleep(1)
        child.exit(0)
        await expect_task(link, over=True)
        await link.send(Events(tasks=(make_task(),)))
        await trio.sleep(1)
        assert len(stage.host.spawn.launches) == 1


async def test_a_lost_link_leaves_runs_alone_and_nothing_is_lost(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(make_task("r1", 1), make_task("r2", 2))))
        first, second = await stage.host.spawn.next(), await stage.host.spawn.next()
        await expect_task(link, run="r2")
        stage.server.refuse(True)
        stage.server.cut()
        await trio.sleep(1)
        await first.write(b"printed without a link\n")
        first.exit(0)
        await trio.sleep(60)
        assert second.signals == []
        stage.server.refuse(False)
        link = await stage.server.accept()
        register = await link.welcome(Registered(id=1, resume=("r1", "r2")))
        over = first.launch.environment["AF_TASK_ID"]
        assert [str(t.task) for t in register.undelivered] == [over]
        assert [str(t.task) for t in register.running] == ["2" if over == "1" else "1"]
        outcome = await expect_task(link, over=True)
        assert outcome.output == "printed without a link\n"


async def test_reconnects_stay_quick_while_a_task_runs(autojump_clock: MockClock) -> None:
    """The server gives the tasks to others after a zombie time."""
    async with open_stage() as stage:
        await begin(stage)
        stage.server.refuse(True)
        stage.server.cut()
        await trio.sleep(300)
        stage.server.refuse(False)
        before = trio.current_time()
        await stage.server.accept()
        assert trio.current_time() - before <= 4.0


async def test_an_idle_render_is_back_before_the_server_gives_it_up(
    autojump_clock: MockClock,
) -> None:
    """It counts as online for a zombie time, and the server may hand tasks to it meanwhile."""
    async with open_stage() as stage:
        for _ in range(8):  # Each further drop would lengthen the wait.
            link = await stage.server.accept(within=200)
            before = trio.current_time()
            await link.welcome()
            await link.cut()
        link = await stage.server.accept(within=200)
        assert trio.current_time() - before <= 4.0
        await link.welcome()
        stage.server.refuse(True)
        await link.cut()
        await trio.sleep(600)
        stage.server.refuse(False)
        before = trio.current_time()
        await stage.server.accept(within=200)
        assert trio.current_time() - before <= 60.0, "later the wait may be longer"


async def test_a_stop_in_a_register_answer_is_never_reported(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(make_task("r1", 1), make_task("r2", 2))))
        by_task = {}
        for _ in range(2):
            child = await stage.host.spawn.next()
            by_task[child.launch.environment["AF_TASK_ID"]] = child
        await expect_task(link, run="r2")
        await link.cut()
        by_task["1"].exit(0)
        link = await stage.server.accept()
        await link.welcome(Registered(id=2, stop=("r1", "r2")))
        await by_task["2"].signalled()
        for _ in range(20):
            update = await link.expect(Update)
            assert not [t for t in update.tasks if t.status.terminal]
        assert stage.agent.running == ()


async def test_an_invalid_message_costs_only_the_link(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        link, child = await begin(stage)
        await link.send_text('{"type": "events", "tasks": 7}')
        link = await stage.server.accept()
        register = await link.welcome(Registered(id=1, resume=("r1",)))
        assert [t.run for t in register.running] == ["r1"]
        child.exit(0)
        assert (await expect_task(link, over=True)).status is TaskStatus.FinishedSuccess


async def test_a_taken_name_is_tried_for_two_zombie_times(autojump_clock: MockClock) -> None:
    host = MemoryHost()
    async with open_scripted_server() as server, trio.open_nursery() as nursery:

        async def refuse() -> None:
            while True:
                link = await server.accept(within=1000)
                await link.expect(Register)
                await link.send(Refused(reason="name-taken", retry_after=1.0))
                await link.aclose()

        nursery.start_soon(refuse)
        started = trio.current_time()
        with pytest.raises(LinkRefused, match="name-taken"):
            await run_agent(CONFIG, connect=server.connect, outside=host.open())
        assert 32 <= trio.current_time() - started <= 200
        nursery.cancel_scope.cancel()


async def test_a_final_refusal_ends_the_agent_at_once(autojump_clock: MockClock) -> None:
    host = MemoryHost()
    async with open_scripted_server() as server, trio.open_nursery() as nursery:

        async def refuse() -> None:
            link = await server.accept()
            await link.expect(Register)
            await link.send(Refused(reason="version", text="too old"))

        nursery.start_soon(refuse)
        with pytest.raises(LinkRefused, match="too old"):
            await run_agent(CONFIG, connect=server.connect, outside=host.open())
        nursery.cancel_scope.cancel()


async def test_drain_finishes_delivers_and_deregisters(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(make_task("r1", 1),)))
        child = await stage.host.spawn.next()
        await expect_task(link)
        stage.agent.drain("maintenance")
        await link.expect(Update, lambda u: u.state == ONLINE | NIMBY | PAUSED)
        await link.send(Events(tasks=(make_task("r2", 2),)))
        refused = await expect_task(link, over=True)
        assert refused.status is TaskStatus.GiveBack
        assert "maintenance" in refused.why[0].text
        await link.send(Events(closes=(RunRef.of(refused),)))
        await trio.sleep(5)
        assert child.signals == []
        child.exit(0)
        outcome = await expect_task(link, over=True, run="r1")
        assert outcome.status is TaskStatus.FinishedSuccess
        await link.send(Events(closes=(RunRef.of(outcome),)))
        deregister = None
        while not isinstance(deregister, Deregister):
            deregister = await link.receive()
        assert deregister.reason == "maintenance"
        await stage.agent.finished()


async def test_drain_stops_a_task_that_does_not_end_within_the_budget(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        link, child = await begin(stage)
        start = trio.current_time()
        stage.agent.drain("spot notice", 60)
        async with keep_reading(link) as received:
            await child.signalled()
            await trio.sleep(1)
        assert trio.current_time() - start == pytest.approx(46), "60 s less grace and flush"
        assert received[-1].status is TaskStatus.GiveBack


async def test_a_drain_without_a_server_ends_within_its_budget(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        _, child = await begin(stage)
        stage.server.refuse(True)
        stage.server.cut()
        child.exit(0)
        start = trio.current_time()
        stage.agent.drain("going down", 30)
        await stage.agent.finished()
        assert trio.current_time() - start <= 30


async def test_a_drain_without_outcomes_does_not_wait_for_a_server(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        stage.server.refuse(True)
        await trio.sleep(100)
        start = trio.current_time()
        stage.agent.drain("going down", 60)
        await stage.agent.finished()
        assert trio.current_time() == start


async def test_stop_now_is_quick_and_still_reports(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        stage.host.spawn.dies_of = frozenset({TreeSignal.KILL})
        link, child = await begin(stage)
        start = trio.current_time()
        stage.agent.drain("first signal")
        await trio.sleep(1)
        stage.agent.stop_now("second signal")
        outcome = await expect_task(link, over=True)
        assert outcome.status is TaskStatus.GiveBack
        assert [(round(when - start, 3), name) for when, name in child.signals] == [
            (1.0, "TERM"),
            (3.0, "KILL"),
        ]
        await link.send(Events(closes=(RunRef.of(outcome),)))
        await stage.agent.finished()
        assert trio.current_time() - start <= 4


async def test_the_instruction_exit_ends_the_agent(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        link, child = await begin(stage)
        await link.send(Events(instruction="exit"))
        await child.signalled()
        outcome = await expect_task(link, over=True)
        await link.send(Events(closes=(RunRef.of(outcome),)))
        await stage.agent.finished()


async def test_an_idle_agent_leaves_after_the_servers_time_limit(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        link = await stage.server.accept()
        await link.welcome(Registered(id=1, exit_no_task_time=30.0))
        await link.expect_end(within=100)
        assert 30 <= trio.current_time() <= 45


async def test_an_agent_with_short_tasks_does_not_leave_as_an_idle_one(
    autojump_clock: MockClock,
) -> None:
    """They come and go between two measurements of the host."""
    async with open_stage() as stage:
        link = await stage.server.accept()
        await link.welcome(Registered(id=1, exit_no_task_time=30.0))
        for number in range(12):
            async with keep_reading(link):
                await trio.sleep(10 - (trio.current_time() - 1) % 10)
            await link.send(Events(tasks=(make_task(f"r{number}", number),)))
            (await stage.host.spawn.next()).exit(0)
            outcome = await expect_task(link, over=True)
            await link.send(Events(closes=(RunRef.of(outcome),)))
        assert stage.agent.state == "online"
        await link.expect_end(within=100)


async def test_a_task_stopped_on_this_host_is_given_back_twice_then_it_is_an_error(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        link = await stage.server.accept()
        await link.welcome()
        statuses = []
        for i in range(3):
            task = make_task(f"r{i}")
            await link.send(Events(tasks=(task,)))
            await stage.host.spawn.next()
            await expect_task(link, run=f"r{i}")
            assert stage.agent.stop_task(task.key, "the artist is back")
            outcome = await expect_task(link, over=True, run=f"r{i}")
            statuses.append(outcome.status)
            await link.send(Events(closes=(RunRef.of(outcome),)))
        assert statuses == [TaskStatus.GiveBack, TaskStatus.GiveBack, TaskStatus.FinishedError]


async def test_output_is_sent_on_request_and_to_listeners(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        link = await stage.server.accept()
        await link.welcome()
        task = make_task(parser="")
        await link.send(Events(tasks=(task,)))
        child = await stage.host.spawn.next()
        await child.write(b"early\n")
        ref, unknown = RunRef.of(task), RunRef(run="no", job=9, block=9, task=9)
        await trio.sleep(2)
        await link.send(Events(listens_add=(ref,), outputs=(ref, unknown)))
        texts: dict[str, str] = {}
        while len(texts) < 2:
            update = await link.expect(Update, lambda u: bool(u.outputs))
            texts.update((answer.run, answer.output) for answer in update.outputs)
        assert texts == {"r1": "early\n", "no": "This render does not run that task.\n"}
        await trio.sleep(2)
        await child.write(b"late\n")
        update = await link.expect(Update, lambda u: bool(u.listened))
        assert "".join(e.text for e in update.listened) == "late\n"
        await link.send(Events(listens_rem=(ref,)))
        await trio.sleep(2)
        await child.write(b"not listened\n")
        for _ in range(5):
            assert not (await link.expect(Update)).listened


async def test_no_task_starts_until_leftovers_are_gone(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(make_task("r1", 1),)))
        child = await stage.host.spawn.next()
        child.dies_of, child.leftovers = set(), (child.pid,)
        await expect_task(link)
        await link.send(Events(stops=(RunRef.of(make_task("r1", 1)),)))
        updates: list[Update] = []
        while not any(task.status.terminal for update in updates for task in update.tasks):
            updates.append(await link.expect(Update))
        assert updates[-1].tasks[-1].leftovers == (child.pid,)
        states = [update.state for update in updates if update.state is not None]
        assert states == [ONLINE | NIMBY | PAUSED]
        # The server may not have read the state yet, and hand the same task out again and again.
        for number in range(5):
            await link.send(Events(tasks=(make_task(f"again-{number}", 2),)))
            refused = await expect_task(link, over=True, run=f"again-{number}")
            assert refused.status is TaskStatus.GiveBack
            assert str(child.pid) in refused.why[0].text
            await link.send(Events(closes=(RunRef.of(refused),)))
        child.leftovers = ()
        child.exit(signal=9)
        with trio.fail_after(100):
            await link.expect(Update, lambda update: update.state == ONLINE)
        await link.send(Events(tasks=(make_task("r3", 3),)))
        (await stage.host.spawn.next()).exit(0)
        assert (await expect_task(link, over=True, run="r3")).status is TaskStatus.FinishedSuccess


async def test_no_task_starts_while_too_many_outcomes_are_not_closed(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "MAX_OUTCOMES_SIZE", 30_000)
    async with open_stage() as stage:
        link = await stage.server.accept()
        await link.welcome()
        ended: list[TaskUpdate] = []
        updates: list[Update] = []
        for number in range(3):
            await link.send(Events(tasks=(make_task(f"r{number}", number),)))
            child = await stage.host.spawn.next()
            await child.write(b"x" * 8000)
            child.exit(0)
            while len(ended) == number:
                updates.append(await link.expect(Update))
                ended += [task for task in updates[-1].tasks if task.status.terminal]
        while not (states := [update.state for update in updates if update.state is not None]):
            updates.append(await link.expect(Update))
        assert states == [ONLINE | NIMBY | PAUSED]
        await link.send(Events(tasks=(make_task("r4", 4),)))
        refused = await expect_task(link, over=True, run="r4")
        assert refused.status is TaskStatus.GiveBack
        assert "has not closed the outcomes of ended tasks" in refused.why[0].text
        await link.send(Events(closes=tuple(map(RunRef.of, (*ended, refused)))))
        await link.expect(Update, lambda update: update.state == ONLINE)
        await link.send(Events(tasks=(make_task("r5", 5),)))
        (await stage.host.spawn.next()).exit(0)
        assert (await expect_task(link, over=True, run="r5")).status is TaskStatus.FinishedSuccess


async def test_leftovers_of_an_earlier_agent_count_too(autojump_clock: MockClock) -> None:
    async with open_stage(host=MemoryHost(unkillable=(77,))) as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(make_task("r1", 1),)))
        refused = await expect_task(link, over=True)
        assert refused.status is TaskStatus.GiveBack
        assert "waits for pids 77 that survived KILL" in refused.why[0].text
        stage.host.unkillable_gone.set()
        await link.expect(Update, lambda update: update.state == ONLINE)
        await link.send(Events(tasks=(make_task("r2", 2),)))
        (await stage.host.spawn.next()).exit(0)
        assert (await expect_task(link, over=True, run="r2")).status is TaskStatus.FinishedSuccess


def test_a_whole_session_is_the_same_twenty_times() -> None:
    async def scenario() -> list[object]:
        messages: list[object] = []
        async with open_stage() as stage:
            link = await stage.server.accept()
            messages.append(await link.welcome())
            await link.send(Events(tasks=(make_task(),)))
            child = await stage.host.spawn.next()
            messages.append(attrs.evolve(await expect_task(link)))
            await trio.sleep(3)
            await link.cut()
            child.exit(3)
            link = await stage.server.accept()
            messages.append(await link.welcome(Registered(id=2, resume=("r1",))))
            messages.append(await expect_task(link, over=True))
        return messages

    texts = {repr(trio.run(scenario, clock=MockClock(autojump_threshold=0))) for _ in range(20)}
    assert len(texts) == 1


async def test_an_end_without_a_report_is_recorded_in_the_history(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        link, child = await begin(stage)
        await link.send(Events(closes=(RunRef.of(make_task()),)))
        await child.signalled()
        await trio.sleep(15)
        [line] = stage.host.history
        assert (line["run"], line["state"]) == ("r1", "FinishedKilled")
        assert "closed by the server" in line["why"][0]["text"]


async def test_a_third_run_of_a_key_waits_for_the_tree_of_the_first(
    autojump_clock: MockClock,
) -> None:
    """The second one has no tree yet when it is superseded, so its end says nothing of the first."""
    async with open_stage() as stage:
        stage.host.spawn.dies_of = frozenset({TreeSignal.KILL})
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(make_task("r1"),)))
        first = await stage.host.spawn.next()
        await expect_task(link)
        asked = trio.current_time()
        await link.send(Events(tasks=(make_task("r2"),)))
        await trio.sleep(1)
        await link.send(Events(tasks=(make_task("r3"),)))
        third = await stage.host.spawn.next()
        assert trio.current_time() - asked == pytest.approx(10)
        assert first.reaped
        third.exit(0)
        assert (await expect_task(link, over=True)).run == "r3"
        assert len(stage.host.spawn.launches) == 2


@pytest.mark.parametrize("failing", ["output", "journal", "history"])
async def test_a_bug_of_the_agent_leaves_the_trees_to_the_supervisor(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """Whichever of its parts it is in: the next agent continues the tasks."""
    left: list[str] = []
    broken = trio.Event()

    async def detach(child: FakeChild) -> bool:
        left.append(child.launch.environment["AF_TASK_ID"])
        await trio.lowlevel.checkpoint()
        return True

    async def fail(*_: object, **__: object) -> str:
        await broken.wait()
        raise ValueError("a bug")

    monkeypatch.setattr(FakeChild, "detach", detach)
    if failing != "output":
        part = MemoryJournal if failing == "journal" else MemoryHistory
        monkeypatch.setattr(part, "run", fail)
    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="a bug"), flatten_subgroups=True):
        async with open_stage() as stage:
            link, _ = await begin(stage)
            monkeypatch.setattr(MemoryRunFolder, "read_window", fail)
            await link.send(Events(outputs=(RunRef.of(make_task()),)))
            broken.set()
            await trio.sleep_forever()
    assert left == ["0"]


async def test_an_output_that_cannot_be_read_costs_the_answer_alone(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    async with open_stage() as stage:
        link, child = await begin(stage)
        monkeypatch.setattr(MemoryRunFolder, "read_window", fail)
        await link.send(Events(outputs=(RunRef.of(make_task()),)))
        update = await link.expect(Update, lambda u: bool(u.outputs))
        assert "The output cannot be read" in update.outputs[0].output
        assert "Permission denied" in update.outputs[0].output
        monkeypatch.undo()
        child.exit(0)
        assert (await expect_task(link, over=True)).status is TaskStatus.FinishedSuccess


async def test_a_withdrawn_outcome_leaves_no_folder(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        link, child = await begin(stage)
        await link.cut()
        child.exit(0)
        link = await stage.server.accept()
        await link.welcome(Registered(id=2, stop=("r1",)))
        await trio.sleep(3)
        assert stage.host.places["r1"].removed


async def test_give_backs_of_another_job_with_the_same_number_do_not_count(
    autojump_clock: MockClock,
) -> None:
    """A server gives the number of a deleted job to the next one."""
    async with open_stage() as stage:
        link = await stage.server.accept()
        await link.welcome()
        statuses = []
        for number in range(4):
            task = attrs.evolve(make_task(f"r{number}"), job_name="old" if number < 2 else "new")
            await link.send(Events(tasks=(task,)))
            await stage.host.spawn.next()
            await expect_task(link, run=task.run)
            assert stage.agent.stop_task(task.key, "the artist is back")
            outcome = await expect_task(link, over=True, run=task.run)
            statuses.append(outcome.status)
            await link.send(Events(closes=(RunRef.of(outcome),)))
        assert statuses == [TaskStatus.GiveBack] * 4


async def test_of_many_tasks_that_were_given_back_the_oldest_are_forgotten(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_afrender.agent.dispatcher.MAX_GIVEN_BACK", 2)
    async with open_stage() as stage:
        link = await stage.server.accept()
        await link.welcome()
        statuses = []
        for number, index in enumerate((0, 0, 1, 2, 0, 2, 2)):
            task = make_task(f"r{number}", index)
            await link.send(Events(tasks=(task,)))
            await stage.host.spawn.next()
            await expect_task(link, run=task.run)
            stage.agent.stop_task(task.key, "the artist is back")
            outcome = await expect_task(link, over=True, run=task.run)
            statuses.append(outcome.status)
            await link.send(Events(closes=(RunRef.of(outcome),)))
        assert statuses == [TaskStatus.GiveBack] * 6 + [TaskStatus.FinishedError]


async def test_a_name_that_is_taken_now_and_then_is_tried_again(autojump_clock: MockClock) -> None:
    """Only refusals one after another show that another render has the name."""
    async with open_stage() as stage:
        link, _ = await begin(stage)
        await link.cut()
        for _ in range(4):
            link = await stage.server.accept(within=200)
            await link.expect(Register)
            await link.send(Refused(reason="name-taken", retry_after=1.0))
            stage.server.refuse(True)
            await link.aclose()
            await trio.sleep(40)
            stage.server.refuse(False)
        link = await stage.server.accept(within=200)
        assert [task.run for task in (await link.welcome()).running] == ["r1"]


async def test_a_child_that_survives_kill_keeps_the_host_from_new_tasks(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        link, child = await begin(stage)
        child.leftovers = (child.hold_output(),)
        child.exit(0)
        async with keep_reading(link) as received:
            await trio.sleep(60)
        [outcome] = [update for update in received if update.status.terminal]
        assert outcome.leftovers == child.leftovers
        await link.send(Events(tasks=(make_task("r2", 2),)))
        refused = await expect_task(link, over=True, run="r2")
        assert refused.status is TaskStatus.GiveBack
        assert "survived KILL" in refused.why[0].text
        [stuck], child.leftovers = child.leftovers, ()
        child.end(stuck)
        with trio.fail_after(100):
            await link.expect(Update, lambda update: update.state == ONLINE)


async def test_a_wait_for_leftovers_survives_a_host_without_descriptors(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_stage() as stage:
        link, child = await begin(stage)
        child.dies_of, child.leftovers = set(), (child.pid,)
        await link.send(Events(stops=(RunRef.of(make_task()),)))
        assert (await expect_task(link, over=True)).leftovers == (child.pid,)
        wait = FakeChild.kill_until_empty
        failures = [errno.EMFILE, errno.ENOMEM]

        async def fail(tree: FakeChild, deadline: float) -> tuple[int, ...]:
            if failures:
                number = failures.pop()
                await trio.lowlevel.checkpoint()
                raise OSError(number, os.strerror(number))
            return await wait(tree, deadline)

        monkeypatch.setattr(FakeChild, "kill_until_empty", fail)
        async with keep_reading(link):
            await trio.sleep(100)
        assert failures == []
        child.leftovers = ()
        child.exit(signal=9)
        with trio.fail_after(100):
            await link.expect(Update, lambda update: update.state == ONLINE)
        assert child.reaped


async def test_what_was_sent_before_the_memory_ran_out_is_sent_again(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session begins again then, and the server closes what it gets on the new link alone."""
    host = MemoryHost()
    apply, failing = Dispatcher.apply, False

    def fail(dispatcher: Dispatcher, events: Events) -> None:
        if failing:
            raise MemoryError
        apply(dispatcher, events)

    monkeypatch.setattr(Dispatcher, "apply", fail)
    async with open_stage(host=host) as stage:
        link, child = await begin(stage)
        child.exit(0)
        outcome = await expect_task(link, over=True)
        failing = True
        await link.send(Events(closes=(RunRef.of(outcome),)))
        again = await stage.server.accept()
        failing = False
        await again.welcome()
        assert await expect_task(again, over=True) == outcome
