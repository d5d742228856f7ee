"""Which blocks no render can ever run, and the order of tasks that a plan has."""

from __future__ import annotations

import pytest

from trio_afrender.cli.impossible_blocks import find_impossible
from trio_afrender.cli.job_preview import make_plan
from trio_afrender.jobs.job_file import parse_job
from trio_afrender.protocol.messages import HostResources, Register

LOAD = HostResources(
    cpu_num=8, cpu_mhz=3000, mem_total_mb=1000, mem_free_mb=1000, hdd_total_gb=9, hdd_free_gb=9
)
RENDERS = [
    Register(name="a", os="linux", resources=LOAD),
    Register(name="b", os="windows", capacity=4000, resources=LOAD),
]
TASKS = [{"command": "true"}]


@pytest.mark.parametrize(
    "needs",
    [
        {"hosts_mask": "c"},
        {"hosts_mask_exclude": "."},
        {"need_os": "macosx"},
        {"need_memory": 1001},
        {"need_hdd": 10},
        {"need_cpu_cores": 9},
        {"need_cpu_freq_mgz": 3001},
        {"need_gpu_mem_mb": 1},
        {"max_running_tasks": 0},
        {"max_running_tasks_per_host": 0},
        {"capacity": 4001},
        {"hosts_mask": "a", "need_os": "windows"},
    ],
)
def test_what_no_render_has_is_impossible(needs: dict[str, object]) -> None:
    never = {"name": "never", "frame_first": 1, "frame_last": 500, **needs}
    after = {"name": "after", "depend_mask": "never", "tasks": TASKS}
    good = {
        "name": "good",
        "need_memory": 1000,
        "hosts_mask": "b",
        "capacity": 4000,
        "tasks": TASKS,
    }
    found = find_impossible(parse_job({"blocks": [never, after, good]}), RENDERS)
    assert list(found) == [0]
    assert found[0]


def test_a_plan_has_the_order_of_the_scheduler() -> None:
    frames = {"frame_first": 1, "frame_last": 3}
    blocks = [
        {"name": "comp", "tasks_depend_mask": "render", "command": "c @#@", **frames},
        {"name": "render", "command": "r @#@", "sequential": -1, **frames},
        {"name": "movie", "depend_mask": "comp", "tasks": TASKS},
    ]
    spec = parse_job({"time_wait": 2**40, "offline": True, "blocks": blocks})
    plan = make_plan(spec, RENDERS[:1], None)
    assert [f"{task.block_name} {task.name}" for task in plan.order] == [
        "render frame 3", "comp frame 3", "render frame 2", "comp frame 2", "render frame 1",
        "comp frame 1", "movie task 0",
    ]  # fmt: skip
    assert (plan.stuck, plan.more) == ({}, 0)
    chosen = make_plan(spec, RENDERS, {(0, 1), (2, 0)})
    assert [task.name for task in chosen.order] == ["frame 2", "task 0"]
    assert chosen.more == 0
