"""Agents in virtual time, through a gateway to a fake Afanasy server."""

from __future__ import annotations

from itertools import pairwise

import attrs
import pytest
import trio
from support.agent_on_afserver import make_task, until_done
from support.gateway import GatewayHarness, open_gateway_harness
from trio.testing import MockClock

from trio_afrender import LinkRefused
from trio_afrender.errors import LinkLost
from trio_afrender.protocol.afanasy import (
    Message,
    RenderDeregister,
    RenderEvents,
    RenderRegister,
    RenderUpdate,
)
from trio_afrender.protocol.json_codec import MAX_FRAME, encode
from trio_afrender.protocol.messages import HostResources, Register, TaskStatus, Update
from trio_afrender.testing import Fault, NativeState
from trio_afrender.transport.interfaces import Link
from trio_afrender.transport.tokens import make_token
from trio_afrender.transport.websocket_client import WebSocketLink


def an_update(message: Message) -> bool:
    return isinstance(message, RenderUpdate)


def an_outcome(message: Message) -> bool:
    return isinstance(message, RenderUpdate) and any(up.status > 4 for up in message.taskups)


async def drain(link: Link) -> None:
    while True:
        await link.receive()


def count(harness: GatewayHarness, kind: type) -> int:
    return sum(isinstance(message, kind) for _, message in harness.server.received)


async def test_a_task_from_exec_to_close(autojump_clock: MockClock) -> None:
    async with open_gateway_harness() as harness:
        task, child = await harness.begin()
        host = harness.hosts["n1"]
        host.places[next(iter(host.places))].files["thumb.jpg"] = b"picture"
        await child.write(b"PROGRESS: 40%\nACTIVITY: halfway\n")
        await harness.server.until(lambda: task.percent == 40)
        assert task.activity == "halfway"
        before = trio.current_time()
        child.exit(0)
        await harness.server.until(
            lambda: 5 in [up.status for _, up in harness.server.ups(task.key)]
        )
        assert trio.current_time() == before, "an end is reported at once"
        await until_done(harness.server, task)
        assert task.output == b"PROGRESS: 40%\nACTIVITY: halfway\n"
        assert task.files == {"thumb.jpg": b"picture"}
        assert harness.statuses(task.key) == [3, 5]
        await trio.sleep(3)
        assert harness.agents["n1"].running == ()
        assert all(place.removed for place in host.places.values())


async def test_a_job_of_twenty_frames(autojump_clock: MockClock) -> None:
    async with open_gateway_harness() as harness:
        tasks = [harness.server.add_task(make_task(number)) for number in range(20)]
        for number in range(20):
            child = await harness.hosts["n1"].spawn.next()
            await child.write(f"frame {number}\n".encode())
            child.exit(0)
        await harness.server.until(lambda: all(t.state is NativeState.DONE for t in tasks))
        assert [task.sessions for task in tasks] == [1] * 20
        assert {task.output for task in tasks} == {f"frame {n}\n".encode() for n in range(20)}


async def test_the_render_has_the_properties_of_its_agent(autojump_clock: MockClock) -> None:
    async with open_gateway_harness() as harness:
        register = harness.server.received[0][1]
        assert isinstance(register, RenderRegister)
        assert (register.id, register.name, register.user_name) == (0, "n1", "ann")
        assert register.engine.startswith("trio_afrender ")


async def test_heartbeats_are_sent_while_the_agent_is_quiet(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_harness() as harness:
        await trio.sleep(20)
        times = [at for at, message in harness.server.received if isinstance(message, RenderUpdate)]
        assert max(b - a for a, b in pairwise(times)) <= 1.0
        assert 18 <= len(times) <= 30


# -- commands of the server ----------------------------------------------------------------------


async def test_a_stop_reaches_the_task(autojump_clock: MockClock) -> None:
    async with open_gateway_harness() as harness:
        task, child = await harness.begin()
        harness.server.book.stop(task.key, NativeState.SKIPPED)
        await harness.server.until(lambda: task.state is NativeState.SKIPPED)
        assert [name for _, name in child.signals][:1] == ["TERM"]
        assert harness.statuses(task.key) == [3, 7]


async def test_a_close_of_a_running_task_kills_it_and_nothing_is_reported(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_harness() as harness:
        task, child = await harness.begin()
        render = await harness.server.online("n1")
        render.add("closes", task.key)
        with trio.fail_after(30):
            await child.exited()
        await trio.sleep(5)
        assert harness.agents["n1"].running == ()
        assert harness.statuses(task.key) == [3]


async def test_requested_output_is_delivered(autojump_clock: MockClock) -> None:
    async with open_gateway_harness() as harness:
        task, child = await harness.begin()
        await child.write(b"so far\n")
        await trio.sleep(1)
        render = await harness.server.online("n1")
        render.add("outputs", task.key)
        await harness.server.until(lambda: task.key in harness.server.book.outputs)
        assert harness.server.book.outputs[task.key] == "so far\n"


async def test_listened_output_is_delivered_until_listening_ends(autojump_clock: MockClock) -> None:
    async with open_gateway_harness() as harness:
        task, child = await harness.begin()
        render = await harness.server.online("n1")
        render.add("listens_add", task.key)
        await trio.sleep(2)
        await child.write(b"wanted\n")
        await harness.server.until(lambda: "wanted" in task.listened)
        render.add("listens_rem", task.key)
        await trio.sleep(2)
        await child.write(b"unwanted\n")
        await trio.sleep(3)
        assert "unwanted" not in task.listened


async def test_an_exit_request_ends_the_agent_and_deregisters_it(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_harness() as harness:
        render = await harness.server.online("n1")
        render.add_instruction("exit")
        await harness.server.until(lambda: not render.online)
        assert count(harness, RenderDeregister) == 1
        await trio.sleep(2)
        assert harness.counters["agents"] == harness.counters["renders"] == 0
        assert harness.counters["sessions_lost"] == 0


async def test_the_render_has_the_nimby_state_of_its_agent(autojump_clock: MockClock) -> None:
    async with open_gateway_harness(agent=False) as harness:
        await harness.add_agent(nimby="NIMBY")
        render = await harness.server.online("n1")
        assert render.state & 4
        harness.server.add_task(make_task())
        await trio.sleep(5)
        assert harness.agents["n1"].running == ()


async def test_changed_settings_reach_the_agent_and_pace_the_heartbeats(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_harness() as harness:
        render = await harness.server.online("n1")
        render.events = attrs.evolve(render.events, heartbeat_sec=3, zombie_time=40)
        await trio.sleep(5)
        del harness.server.received[:]
        await trio.sleep(30)
        assert 9 <= count(harness, RenderUpdate) <= 17


async def test_a_render_that_drains_takes_no_tasks_and_leaves(autojump_clock: MockClock) -> None:
    async with open_gateway_harness() as harness:
        task, child = await harness.begin()
        harness.agents["n1"].drain("the artist is back")
        await trio.sleep(3)
        late = harness.server.add_task(make_task(1))
        child.exit(0)
        await until_done(harness.server, task)
        await harness.agents["n1"].finished()
        render = harness.server.render("n1")
        assert render is not None
        await harness.server.until(lambda: not render.online)
        assert late.sessions == 0
        assert count(harness, RenderDeregister) == 1


# -- names and tokens ----------------------------------------------------------------------------


async def test_a_second_agent_of_a_name_is_refused(autojump_clock: MockClock) -> None:
    async with open_gateway_harness() as harness:
        task, child = await harness.begin()
        with pytest.RaisesGroup(
            pytest.RaisesExc(LinkRefused, match="name-taken"), flatten_subgroups=True
        ):
            async with trio.open_nursery() as nursery:
                await harness.add_agent("n1", nursery=nursery)
        child.exit(0)
        await until_done(harness.server, task)
        assert count(harness, RenderRegister) == 1


async def test_a_name_that_is_online_natively_is_refused(autojump_clock: MockClock) -> None:
    """The gateway finds out only when it registers at the server."""
    async with open_gateway_harness(agent=False) as harness:
        answer_of_server = harness.server.book.register(_native_register("n1"), 0.0)
        render = await harness.server.online("n1")
        async with harness.connect()() as link:
            answer = await link.register(Register(name="n1"))
        assert getattr(answer, "reason", "") == "name-taken"
        assert render.online
        assert answer_of_server.id == 1


def _native_register(name: str) -> RenderRegister:
    return RenderRegister(name=name, time_launch=7, resources=HostResources())


async def test_a_wrong_token_is_rejected_first(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_harness(agent=False) as harness:
        with pytest.raises(LinkRefused, match="unauthorized"):
            async with harness.connect(make_token())():
                pass
        assert harness.server.received == []


async def test_a_token_is_for_its_names_only(autojump_clock: MockClock) -> None:
    async with open_gateway_harness(agent=False) as harness:
        token = make_token()
        harness.config.tokens.add("cloud-*", token)
        async with harness.connect(token)() as link:
            answer = await link.register(Register(name="n1"))
        assert getattr(answer, "reason", "") == "unauthorized"
        async with harness.connect(token)() as link:
            answer = await link.register(Register(name="cloud-7"))
        assert getattr(answer, "id", 0) == 1
        assert [
            message.name
            for _, message in harness.server.received
            if isinstance(message, RenderRegister)
        ] == ["cloud-7"]


@pytest.mark.parametrize("name", ["", "x" * 256, 'quote"', "back\\slash", "line\nend"])
async def test_a_name_that_would_harm_the_server_is_refused(
    name: str, autojump_clock: MockClock
) -> None:
    async with open_gateway_harness(agent=False) as harness:
        async with harness.connect()() as link:
            answer = await link.register(Register(name=name))
        assert getattr(answer, "reason", "") == "bad-name"
        assert harness.server.received == []


async def test_who_says_too_much_is_read_slowly_and_loses_nothing(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_harness(agent=False, rate=2.0) as harness:
        async with harness.connect()() as link:
            await link.register(Register(name="n1"))
            before = trio.current_time()
            for seq in range(1, 41):
                await link.send(Update(seq=seq))
            acked = 0
            while acked < 40:
                acked = getattr(await link.receive(), "seq", acked)
            # 20 at once, then two a second
            assert 9.0 <= trio.current_time() - before <= 11.0
        assert harness.counters["held_up"] == 20


async def test_a_message_out_of_order_ends_the_session(autojump_clock: MockClock) -> None:
    async with open_gateway_harness(agent=False) as harness:
        async with harness.connect()() as link:
            await link.send(Update(seq=1))
            with pytest.raises(LinkLost, match=r"1002 .*expected a register"):
                await link.receive()
        assert harness.server.received == []


async def test_an_agent_gets_the_reason_why_its_session_ends(autojump_clock: MockClock) -> None:
    async with open_gateway_harness(agent=False) as harness:
        async with harness.connect()() as link:
            await link.register(Register(name="n1"))
            harness.server.down = True
            with pytest.raises(LinkLost, match=r"1013 .*af://farm:51000: hung up"):
                await drain(link)


async def test_a_second_register_ends_the_session(autojump_clock: MockClock) -> None:
    async with open_gateway_harness(agent=False) as harness:
        async with harness.connect()() as link:
            await link.register(Register(name="n1"))
            assert isinstance(link, WebSocketLink)
            await link._connection.send(encode(Register(name="n1")))
            with pytest.raises(LinkLost, match=r"1002 .*second register"):
                await drain(link)


async def test_a_connection_that_sends_nothing_is_closed(autojump_clock: MockClock) -> None:
    async with open_gateway_harness(agent=False) as harness:
        async with harness.connect()() as link:
            before = trio.current_time()
            with pytest.raises(LinkLost, match="closed"):
                await link.receive()
            assert trio.current_time() - before <= 13.0
        assert harness.server.received == []


# -- requests that fail --------------------------------------------------------------------------


@pytest.mark.parametrize("received", [True, False])
async def test_an_outcome_survives_a_failed_exchange(
    received: bool, autojump_clock: MockClock
) -> None:
    async with open_gateway_harness() as harness:
        task, child = await harness.begin()
        harness.server.fail(Fault(where=an_outcome, received=received))
        await child.write(b"all of it\n")
        child.exit(0)
        await until_done(harness.server, task)
        await trio.sleep(5)
        assert (task.output, task.sessions, task.errors) == (b"all of it\n", 1, 0)
        assert harness.agents["n1"].running == ()


async def test_files_survive_a_failed_exchange(autojump_clock: MockClock) -> None:
    async with open_gateway_harness() as harness:
        task, child = await harness.begin()
        host = harness.hosts["n1"]
        host.places[next(iter(host.places))].files["thumb.jpg"] = b"picture"
        harness.server.fail(
            Fault(
                where=lambda message: (
                    isinstance(message, RenderUpdate) and any(up.files for up in message.taskups)
                ),
                received=False,
            )
        )
        child.exit(0)
        await until_done(harness.server, task)
        assert task.files == {"thumb.jpg": b"picture"}


async def test_a_request_that_hangs_is_repeated(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_harness() as harness:
        task, child = await harness.begin()
        harness.server.fail(Fault(where=an_outcome, received=False, hang=True))
        child.exit(0)
        await until_done(harness.server, task)
        assert task.sessions == 1


async def test_a_lost_exec_is_given_back_and_sent_again(autojump_clock: MockClock) -> None:
    async with open_gateway_harness() as harness:
        task = harness.server.add_task(make_task())
        harness.server.fail(Fault(where=lambda message: an_update(message) and bool(task.sessions)))
        child = await harness.hosts["n1"].spawn.next()
        child.exit(0)
        await until_done(harness.server, task)
        assert task.errors == 0


async def test_a_restarted_server_resumes_its_task(autojump_clock: MockClock) -> None:
    async with open_gateway_harness() as harness:
        task, child = await harness.begin()
        harness.server.restart()
        await harness.server.until(lambda: task.state is NativeState.RUNNING)
        child.exit(0)
        await until_done(harness.server, task)
        assert len(harness.hosts["n1"].spawn.children) == 1
        assert task.errors == 0


async def test_a_server_that_was_down_for_a_while_resumes_its_task(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_harness() as harness:
        task, child = await harness.begin()
        harness.server.down = True
        await trio.sleep(20)
        harness.server.down = False
        harness.server.restart()
        await harness.server.until(lambda: task.state is NativeState.RUNNING)
        child.exit(0)
        await until_done(harness.server, task)
        assert len(harness.hosts["n1"].spawn.children) == 1


async def test_a_server_with_an_empty_store_gets_a_new_register(autojump_clock: MockClock) -> None:
    async with open_gateway_harness() as harness:
        _, child = await harness.begin()
        harness.server.restart(keep=False)
        await trio.sleep(10)
        assert (await harness.server.online("n1")).tasks == []
        with trio.fail_after(30):
            await child.exited()
        assert harness.agents["n1"].running == ()


# -- other messages ------------------------------------------------------------------------------


async def test_a_log_line_of_the_server_is_forwarded(autojump_clock: MockClock) -> None:
    async with open_gateway_harness(agent=False) as harness:
        async with harness.connect()() as link:
            await link.register(Register(name="n1"))
            render = await harness.server.online("n1")
            assert isinstance(render.events, RenderEvents)
            render.events = attrs.evolve(render.events, log="dinner is ready")
            with trio.fail_after(10):
                while True:
                    message = await link.receive()
                    if getattr(message, "log", "") == "dinner is ready":
                        break


async def test_a_task_that_is_too_large_costs_no_other_one(autojump_clock: MockClock) -> None:
    """The server's messages may have 64 MiB, those of the gateway 8 MiB."""
    async with open_gateway_harness() as harness:
        running, child = await harness.begin()
        large = harness.server.add_task(attrs.evolve(make_task(1), command_task="x" * MAX_FRAME))
        other = harness.server.add_task(make_task(2))
        spawn = harness.hosts["n1"].spawn
        await harness.server.until(lambda: len(spawn.launches) == 2)
        (await spawn.next()).exit(0)
        await until_done(harness.server, other)
        await harness.server.until(lambda: large.state is NativeState.ERROR)
        assert set(large.statuses) <= {TaskStatus.Percent, TaskStatus.FailedToStart}
        assert "the gateway cannot send the task" in "".join(large.log)
        assert (harness.counters["sessions_lost"], running.errors, child.signals) == (0, 0, [])
