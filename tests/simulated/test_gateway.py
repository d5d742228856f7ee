"""Whole agents in virtual time through a gateway to the double of an Afanasy server."""

from __future__ import annotations

import trio
from gateway_stage import open_gateway_stage
from native_stage import make_task
from trio.testing import MockClock

from trio_afrender.testing import NativeState
from trio_afrender.wire.afanasy import RenderRegister


async def test_a_task_from_exec_to_close(autojump_clock: MockClock) -> None:
    async with open_gateway_stage() as stage:
        task, child = await stage.begin()
        host = stage.hosts["n1"]
        host.places[next(iter(host.places))].files["thumb.jpg"] = b"picture"
        await child.write(b"PROGRESS: 40%\nACTIVITY: halfway\n")
        await stage.server.until(lambda: task.percent == 40)
        assert task.activity == "halfway"
        before = trio.current_time()
        child.exit(0)
        await stage.server.until(lambda: 5 in [up.status for _, up in stage.server.ups(task.key)])
        assert trio.current_time() == before, "an end is told at once"
        await stage.server.until(lambda: task.state is NativeState.DONE)
        assert task.output == b"PROGRESS: 40%\nACTIVITY: halfway\n"
        assert task.files == {"thumb.jpg": b"picture"}
        assert stage.statuses(task.key) == [3, 5]
        await trio.sleep(3)
        assert stage.agents["n1"].running == ()
        assert all(place.removed for place in host.places.values())


async def test_a_job_of_twenty_frames(autojump_clock: MockClock) -> None:
    async with open_gateway_stage() as stage:
        tasks = [stage.server.add_task(make_task(number)) for number in range(20)]
        for number in range(20):
            child = await stage.hosts["n1"].spawn.next()
            await child.write(f"frame {number}\n".encode())
            child.exit(0)
        await stage.server.until(lambda: all(t.state is NativeState.DONE for t in tasks))
        assert [task.sessions for task in tasks] == [1] * 20
        assert {task.output for task in tasks} == {f"frame {n}\n".encode() for n in range(20)}


async def test_the_render_is_what_its_agent_says(autojump_clock: MockClock) -> None:
    async with open_gateway_stage() as stage:
        register = stage.server.heard[0][1]
        assert isinstance(register, RenderRegister)
        assert (register.id, register.name, register.user_name) == (0, "n1", "ann")
        assert register.engine.startswith("trio_afrender ")
