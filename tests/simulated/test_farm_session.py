"""The farm behind a link of memory channels, in virtual time."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from support.farm import FakeLink, listed, make_update, one_job, with_fields
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_afrender.errors import LinkLost, ProtocolError
from trio_afrender.farm import Farm, FarmSettings, open_farm
from trio_afrender.farm.node_log import Actor
from trio_afrender.farm.render_edits import operate_render
from trio_afrender.protocol.messages import (
    Ack,
    AskedOutput,
    Deregister,
    Events,
    FromRender,
    FromServer,
    ListenedEntry,
    LogEntry,
    Refused,
    Registered,
    TaskKey,
    TaskStatus,
    Unknown,
)

SETTINGS = FarmSettings(zombie_time=16.0, handshake=12.0)


@asynccontextmanager
async def open_farm_and_nursery(**settings: object) -> AsyncIterator[tuple[Farm, trio.Nursery]]:
    """Open a farm in memory, and a nursery for its sessions, which end with the farm."""
    fitted = with_fields(SETTINGS, settings)
    async with trio.open_nursery() as nursery:
        async with open_farm(None, settings=fitted, wall=trio.current_time) as farm:
            yield farm, nursery


def serve(farm: Farm, nursery: trio.Nursery, *, peer: str = "memory", names: str = "") -> FakeLink:
    link = FakeLink(peer, names=names)
    nursery.start_soon(farm.serve_link, link)
    return link


async def test_a_job_over_a_link(autojump_clock: MockClock) -> None:
    async with open_farm_and_nursery() as (farm, nursery):
        job = farm.submit(one_job(listed(2)))
        link = serve(farm, nursery)
        assert isinstance(await link.register(), Registered)
        one, two = (await link.expect(Events)).tasks
        await link.update(make_update(one, TaskStatus.Percent, percent=5))
        assert await link.expect(Ack) == Ack(seq=1)
        assert farm.view(job).tasks[0].percent == 5
        for task in (one, two):
            entry = LogEntry(run=task.run, n=1, text=f"by {task.run}\n")
            await link.update(make_update(task, output="out"), log=(entry,))
            assert [ref.run for ref in (await link.expect(Events)).closes] == [task.run]
        view = await farm.wait(job)
        assert view.state == "done"
        assert view.tasks[0].output == "out"
        assert f"by {one.run}\n" in view.tasks[0].log
        await link.send_to_farm(Deregister(reason="done"))
        await link.closed.wait()
        assert farm.renders[0].state == "offline"


async def test_a_render_that_is_deleted_while_its_session_ends(autojump_clock: MockClock) -> None:
    async with open_farm_and_nursery() as (farm, nursery):
        link = serve(farm, nursery)
        await link.register()
        render = farm.state.renders["a"]
        await link.send_to_farm(Deregister(reason="done"))
        seen = 0
        while render.online:
            seen = await farm.changed(seen)
        actor = Actor(user_name="root", admin=True)
        operate_render(farm.state, render, {"type": "delete"}, actor, trio.current_time())
        farm.dispatch()
        await link.closed.wait()
        assert farm.renders == ()


async def test_events_are_pushed_at_once(autojump_clock: MockClock) -> None:
    async with open_farm_and_nursery() as (farm, nursery):
        link = serve(farm, nursery)
        await link.register()
        await trio.sleep(3.0)
        job = farm.submit(one_job())
        task = (await link.expect(Events)).tasks[0]
        farm.stop_task(TaskKey(job, 0, 0), "no more")
        (stop,) = (await link.expect(Events)).stops
        assert (stop.run, stop.reason) == (task.run, "no more")
        assert trio.current_time() == 3.0


async def test_acks_conflate(autojump_clock: MockClock) -> None:
    async with open_farm_and_nursery() as (farm, nursery):
        job = farm.submit(one_job())
        link = serve(farm, nursery)
        await link.register()
        task = (await link.expect(Events)).tasks[0]
        for percent in range(20):
            await link.update(make_update(task, TaskStatus.Percent, percent=percent))
        seen = 0
        while seen < 20:
            ack = await link.expect(Ack)
            assert ack.seq > seen
            seen = ack.seq
        assert farm.view(job).tasks[0].percent == 19


async def test_a_name_that_is_taken(autojump_clock: MockClock) -> None:
    async with open_farm_and_nursery() as (farm, nursery):
        first, second = serve(farm, nursery, peer="here"), serve(farm, nursery)
        await first.register()
        answer = await second.register()
        assert isinstance(answer, Refused)
        assert (answer.reason, answer.retry_after) == ("name-taken", 4.0)
        assert "online from here" in answer.text
        await second.closed.wait()
        assert not first.closed.is_set()
        assert [view.name for view in farm.renders] == ["a"]


async def test_a_token_for_another_name(autojump_clock: MockClock) -> None:
    async with open_farm_and_nursery() as (farm, nursery):
        link = serve(farm, nursery, names="b")
        answer = await link.register("a")
        assert isinstance(answer, Refused)
        assert (answer.reason, answer.retry_after) == ("unauthorized", None)
        await link.closed.wait()
        assert farm.renders == ()


async def test_a_render_that_reconnects_in_time_continues(autojump_clock: MockClock) -> None:
    async with open_farm_and_nursery() as (farm, nursery):
        job = farm.submit(one_job())
        link = serve(farm, nursery)
        await link.register()
        task = (await link.expect(Events)).tasks[0]
        link.cut()
        await trio.sleep(15.0)
        assert farm.view(job).tasks[0].state == "running"
        again = serve(farm, nursery)
        answer = await again.register(running=(task,))
        assert isinstance(answer, Registered)
        assert answer.resume == (task.run,)
        await trio.sleep(10.0)
        await again.update(make_update(task))
        assert (await farm.wait(job)).state == "done"
        assert farm.view(job).tasks[0].attempts == 1


async def test_a_render_that_does_not_reconnect_loses_its_task(autojump_clock: MockClock) -> None:
    async with open_farm_and_nursery() as (farm, nursery):
        job = farm.submit(one_job())
        link = serve(farm, nursery)
        await link.register("a")
        lost = (await link.expect(Events)).tasks[0]
        await trio.sleep(2.0)
        link.cut()
        other = serve(farm, nursery)
        await other.register("b")
        with trio.move_on_after(16.0):
            while True:
                await other.update()
                await trio.sleep(1.0)
        task = (await other.expect(Events)).tasks[0]
        assert trio.current_time() == 18.0
        assert task.run != lost.run
        await other.update(make_update(task))
        assert (await farm.wait(job)).tasks[0].render == "b"


async def test_the_link_of_a_silent_render_is_closed(autojump_clock: MockClock) -> None:
    async with open_farm_and_nursery() as (farm, nursery):
        job = farm.submit(one_job())
        link = serve(farm, nursery)
        await link.register()
        await link.expect(Events)
        await trio.sleep(5.0)
        await link.update()
        await link.closed.wait()
        assert trio.current_time() == 21.0
        assert farm.view(job).tasks[0].state == "ready"
        assert farm.renders[0].state == "offline"


async def test_a_render_that_does_not_read_delays_no_other(autojump_clock: MockClock) -> None:
    async with open_farm_and_nursery() as (farm, nursery):
        unread = FakeLink(capacity=1)
        nursery.start_soon(farm.serve_link, unread)
        await unread.register("unread")
        for n in range(50):
            farm.instruct("unread", "launch", str(n))
            await wait_all_tasks_blocked()
        link = serve(farm, nursery)
        await link.register("b")
        job = farm.submit(one_job(listed(2)))
        with trio.fail_after(15.0):
            (task,) = (await link.expect(Events)).tasks
            await link.update(make_update(task))
            await link.expect(Events)
        await trio.sleep(10.0)
        await link.update()
        await unread.closed.wait()  # Silent for the zombie time: its task is queued again.
        (task,) = (await link.expect(Events)).tasks
        await link.update(make_update(task))
        assert (await farm.wait(job)).state == "done"


async def test_duplicates_change_nothing(autojump_clock: MockClock) -> None:
    async with open_farm_and_nursery() as (farm, nursery):
        job = farm.submit(one_job())
        link = serve(farm, nursery)
        await link.register()
        task = (await link.expect(Events)).tasks[0]
        await link.update(make_update(task, output="first"))
        await link.expect(Events)
        link.cut()
        again = serve(farm, nursery)
        answer = await again.register(undelivered=(task,))
        assert isinstance(answer, Registered)
        assert (answer.resume, answer.stop) == ((), ())
        assert [ref.run for ref in (await again.expect(Events)).closes] == [task.run]
        await again.update(make_update(task, TaskStatus.FinishedError, output="second"))
        assert [ref.run for ref in (await again.expect(Events)).closes] == [task.run]
        view = await farm.wait(job)
        assert (view.state, view.tasks[0].output) == ("done", "first")


async def test_a_link_that_sends_nothing_is_closed(autojump_clock: MockClock) -> None:
    async with open_farm_and_nursery() as (farm, nursery):
        link = serve(farm, nursery)
        await link.closed.wait()
        assert trio.current_time() == 12.0
        assert farm.renders == ()


@pytest.mark.parametrize("registered", [False, True])
async def test_a_message_out_of_order_closes_the_link(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, registered: bool
) -> None:
    async with open_farm_and_nursery() as (farm, nursery):
        link = serve(farm, nursery, peer="1.2.3.4\n")
        if registered:
            await link.register()
            with pytest.raises(trio.EndOfChannel):
                await link.register()
        else:
            await link.update()
        await link.closed.wait()
        await wait_all_tasks_blocked()
        assert [r.levelno for r in caplog.records if "closed" in r.message] == [logging.WARNING]
        assert not any("\n" in r.getMessage() for r in caplog.records)


async def test_a_render_that_leaves_is_not_lost_when_it_closes_its_link_early(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Closing(FakeLink):
        def __init__(self) -> None:
            super().__init__()
            self.gone = trio.Event()

        async def receive(self) -> FromRender:
            message = await super().receive()
            if isinstance(message, Deregister):
                self.gone.set()
            return message

        async def send(self, message: FromServer) -> None:
            if isinstance(message, Ack):
                await self.gone.wait()
                raise LinkLost("connection closed")
            await super().send(message)

    caplog.set_level(logging.INFO)
    async with open_farm_and_nursery() as (farm, nursery):
        link = Closing()
        nursery.start_soon(farm.serve_link, link)
        await link.register()
        await link.update()
        await link.send_to_farm(Deregister(reason="done"))
        await link.closed.wait()
        assert farm.renders[0].state == "offline"
    ends = [record.getMessage().rpartition(": ")[2] for record in caplog.records]
    assert ends == ["registered", "done"]


async def test_a_protocol_error_ends_one_session_alone(autojump_clock: MockClock) -> None:
    class Broken(FakeLink):
        async def receive(self) -> FromRender:
            message = await super().receive()
            if isinstance(message, Unknown):
                raise ProtocolError("malformed")
            return message

    async with open_farm_and_nursery() as (farm, nursery):
        good = serve(farm, nursery)
        await good.register("good")
        link = Broken()
        nursery.start_soon(farm.serve_link, link)
        await link.register("bad")
        await link.send_to_farm(Unknown(type="x", raw={}))
        await link.closed.wait()
        await good.update()
        assert (await good.expect(Ack)).seq == 1
        assert [view.state for view in farm.renders] == ["online", "reconnecting"]


async def test_unknown_messages_are_skipped(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_farm_and_nursery() as (farm, nursery):
        link = serve(farm, nursery)
        await link.register()
        for n in range(100):
            await link.send_to_farm(Unknown(type=f"future{n // 2}", raw={}))
        await link.update()
        assert (await link.expect(Ack)).seq == 1
        assert len([r for r in caplog.records if "unknown type" in r.message]) == 20


@pytest.mark.parametrize("error", [LinkLost, ProtocolError])
async def test_a_writer_that_loses_the_link_ends_the_session(
    autojump_clock: MockClock, error: type[Exception]
) -> None:
    class OneWay(FakeLink):
        """Messages from its render arrive, those to it fail."""

        dead = False

        async def send(self, message: object) -> None:
            if self.dead:
                raise error("cannot send")
            await super().send(message)  # type: ignore[arg-type]  # only forwarded

    async with open_farm_and_nursery() as (farm, nursery):
        link = OneWay()
        nursery.start_soon(farm.serve_link, link)
        await link.register()
        link.dead = True
        farm.submit(one_job())
        await link.closed.wait()
        assert farm.renders[0].state == "reconnecting"


async def test_closing_the_farm_closes_links(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        async with open_farm(None) as farm:
            link = serve(farm, nursery)
            await link.register()
            waiting = serve(farm, nursery)
            await wait_all_tasks_blocked()
        await link.closed.wait()
        await waiting.closed.wait()
        late = serve(farm, nursery)
        await late.closed.wait()
        assert trio.current_time() == 0.0


async def test_an_exception_of_the_body_is_raised_ungrouped(autojump_clock: MockClock) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_farm(None):
            raise ZeroDivisionError
    with trio.CancelScope() as scope:
        async with open_farm(None):
            scope.cancel()
            await trio.sleep(1.0)
    assert scope.cancelled_caught


async def test_several_tasks_can_wait_for_a_job(autojump_clock: MockClock) -> None:
    async with open_farm_and_nursery() as (farm, _):
        job = farm.submit(one_job())
        states: list[str] = []

        async def wait() -> None:
            states.append((await farm.wait(job)).state)

        async with trio.open_nursery() as waiters:
            waiters.start_soon(wait)
            waiters.start_soon(wait)
            await trio.sleep(5.0)
            farm.stop_job(job, "enough")
        assert states == ["stopped", "stopped"]
        assert trio.current_time() == 5.0
        with pytest.raises(KeyError):
            await farm.wait(99)


async def test_changes_conflate(autojump_clock: MockClock) -> None:
    async with open_farm_and_nursery() as (farm, _):
        jobs = [farm.submit(one_job()) for _ in range(3)]
        seen = await farm.changed(0)
        with trio.move_on_after(60.0) as quiet:
            await farm.changed(seen)
        assert quiet.cancelled_caught
        first, second = farm.view(jobs[0]), farm.view(jobs[1])
        farm.stop_job(jobs[0])
        assert await farm.changed(seen) > seen
        assert farm.view(jobs[0]) is not first
        assert farm.view(jobs[1]) is second


async def test_listening(autojump_clock: MockClock) -> None:
    async with open_farm_and_nursery() as (farm, nursery):
        job = farm.submit(one_job())
        link = serve(farm, nursery)
        await link.register()
        task = (await link.expect(Events)).tasks[0]
        key = TaskKey(job, 0, 0)
        async with farm.listen(key) as texts:
            assert [ref.run for ref in (await link.expect(Events)).listens_add] == [task.run]
            for n in range(3):
                await link.update(listened=(ListenedEntry(run=task.run, n=n, text=f"{n}\n"),))
            assert [await texts.receive() for _ in range(3)] == ["0\n", "1\n", "2\n"]
            async with farm.listen(key) as more:
                await link.update(
                    make_update(task), listened=(ListenedEntry(run=task.run, n=9, text="end"),)
                )
                assert [text async for text in more] == ["end"]
            assert [text async for text in texts] == ["end"]
        async with farm.listen(key) as texts:
            assert [text async for text in texts] == []
        with pytest.raises(KeyError):
            async with farm.listen(TaskKey(99, 0, 0)):
                raise AssertionError


async def test_listening_ends_with_the_last_listener(autojump_clock: MockClock) -> None:
    async with open_farm_and_nursery() as (farm, nursery):
        job = farm.submit(one_job())
        link = serve(farm, nursery)
        await link.register()
        task = (await link.expect(Events)).tasks[0]
        async with farm.listen(TaskKey(job, 0, 0)):
            await link.expect(Events)
        assert [ref.run for ref in (await link.expect(Events)).listens_rem] == [task.run]


async def test_a_slow_listener_gets_a_mark_for_omitted_text(autojump_clock: MockClock) -> None:
    async with open_farm_and_nursery() as (farm, nursery):
        job = farm.submit(one_job())
        link = serve(farm, nursery)
        await link.register()
        task = (await link.expect(Events)).tasks[0]
        async with farm.listen(TaskKey(job, 0, 0)) as texts:
            await link.expect(Events)
            for n in range(300):
                await link.update(listened=(ListenedEntry(run=task.run, n=n, text="123\n"),))
            while (await link.expect(Ack)).seq < 300:
                pass
            assert await texts.receive() == "123\n"
            await link.update(listened=(ListenedEntry(run=task.run, n=999, text="end"),))
            await link.expect(Ack)
            received = [texts.receive_nowait() for _ in range(256)]
            assert received[-1] == "\n[176 characters were left out here]\nend"
            assert set(received[:-1]) == {"123\n"}


async def test_a_slow_listener_gets_a_mark_for_omitted_text_at_the_end(
    autojump_clock: MockClock,
) -> None:
    async with open_farm_and_nursery() as (farm, nursery):
        job = farm.submit(one_job())
        link = serve(farm, nursery)
        await link.register()
        task = (await link.expect(Events)).tasks[0]
        async with farm.listen(TaskKey(job, 0, 0)) as texts:
            await link.expect(Events)
            for n in range(260):
                await link.update(listened=(ListenedEntry(run=task.run, n=n, text="123\n"),))
            await link.update(make_update(task, TaskStatus.FinishedSuccess))
            await farm.wait(job)
            received = [text async for text in texts]
            assert received == ["123\n"] * 256 + ["\n[16 characters were left out here]\n"]


async def test_requesting_output(autojump_clock: MockClock) -> None:
    async with open_farm_and_nursery() as (farm, nursery):
        job = farm.submit(one_job(listed(2)))
        key = TaskKey(job, 0, 0)
        assert await farm.ask_output(key) == ""
        link = serve(farm, nursery)
        await link.register(max_tasks=1)
        task = (await link.expect(Events)).tasks[0]
        answers: list[str] = []

        async def ask() -> None:
            answers.append(await farm.ask_output(key))

        async with trio.open_nursery() as asking:
            asking.start_soon(ask)
            asking.start_soon(ask)
            assert [ref.run for ref in (await link.expect(Events)).outputs] == [task.run]
            answer = AskedOutput(run=task.run, **key._asdict(), output="so far")
            await link.update(outputs=(answer,))
        assert answers == ["so far", "so far"]
        async with trio.open_nursery() as asking:
            asking.start_soon(ask)
            await link.expect(Events)
            await link.update(make_update(task, output="all"))
        assert answers[2] == "all"
        assert await farm.ask_output(key) == "all"


async def test_requesting_output_of_a_render_that_is_lost(autojump_clock: MockClock) -> None:
    async with open_farm_and_nursery() as (farm, nursery):
        job = farm.submit(one_job())
        link = serve(farm, nursery)
        await link.register()
        await link.expect(Events)
        answers: list[str] = []

        async def ask() -> None:
            answers.append(await farm.ask_output(TaskKey(job, 0, 0)))

        async with trio.open_nursery() as asking:
            asking.start_soon(ask)
            assert (await link.expect(Events)).outputs
            link.cut()
        assert answers == [""]
        assert trio.current_time() == farm.settings.zombie_time


async def test_settings_are_pushed(autojump_clock: MockClock) -> None:
    async with open_farm_and_nursery() as (farm, nursery):
        link = serve(farm, nursery)
        await link.register()
        farm.change_settings(attrs.evolve(farm.settings, zombie_time=60.0, heartbeat_sec=5.0))
        events = await link.expect(Events)
        assert (events.zombie_time, events.heartbeat_sec) == (60.0, 5.0)
        await link.closed.wait()
        assert trio.current_time() == 60.0


async def test_an_idle_farm_does_not_wake_up(autojump_clock: MockClock) -> None:
    """Without renders and time limits there is no deadline."""
    async with open_farm_and_nursery() as (farm, _):
        farm.submit(one_job())
        autojump_clock.autojump_threshold = math.inf
        await wait_all_tasks_blocked()
        stats = trio.lowlevel.current_statistics()
        assert stats.seconds_to_next_deadline == math.inf
