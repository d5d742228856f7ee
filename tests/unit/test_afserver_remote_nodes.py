"""Nodes in the recorded answers of a real server, as values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.json_replay import load_exchanges

from trio_afrender.afserver.remote_nodes import (
    read_job,
    read_pool,
    read_render,
    read_tasks,
    read_user,
)

RECORDED = {each["name"]: each["answer"] for each in load_exchanges()}


def recorded(name: str, key: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = RECORDED[name][key]
    return found


def test_a_running_job() -> None:
    job = read_job(recorded("jobs-full-running", "jobs")[0])
    assert (job.id, job.serial, job.name, job.states) == (2, 1, "num", ("RDY", "RUN"))
    assert (job.tasks, job.count("running"), job.count("ready"), job.percent) == (3, 2, 3, 0)
    progress = recorded("jobs-progress-running", "job_progress")
    tasks = read_tasks(job, progress["progress"])  # type: ignore[call-overload] # an object
    assert [(task.key, task.name, task.states) for task in tasks] == [
        ("2.0.0", "frame 1-7 / 2", ("RUN",)),  # with bit 62, which comes and goes
        ("2.0.1", "frame 9-15 / 2", ("RUN",)),
        ("2.0.2", "frame 17-19 / 2", ("RDY",)),
    ]
    assert tasks[0].running
    assert not tasks[0].over
    assert tasks[0].is_in_run(1)


def test_a_done_task_is_at_100_percent() -> None:
    job = read_job(recorded("jobs-full-done", "jobs")[0])
    progress = recorded("jobs-progress-done", "job_progress")["progress"]  # type: ignore[call-overload] # an object
    assert progress[0][0]["per"] == 20
    tasks = read_tasks(job, progress)
    assert {task.percent for task in tasks} == {100}
    assert all(task.over for task in tasks)
    assert job.percent == 100


def test_a_render_and_what_it_runs() -> None:
    [fields] = recorded("renders-running", "renders")
    render = read_render(fields, {})
    assert render.states == ("ONL", "RUN")
    assert (render.capacity, render.capacity_used, render.max_tasks) == (1100, 1000, 4)
    assert render.address == "127.0.0.1"
    assert [(task.job, task.name, task.percent) for task in render.tasks] == [
        (2, "frame 1-7 / 2", -1),
        (2, "frame 9-15 / 2", -1),
    ]


def test_limits_come_from_the_pools() -> None:
    pools = {pool.name: pool for pool in map(read_pool, recorded("pools-2", "pools"))}
    below = read_render({"name": "r", "pool": "/My_Pool"}, pools)
    assert (below.capacity, below.max_tasks, below.states) == (2000, 8, ("OFF",))
    own = read_render({"name": "r", "pool": "/My_Pool", "capacity_host": 5}, pools)
    assert (own.capacity, own.max_tasks) == (5, 8)
    unknown = read_render({"name": "r", "pool": "/gone"}, pools)
    assert (unknown.capacity, unknown.max_tasks) == (1100, 4)


def test_pools_in_a_circle_end() -> None:
    pools = {name: read_pool({"name": name, "parent": up}) for name, up in ("ab", "ba")}
    assert [pool.name for pool in pools["a"].chain(pools)] == ["a", "b"]


def test_every_recorded_list_is_read() -> None:
    readers: dict[str, Callable[[Any], Any]] = {
        "jobs": read_job,
        "users": read_user,
        "pools": read_pool,
    }
    count = 0
    for answer in RECORDED.values():
        for key, read in readers.items():
            for fields in answer.get(key, ()) if isinstance(answer, dict) else ():
                node = read(fields)
                assert node.name == fields["name"]
                count += 1
        for fields in answer.get("renders", ()) if isinstance(answer, dict) else ():
            assert read_render(fields, {}).id == fields["id"]
            count += 1
    assert count > 50


def test_the_system_job_is_known() -> None:
    job = read_job(recorded("jobs-system-only", "jobs")[0])
    assert job.is_system
    assert job.states == ()


def test_wrong_types_count_as_absent() -> None:
    wrong = {
        "id": "2", "name": 5, "st": 1.5, "priority": True, "hidden": 1, "blocks": [5, {"name": []}],
    }  # fmt: skip
    job = read_job(wrong)
    assert (job.id, job.name, job.states, job.priority, job.hidden) == (0, "", (), 0, False)
    assert [block.name for block in job.blocks] == [""]
    assert read_tasks(job, [5]) == []
    assert read_tasks(job, [[5, {"st": "x", "hst": 7}]])[0].render == ""
    render = read_render({"tasks_percents": 5, "tasks": [{}, 7], "address": 5, "netifs": 7}, {})
    assert [task.percent for task in render.tasks] == [-1]
    assert render.address == ""


def test_tasks_of_a_block_that_waits_are_not_ready() -> None:
    fields = {"id": 2, "blocks": [{"name": "b", "st": 4, "tasks": [{"name": "t"}]}]}
    [task] = read_tasks(read_job(fields), [[{"st": 1}]])
    assert (task.name, task.states) == ("t", ("WDP",))
