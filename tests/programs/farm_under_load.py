"""A farm in the folder of the first argument, and a render that ends task after task.

For each outcome that the farm has acknowledged by a close, the number of the task is a line of stdout.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio
from support.farm import FakeLink, listed, make_update, one_job

from trio_afrender.farm import open_farm
from trio_afrender.protocol.messages import Events


async def main() -> None:
    async with trio.open_nursery() as nursery, open_farm(Path(sys.argv[1])) as farm:
        farm.submit(one_job(listed(1000), user_name="joe"))
        link = FakeLink()
        nursery.start_soon(farm.serve_link, link)
        await link.register(max_tasks=8)
        tasks = {}
        while True:
            events = await link.expect(Events)
            for ref in events.closes:
                sys.stdout.write(f"{ref.task}\n")
            sys.stdout.flush()
            for task in events.tasks:
                tasks[task.run] = task
                await link.update(make_update(task, output=f"output of {task.task}"))


trio.run(main)
