"""A farm in the folder of the first argument, with jobs in many states. Says so, and waits for its end.

Its render is a link of memory channels: it ends with the process, as an agent's link does.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio
from support.farm import ADMIN, FakeLink, frames, listed, make_update, one_job

from trio_afrender.farm import open_farm
from trio_afrender.farm.job_edits import edit_blocks, edit_job, operate_blocks, operate_job
from trio_afrender.farm.render_edits import edit_pool, edit_render
from trio_afrender.farm.user_edits import edit_user
from trio_afrender.protocol.messages import (
    Events,
    FilesEntry,
    LogEntry,
    TaskExec,
    TaskFile,
    TaskStatus,
)


async def main() -> None:
    async with trio.open_nursery() as nursery, open_farm(Path(sys.argv[1])) as farm:
        state = farm.state
        job = farm.submit(
            one_job(listed(4, name="a"), frames(1, 3, name="b", depend_mask="a"), user_name="joe")
        )
        over = farm.submit(one_job(user_name="ann", priority=200))
        farm.submit(one_job(user_name="ann", name="deleted", offline=True))
        link = FakeLink()
        nursery.start_soon(farm.serve_link, link)
        await link.register(max_tasks=4)
        tasks: list[TaskExec] = []
        while len(tasks) < 4:
            tasks += (await link.expect(Events)).tasks
        first, done, failed, _ = tasks
        assert first.job == over
        await link.update(make_update(first, output="of ann"))
        entry = LogEntry(run=done.run, n=1, text="a line\n")
        files = FilesEntry(run=done.run, n=1, files=(TaskFile(name="a.jpg", data=b"image"),))
        await link.update(make_update(done, output="out"), log=(entry,), files=(files,))
        now = trio.current_time()
        operate_job(state, state.jobs[job], {"type": "pause"}, ADMIN, now)
        await link.update(make_update(failed, TaskStatus.FinishedError, output="no licence"))
        edit_job(state, state.jobs[job], {"annotation": "note", "priority": 7}, ADMIN, now)
        edit_blocks(state, state.jobs[job], [1], {"capacity": 5}, ADMIN, now)
        operate_blocks(state, state.jobs[job], [1], {"type": "skip", "task_ids": [2]}, ADMIN, now)
        operate_job(state, state.jobs[over + 1], {"type": "delete"}, ADMIN, now)
        edit_user(state, state.users["ann"], {"max_running_tasks": 3}, ADMIN, now)
        edit_render(state, state.renders["a"], {"priority": 77, "NIMBY": True}, ADMIN, now)
        edit_pool(state, {"sick_errors_count": 5}, ADMIN, now)
        # Each update has been stored when it is acknowledged, and the edits are when this returns.
        seen = 0
        while not state.jobs[job].blocks[0].error_hosts:
            seen = await farm.changed(seen)
        await farm.dispatch_and_store()
        running = [run.id for run in state.renders["a"].running.values()]
        sys.stdout.write(" ".join(map(str, (job, over, *running))) + "\n")
        sys.stdout.flush()
        await trio.sleep_forever()


trio.run(main)
