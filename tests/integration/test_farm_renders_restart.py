"""What users set of renders and of the pool is there again when the farm is opened anew."""

from __future__ import annotations

from pathlib import Path

import trio
from support.farm import FakeLink

from trio_afrender.farm import open_farm
from trio_afrender.farm.node_log import Actor
from trio_afrender.farm.render_edits import edit_pool, edit_render, operate_render
from trio_afrender.protocol.messages import Deregister, NetIF, Registered

ADMIN = Actor(user_name="root", host_name="ws1", admin=True)
NETIFS = (NetIF(name="eth0", mac="02:00:00:00:00:01"),)


async def test_renders_and_the_pool_survive_a_restart_of_the_farm(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery, open_farm(tmp_path) as farm:
        for name in ("gone", "a"):
            link = FakeLink()
            nursery.start_soon(farm.serve_link, link)
            await link.register(name, netifs=NETIFS)
        state, now = farm.state, trio.current_time()
        render = state.renders["a"]
        edit_pool(state, {"capacity_host": 700, "zombie_time": 40}, ADMIN, now)
        edit_render(state, render, {"nimby": True, "priority": 7, "user_name": "ann"}, ADMIN, now)
        operate_render(state, render, {"type": "wol_sleep"}, ADMIN, now)
        farm.dispatch()
        await link.send_to_farm(Deregister(reason="asleep"))
        await link.closed.wait()
        assert render.states.words == " OFF NbY WSL"
        lines, effective = render.node_log.lines, render.effective
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery, open_farm(tmp_path) as farm:
        again = farm.state.renders["a"]
        assert again.states.words == " OFF NbY WSL"
        assert again.effective == effective
        assert (again.effective.priority, again.effective.capacity) == (7, 700)
        assert again.node_log.lines == lines
        assert "ann" in lines[-3]
        assert farm.settings.zombie_time == 40
        assert farm.state.pool_log.lines[-1].endswith('"zombie_time" set to 40')
        assert farm.state.asleep == {"a"}
        link = FakeLink()
        nursery.start_soon(farm.serve_link, link)
        answer = await link.register("a", netifs=NETIFS)
        assert isinstance(answer, Registered)
        assert (answer.id, answer.zombie_time) == (again.id, 40)
        assert again.states.words == " ONL NbY"
        assert (again.effective.user_name, again.effective.priority) == ("ann", 7)
        nursery.cancel_scope.cancel()
