"""A whole agent in virtual time against a fake afserver."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import attrs
import pytest
import trio
from support.agent_on_afserver import CONFIG, make_task, open_native_stage, until_done
from trio.testing import MockClock

from trio_afrender import LinkRefused
from trio_afrender.async_helpers import open_bare_nursery
from trio_afrender.config import MemoryGuard
from trio_afrender.errors import LinkLost
from trio_afrender.hostinfo.memory import MemoryHeadroom
from trio_afrender.protocol.afanasy import (
    Json,
    Message,
    RenderDeregister,
    RenderEvents,
    RenderId,
    RenderRegister,
    RenderUpdate,
    encode,
)
from trio_afrender.protocol.json_codec import MAX_FRAME
from trio_afrender.protocol.messages import (
    PAUSED,
    Ack,
    CustomMeter,
    Events,
    HostResources,
    Register,
    Registered,
    RunRef,
    TaskStatus,
    TaskUpdate,
    Update,
)
from trio_afrender.testing import (
    Fault,
    MemoryHost,
    NativeState,
    open_native_server,
)
from trio_afrender.testing.fake_afserver.fake_json_api import reply
from trio_afrender.transport.interfaces import Link


def an_update(message: Message) -> bool:
    return isinstance(message, RenderUpdate)


def an_outcome(message: Message) -> bool:
    return isinstance(message, RenderUpdate) and any(up.status > 4 for up in message.taskups)


async def test_a_task_from_exec_to_close(autojump_clock: MockClock) -> None:
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        stage.host.places[next(iter(stage.host.places))].files["thumb.jpg"] = b"picture"
        await child.write(b"PROGRESS: 40%\nACTIVITY: halfway\n")
        await stage.server.until(lambda: task.percent == 40)
        assert task.activity == "halfway"
        before = trio.current_time()
        child.exit(0)
        await stage.server.until(lambda: 5 in [up.status for _, up in stage.server.ups(task.key)])
        assert trio.current_time() == before, "an end is sent at once"
        await until_done(stage.server, task)
        assert task.output == b"PROGRESS: 40%\nACTIVITY: halfway\n"
        assert task.files == {"thumb.jpg": b"picture"}
        assert stage.statuses(task.key) == [3, 5]
        await trio.sleep(3)
        assert stage.agent.running == ()
        assert all(run_folder.removed for run_folder in stage.host.places.values())


async def test_the_register_describes_the_render(autojump_clock: MockClock) -> None:
    async with open_native_stage() as stage:
        await stage.server.online("n1")
        register = stage.server.received[0][1]
        assert isinstance(register, RenderRegister)
        assert (register.id, register.name, register.state, register.priority) == (0, "n1", 1, 99)
        assert register.engine.startswith("trio_afrender ")
        assert register.address.family == 2
        assert len(stage.server.received) == 1, "a render that never registered asks for nothing"


async def test_an_update_is_sent_every_heartbeat(autojump_clock: MockClock) -> None:
    async with open_native_stage() as stage:
        await stage.server.online("n1")
        await trio.sleep(10.5)
        times = [at for at, request in stage.server.received if isinstance(request, RenderUpdate)]
        gaps = [b - a for a, b in pairwise(times)]
        assert len(times) >= 10
        assert max(gaps) <= 1.0


async def test_every_heartbeat_contains_the_running_tasks(
    autojump_clock: MockClock,
) -> None:
    """The server closes a task that it does not run, so a lost task is found."""
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        await child.write(b"PROGRESS: 30%\n")
        await stage.server.until(lambda: task.percent == 30)
        del stage.server.received[:]
        await trio.sleep(5)
        ups = [up for _, up in stage.server.ups(task.key)]
        assert len(ups) >= 4
        assert {(up.status, up.percent, up.progress_changed) for up in ups} == {(3, 30, False)}


async def test_progress_restarts_the_no_progress_timer_once(autojump_clock: MockClock) -> None:
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        del stage.server.received[:]
        await child.write(b"PROGRESS: 30%\n")
        await stage.server.until(lambda: task.percent == 30)
        await trio.sleep(5)
        changed = [up.progress_changed for _, up in stage.server.ups(task.key)]
        assert changed.count(True) == 1


async def test_short_tasks_take_one_server_cycle_each(autojump_clock: MockClock) -> None:
    """The server hands out one task a cycle; a render that polls once a second gets every second."""
    async with open_native_stage() as stage:
        render = await stage.server.online("n1")
        render.max_tasks = 1
        tasks = [stage.server.add_task(make_task(number)) for number in range(10)]
        before = trio.current_time()
        for _ in tasks:
            child = await stage.host.spawn.next()
            child.exit(0)
        await until_done(stage.server, tasks[-1])
        assert trio.current_time() - before <= 11.0 + 1.0


async def test_each_kind_of_failure_has_its_status(autojump_clock: MockClock) -> None:
    async with open_native_stage() as stage:
        bad, child = await stage.begin(1)
        child.exit(3)
        none = stage.server.add_task(attrs.evolve(make_task(2), service="no_such_service"))
        empty = stage.server.add_task(attrs.evolve(make_task(3), command_task=""))
        nowhere = stage.server.add_task(attrs.evolve(make_task(4), working_directory="/none"))
        tasks = (bad, none, empty, nowhere)
        await stage.server.until(lambda: all(t.state is NativeState.ERROR for t in tasks))
        assert [task.statuses[-1] for task in tasks] == [6, 23, 23, 23]


async def test_a_stopped_task_is_killed_and_gets_the_requested_state(
    autojump_clock: MockClock,
) -> None:
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        stage.server.book.stop(task.key, NativeState.SKIPPED)
        await child.signalled()
        await stage.server.until(lambda: task.state is NativeState.SKIPPED)
        assert stage.statuses(task.key) == [3, 7]
        assert task.errors == 0


async def test_output_is_sent_on_request_and_to_listeners(autojump_clock: MockClock) -> None:
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        render = await stage.server.online("n1")
        await child.write(b"first\n")
        render.add("outputs", task.key)
        render.add("listens_add", task.key)
        await stage.server.until(lambda: stage.server.book.outputs.get(task.key) == "first\n")
        await child.write(b"second\n")
        await stage.server.until(lambda: task.listened == "second\n")
        render.add("listens_rem", task.key)
        await trio.sleep(3)
        await child.write(b"third\n")
        await trio.sleep(3)
        assert task.listened == "second\n"


async def test_a_request_for_the_output_of_an_unknown_task_is_answered(
    autojump_clock: MockClock,
) -> None:
    async with open_native_stage() as stage:
        render = await stage.server.online("n1")
        key = make_task(9).key
        render.add("outputs", key)
        await stage.server.until(lambda: key in stage.server.book.outputs)
        assert "does not run" in stage.server.book.outputs[key]


async def test_settings_of_the_pool_are_applied_and_reset(autojump_clock: MockClock) -> None:
    async with open_native_stage() as stage:
        render = await stage.server.online("n1")
        render.events = attrs.evolve(render.events, heartbeat_sec=3, resources_update_period=2)
        await trio.sleep(2)
        del stage.server.received[:]
        await trio.sleep(30)
        updates = [
            request for _, request in stage.server.received if isinstance(request, RenderUpdate)
        ]
        assert 9 <= len(updates) <= 20
        render.events = attrs.evolve(render.events, heartbeat_sec=-1, resources_update_period=-1)
        await trio.sleep(5)
        del stage.server.received[:]
        await trio.sleep(10)
        assert len(stage.server.received) >= 10


async def test_an_idle_render_leaves_if_the_pool_says_so(
    autojump_clock: MockClock,
) -> None:
    async with open_native_stage() as stage:
        render = await stage.server.online("n1")
        render.events = attrs.evolve(render.events, exit_no_task_time=60)
        await stage.server.until(lambda: not render.online)
        assert trio.current_time() >= 60
        await stage.agent.finished()


async def test_the_exit_of_an_idle_render_can_be_switched_off_again(
    autojump_clock: MockClock,
) -> None:
    async with open_native_stage() as stage:
        render = await stage.server.online("n1")
        render.events = attrs.evolve(render.events, exit_no_task_time=60)
        await trio.sleep(5)
        render.events = attrs.evolve(render.events, exit_no_task_time=-1)
        await trio.sleep(300)
        assert render.online


async def test_exit_gives_the_tasks_back(autojump_clock: MockClock) -> None:
    async with open_native_stage() as stage:
        task, _ = await stage.begin()
        render = await stage.server.online("n1")
        render.add_instruction("exit")
        await stage.agent.finished()
        await stage.server.until(lambda: not render.online)
        assert task.errors == 0
        assert any(isinstance(request, RenderDeregister) for _, request in stage.server.received)


# -- lost answers --------------------------------------------------------------------------------


async def test_after_a_short_outage_the_render_continues_without_a_register(
    autojump_clock: MockClock,
) -> None:
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        listener = stage.server.listener
        assert listener is not None
        listener.refusing = True
        await trio.sleep(4)
        await child.write(b"during the outage\n")
        child.exit(0)
        await trio.sleep(2)
        listener.refusing = False
        await until_done(stage.server, task)
        assert task.output == b"during the outage\n"
        assert task.sessions == 1
        registers = [
            request for _, request in stage.server.received if isinstance(request, RenderRegister)
        ]
        assert len(registers) == 1


@pytest.mark.parametrize("received", [True, False])
@pytest.mark.parametrize("hang", [True, False])
async def test_an_outcome_outlives_a_lost_exchange(
    autojump_clock: MockClock, received: bool, hang: bool
) -> None:
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        stage.server.fail(Fault(where=an_outcome, received=received, hang=hang))
        await child.write(b"all of it\n")
        child.exit(0)
        await until_done(stage.server, task)
        await trio.sleep(20)
        assert task.output == b"all of it\n"
        assert task.sessions == 1
        assert task.statuses.count(5) == 1, "it is not applied twice"
        assert stage.agent.running == ()


async def test_an_error_whose_answer_was_lost_counts_once(
    autojump_clock: MockClock,
) -> None:
    """The task is started again under the same key: the old outcome must not end the new run."""
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        task.retries = 3
        stage.server.fail(Fault(where=an_outcome))
        child.exit(1)
        again = await stage.host.spawn.next()
        await trio.sleep(20)
        again.exit(0)
        await until_done(stage.server, task)
        assert task.errors == 1


async def test_an_exec_whose_answer_was_lost_is_given_back_and_started_again(
    autojump_clock: MockClock,
) -> None:
    async with open_native_stage() as stage:
        render = await stage.server.online("n1")
        task = stage.server.add_task(make_task())

        def has_an_exec_for_it(message: Message) -> bool:
            return isinstance(message, RenderUpdate) and bool(render.events.tasks)

        stage.server.fail(Fault(where=has_an_exec_for_it))
        child = await stage.host.spawn.next()
        child.exit(0)
        await until_done(stage.server, task)
        assert TaskStatus.GiveBack in task.statuses
        assert (task.sessions, task.errors) == (2, 0)
        assert len(stage.host.spawn.launches) == 1


async def test_an_exec_in_the_next_answer_is_not_given_back(
    autojump_clock: MockClock,
) -> None:
    """The server lists the task before its exec arrives."""
    async with open_native_stage() as stage:
        task, child = await stage.begin(1)
        stage.server.fail(Fault(where=an_outcome))
        second = stage.server.add_task(make_task(2))
        child.exit(0)
        (await stage.host.spawn.next()).exit(0)
        await until_done(stage.server, second)
        assert second.statuses.count(TaskStatus.GiveBack) == 0
        assert task.state is NativeState.DONE


async def test_log_files_and_listened_text_outlive_a_lost_exchange(
    autojump_clock: MockClock,
) -> None:
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        render = await stage.server.online("n1")
        render.add("listens_add", task.key)
        await trio.sleep(2)

        def listened(message: Message) -> bool:
            return isinstance(message, RenderUpdate) and any(up.listened for up in message.taskups)

        stage.server.fail(Fault(where=listened, received=False))
        await child.write(b"received nevertheless\n")
        await stage.server.until(lambda: task.listened == "received nevertheless\n")

        def with_files(message: Message) -> bool:
            return isinstance(message, RenderUpdate) and any(up.files for up in message.taskups)

        stage.server.fail(Fault(where=with_files, received=False))
        stage.host.places[stage.agent.running[0].run].files["a.jpg"] = b"x"
        child.exit(2)
        await stage.server.until(lambda: task.state is NativeState.ERROR)
        assert task.files == {"a.jpg": b"x"}
        assert "exit code 2" in "".join(task.log)


async def test_an_asked_output_outlives_a_lost_exchange(autojump_clock: MockClock) -> None:
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        await child.write(b"so far\n")

        def answers(message: Message) -> bool:
            return isinstance(message, RenderUpdate) and bool(message.outputs)

        stage.server.fail(Fault(where=answers, received=False))
        (await stage.server.online("n1")).add("outputs", task.key)
        await stage.server.until(lambda: stage.server.book.outputs.get(task.key) == "so far\n")


async def test_an_asked_output_outlives_a_server_that_forgot_the_render(
    autojump_clock: MockClock,
) -> None:
    """It answers with -1 to an update of which it has used nothing."""
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        await child.write(b"so far\n")

        def answers(message: Message) -> bool:
            return isinstance(message, RenderUpdate) and bool(message.outputs)

        forgotten = encode(RenderId(id=-1))
        stage.server.fail(Fault(where=answers, received=False, answer=forgotten))
        (await stage.server.online("n1")).add("outputs", task.key)
        await stage.server.until(lambda: stage.server.book.outputs.get(task.key) == "so far\n")


async def test_a_lost_answer_to_a_register_is_not_a_taken_name(autojump_clock: MockClock) -> None:
    async with open_native_server() as server:
        server.fail(Fault(where=lambda message: isinstance(message, RenderRegister)))
        async with open_native_stage(server=server) as stage:
            await trio.sleep(5)
            assert stage.agent.state == "online"
            registers = [
                request for _, request in server.received if isinstance(request, RenderRegister)
            ]
            assert len(registers) == 1


# -- restarts of the server ----------------------------------------------------------------------


async def test_a_restarted_server_gets_its_tasks_back(autojump_clock: MockClock) -> None:
    async with open_native_stage() as stage:
        running, child = await stage.begin(1)
        over, other = await stage.begin(2)
        stage.server.down = True
        other.exit(0)
        await trio.sleep(5)
        stage.server.restart()
        stage.server.down = False
        await until_done(stage.server, over)
        await stage.server.until(lambda: running.state is NativeState.RUNNING)
        assert (running.sessions, over.sessions) == (2, 2), "resumed, not handed out again"
        assert len(stage.host.spawn.launches) == 2
        child.exit(0)
        await until_done(stage.server, running)
        assert running.errors == over.errors == 0


async def test_a_server_that_lost_its_store_gets_no_tasks(autojump_clock: MockClock) -> None:
    """It would list them for ever without resuming them."""
    async with open_native_stage() as stage:
        _, child = await stage.begin()
        stage.server.restart(keep=False)
        await child.signalled()
        render = await stage.server.online("n1")
        assert render.tasks == []
        await trio.sleep(20)
        assert stage.agent.running == ()
        assert len(stage.server.render("n1").tasks) == 0  # type: ignore[union-attr]  # it is online


async def test_an_id_that_another_render_got_is_not_used(autojump_clock: MockClock) -> None:
    async with open_native_stage() as stage:
        await stage.begin()
        stage.server.down = True
        await trio.sleep(3)
        stage.server.restart(keep=False)
        stage.server.book.register(
            attrs.evolve(stage.server.received[0][1], name="n2", id=0),  # type: ignore[arg-type]  # a register
            trio.current_time(),
        )
        stage.server.down = False
        render = await stage.server.online("n1")
        assert render.id == 2


async def test_after_the_zombie_time_a_run_is_killed_and_never_reported(
    autojump_clock: MockClock,
) -> None:
    """The server has given the task up by then and hands it out again."""
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        listener = stage.server.listener
        assert listener is not None
        listener.refusing = True
        await trio.sleep(40)
        reported = len(task.statuses)
        assert task.state is NativeState.READY
        listener.refusing = False
        await child.signalled()
        again = await stage.host.spawn.next()
        again.exit(0)
        await until_done(stage.server, task)
        assert 7 not in task.statuses[reported:]
        assert task.errors == 0


# -- names and restarts of the agent -------------------------------------------------------------


async def test_a_name_that_stays_taken_is_given_up(autojump_clock: MockClock) -> None:
    async with open_native_stage() as first:
        await first.server.online("n1")
        with pytest.RaisesGroup(LinkRefused, allow_unwrapped=True, flatten_subgroups=True):
            async with open_native_stage(server=first.server) as second:
                await second.agent.finished()
                await trio.sleep_forever()
        assert trio.current_time() >= 30
        assert first.agent.state == "online"


async def test_a_restarted_agent_continues_under_its_id(autojump_clock: MockClock) -> None:
    host = MemoryHost()
    async with open_native_server() as server:
        async with open_native_stage(host=host, server=server) as stage:
            task, _ = await stage.begin()
        host.spawn = type(host.spawn)()
        async with open_native_stage(host=host, server=server) as stage:
            await server.until(lambda: TaskStatus.GiveBack in task.statuses)
            child = await host.spawn.next()
            child.exit(0)
            await until_done(server, task)
        registers = [
            request for _, request in server.received if isinstance(request, RenderRegister)
        ]
        assert len(registers) == 1
        assert task.errors == 0


async def test_an_agent_that_left_registers_again(autojump_clock: MockClock) -> None:
    host = MemoryHost()
    async with open_native_server() as server:
        async with open_native_stage(host=host, server=server) as stage:
            render = await server.online("n1")
            await trio.sleep(1)
            stage.agent.drain("enough")
            await stage.agent.finished()
        assert not render.online
        async with open_native_stage(host=host, server=server):
            await server.until(lambda: render.online)


async def test_a_task_handed_out_during_a_drain_does_not_delay_the_next_agent(
    autojump_clock: MockClock,
) -> None:
    """The deregistration frees it, and no agent reports an outcome of that run."""
    host = MemoryHost()
    async with open_native_server() as server:
        async with open_native_stage(host=host, server=server) as stage:
            render = await server.online("n1")
            task = server.add_task(make_task())
            await server.until(lambda: bool(render.events.tasks))
            stage.agent.drain("enough")
            await stage.agent.finished()
        async with open_native_stage(host=host, server=server) as stage:
            (await host.spawn.next()).exit(0)
            await until_done(server, task)
            await trio.sleep(3)
            before = trio.current_time()
            stage.agent.drain("enough")
            await stage.agent.finished()
            assert trio.current_time() - before < 5
    assert task.errors == 0


async def test_an_outcome_of_an_unknown_task_is_closed_by_the_link(
    autojump_clock: MockClock,
) -> None:
    host = MemoryHost()
    unknown = TaskUpdate(run="r9", job=2, block=0, task=9, status=TaskStatus.FinishedKilled)
    async with open_native_server() as server, server.connect(CONFIG, host)() as link:
        await link.register(Register(name="n1"))
        await link.send(Update(seq=1, tasks=(unknown,)))
        assert await link.receive() == Ack(seq=1)
        assert await link.receive() == Events(closes=(RunRef.of(unknown),))
        assert server.ups(unknown.key) == []


async def test_the_configured_nimby_counts_for_a_known_name_too(autojump_clock: MockClock) -> None:
    host = MemoryHost()
    async with open_native_server() as server:
        async with open_native_stage(host=host, server=server) as stage:
            render = await server.online("n1")
            await trio.sleep(1)
            stage.agent.drain("enough")
            await stage.agent.finished()
        config = attrs.evolve(CONFIG, nimby="NIMBY")
        async with open_native_stage(config, host=host, server=server):
            await server.until(lambda: render.online and bool(render.state & 4))
            render.state &= ~4  # Its administrator frees it.
            server.restart()
            await server.until(lambda: render.online)
            await trio.sleep(5)
            assert not render.state & 4, "later the administrator decides"


async def test_the_configured_nimby_of_a_restarted_agent_counts_too(
    autojump_clock: MockClock,
) -> None:
    host = MemoryHost()
    async with open_native_server() as server:
        async with open_native_stage(host=host, server=server):
            render = await server.online("n1")
            await trio.sleep(1)
        config = attrs.evolve(CONFIG, nimby="nimby")
        async with open_native_stage(config, host=host, server=server):
            await server.until(lambda: bool(render.state & 2))
        assert len([m for _, m in server.received if isinstance(m, RenderRegister)]) == 1


async def test_an_unclosed_give_back_is_repeated_with_the_heartbeat(
    autojump_clock: MockClock,
) -> None:
    async with open_native_stage() as stage:
        render = await stage.server.online("n1")
        task = stage.server.add_task(make_task())
        await stage.server.until(lambda: bool(render.events.tasks))
        render.events = attrs.evolve(render.events, tasks=())  # The exec is lost.
        stage.server.fail(Fault(where=an_update))
        nothing = encode(RenderId(id=1))
        for _ in range(3):
            stage.server.fail(Fault(where=an_outcome, received=False, answer=nothing))
        before = len(stage.server.received)
        await stage.server.until(lambda: TaskStatus.GiveBack in task.statuses)
        assert len(stage.server.received) - before < 20


async def test_a_draining_render_is_paused_until_it_leaves(
    autojump_clock: MockClock,
) -> None:
    host = MemoryHost()
    async with open_native_server() as server:
        async with open_native_stage(host=host, server=server) as stage:
            task, child = await stage.begin()
            render = await server.online("n1")
            stage.agent.drain("maintenance")
            await server.until(lambda: bool(render.state & 2**8))
            waiting = server.add_task(make_task(5))
            await trio.sleep(5)
            assert waiting.sessions == 0, "no task is handed out only to be given back"
            child.exit(0)
            await stage.agent.finished()
            assert task.state is NativeState.DONE
        assert not render.online
        assert not render.state & 2**8


async def test_a_pause_that_could_not_be_undone_is_undone_at_the_next_register(
    autojump_clock: MockClock,
) -> None:
    host = MemoryHost()
    async with open_native_server() as server:
        async with open_native_stage(host=host, server=server) as stage:
            render = await server.online("n1")
            await stage.begin()
            stage.agent.drain("maintenance")
            await server.until(lambda: bool(render.state & 2**8))
        host.spawn = type(host.spawn)()
        async with open_native_stage(host=host, server=server):
            await server.until(lambda: not render.state & 2**8)


@pytest.mark.parametrize(("nimby", "expected"), [("", 0), ("nimby", 2), ("NIMBY", 4)])
@pytest.mark.parametrize("from_start", [False, True])
async def test_a_passing_lack_leaves_no_state_on_the_server(
    nimby: str, expected: int, from_start: bool, autojump_clock: MockClock
) -> None:
    little, enough = (MemoryHeadroom(available=mib * 2**20, total=2**36) for mib in (1, 5000))
    host = MemoryHost(headroom=little if from_start else enough)
    guard = MemoryGuard(floor=2**28, room=2**29)
    config = attrs.evolve(CONFIG, nimby=nimby, memory_guard=guard)
    async with (
        open_native_server() as server,
        open_native_stage(config, host=host, server=server) as stage,
    ):
        assert server.listener is not None
        server.listener.refusing = from_start
        await trio.sleep(5)
        server.listener.refusing = False
        render = await stage.server.online("n1")
        await trio.sleep(5)
        host.headroom = little
        await stage.server.until(lambda: bool(render.state & 2**8))
        assert render.state & 6 == (0 if from_start else expected)
        host.headroom = enough
        await stage.server.until(lambda: not render.state & 2**8)
        await trio.sleep(5)
        assert render.state & 6 == expected


async def test_another_version_of_the_protocol_ends_the_agent(autojump_clock: MockClock) -> None:
    async with open_native_server() as server:
        server.version = 82
        with pytest.RaisesGroup(
            pytest.RaisesExc(LinkRefused, match="speaks version 82 of the protocol"),
            flatten_subgroups=True,
        ):
            async with open_native_stage(server=server):
                await trio.sleep_forever()


async def test_an_invalid_answer_costs_one_exchange(autojump_clock: MockClock) -> None:
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        for invalid in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\x51\0\0\0\x24\0\0\0\x08abc"):
            stage.server.fail(Fault(where=an_update, answer=invalid))
            await trio.sleep(5)
        child.exit(0)
        await until_done(stage.server, task)
        assert task.sessions == 1


async def test_the_lists_of_tasks_are_compared_once_a_minute(
    autojump_clock: MockClock,
) -> None:
    """A task that only the server lists is given back, however the difference arose."""
    async with open_native_stage() as stage:
        render = await stage.server.online("n1")
        task = stage.server.add_task(make_task())
        await stage.server.until(lambda: bool(render.events.tasks))
        render.events = attrs.evolve(render.events, tasks=())
        child = await stage.host.spawn.next()
        assert 50 <= trio.current_time() <= 80
        child.exit(0)
        await until_done(stage.server, task)


async def test_json_requests_are_binary_messages(autojump_clock: MockClock) -> None:
    async with open_native_stage() as stage:
        await stage.server.online("n1")
        stage.server.fail(Fault(where=an_update))
        await stage.server.until(
            lambda: any(isinstance(request, Json) for _, request in stage.server.received)
        )
        asked = next(request for _, request in stage.server.received if isinstance(request, Json))
        assert not asked.text
        assert asked.body == b'{"get": {"type": "renders", "ids": [1]}}'


async def test_meters_and_figures_of_the_host_are_sent(autojump_clock: MockClock) -> None:
    meter = CustomMeter(value=7, valuemax=9, label="licences", tooltip="left", graphb=3)
    resources = HostResources(cpu_num=64, mem_free_mb=1000, hw_info="EPYC", custom=(meter,))
    host = MemoryHost(resources=lambda: resources)
    async with open_native_stage(host=host) as stage:
        render = await stage.server.online("n1")
        assert render.register.resources == resources

        def measured() -> bool:
            updates = [
                request for _, request in stage.server.received if isinstance(request, RenderUpdate)
            ]
            return any(request.resources == resources for request in updates)

        await stage.server.until(measured)


async def test_parsed_files_are_sent(autojump_clock: MockClock) -> None:
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        await child.write(f"@IMAGE@{__file__}\n".encode())  # Any existing file.
        child.exit(0)
        await until_done(stage.server, task)
        assert task.parsed_files == (__file__,)


async def test_a_task_with_a_warning_ends_when_its_job_is_deleted(
    autojump_clock: MockClock,
) -> None:
    """For a job that is gone the server closes plain progress alone."""
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        await child.write(b"[ PARSER WARNING ]\n")
        await stage.server.until(lambda: 4 in task.statuses)
        del stage.server.book.tasks[task.key]
        await child.signalled()


async def test_a_run_of_an_earlier_agent_continues_under_the_id(
    autojump_clock: MockClock,
) -> None:
    """The register of the next agent lists the run, and the link continues under the stored id."""
    host = MemoryHost()
    async with open_native_server() as server:
        async with open_native_stage(host=host, server=server) as stage:
            task, _ = await stage.begin()
        later = MemoryHost(server_identity=host.server_identity)
        async with server.connect(CONFIG, later)() as link:
            mine = attrs.evolve(task.exec, run="r1")
            register = Register(name="n1", user_name="ann", time_launch=7, running=(mine,))
            answer = await link.register(register)
            assert isinstance(answer, Registered)
            assert (answer.id, answer.resume, answer.stop) == (1, ("r1",), ())
            await server.until(lambda: bool(server.ups(task.key)))
            over = TaskUpdate(
                run="r1", **task.key._asdict(), status=TaskStatus.FinishedSuccess, output="all\n"
            )
            await link.send(Update(seq=1, tasks=(over,)))
            received = [await link.receive(), await link.receive()]
            assert Ack(seq=1) in received
            assert Events(closes=(RunRef.of(over),)) in received
            await until_done(server, task)
        assert task.output == b"all\n"
        assert len([m for _, m in server.received if isinstance(m, RenderRegister)]) == 1


async def test_a_link_that_lost_an_exchange_cannot_be_used(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_native_server() as server,
        server.connect(CONFIG, MemoryHost())() as link,
    ):
        await link.register(Register(name="n1"))
        server.fail(Fault(where=an_update))
        with pytest.raises(LinkLost, match="hung up without an answer"):
            await link.receive()
        for use in (link.receive, lambda: link.send(Update(seq=1)), lambda: link.deregister("")):
            with pytest.raises(LinkLost, match="hung up without an answer"):
                await use()


async def test_a_cancelled_exchange_ends_the_link(autojump_clock: MockClock) -> None:
    """The server may or may not have the request; the next link asks it."""
    async with (
        open_native_server() as server,
        server.connect(CONFIG, MemoryHost())() as link,
    ):
        await link.register(Register(name="n1"))
        server.fail(Fault(where=an_update, hang=True))
        with trio.move_on_after(5):
            await link.receive()
        with pytest.raises(LinkLost, match="an exchange was interrupted"):
            await link.receive()


async def test_repeated_outcomes_do_not_exceed_a_message(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of tasks that end together with long outputs; a message has at most 64 MiB."""
    monkeypatch.setattr("trio_afrender.afserver.render_link.MAX_REPEATED", 2048)
    async with (
        open_native_server() as server,
        server.connect(CONFIG, MemoryHost())() as link,
    ):
        await link.register(Register(name="n1", time_launch=7))
        tasks = [server.add_task(make_task(number)) for number in range(4)]
        runs: dict[int, str] = {}
        while len(runs) < len(tasks):
            message = await link.receive()
            if isinstance(message, Events):
                runs.update((task.task, task.run) for task in message.tasks)
        nothing = encode(RenderEvents(id=1))
        output = "x" * 1024
        del server.received[:]
        for number, run in runs.items():
            server.fail(Fault(where=an_outcome, received=False, answer=nothing))
            up = TaskUpdate(
                run=run,
                job=2,
                block=0,
                task=number,
                status=TaskStatus.FinishedSuccess,
                output=output,
            )
            await link.send(Update(seq=number + 1, tasks=(up,)))
        with trio.move_on_after(10):
            while True:
                await link.receive()
        assert all(task.state is NativeState.DONE for task in tasks)
        sent = [message for _, message in server.received if isinstance(message, RenderUpdate)]
        assert max(sum(len(up.data) for up in message.taskups) for message in sent) == 2048
        assert all(set(task.statuses) <= {1, 3, 5} for task in tasks)


async def test_an_outcome_is_not_repeated_for_a_later_run(autojump_clock: MockClock) -> None:
    """The id of a deleted job is used again, and the new exec comes before any close."""
    async with (
        open_native_server() as server,
        server.connect(CONFIG, MemoryHost())() as link,
    ):
        await link.register(Register(name="n1"))
        task = server.add_task(make_task())
        message: Events | Ack = Ack(seq=0)
        while not (isinstance(message, Events) and message.tasks):
            message = await link.receive()
        again = encode(RenderEvents(id=1, tasks=(task.exec,)))
        server.fail(Fault(where=an_outcome, received=False, answer=again))
        old = TaskUpdate(
            run=message.tasks[0].run, job=2, block=0, task=0, status=TaskStatus.FinishedError
        )
        await link.send(Update(seq=1, tasks=(old,)))
        with trio.move_on_after(5):
            while True:
                await link.receive()
        assert set(task.statuses) == {TaskStatus.Percent}
        assert task.state is NativeState.RUNNING


async def test_what_the_server_refuses_is_requested_again(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    host = MemoryHost()
    refused = encode(Json(body=reply("error", "no such user"), text=True))

    def a_pause(message: Message) -> bool:
        return isinstance(message, Json) and b'"paused"' in message.body

    async with open_native_server() as server:
        async with open_native_stage(
            attrs.evolve(CONFIG, drain="finish"), host=host, server=server
        ) as stage:
            await stage.begin()
            render = await server.online("n1")
            server.fail(Fault(where=a_pause, received=False, answer=refused))
            stage.agent.drain("maintenance", budget=1000)
            await trio.sleep(30)
            assert not render.state & 2**8
            await server.until(lambda: bool(render.state & 2**8), within=60)
            assert caplog.text.count("asked for {'paused': True}") == 1
        host.spawn = type(host.spawn)()
        server.fail(Fault(where=a_pause, received=False, answer=refused))
        async with open_native_stage(host=host, server=server):
            await trio.sleep(10)
            assert render.state & 2**8
            await server.until(lambda: not render.state & 2**8, within=90)


async def test_a_pause_whose_end_could_not_be_stored_can_be_begun_again(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is slow, and the link ends meanwhile."""
    storing, slow = trio.Event(), False

    async def save(_: MemoryHost, text: str) -> None:
        if slow:
            storing.set()
            await trio.sleep_forever()

    monkeypatch.setattr(MemoryHost, "save_server_identity", save)
    async with open_native_server() as server:
        connect = server.connect(CONFIG, MemoryHost())

        @asynccontextmanager
        async def open_link() -> AsyncIterator[Link]:
            async def beat() -> None:
                while True:
                    await link.receive()

            async with connect() as link, open_bare_nursery() as nursery:
                await link.register(Register(name="n1", host_name="h", time_launch=1))
                nursery.start_soon(beat)
                yield link

        async with open_link() as link:
            render = await server.online("n1")
            await link.send(Update(seq=1, state=PAUSED))
            await server.until(lambda: bool(render.state & 2**8))
            slow = True
            await link.send(Update(seq=2, state=1))
            with trio.fail_after(60):
                await storing.wait()
            slow = False
        async with open_link() as link:
            await link.send(Update(seq=1, state=PAUSED))
            await server.until(lambda: bool(render.state & 2**8))


async def test_what_an_answer_brought_is_received_although_the_next_request_failed(
    autojump_clock: MockClock,
) -> None:
    """The server sends each instruction once."""

    def an_action(message: Message) -> bool:
        return isinstance(message, Json) and b'"action"' in message.body

    async with (
        open_native_server() as server,
        server.connect(CONFIG, MemoryHost())() as link,
    ):
        await link.register(Register(name="n1", host_name="h", time_launch=1))
        render = await server.online("n1")
        server.fail(Fault(where=an_action, received=False))
        render.add_instruction("drain")
        await link.send(Update(seq=1, state=PAUSED))
        assert await link.receive() == Ack(seq=1)
        events = await link.receive()
        assert isinstance(events, Events)
        assert events.instruction == "drain"
        with pytest.raises(LinkLost, match="hung up without an answer"):
            await link.receive()


async def test_a_task_that_is_too_large_costs_no_other_one(autojump_clock: MockClock) -> None:
    """The server hands both out in one answer, whose messages may have 64 MiB."""
    async with open_native_stage() as stage:
        await stage.server.online("n1")
        large = stage.server.add_task(attrs.evolve(make_task(1), command_task="x" * MAX_FRAME))
        other = stage.server.add_task(make_task(2))
        await stage.server.until(lambda: bool(stage.host.spawn.launches))
        (await stage.host.spawn.next()).exit(0)
        await until_done(stage.server, other)
        await stage.server.until(lambda: large.state is NativeState.ERROR)
        assert set(large.statuses) == {TaskStatus.FailedToStart}
        assert "the task cannot be recorded" in "".join(large.log)
