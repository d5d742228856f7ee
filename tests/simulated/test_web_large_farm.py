"""The page of a farm with 1000 renders and a job of 10,000 frames sends few bytes at rest.

`tests/benchmarks/page.py` measures that with 200 viewers over sockets, and how late the farm gets.
"""

from __future__ import annotations

import trio
from support.farm import frames, one_job
from support.json_farm import open_json_farm
from support.large_farm import add_renders, make_load
from support.web_page import open_page
from trio.testing import MockClock

from trio_afrender.farm import renders, updates
from trio_afrender.farm.json_interface import make_in_process_farm
from trio_afrender.protocol.messages import Update

SECONDS = 20


async def test_a_large_farm_at_rest(autojump_clock: MockClock) -> None:
    async with open_json_farm() as own:
        add_renders(own.farm.state, 1000, trio.current_time())
        own.farm.submit(one_job(frames(1, 10_000), user_name="ann"))
        own.farm.dispatch()
        requests = own.server.requests
        farm = make_in_process_farm(
            own.farm, requests, place="af://own", user_name="ann", host_name="ws1"
        )
        async with open_page(farm) as page:
            topics = "jobs,renders,loads,log,blocks.2,tasks.2,task.2.0.9999,why.2"
            async with page.view(topics) as viewer:
                await viewer.count(SECONDS / 6)
                before = viewer.bytes
                assert before > 1_000_000
                for _ in range(SECONDS // 5):
                    for number, render in enumerate(own.farm.state.renders.values()):
                        now = trio.current_time()
                        assert render.session is not None
                        renders.seen(own.farm.state, render, render.session, now, busy=True)
                        load = Update(seq=1, resources=make_load(number))
                        updates.apply_update(own.farm.state, render, render.session, load, now)
                    await viewer.count(5)
                assert (viewer.bytes - before) / SECONDS < 10_000
        own.nursery.cancel_scope.cancel()
