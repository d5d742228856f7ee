"""When one of the three is away for a while: the agent's websocket, or the gateway itself."""

from __future__ import annotations

import attrs
import pytest
import trio
from support.agent_on_afserver import make_task
from support.gateway import GatewayStage, open_gateway_stage
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


def count(stage: GatewayStage, kind: type) -> int:
    return sum(isinstance(said, kind) for _, said in stage.server.received)


def spawned(stage: GatewayStage, name: str = "n1") -> int:
    return len(stage.hosts[name].spawn.children)


# -- a websocket that is lost --------------------------------------------------------------------


async def test_a_render_outlives_a_short_cut_of_its_websocket(autojump_clock: MockClock) -> None:
    async with open_gateway_stage() as stage:
        task, child = await stage.begin()
        stage.refuse_agents()
        await trio.sleep(10)
        times = [at for at, said in stage.server.received if isinstance(said, RenderUpdate)]
        assert times[-1] > stage.server.received[0][0] + 9.0, "signs of life go on"
        stage.refuse_agents(False)
        await trio.sleep(8)
        assert stage.agents["n1"].state == "online"
        child.exit(0)
        await stage.server.until(lambda: task.state is NativeState.DONE)
        assert count(stage, RenderRegister) == 1
        assert count(stage, RenderDeregister) == 0
        assert (task.sessions, spawned(stage)) == (1, 1)


async def test_a_task_that_ends_while_its_agent_is_cut_off_is_delivered(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_stage() as stage:
        task, child = await stage.begin()
        stage.refuse_agents()
        await child.write(b"the end\n")
        child.exit(0)
        await trio.sleep(8)
        assert task.state is NativeState.RUNNING
        stage.refuse_agents(False)
        await stage.server.until(lambda: task.state is NativeState.DONE)
        assert (task.output, task.sessions) == (b"the end\n", 1)


async def test_a_render_whose_agent_stays_away_gives_its_tasks_back_without_an_error(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_stage() as stage:
        task, child = await stage.begin()
        render = await stage.server.online("n1")
        before = trio.current_time()
        stage.refuse_agents()
        await stage.server.until(lambda: not render.online)
        assert 16.0 <= trio.current_time() - before <= 18.0
        assert (task.state, task.errors) == (NativeState.READY, 0)
        assert count(stage, RenderDeregister) == 1
        assert stage.counters["renders_given_up"] == 1
        await stage.add_native_agent("n2")
        await stage.server.until(lambda: task.state is NativeState.RUNNING)
        stage.refuse_agents(False)
        with trio.fail_after(60):
            await child.exited()  # another render has it now
        (await stage.hosts["n2"].spawn.next()).exit(0)
        await stage.server.until(lambda: task.state is NativeState.DONE)
        assert task.errors == 0


async def test_a_task_handed_out_while_the_agent_is_cut_off_starts_once(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_stage() as stage:
        stage.refuse_agents()
        task = stage.server.add_task(make_task())
        await stage.server.until(lambda: task.state is NativeState.RUNNING)
        await trio.sleep(3)
        stage.refuse_agents(False)
        child = await stage.hosts["n1"].spawn.next()
        child.exit(0)
        await stage.server.until(lambda: task.state is NativeState.DONE)
        assert (task.sessions, spawned(stage), task.errors) == (1, 1, 0)


async def test_a_task_on_its_way_when_the_websocket_breaks_starts_once(
    autojump_clock: MockClock,
) -> None:
    """The gateway has sent it, and the agent never got it."""
    async with open_gateway_stage() as stage:
        stage.listener.fall_silent()
        task = stage.server.add_task(make_task())
        await stage.server.until(lambda: task.state is NativeState.RUNNING)
        stage.listener.cut()
        child = await stage.hosts["n1"].spawn.next()
        child.exit(0)
        await stage.server.until(lambda: task.state is NativeState.DONE)
        assert (task.sessions, spawned(stage), task.errors) == (1, 1, 0)


@pytest.mark.parametrize("sent", [True, False])
async def test_a_stop_while_the_agent_is_cut_off_reaches_it(
    sent: bool, autojump_clock: MockClock
) -> None:
    """The server says it once: told to nobody, or sent on a websocket that was dead."""
    async with open_gateway_stage() as stage:
        task, child = await stage.begin()
        if sent:
            stage.listener.fall_silent()
        else:
            stage.refuse_agents()
        stage.server.book.stop(task.key, NativeState.READY)
        await trio.sleep(4)
        stage.listener.cut()
        stage.refuse_agents(False)
        with trio.fail_after(30):
            await child.exited()
        await stage.server.until(lambda: 7 in task.statuses)
        assert task.errors == 0


async def test_listeners_and_questions_while_the_agent_is_cut_off_reach_it(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_stage() as stage:
        task, child = await stage.begin()
        render = await stage.server.online("n1")
        stage.refuse_agents()
        render.add("listens_add", task.key)
        render.add("outputs", task.key)
        await trio.sleep(4)
        stage.refuse_agents(False)
        await stage.server.until(lambda: task.key in stage.server.book.outputs)
        await child.write(b"heard\n")
        await stage.server.until(lambda: "heard" in task.listened)


async def test_an_exit_request_while_the_agent_is_cut_off_reaches_it(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_stage() as stage:
        render = await stage.server.online("n1")
        stage.refuse_agents()
        render.add_instruction("exit")
        await trio.sleep(4)
        stage.refuse_agents(False)
        await stage.server.until(lambda: not render.online)
        assert count(stage, RenderDeregister) == 1


async def test_changed_settings_while_the_agent_is_cut_off_reach_it(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_stage(agent=False) as stage:
        _, render = await stage.register_by_hand("n1")
        render.events = attrs.evolve(render.events, heartbeat_sec=7)
        await trio.sleep(3)
        answer, _ = await stage.register_by_hand("n1")
        assert answer.heartbeat_sec == 7


async def test_a_dead_websocket_gives_way_to_one_that_knows_its_runs(
    autojump_clock: MockClock,
) -> None:
    """The gateway has not noticed; an agent without runs would wait for its pings."""
    async with open_gateway_stage() as stage:
        task, child = await stage.begin()
        stage.cut_the_agents_end()
        await trio.sleep(5)
        assert stage.agents["n1"].state == "online"
        assert stage.counters["sessions"] == 2
        child.exit(0)
        await stage.server.until(lambda: task.state is NativeState.DONE)
        assert count(stage, RenderRegister) == 1


# -- a gateway that is killed, or ends -----------------------------------------------------------


@pytest.mark.parametrize("kept", [True, False])
async def test_killed_and_restarted_in_mid_task_it_loses_nothing(
    kept: bool, autojump_clock: MockClock
) -> None:
    async with open_gateway_stage() as stage:
        (task, child), (other, end) = await stage.begin(0), await stage.begin(1)
        await stage.kill()
        await end.write(b"the end\n")
        end.exit(0)
        await trio.sleep(3)
        if not kept:
            stage.identities = MemoryIdentityStore()
        await stage.start()
        await stage.server.until(lambda: other.state is NativeState.DONE)
        await child.write(b"PROGRESS: 70%\n")
        await stage.server.until(lambda: task.percent == 70)
        child.exit(0)
        await stage.server.until(lambda: task.state is NativeState.DONE)
        assert other.output == b"the end\n"
        assert (task.sessions, other.sessions, spawned(stage)) == (1, 1, 2)
        assert (task.errors, other.errors) == (0, 0)
        assert count(stage, RenderRegister) == 1, "it went on with updates, under the old id"


async def test_an_idle_render_goes_on_under_its_id_after_a_restart(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_stage() as stage:
        render = await stage.server.online("n1")
        await stage.kill()
        await trio.sleep(1)
        await stage.start()
        await trio.sleep(8)
        assert [each.id for each in stage.server.book.renders.values()] == [render.id]
        assert count(stage, RenderRegister) == 1


async def test_an_exec_that_died_with_the_gateway_comes_again(autojump_clock: MockClock) -> None:
    async with open_gateway_stage() as stage:
        stage.listener.fall_silent()
        task = stage.server.add_task(make_task())
        await stage.server.until(lambda: task.state is NativeState.RUNNING)
        await stage.kill()
        await stage.start()
        child = await stage.hosts["n1"].spawn.next()
        child.exit(0)
        await stage.server.until(lambda: task.state is NativeState.DONE)
        assert (spawned(stage), task.errors) == (1, 0)


async def test_an_outcome_whose_close_died_with_the_gateway_is_told_once(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_stage() as stage:
        task, child = await stage.begin()
        stage.fall_silent_to_agents()
        child.exit(0)
        await stage.server.until(lambda: task.state is NativeState.DONE)
        await stage.kill()
        await stage.start()
        await trio.sleep(10)
        assert stage.agents["n1"].running == ()
        assert task.statuses.count(5) == 1
        assert task.state is NativeState.DONE


async def test_a_gateway_that_is_away_for_long_finds_renders_that_were_given_up(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_stage() as stage:
        task, child = await stage.begin()
        await stage.kill()
        await trio.sleep(25)
        assert task.state is NativeState.READY
        await stage.start()
        with trio.fail_after(60):
            await child.exited()
        (await stage.hosts["n1"].spawn.next()).exit(0)
        await stage.server.until(lambda: task.state is NativeState.DONE)
        assert task.errors == 0
        assert count(stage, RenderRegister) == 2


async def test_both_gateway_and_server_restart(autojump_clock: MockClock) -> None:
    async with open_gateway_stage() as stage:
        task, child = await stage.begin()
        await stage.kill()
        stage.server.restart()
        await stage.start()
        await stage.server.until(lambda: task.state is NativeState.RUNNING)
        child.exit(0)
        await stage.server.until(lambda: task.state is NativeState.DONE)
        assert (spawned(stage), task.errors) == (1, 0)


async def test_it_ends_without_a_goodbye_and_cuts_no_exchange_short(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_stage() as stage:
        task, child = await stage.begin()
        assert stage.gateway is not None
        stage.gateway.stop()
        with trio.fail_after(6):
            await stage.over.wait()
        stage.listener.refusing = True
        await stage.start()
        await trio.sleep(6)
        child.exit(0)
        await stage.server.until(lambda: task.state is NativeState.DONE)
        assert count(stage, RenderDeregister) == 0
        assert count(stage, RenderRegister) == 1
        assert stage.counters["exchanges_failed"] == 0


async def test_an_agent_that_was_restarted_goes_on_under_its_id(autojump_clock: MockClock) -> None:
    """And what it did not bring back is given to the next who is free: to itself, anew."""
    async with open_gateway_stage(agent=False) as stage:
        first = trio.CancelScope()
        async with trio.open_nursery() as nursery:

            async def be_killed() -> None:
                with first:
                    async with trio.open_nursery() as inner:
                        await stage.add_agent("n1", nursery=inner)

            nursery.start_soon(be_killed)
            render = await stage.server.online("n1")
            task, _ = await stage.begin()
            stage.listener.cut()
            first.cancel()
        del stage.agents["n1"], stage.hosts["n1"]
        await trio.sleep(2)
        await stage.add_agent("n1")
        (await stage.hosts["n1"].spawn.next()).exit(0)
        await stage.server.until(lambda: task.state is NativeState.DONE)
        assert [each.id for each in stage.server.book.renders.values()] == [render.id]
        assert task.errors == 0


# -- how much at once ----------------------------------------------------------------------------


async def test_agents_that_wait_for_a_slow_server_are_told_and_do_not_pile_up(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway_stage(agent=False) as stage:
        stage.delay = 11.0
        ends: list[tuple[float, str]] = []

        async def try_once(number: int) -> None:
            async with stage.connect()() as link:
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
        assert stage.gateway is not None
        await trio.sleep(60)
        stage.delay = 0.0
        await stage.add_agent("n23")
        await stage.server.online("n23")


async def test_at_most_eight_exchanges_are_under_way(autojump_clock: MockClock) -> None:
    async with open_gateway_stage(agent=False) as stage:
        stage.delay = 0.1
        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(stage.add_agent, f"n{number}")
        await stage.server.until(lambda: len(stage.server.book.renders) == 30)
        assert stage.most_at_once == 8
        await trio.sleep(5)
        assert stage.counters["agents"] == 30


@attrs.define(eq=False)
class SlowLink:
    """A native link whose register is answered, or not, when a test says so."""

    answer: Registered | None
    answered: trio.Event = attrs.field(factory=trio.Event)
    tasks: tuple[TaskExec, ...] = ()
    goodbyes: list[str] = attrs.field(factory=list)

    async def register(self, _register: Register) -> Registered:
        await self.answered.wait()
        if self.answer is None:
            raise LinkLost("no answer")
        return self.answer

    async def receive(self) -> Events:
        await trio.sleep_forever()
        raise AssertionError

    async def deregister(self, reason: str) -> None:
        self.goodbyes.append(reason)


@attrs.define(eq=False)
class SilentSession:
    """A websocket that nobody says anything to."""

    over: trio.Event = attrs.field(factory=trio.Event)

    def end(self, _why: str) -> None:
        self.over.set()


async def test_who_gives_up_while_the_next_one_registers_does_not_end_its_render(
    autojump_clock: MockClock,
) -> None:
    """A server that stood still answers the second connection; the first goes away meanwhile."""
    silent, answering = SlowLink(None), SlowLink(Registered(id=1))
    links = [silent, answering]
    memory = LinkState(
        identity=Identity(server="", name="r1"), pace=PollSchedule(heartbeat=1, zombie=16)
    )
    memory.unconfirmed_since = trio.current_time()
    async with trio.open_nursery() as nursery:
        # The part of a link that is used: `SlowLink` has no `send`.
        render = RenderProxy("r1", memory, GatewayCounters(), nursery, lambda _: links.pop(0), lambda: None)  # type: ignore[arg-type,return-value]  # fmt: skip
        first, second = SilentSession(), SilentSession()

        async def attach(session: SilentSession) -> None:
            await render.attach(session, Register(name="r1"))  # type: ignore[arg-type] # as above

        async def give_up() -> None:
            with pytest.raises(LinkLost):
                await attach(first)
            await trio.sleep(0.1)  # the agent is told why
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
        assert answering.goodbyes == []
        nursery.cancel_scope.cancel()
