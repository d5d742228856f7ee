"""Why tasks do not start, by the rules of an afserver applied to its lists."""

from __future__ import annotations

from typing import Any

import pytest

from trio_afrender.afserver.remote_nodes import (
    PoolNode,
    read_job,
    read_pool,
    read_render,
    read_tasks,
    read_user,
)
from trio_afrender.afserver.wait_reasons import (
    FarmNodes,
    explain_stuck,
    explain_waiting,
    read_wait_answers,
)

READY, RUNNING, DEPENDS, TIME, DONE, OFF, PREVIEW, SUSPENDED = (
    1 << bit for bit in (0, 1, 2, 3, 4, 9, 16, 20)
)
ONLINE, OWNER, NO_JOBS, FALLING, PAUSED, SICK = (1 << bit for bit in (0, 1, 2, 5, 8, 9))
NOW = 1000.0


def explain(
    job: dict[str, Any] | None = None,
    block: dict[str, Any] | None = None,
    render: dict[str, Any] | None = None,
    pools: tuple[dict[str, Any], ...] = ({"name": "/", "capacity_host": 1100},),
    user: dict[str, Any] | None = None,
    others: tuple[dict[str, Any], ...] = (),
    load: dict[str, int] | None = None,
    tasks: tuple[int, ...] = (READY, READY),
    error_hosts: tuple[str, ...] = (),
) -> list[str]:
    """The sentences for a job of one block on a farm of one render."""
    blocks = [
        {"name": "b", "service": "generic", "capacity": 1000, "st": READY, **(block or {})},
        {"name": "first", "tasks_num": 4, "p_tasks_done": 1, "st": RUNNING},
    ]
    fields = {"id": 2, "name": "j", "user_name": "ann", "priority": 99, "blocks": blocks}
    mine = read_job({**fields, **(job or {})})
    by_name: dict[str, PoolNode] = {each["name"]: read_pool(each) for each in pools}
    online = {"id": 1, "name": "r1", "st": ONLINE, "priority": 99, "pool": "/", "user_name": "bob"}
    farm = FarmNodes(
        jobs=[mine, *map(read_job, others)],
        renders=[read_render({**online, **(render or {})}, by_name)],
        pools=by_name,
        users={"ann": read_user({"name": "ann", **(user or {})})},
        loads={1: load or {}},
        error_hosts=error_hosts,
        now=NOW,
    )
    progress = [[{"st": bits} for bits in tasks], []]
    found = explain_waiting(mine, read_tasks(mine, progress), farm)
    return [sentence for each in found for sentence in each.sentences]


@pytest.mark.parametrize("mask", ["a{99999999999}", "(" * 5000 + ")" * 5000, "("])
def test_a_mask_that_cannot_be_compiled_explains_nothing_more(mask: str) -> None:
    """Anybody may submit one; a server does not use it."""
    job = explain({"st": DEPENDS, "depend_mask": mask, "depend_mask_global": mask})
    assert job == ["the job waits for other jobs (depend_mask)"]
    block = explain(block={"st": DEPENDS, "depend_mask": mask, "tasks_depend_mask": mask})
    assert block == ["it waits for other blocks"]


RUN = {"job_id": 2, "block_num": 0, "task_num": 0}


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({}, 'render "r1": it comes next'),
        ({"job": {"st": OFF}}, "the job is paused"),
        ({"job": {"locked": True}}, "the job is being deleted"),
        ({"job": {"priority": 0}}, "the priority of the job is 0"),
        ({"job": {"st": TIME, "time_wait": 1060}}, "the job starts in 60 s (time_wait)"),
        ({"job": {"max_running_tasks": 0}}, "0 tasks of the job running, max_running_tasks is 0"),
        ({"job": {"max_tasks_per_second": 0}}, "max_tasks_per_second of the job is 0"),
        ({"job": {"st": DEPENDS, "depend_mask": "o.*"},
          "others": ({"id": 3, "name": "other", "user_name": "ann"},
                     {"id": 4, "name": "odd", "user_name": "bob"})},
         'the job waits for the jobs "other"'),
        ({"job": {"st": DEPENDS, "depend_mask_global": "o.*"},
          "others": ({"id": 3, "name": "od", "user_name": "bob", "st": DONE},)},
         "the job waits for other jobs (depend_mask)"),
        ({"user": {"paused": True}}, 'the user "ann" is paused'),
        ({"user": {"max_running_tasks": 2},
          "others": ({"id": 3, "name": "o", "user_name": "ann",
                      "blocks": [{"running_tasks_counter": 2}]},)},
         '2 tasks of the user "ann" running, max_running_tasks is 2'),
        ({"block": {"st": DEPENDS, "depend_mask": "first"}},
         'it waits for block "first" (1 of 4 tasks done)'),
        ({"block": {"tasks_depend_mask": "f.*"}, "tasks": (DEPENDS, DEPENDS)},
         'it waits for block "first" (1 of 4 tasks done)'),
        ({"tasks": (READY | SUSPENDED,)}, "its tasks are suspended"),
        ({"tasks": (READY | PREVIEW,)}, "its tasks wait for approval (ppa)"),
        ({"block": {"max_running_tasks": 1, "running_tasks_counter": 1}},
         '1 task of the block "b" running, max_running_tasks is 1'),
        ({"render": {"st": 0}}, "no render is online"),
        ({"render": {"st": ONLINE | SICK}}, "it is sick: tasks of several users failed there"),
        ({"render": {"st": ONLINE | FALLING}}, "it was ordered to sleep"),
        ({"render": {"priority": 0}}, "its priority is 0"),
        ({"render": {"st": ONLINE | PAUSED}}, "it is paused"),
        ({"render": {"st": ONLINE | NO_JOBS}}, "it takes no jobs (NIMBY)"),
        ({"render": {"st": ONLINE | OWNER}},
         'it takes jobs of its user "bob" only (nimby)'),
        ({"render": {"pool": "/a"}, "pools": ({"name": "/", "st": 2},
                                              {"name": "/a", "parent": "/"})},
         'its pool "/" is paused'),
        ({"render": {"capacity_used": 200}},
         "a task needs 1000 of capacity, 900 of 1100 are free"),
        ({"render": {"capacity_host": 500}},
         "a task needs 1000 of capacity, 500 of 500 are free"),
        ({"render": {"tasks": [RUN, RUN, RUN, RUN]}}, "it runs 4 tasks, its limit is 4"),
        ({"render": {"tasks": [RUN]}, "block": {"max_running_tasks_per_host": 1}},
         "it runs 1 task of the block, max_running_tasks_per_host is 1"),
        ({"render": {"services": ["nuke"]}}, 'it does not offer the service "generic"'),
        ({"render": {"services_disabled": ["generic"]}},
         'it does not offer the service "generic"'),
        ({"pools": ({"name": "/", "services": ["nuke"]},)},
         'it does not offer the service "generic"'),
        ({"job": {"hosts_mask": "x y"}}, "its name does not match hosts_mask of the job"),
        ({"block": {"hosts_mask_exclude": "r"}},
         "its name matches hosts_mask_exclude of the block"),
        ({"job": {"hosts_mask": "r", "hosts_mask_type": "regex"}},
         "its name does not match hosts_mask of the job"),
        ({"job": {"need_os": "win"}, "render": {"os": "linux"}},
         'its system "linux" does not match need_os'),
        ({"block": {"need_properties": "ssd"}}, 'its properties "" do not match need_properties'),
        ({"block": {"need_memory": 900}, "load": {"mem_free_mb": 100}},
         "a task needs 900 MiB of free memory, it has 100"),
        ({"block": {"need_gpu_mem_mb": 9}, "load": {"gpu_mem_total_mb": 10, "gpu_mem_used_mb": 2}},
         "a task needs 9 MiB of free GPU memory, it has 8"),
        ({"job": {"need_power": 7}}, "a task needs a power of 7, it has 1"),
        ({"error_hosts": ("Block['b'] error hosts:", "r1: 3 at Sun 29 Nov - ! AVOIDING !")},
         "it is avoided after errors there (errors_avoid_host, errors_task_same_host)"),
    ],
)  # fmt: skip
def test_a_reason_is_named(keywords: dict[str, Any], sentence: str) -> None:
    found = explain(**keywords)
    assert any(each in (sentence, f'render "r1": {sentence}') for each in found), found


@pytest.mark.parametrize(
    "keywords",
    [
        {"render": {"st": ONLINE | NO_JOBS}, "job": {"ignorenimby": True}},
        {"render": {"st": ONLINE | OWNER, "user_name": "ann"}},
        {"render": {"st": ONLINE | PAUSED}, "job": {"ignorepaused": True}},
        {"render": {"services": ["generic"]}, "pools": ({"name": "/", "services": ["nuke"]},)},
        {"job": {"hosts_mask": "a;r"}},
        {"job": {"hosts_mask": "a(", "hosts_mask_type": "regex"}},
        {"block": {"need_memory": 900}},  # a render that has not sent its load
        {"error_hosts": ("Block['other'] error hosts:", "r1: 3 at Sun - ! AVOIDING !")},
        {"error_hosts": ("Block['b'] error hosts:", "r1: 1 at Sun 29 Nov 21:43.00")},
        {
            "error_hosts": (
                "Block['b'] error hosts:",
                "Task[1] error hosts: ",
                "r1: 3 at Sun - ! AVOIDING !",
            )
        },
    ],
)
def test_what_is_in_no_way_is_not_named(keywords: dict[str, Any]) -> None:
    assert explain(**keywords) == ['render "r1": it comes next']


def test_running_and_ended_tasks_wait_for_nothing() -> None:
    assert explain(tasks=(RUNNING, DONE)) == []


def test_a_block_behind_a_failed_one_is_named() -> None:
    blocks = [
        {"name": "render", "tasks_num": 6, "p_tasks_done": 5, "p_tasks_error": 1, "st": 1 << 5},
        {"name": "movie", "tasks_num": 2, "st": DEPENDS, "depend_mask": "render"},
    ]
    job = read_job({"id": 2, "name": "j", "blocks": blocks})
    [reasons] = explain_stuck(job, {0})
    assert (reasons.block_name, reasons.tasks) == ("movie", 2)
    assert reasons.sentences == ('it waits for block "render" (5 of 6 tasks done)',)
    assert explain_stuck(job, {0, 1}) == []


def test_the_answer_of_our_farm_is_read() -> None:
    answer = {
        "blocks": [
            {
                "block": 1,
                "block_name": "b",
                "task": 3,
                "tasks": 5,
                "reasons": [],
                "renders": [
                    {"render": "r1", "reasons": ["it is paused"]},
                    {"render": "r2", "reasons": ["it is paused"]},
                    {"render": "r3", "reasons": []},
                ],
            },
            {"block": 2, "block_name": "c", "task": 0, "reasons": ["the job is paused"]},
        ]
    }
    first, second = read_wait_answers(answer)
    assert (first.block, first.task, first.tasks) == (1, 3, 5)
    assert first.sentences == (
        'each of 2 renders ("r1", "r2"): it is paused',
        'render "r3": it comes next',
    )
    assert second.sentences == ("the job is paused",)
