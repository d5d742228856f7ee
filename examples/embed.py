"""Run an agent inside another program: submit a job, read progress, stop a task, shut down.

    python examples/embed.py

The program keeps its own nursery and its own signal handlers. The farm and the agent are two tasks
in it that communicate over loopback. With a server elsewhere, only `run_agent` is needed.
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path

import trio

from trio_afrender import (
    Config,
    Farm,
    TaskKey,
    TokenTable,
    make_token,
    open_farm,
    parse_job,
    run_agent,
    serve_websocket,
)

JOB = {
    "job": {
        "name": "embedded",
        "blocks": [
            {
                "name": "count",
                "service": "generic",
                "parser": "generic",
                "flags": 1,
                "frame_first": 1,
                "frame_last": 3,
                "capacity": 100,
                "command": "echo PROGRESS: 50%; echo this is frame @#@; echo PROGRESS: 100%",
            },
            {
                "name": "endless",
                "service": "generic",
                "capacity": 100,
                "tasks": [{"name": "sleeps", "command": "echo asleep; sleep 1000"}],
            },
        ],
    }
}


async def watch(farm: Farm, job_id: int) -> None:
    """Print each change, and stop the endless task when the others are done."""
    seen = 0
    shown: dict[str, tuple[str, int]] = {}
    while True:
        seen = await farm.changed(seen)
        view = farm.view(job_id)
        for task in view.tasks:
            state = (task.state, task.percent)
            if shown.get(task.name) != state:
                shown[task.name] = state
                sys.stdout.write(f"{task.name}: {task.state} {task.percent}%\n")
        states = {task.name: task.state for task in view.tasks}
        if states.pop("sleeps") == "running" and set(states.values()) == {"done"}:
            farm.stop_task(TaskKey(job_id, block=1, task=0), "the host program has seen enough")
        if view.state != "running":
            return


async def main(store: Path) -> dict[str, str]:
    """Run the job and return the final state of each task by name."""
    token = make_token()
    async with open_farm(store / "farm") as farm, trio.open_nursery() as nursery:
        bound = await nursery.start(
            partial(serve_websocket, farm.serve_link, tokens=TokenTable.single(token))
        )
        config = Config(name="embedded", server=bound.url, token=token, store=store)
        agent = await nursery.start(run_agent, config)
        job_id = farm.submit(parse_job(JOB))
        await watch(farm, job_id)
        agent.drain("the host program is done")
        await agent.finished()
        result = {task.name: task.state for task in farm.view(job_id).tasks}
        nursery.cancel_scope.cancel()
    return result


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(f"{trio.run(main, Path(folder))}\n")
