"""Quirks of the afserver that break a careless agent, one test or more for each.

All of them were observed on the real server.
"""

from __future__ import annotations

import json
from itertools import pairwise

import attrs
import trio
from support.agent_on_afserver import CONFIG, make_task, open_native_stage, until_done
from trio.testing import MockClock

from trio_afrender.process.interfaces import TreeSignal
from trio_afrender.protocol.afanasy import (
    Json,
    Message,
    RenderDeregister,
    RenderEvents,
    RenderRegister,
    RenderUpdate,
    encode,
)
from trio_afrender.protocol.messages import HostResources, TaskFile, TaskStatus
from trio_afrender.testing import (
    Fault,
    MemoryHost,
    NativeState,
    open_native_server,
)
from trio_afrender.testing.fake_afserver.fake_json_api import answer_get


def an_outcome(message: Message) -> bool:
    return isinstance(message, RenderUpdate) and any(up.status > 4 for up in message.taskups)


async def test_trap_01_close_after_the_answer_and_read_by_length(
    autojump_clock: MockClock,
) -> None:
    """Spaces may follow an answer. Reading on would take ten seconds, and the server logs it."""
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        spaced = encode(stage.server.book.update(RenderUpdate(id=1), trio.current_time())) + b"   "
        stage.server.fail(Fault(where=lambda m: isinstance(m, RenderUpdate), answer=spaced))
        await trio.sleep(5)
        child.exit(0)
        await until_done(stage.server, task)
        assert stage.server.complaints == []  # No connection is held open or used twice.


async def test_trap_02_deregister_and_errors_are_answered_in_text(
    autojump_clock: MockClock,
) -> None:
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        text = encode(
            Json(body=b'{"info":{"kind":"error","text":"no \\"such\\" thing"}}', text=True)
        )
        stage.server.fail(Fault(where=lambda m: isinstance(m, RenderUpdate), answer=text))
        await trio.sleep(5)
        child.exit(0)
        await until_done(stage.server, task)
        stage.agent.drain("enough")
        await stage.agent.finished()
        assert any(isinstance(request, RenderDeregister) for _, request in stage.server.received)


async def test_trap_03_settings_count_with_a_valid_id_only(autojump_clock: MockClock) -> None:
    """With the ids -1 and -2 they are uninitialized: a heartbeat of 32745 s would end the render."""
    async with open_native_stage() as stage:
        render = await stage.server.online("n1")
        stage.server.restart()  # It answers with -1 and uninitialized settings.
        await stage.server.until(lambda: render.online)
        del stage.server.received[:]
        await trio.sleep(10)
        updates = [
            request for _, request in stage.server.received if isinstance(request, RenderUpdate)
        ]
        assert len(updates) >= 10


async def test_trap_04_a_resumed_task_is_not_started_twice(autojump_clock: MockClock) -> None:
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        stage.server.restart()
        await stage.server.until(lambda: task.sessions == 2)
        await trio.sleep(5)
        assert len(stage.host.spawn.launches) == 1
        child.exit(0)
        await until_done(stage.server, task)


async def test_trap_05_a_stop_in_a_register_answer_is_never_reported(
    autojump_clock: MockClock,
) -> None:
    """The same key is started again here a second later; a late report would end that run."""
    async with open_native_stage() as stage:
        stage.host.spawn.dies_of = frozenset({TreeSignal.KILL})
        task, old = await stage.begin()
        task.retries = 0
        render = await stage.server.online("n1")
        stage.server.book.deregister(render.id)  # The server gives the task up.
        new = await stage.host.spawn.next()
        assert old.reaped, "the new process waits for the end of the old one"
        reported = len(task.statuses)
        await trio.sleep(20)
        assert set(task.statuses[reported:]) == {TaskStatus.Percent}
        new.exit(0)
        await until_done(stage.server, task)
        assert task.errors == 0


async def test_trap_06_tasks_before_closes_before_stops(autojump_clock: MockClock) -> None:
    """Start and stop of one task in one message: in another order the process would keep running."""
    async with open_native_stage() as stage:
        render = await stage.server.online("n1")
        task = stage.server.add_task(make_task())
        await stage.server.until(lambda: bool(render.events.tasks))
        stage.server.book.stop(task.key, NativeState.SKIPPED)
        await stage.server.until(lambda: task.state is NativeState.SKIPPED)
        await trio.sleep(20)
        assert stage.agent.running == ()
        assert task.statuses[-1] == TaskStatus.FinishedKilled


async def test_trap_07_a_close_of_a_running_task_kills_it(autojump_clock: MockClock) -> None:
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        del stage.server.book.tasks[task.key]  # Its job is deleted.
        await child.signalled()
        await trio.sleep(20)
        assert stage.agent.running == ()
        assert not [up for _, up in stage.server.ups(task.key) if up.status > 4]


async def test_trap_08_outcomes_are_repeated_until_closed(autojump_clock: MockClock) -> None:
    """With "register again" the server uses nothing of the update, and a register comes in between."""
    async with open_native_stage() as stage:
        task, child = await stage.begin()

        def restarts_at_an_outcome(message: Message) -> bool:
            if an_outcome(message):
                stage.server.restart()
            return an_outcome(message)

        again = encode(RenderEvents(id=-1, heartbeat_sec=32745, log="Render is offline."))
        stage.server.fail(Fault(where=restarts_at_an_outcome, answer=again))
        child.exit(0)
        await until_done(stage.server, task)
        assert task.sessions == 2
        assert [up.status for _, up in stage.server.ups(task.key)].count(5) >= 2


async def test_trap_08_an_outcome_that_is_not_closed_is_sent_again(
    autojump_clock: MockClock,
) -> None:
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        nothing = encode(stage.server.book.update(RenderUpdate(id=1), trio.current_time()))
        stage.server.fail(Fault(where=an_outcome, received=False, answer=nothing))
        await child.write(b"output\n")
        child.exit(0)
        await until_done(stage.server, task)
        assert task.output == b"output\n"


async def test_trap_09_only_statuses_that_end_a_task(autojump_clock: MockClock) -> None:
    """The server closes 17 to 19, 21 and 24 to 26 and leaves the task running for ever."""
    bad = {17, 18, 19, 21, 22, 24, 25, 26}
    assert not bad & {int(status) for status in TaskStatus}
    async with open_native_stage() as stage:
        tasks = [(await stage.begin(number))[0] for number in range(3)]
        stage.agent.drain("everything ends", budget=12)
        await stage.agent.finished()
        assert all(task.state is not NativeState.RUNNING for task in tasks)
        assert not bad & {status for task in tasks for status in task.statuses}


async def test_trap_09_updates_carry_the_present_id(autojump_clock: MockClock) -> None:
    """The server ignores an outcome with a wrong id, but closes it."""
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        render = stage.server.book.renders.pop(1)
        render.id = 7
        stage.server.book.renders[7] = render
        stage.server.restart()
        child.exit(0)
        await until_done(stage.server, task)
        assert stage.server.ups(task.key)[-1][1].client_id == 7


async def test_trap_09_a_lost_exec_is_given_back(autojump_clock: MockClock) -> None:
    async with open_native_stage() as stage:
        render = await stage.server.online("n1")
        task = stage.server.add_task(make_task())
        stage.server.fail(
            Fault(where=lambda m: isinstance(m, RenderUpdate) and bool(render.events.tasks))
        )
        await stage.server.until(lambda: TaskStatus.GiveBack in task.statuses)
        (await stage.host.spawn.next()).exit(0)
        await until_done(stage.server, task)
        assert task.errors == 0


async def test_trap_10_every_text_ends_with_nul(autojump_clock: MockClock) -> None:
    """A text of length 0 ends the real server. The fake one refuses it, and half a message too."""
    async with open_native_stage(attrs.evolve(CONFIG, user_name="")) as stage:
        task, child = await stage.begin_for("tester")
        child.exit(0)
        await until_done(stage.server, task)
        assert stage.server.complaints == []


async def test_trap_11_a_register_asks_for_no_id(autojump_clock: MockClock) -> None:
    """The server grants the id that a register requests: a used one is refused, a huge one harms it."""
    async with open_native_stage() as stage:
        await stage.begin()
        stage.server.restart()
        await trio.sleep(5)
        stage.server.restart(keep=False)
        await trio.sleep(20)
        registers = [
            request for _, request in stage.server.received if isinstance(request, RenderRegister)
        ]
        assert len(registers) >= 3
        assert {register.id for register in registers} == {0}


async def test_trap_12_no_text_breaks_the_servers_json(autojump_clock: MockClock) -> None:
    harmful = 'a "quoted" \\ back\nslash'
    host = MemoryHost(
        resources=lambda: HostResources(
            hw_info=harmful, gpu_string=harmful, logged_in_users=(harmful,)
        ),
        facts=attrs.evolve(MemoryHost().facts, os=harmful, user=harmful),
    )
    async with open_native_stage(attrs.evolve(CONFIG, user_name=""), host=host) as stage:
        task, child = await stage.begin_for("a 'quoted' / back slash")
        await child.write(b'ACTIVITY: say "x\\y"\n')
        await stage.server.until(lambda: bool(task.activity))
        assert task.activity == "say 'x/y'"
        answer = answer_get(stage.server.book, {"type": "renders", "ids": [1]})
        assert json.loads(answer)["renders"][0]["host_resources"]["hw_info"].startswith(
            "a 'quoted'"
        )


async def test_trap_13_a_log_comes_with_its_output(autojump_clock: MockClock) -> None:
    """A log without output overwrites the stored output."""
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        await child.write(b"what it printed\n")
        child.exit(2)
        await stage.server.until(lambda: task.state is NativeState.ERROR)
        await trio.sleep(20)
        assert task.output == b"what it printed\n"
        assert task.log
        last = [up for _, up in stage.server.ups(task.key) if up.data]
        assert len(last) == 1
        assert stage.server.ups(task.key)[-1][1] == last[0], "nothing after it"


async def test_trap_14_heartbeats_wait_for_nothing(autojump_clock: MockClock) -> None:
    """A measurement that hangs delays no heartbeat."""
    host = MemoryHost(stuck=True)
    async with open_native_stage(host=host) as stage:
        await stage.begin()
        await trio.sleep(60)
        render = stage.server.render("n1")
        assert render is not None
        assert render.online
        times = [at for at, request in stage.server.received if isinstance(request, RenderUpdate)]
        assert max(b - a for a, b in pairwise(times)) <= 1.0


async def test_trap_15_a_taken_name_is_tried_for_a_while(autojump_clock: MockClock) -> None:
    """After a crash the server counts the old render as online until its zombie time has passed."""
    async with open_native_server() as server:
        async with open_native_stage(server=server) as stage:
            await server.online("n1")
        # Another store: nothing proves that this is the same render.
        async with open_native_stage(host=MemoryHost(), server=server) as stage:
            await server.until(lambda: stage.agent.state == "online")
            assert 10 <= trio.current_time() <= 40


async def test_trap_16_tasks_of_the_servers_own_job_are_skipped(autojump_clock: MockClock) -> None:
    """Job 1, service `events`: an error would count against the server's own job."""
    async with open_native_stage() as stage:
        system = attrs.evolve(
            make_task(job=1), service="events", parser="", command_task='{"event": "JOB_DONE"}'
        )
        task = stage.server.add_task(system)
        await stage.server.until(lambda: task.state is NativeState.SKIPPED)
        assert task.statuses[-1] == TaskStatus.Skip


async def test_trap_17_a_known_name_keeps_the_state_that_its_administrator_set(
    autojump_clock: MockClock,
) -> None:
    async with open_native_stage() as stage:
        render = await stage.server.online("n1")
        render.state |= 2
        stage.server.restart()
        await stage.server.until(lambda: render.online)
        await trio.sleep(5)
        assert render.state & 2


async def test_trap_18_files_have_base_names(autojump_clock: MockClock) -> None:
    """The server stores a file under the name that it receives, `../` included."""
    async with open_native_stage() as stage:
        task, child = await stage.begin()
        run_folder = stage.host.places[stage.agent.running[0].run]
        run_folder.files.update({"../../etc/passwd": b"x", "C:\\a\\b.jpg": b"y", "..": b"z"})
        child.exit(0)
        await until_done(stage.server, task)
        sent = [file for _, up in stage.server.ups(task.key) for file in up.files]
        assert set(sent) == {TaskFile(name="passwd", data=b"x"), TaskFile(name="b.jpg", data=b"y")}
