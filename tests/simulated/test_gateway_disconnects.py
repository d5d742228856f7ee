"""Lost websockets, killed gateways and restarted agents."""

from __future__ import annotations

import logging

import attrs
import pytest
import trio
from support.agent_on_afserver import make_task, until_done
from support.gateway import GatewayHarness, open_gateway_harness
from trio.testing import MockClock

from trio_afrender.afserver import Identity, LinkState
from trio_afrender.afserver.pacing import PollSchedule
from trio_afrender.errors import LinkLost
from trio_afrender.gateway.counters import GatewayCounters
from trio_afrender.gateway.identity_store import MemoryIdentityStore
from trio_afrender.gateway.render_proxy import RenderProxy
from trio_afrender.protocol.afanasy import RenderDeregister, RenderRegister, RenderUpdate
from trio_afrender.protocol.messages import Events, Register, Registered, TaskExec
from trio_afrender.testing import NativeState
from trio_afrender.transport.repeated_lines import RepeatedLines


def count(harness: GatewayHarness, kind: type) -> int:
    return sum(isinstance(message, kind) for _, message in harness.server.received)


def spawned(harness: GatewayHarness, name: str = "n1") -> int:
    return len(harness.hosts[name].spawn.children)


# -- a websocket that is lost --------------------------------------------------------------------


async def test_a_render_stays_online_while_its_agent_reconnects(autojump_clock: MockClock) -> None:
    async with open_gateway_harness() as harness:
        task, child = await harness.begin()
        harness.refuse_agents()
        await trio.sleep(10)
        times = [at for at, message in harness.server.received if isinstance(message, RenderUpdate)]
        assert times[-1] > harness.server.received[0][0] + 9.0, "heartbeats continue"
        harness.refuse_agents(False)
        await trio.sleep(8)
        assert harness.agents["n1"].state == "online"
        child.exit(0)
        await until_done(harness.server, task)
        assert count(harness, RenderRegister) == 1
        assert count(harness, RenderDeregister) == 0
        assert (task.sessions, spawned(harness)) == (1, 1)


async def test_an_outcome_is_delivered_after_the_agent_reconnects(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_harness() as harness:
        task, child = await harness.begin()
        harness.refuse_agents()
        await child.write(b"the end\n")
        child.exit(0)
        await trio.sleep(8)
        assert task.state is NativeState.RUNNING
        harness.refuse_agents(False)
        await until_done(harness.server, task)
        assert (task.output, task.sessions) == (b"the end\n", 1)


async def test_a_render_whose_agent_does_not_reconnect_gives_its_tasks_back(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_harness() as harness:
        task, child = await harness.begin()
        render = await harness.server.online("n1")
        before = trio.current_time()
        harness.refuse_agents()
        await harness.server.until(lambda: not render.online)
        assert 16.0 <= trio.current_time() - before <= 18.0
        assert (task.state, task.errors) == (NativeState.READY, 0)
        assert count(harness, RenderDeregister) == 1
        assert harness.counters["renders_given_up"] == 1
        await harness.add_native_agent("n2")
        await harness.server.until(lambda: task.state is NativeState.RUNNING)
        harness.refuse_agents(False)
        with trio.fail_after(60):
            await child.exited()  # another render has it now
        (await harness.hosts["n2"].spawn.next()).exit(0)
        await until_done(harness.server, task)
        assert task.errors == 0


async def test_a_task_handed_out_while_the_agent_is_disconnected_starts_once(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_harness() as harness:
        harness.refuse_agents()
        task = harness.server.add_task(make_task())
        await harness.server.until(lambda: task.state is NativeState.RUNNING)
        await trio.sleep(3)
        harness.refuse_agents(False)
        child = await harness.hosts["n1"].spawn.next()
        child.exit(0)
        await until_done(harness.server, task)
        assert (task.sessions, spawned(harness), task.errors) == (1, 1, 0)


async def test_a_task_that_is_lost_with_the_websocket_starts_once(
    autojump_clock: MockClock,
) -> None:
    """The gateway has sent it, and the agent has not received it."""
    async with open_gateway_harness() as harness:
        harness.listener.fall_silent()
        task = harness.server.add_task(make_task())
        await harness.server.until(lambda: task.state is NativeState.RUNNING)
        harness.listener.cut()
        child = await harness.hosts["n1"].spawn.next()
        child.exit(0)
        await until_done(harness.server, task)
        assert (task.sessions, spawned(harness), task.errors) == (1, 1, 0)


@pytest.mark.parametrize("sent", [True, False])
async def test_a_stop_while_the_agent_is_disconnected_reaches_it(
    sent: bool, autojump_clock: MockClock
) -> None:
    """The server sends it once: to no agent, or on a websocket that is dead."""
    async with open_gateway_harness() as harness:
        task, child = await harness.begin()
        if sent:
            harness.listener.fall_silent()
        else:
            harness.refuse_agents()
        harness.server.book.stop(task.key, NativeState.READY)
        await trio.sleep(4)
        harness.listener.cut()
        harness.refuse_agents(False)
        with trio.fail_after(30):
            await child.exited()
        await harness.server.until(lambda: 7 in task.statuses)
        assert task.errors == 0


async def test_listeners_and_questions_while_the_agent_is_disconnected_reach_it(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_harness() as harness:
        task, child = await harness.begin()
        render = await harness.server.online("n1")
        harness.refuse_agents()
        render.add("listens_add", task.key)
        render.add("outputs", task.key)
        await trio.sleep(4)
        harness.refuse_agents(False)
        await harness.server.until(lambda: task.key in harness.server.book.outputs)
        await child.write(b"wanted\n")
        await harness.server.until(lambda: "wanted" in task.listened)


async def test_an_exit_request_while_the_agent_is_disconnected_reaches_it(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_harness() as harness:
        render = await harness.server.online("n1")
        harness.refuse_agents()
        render.add_instruction("exit")
        await trio.sleep(4)
        harness.refuse_agents(False)
        await harness.server.until(lambda: not render.online)
        assert count(harness, RenderDeregister) == 1


async def test_changed_settings_while_the_agent_is_disconnected_reach_it(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_harness(agent=False) as harness:
        _, render = await harness.register_once("n1")
        render.events = attrs.evolve(render.events, heartbeat_sec=7)
        await trio.sleep(3)
        answer, _ = await harness.register_once("n1")
        assert answer.heartbeat_sec == 7


async def test_a_dead_websocket_is_replaced_by_one_that_lists_its_runs(
    autojump_clock: MockClock,
) -> None:
    """The gateway has not noticed. Without runs the agent would have to wait for the pings."""
    async with open_gateway_harness() as harness:
        task, child = await harness.begin()
        harness.cut_at_agents()
        await trio.sleep(5)
        assert harness.agents["n1"].state == "online"
        assert harness.counters["sessions"] == 2
        child.exit(0)
        await until_done(harness.server, task)
        assert count(harness, RenderRegister) == 1


# -- a gateway that is killed or stopped ---------------------------------------------------------


@pytest.mark.parametrize("kept", [True, False])
async def test_a_gateway_killed_during_a_task_loses_nothing(
    kept: bool, autojump_clock: MockClock
) -> None:
    async with open_gateway_harness() as harness:
        (task, child), (other, end) = await harness.begin(0), await harness.begin(1)
        await harness.kill()
        await end.write(b"the end\n")
        end.exit(0)
        await trio.sleep(3)
        if not kept:
            harness.identities = MemoryIdentityStore()
        await harness.start()
        await until_done(harness.server, other)
        await child.write(b"PROGRESS: 70%\n")
        await harness.server.until(lambda: task.percent == 70)
        child.exit(0)
        await until_done(harness.server, task)
        assert other.output == b"the end\n"
        assert (task.sessions, other.sessions, spawned(harness)) == (1, 1, 2)
        assert (task.errors, other.errors) == (0, 0)
        assert count(harness, RenderRegister) == 1, "it continues with updates under the old id"


async def test_an_idle_render_keeps_its_id_after_a_restart(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_harness() as harness:
        render = await harness.server.online("n1")
        await harness.kill()
        await trio.sleep(1)
        await harness.start()
        await trio.sleep(8)
        assert [each.id for each in harness.server.book.renders.values()] == [render.id]
        assert count(harness, RenderRegister) == 1


async def test_an_exec_that_a_killed_gateway_lost_is_sent_again(autojump_clock: MockClock) -> None:
    async with open_gateway_harness() as harness:
        harness.listener.fall_silent()
        task = harness.server.add_task(make_task())
        await harness.server.until(lambda: task.state is NativeState.RUNNING)
        await harness.kill()
        await harness.start()
        child = await harness.hosts["n1"].spawn.next()
        child.exit(0)
        await until_done(harness.server, task)
        assert (spawned(harness), task.errors) == (1, 0)


async def test_an_outcome_whose_close_a_killed_gateway_lost_counts_once(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_harness() as harness:
        task, child = await harness.begin()
        harness.silence_towards_agents()
        child.exit(0)
        await until_done(harness.server, task)
        await harness.kill()
        await harness.start()
        await trio.sleep(10)
        assert harness.agents["n1"].running == ()
        assert task.statuses.count(5) == 1
        assert task.state is NativeState.DONE


async def test_a_gateway_that_is_down_for_long_registers_its_renders_again(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_harness() as harness:
        task, child = await harness.begin()
        await harness.kill()
        await trio.sleep(25)
        assert task.state is NativeState.READY
        await harness.start()
        with trio.fail_after(60):
            await child.exited()
        (await harness.hosts["n1"].spawn.next()).exit(0)
        await until_done(harness.server, task)
        assert task.errors == 0
        assert count(harness, RenderRegister) == 2


async def test_both_gateway_and_server_restart(autojump_clock: MockClock) -> None:
    async with open_gateway_harness() as harness:
        task, child = await harness.begin()
        await harness.kill()
        harness.server.restart()
        await harness.start()
        await harness.server.until(lambda: task.state is NativeState.RUNNING)
        child.exit(0)
        await until_done(harness.server, task)
        assert (spawned(harness), task.errors) == (1, 0)


async def test_a_stopped_gateway_deregisters_nothing_and_finishes_exchanges(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_harness() as harness:
        task, child = await harness.begin()
        assert harness.gateway is not None
        harness.gateway.stop()
        with trio.fail_after(6):
            await harness.over.wait()
        harness.listener.refusing = True
        await harness.start()
        await trio.sleep(6)
        child.exit(0)
        await until_done(harness.server, task)
        assert count(harness, RenderDeregister) == 0
        assert count(harness, RenderRegister) == 1
        assert harness.counters["exchanges_failed"] == 0


async def test_a_restarted_agent_keeps_its_id(autojump_clock: MockClock) -> None:
    """A task that it does not list is handed out again, to the same agent."""
    async with open_gateway_harness(agent=False) as harness:
        first = trio.CancelScope()
        async with trio.open_nursery() as nursery:

            async def run_first_agent() -> None:
                with first:
                    async with trio.open_nursery() as inner:
                        await harness.add_agent("n1", nursery=inner)

            nursery.start_soon(run_first_agent)
            render = await harness.server.online("n1")
            task, _ = await harness.begin()
            harness.listener.cut()
            first.cancel()
        del harness.agents["n1"], harness.hosts["n1"]
        await trio.sleep(2)
        await harness.add_agent("n1")
        (await harness.hosts["n1"].spawn.next()).exit(0)
        await until_done(harness.server, task)
        assert [each.id for each in harness.server.book.renders.values()] == [render.id]
        assert task.errors == 0


# -- limits --------------------------------------------------------------------------------------


async def test_agents_that_wait_for_a_slow_server_get_the_reason_and_do_not_accumulate(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_harness(agent=False) as harness:
        harness.delay = 11.0
        ends: list[tuple[float, str]] = []

        async def try_once(number: int) -> None:
            async with harness.connect()() as link:
                before = trio.current_time()
                try:
                    await link.register(Register(name=f"n{number}"))
                except LinkLost as error:
                    ends.append((trio.current_time() - before, str(error)))

        async with trio.open_nursery() as nursery:
            for number in range(24):
                nursery.start_soon(try_once, number)
        assert len(ends) == 16
        assert all(end <= 12.1 for end, _ in ends)
        assert all("answer" in why and "12 s" in why for _, why in ends)
        assert harness.gateway is not None
        await trio.sleep(60)
        harness.delay = 0.0
        await harness.add_agent("n23")
        await harness.server.online("n23")


async def test_at_most_eight_exchanges_are_in_progress(autojump_clock: MockClock) -> None:
    async with open_gateway_harness(agent=False) as harness:
        harness.delay = 0.1
        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(harness.add_agent, f"n{number}")
        await harness.server.until(lambda: len(harness.server.book.renders) == 30)
        assert harness.most_at_once == 8
        await trio.sleep(5)
        assert harness.counters["agents"] == 30


@attrs.define(eq=False)
class SlowLink:
    """A native link whose register is answered, or fails, when a test sets `answered`."""

    answer: Registered | None
    answered: trio.Event = attrs.field(factory=trio.Event)
    tasks: tuple[TaskExec, ...] = ()
    deregistered: list[str] = attrs.field(factory=list)

    async def register(self, _register: Register) -> Registered:
        await self.answered.wait()
        if self.answer is None:
            raise LinkLost("no answer")
        return self.answer

    async def receive(self) -> Events:
        await trio.sleep_forever()
        raise AssertionError

    async def deregister(self, reason: str) -> None:
        self.deregistered.append(reason)


@attrs.define(eq=False)
class FakeSession:
    """A session without a websocket."""

    over: trio.Event = attrs.field(factory=trio.Event)
    token: bytes = b""

    def end(self, _why: str) -> None:
        self.over.set()


async def test_a_session_that_gives_up_during_the_next_register_does_not_end_the_render(
    autojump_clock: MockClock,
) -> None:
    """A server that was suspended answers the second connection; the first one ends meanwhile."""
    silent, answering = SlowLink(None), SlowLink(Registered(id=1))
    links = [silent, answering]
    state = LinkState(
        identity=Identity(server="", name="r1"), pace=PollSchedule(heartbeat=1, zombie=16)
    )
    state.unconfirmed_since = trio.current_time()
    async with trio.open_nursery() as nursery:
        # `SlowLink` has the used part of a link only: no `send`.
        lines = RepeatedLines(logging.getLogger("test"), trio.current_time)
        render = RenderProxy(
            "r1",
            state,
            GatewayCounters(),
            lines,
            nursery,
            lambda _state, _token: links.pop(0),  # type: ignore[arg-type,return-value] # as above
            lambda: None,
        )
        first, second = FakeSession(), FakeSession()

        async def attach(session: FakeSession) -> None:
            await render.attach(session, Register(name="r1"))  # type: ignore[arg-type] # as above

        async def give_up() -> None:
            with pytest.raises(LinkLost):
                await attach(first)
            await trio.sleep(0.1)  # the agent gets the reason
            render.detach(first)  # type: ignore[arg-type] # as above

        nursery.start_soon(give_up)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(attach, second)
        await trio.testing.wait_all_tasks_blocked()
        silent.answered.set()
        await trio.sleep(1)
        answering.answered.set()
        await trio.sleep(60)
        held: object = render.session
        assert held is second
        assert answering.deregistered == []
        nursery.cancel_scope.cancel()
