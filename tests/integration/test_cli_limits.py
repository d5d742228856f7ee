"""Limits and stuck tasks with real processes, as `run` reports them."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from support.agent_program import open_agent, open_server, submit, write_job
from support.cli import run_command

from trio_afrender.farm import FarmSettings

QUICK_MEASURES = {"heartbeat": 0.1, "resources_period": 1}
"""The usage of trees is measured each heartbeat."""
HUNGRY = (
    "python3 -c 'import time; x = b\"a\" * (120 * 2**20); print(1, flush=True); time.sleep(60)'"
)


async def run_with(
    tmp_path: Path, settings: dict[str, object], *tasks: str, retries: int = 0, **keys: object
) -> list[dict[str, Any]]:
    """Run a job with these settings in ``trio_afrender{}``; return the tasks of its report."""
    (tmp_path / "c.json").write_text(json.dumps({"cgru_config": {"trio_afrender": settings}}))
    job = write_job(tmp_path, *tasks, **keys)
    words = ("run", job, "--config", "c.json", "--report", "r.json", "--retries", str(retries))
    await run_command(*words, home=tmp_path)
    tasks_of: list[dict[str, Any]] = json.loads((tmp_path / "r.json").read_text())["tasks"]
    return tasks_of


async def test_a_tree_that_uses_too_much_memory_is_stopped(tmp_path: Path) -> None:
    limits = {"services": {"generic": {"memory": 60 * 2**20}}}
    [task] = await run_with(tmp_path, {"limits": limits, "timing": QUICK_MEASURES}, HUNGRY)
    assert (task["state"], task["status"]) == ("error", 6)
    [rule] = [step["text"] for step in task["why"] if step["event"] == "rule"]
    assert "the limit memory is 60.0 MiB: the task is stopped" in rule


async def test_a_task_without_activity_is_stopped(tmp_path: Path) -> None:
    # An agent that gets no processor between the two times would stop the task without a warning.
    stuck = {"policy": "stop", "warn_after": 0.5, "stop_after": 5}
    settings = {"stuck": stuck, "timing": QUICK_MEASURES}
    [task] = await run_with(tmp_path, settings, "echo before; sleep 60")
    assert (task["state"], task["status"]) == ("error", 6)
    events = [step["event"] for step in task["why"]]
    assert events.index("stuck") < events.index("rule") < events.index("signal")
    assert "no output, 0.00 s of CPU" in task["log"]
    assert " sleep sleeps (S)" in task["log"]
    assert task["output"] == "before\n"


async def test_a_task_that_works_without_output_continues(tmp_path: Path) -> None:
    # A task that gets no processor for so long is taken for one that waits.
    stuck = {"policy": "stop", "warn_after": 4, "stop_after": 5}
    settings = {"stuck": stuck, "timing": QUICK_MEASURES}
    work = (
        "python3 -c 'import time; end = time.monotonic() + 7\nwhile time.monotonic() < end: pass'"
    )
    [task] = await run_with(tmp_path, settings, work)
    assert (task["state"], task["log"].count("no sign of life")) == ("done", 0)


async def test_trees_of_a_supervisor_have_limits(tmp_path: Path) -> None:
    limits = {"memory": 60 * 2**20}
    settings = {"cgru_config": {"trio_afrender": {"limits": limits}}}
    (tmp_path / "c.json").write_text(json.dumps(settings))
    async with open_server(tmp_path) as (farm, url):
        farm.change_settings(FarmSettings(errors_retries=0))
        async with open_agent(tmp_path, url, "--config", "c.json") as command:
            [task] = (await farm.wait(submit(farm, HUNGRY))).tasks
            command.process.send_signal(signal.SIGTERM)
            assert await command.wait() == 0
    assert (task.state, task.status) == ("error", 6)
    assert any("the limit memory is 60.0 MiB" in step.text for step in task.why)
    assert task.usage is not None
    assert task.usage.resident > 60 * 2**20
