"""Assignment of tasks: priorities, limits, masks, dependencies, and the end of a job."""

from __future__ import annotations

import pytest
from support.farm import FarmHarness, frames, listed, make_update, with_fields

from trio_afrender.errors import JobError
from trio_afrender.farm import HostNeeds, TaskSpec
from trio_afrender.protocol.messages import BlockFlags, HostResources, TaskKey, TaskStatus


def test_a_job_from_submission_to_done() -> None:
    farm = FarmHarness()
    job = farm.job(listed(2), name="j", user_name="joe")
    assert farm.states(job) == ["ready", "ready"]
    render = farm.render()
    farm.now = 5.0
    first, second = render.take()
    assert (first.job, first.block, first.task) == (job, 0, 0)
    assert (first.job_name, first.user_name, first.service) == ("j", "joe", "generic")
    assert first.run != second.run
    render.send(make_update(first, TaskStatus.Started))
    render.end(first, exit_code=0, output="hello", started=1.0, finished=2.0)
    assert farm.states(job) == ["done", "running"]
    assert farm.view(job).state == "running"
    farm.now = 7.0
    render.end(second)
    view = farm.view(job)
    assert (view.state, view.finished) == ("done", 1_000_007.0)
    assert view.counts == {"done": 2}
    task = farm.task(job)
    assert (task.percent, task.exit_code, task.started, task.finished) == (100, 0, 1.0, 2.0)
    assert (task.output, task.attempts, task.render, task.status) == ("hello", 1, "a", 5)
    assert "attempt 1: handed to render" in task.log
    assert render.closed() == [first.run, second.run]


def test_jobs_by_priority_then_age() -> None:
    farm = FarmHarness()
    jobs = [farm.job(listed(), priority=p) for p in (50, 99, 50)]
    order = [task.job for task in farm.render().take()]
    assert order == [jobs[1], jobs[0], jobs[2]]


def test_capacity_and_max_tasks() -> None:
    farm = FarmHarness()
    farm.job(listed(9, capacity=400))
    light = farm.render("light", capacity=1000)
    few = farm.render("few", capacity=99_000, max_tasks=3)
    assert len(light.take()) == 2
    assert len(few.take()) == 3
    assert len(farm.render("big", capacity=99_000, max_tasks=99).take()) == 4


def test_a_smaller_task_fits_where_a_large_one_does_not() -> None:
    farm = FarmHarness()
    farm.job(listed(2, capacity=600), priority=90)
    small = farm.job(listed(capacity=400), priority=10)
    assert [task.job for task in farm.render().take()][1] == small


def test_work_is_spread_over_renders_by_priority() -> None:
    farm = FarmHarness()
    renders = [farm.render(name, priority=p) for name, p in (("a", 10), ("b", 20), ("c", 0))]
    farm.job(listed(3))
    assert [len(render.take()) for render in renders] == [1, 2, 0]


@pytest.mark.parametrize(
    ("register", "block", "job", "runs"),
    [
        ({"services": ("nuke",)}, {}, {}, False),
        ({"services": ("nuke", "generic")}, {}, {}, True),
        ({"state": 5}, {}, {}, False),
        ({"state": 3, "user_name": "ann"}, {}, {"user_name": "joe"}, False),
        ({"state": 3, "user_name": "ann"}, {}, {"user_name": "joe", "ignore_nimby": True}, True),
        ({"state": 3, "user_name": "joe"}, {}, {"user_name": "joe"}, True),
        ({"priority": 0}, {}, {}, False),
        ({"max_tasks": 0}, {}, {}, False),
        ({}, {"hosts_mask": "B.*"}, {}, False),
        ({}, {"hosts_mask": "A|x"}, {}, True),
        ({}, {"hosts_mask_exclude": "A"}, {}, False),
        ({"os": "unix linux 64"}, {"need_os": "Win"}, {}, False),
        ({"os": "unix linux 64"}, {"need_os": "LINUX"}, {}, True),
        ({}, {"max_running_tasks": 0}, {}, False),
        ({"resources": HostResources(mem_free_mb=100)}, {"need_memory": 101}, {}, False),
        ({"resources": HostResources(mem_free_mb=101)}, {"need_memory": 101}, {}, True),
        ({"resources": HostResources(hdd_free_gb=1)}, {"need_hdd": 2}, {}, False),
        ({"resources": HostResources(cpu_num=4)}, {"need_cpu_cores": 8}, {}, False),
        ({"resources": HostResources(gpu_mem_total_mb=9)}, {"need_gpu_mem_mb": 9}, {}, True),
        ({}, {"need_memory": 10**6}, {}, True),
    ],
)
def test_which_tasks_a_render_takes(
    register: dict[str, object], block: dict[str, object], job: dict[str, object], runs: bool
) -> None:
    farm = FarmHarness()
    number = farm.job(listed(needs=with_fields(HostNeeds(), block)), **job)
    render = farm.render(**register)
    assert bool(render.take()) is runs
    assert bool(farm.why_waiting(number)) is not runs


def test_a_service_that_is_missing_keeps_no_other_from_the_render() -> None:
    farm = FarmHarness()
    for service in ("nuke", "maya"):
        farm.job(listed(2, service=service), listed(1, name="c", service="generic"))
    assert [task.service for task in farm.render(services=("generic", "maya")).take()] == [
        "generic",
        "maya",
        "maya",
        "generic",
    ]


def test_renders_by_tasks_then_free_capacity_then_priority() -> None:
    farm = FarmHarness()
    big = farm.render("big", capacity=2000, priority=1)
    first = farm.render("first", priority=90)
    second = farm.render("second", priority=50)
    farm.job(listed(4))
    assert [len(render.take()) for render in (big, first, second)] == [2, 1, 1]
    farm.job(listed(1))
    assert [len(render.take()) for render in (big, first, second)] == [0, 1, 0]


def test_the_render_that_waited_longest_comes_first() -> None:
    farm = FarmHarness()
    a, b = farm.render("a"), farm.render("b")
    farm.job(listed(1))
    farm.now = 5.0
    a.end(a.take_one())
    farm.job(listed(1))
    assert (len(a.take()), len(b.take())) == (0, 1)


def test_masks_of_the_job_apply_to_its_blocks() -> None:
    farm = FarmHarness()
    farm.job(listed(5), needs=HostNeeds(max_running_tasks_per_host=2, hosts_mask="[ab]"))
    assert [len(farm.render(name).take()) for name in "abc"] == [2, 2, 0]


def test_a_changed_load_makes_a_render_eligible() -> None:
    farm = FarmHarness()
    farm.job(listed(needs=HostNeeds(need_memory=100)))
    render = farm.render(resources=HostResources(mem_free_mb=50))
    assert not render.take()
    render.send(resources=HostResources(mem_free_mb=200))
    assert render.take()


def test_max_running_tasks_of_a_block() -> None:
    farm = FarmHarness()
    farm.job(listed(4, needs=HostNeeds(max_running_tasks=1)))
    a, b = farm.render("a"), farm.render("b")
    first = a.take_one()
    assert not b.take()
    a.end(first)
    assert len(a.take()) + len(b.take()) == 1


def test_the_place_of_one_render_may_go_to_another() -> None:
    farm = FarmHarness()
    farm.job(listed(2, needs=HostNeeds(max_running_tasks=1)))
    a, b = farm.render("a"), farm.render("b")
    a.send(make_update(a.take_one()), state=5)
    assert a.take() == []
    assert len(b.take()) == 1


def test_nimby_while_running() -> None:
    farm = FarmHarness()
    farm.job(listed(3))
    render = farm.render(max_tasks=1)
    task = render.take_one()
    render.send(state=5)
    render.end(task)
    assert not render.take()
    render.send(state=1)
    assert render.take()


def test_variable_capacity() -> None:
    farm = FarmHarness()
    flags = BlockFlags.VARCAPACITY
    farm.job(
        listed(3, capacity=100, capacity_coeff_min=2, capacity_coeff_max=5, flags=flags),
    )
    tasks = farm.render(capacity=800).take()
    assert [task.capacity_coeff for task in tasks] == [5, 3]
    assert [task.data_integers["render_capacity_used"] for task in tasks] == [500, 800]


def test_the_exec_message_of_a_task() -> None:
    farm = FarmHarness()
    farm.job(
        frames(
            1, 10, name="r", frames_per_task=4, frames_inc=2, parser_coeff=2, file_size_min=10,
            environment={"A": "1"}, files=("x.@##@.exr",), custom_data="bc",
        ),
        listed(
            environment={"A": "1", "B": "2"},
            tasks=(TaskSpec(name="t", command="one", environment={"B": "3"}, custom_data="tc"),),
        ),
        custom_data="jc",
    )  # fmt: skip
    first, second, other = farm.render().take()
    assert (first.name, second.name, other.name) == ("frame 1-7 / 2", "frame 9", "t")
    assert (second.frame_start, second.frame_finish, second.frames_num) == (9, 9, 1)
    assert (first.frame_start, first.frame_finish, first.frames_num) == (1, 7, 4)
    assert first.data_integers == {
        "render_capacity_total": 1000,
        "render_capacity_used": 100,
        "render_tasks_maximum": 10,
        "render_tasks_running": 1,
        "parser_koeff": 2,
        "file_size_min": 10,
    }
    assert first.data_strings == {"block_custom_data": "bc", "job_custom_data": "jc"}
    assert other.data_strings == {"task_custom_data": "tc", "job_custom_data": "jc"}
    assert other.environment == {"A": "1", "B": "3"}
    assert (first.command_block, first.command_task, other.command_task) == ("x", "", "one")
    assert first.time_start == 1_000_000


def test_a_block_waits_for_whole_blocks() -> None:
    farm = FarmHarness()
    job = farm.job(frames(1, 2, name="a"), listed(name="b", depend_mask="a"))
    render = farm.render()
    one, two = render.take()
    render.end(two)
    assert not render.take()
    assert farm.states(job, 1) == ["waiting"]
    render.end(one, TaskStatus.Skip)
    assert render.take_one().block == 1


def test_a_task_waits_for_frames_it_shares() -> None:
    farm = FarmHarness()
    job = farm.job(
        frames(1, 4, name="a"), frames(1, 4, name="b", frames_per_task=2, tasks_depend_mask="a")
    )
    render = farm.render()
    tasks = render.take()
    render.end(tasks[3])
    assert not render.take()
    render.end(tasks[2])
    assert render.take_one().key == TaskKey(job, 1, 1)
    assert farm.states(job, 1) == ["waiting", "running"]


def test_both_kinds_of_dependency_at_once() -> None:
    farm = FarmHarness()
    farm.job(
        frames(1, 1, name="a"),
        frames(1, 1, name="b"),
        frames(1, 1, name="c", depend_mask="a", tasks_depend_mask="b"),
    )
    render = farm.render()
    a, b = render.take()
    render.end(b)
    assert not render.take()
    render.end(a)
    assert render.take_one().block == 2


def test_tasks_that_wait_for_a_failed_one_are_killed() -> None:
    farm = FarmHarness(errors_retries=0)
    job = farm.job(
        frames(1, 2, name="a"), listed(name="b", depend_mask="a"), listed(name="c", depend_mask="b")
    )
    render = farm.render()
    one, two = render.take()
    render.end(one, TaskStatus.FinishedError, exit_code=1)
    assert farm.view(job).state == "running"
    render.end(two)
    assert farm.view(job).state == "error"
    assert farm.view(job).counts == {"done": 1, "error": 1, "killed": 2}
    assert 'waits for "a", which did not finish' in farm.task(job, 0, 1).why[0].text
    assert farm.task(job, 0, 1).status is None


def test_a_job_waits_for_earlier_jobs() -> None:
    farm = FarmHarness()
    first = farm.job(name="prep", user_name="joe")
    other = farm.job(name="prep", user_name="ann")
    mine = farm.job(name="mine", user_name="joe", depend_mask="prep")
    global_job = farm.job(name="all", user_name="joe", depend_mask_global="prep")
    render = farm.render()
    a, b = render.take()
    assert (a.job, b.job) == (first, other)
    assert farm.why_waiting(mine) == ('the job waits for "prep (running)"',)
    render.end(a)
    assert render.take_one().job == mine
    farm.stop_task(b.key, "no")
    render.end(b, TaskStatus.FinishedKilled)
    assert farm.view(other).state == "stopped"
    assert farm.states(global_job) == ["waiting"], "the other job may be restarted"
    late = farm.job(name="late", user_name="ann", depend_mask="prep")
    farm.pass_time(100.0)
    assert farm.states(late) == ["waiting"], "a job that has failed before is waited for as well"
    farm.forget_job(other)
    farm.pass_time(1.0)
    assert farm.states(global_job) == farm.states(late) == ["ready"]


def test_a_job_waits_for_its_time() -> None:
    farm = FarmHarness()
    farm.job(time_wait=1_000_030)
    render = farm.render()
    for _ in range(3):
        farm.pass_time(9.0)
        render.send()
        assert not render.take()
    farm.pass_time(9.0)
    assert render.take()
    assert farm.job(time_wait=5)
    assert render.take()


def test_a_held_job_can_be_stopped() -> None:
    farm = FarmHarness()
    job = farm.job(time_wait=2_000_000)
    farm.end_job(job, "no", stop=True)
    assert farm.view(job).state == "stopped"
    farm.pass_time(2_000_000.0)
    assert farm.states(job) == ["killed"]


def test_a_block_without_tasks_is_done() -> None:
    farm = FarmHarness()
    job = farm.job(listed(0, name="none"), listed(name="b", depend_mask="none"))
    render = farm.render()
    render.end(render.take_one())
    assert farm.view(job).state == "done"


def test_invalid_masks_of_a_specification() -> None:
    farm = FarmHarness()
    with pytest.raises(JobError, match=r"^hosts_mask: not a regular expression"):
        farm.job(needs=HostNeeds(hosts_mask="("))
    with pytest.raises(JobError, match=r"^blocks\[0\]\.need_os: "):
        farm.job(listed(needs=HostNeeds(need_os="(")))
    for key in ("depend_mask", "depend_mask_global"):
        with pytest.raises(JobError, match=rf"^{key}: not a regular expression"):
            farm.job(**{key: "("})
    assert tuple(farm.state.jobs) == ()


def test_why_a_task_is_waiting() -> None:
    farm = FarmHarness()
    job = farm.job(listed(capacity=2000))
    assert farm.why_waiting(job) == ("no render is online",)
    farm.render()
    assert farm.why_waiting(job) == (
        'block "b", render "a": a task needs 2000 of capacity, 1000 of 1000 are free',
    )


def test_unknown_ids_are_key_errors() -> None:
    farm = FarmHarness()
    job = farm.job()
    for key in (TaskKey(9, 0, 0), TaskKey(job, 1, 0), TaskKey(job, 0, -1), TaskKey(job, 0, 0, 1)):
        with pytest.raises(KeyError):
            farm.stop_task(key, "")
    with pytest.raises(KeyError):
        farm.view(9)
    with pytest.raises(KeyError):
        farm.instruct("nobody", "exit", "")


def test_many_tasks_are_split_into_messages() -> None:
    farm = FarmHarness()
    farm.job(listed(100, capacity=1))
    render = farm.render(max_tasks=100)
    assert len(render.take()) == 100
    assert [len(events.tasks) for events in render.events] == [32, 32, 32, 4]
    farm.job(listed(3, capacity=1, command="é" * 300_000))
    render = farm.render("b", max_tasks=100)
    render.take()
    assert [len(events.tasks) for events in render.events] == [1, 1, 1]
    with pytest.raises(JobError, match=r"^blocks\[0\]: 2,401,\d+ bytes, more than fit"):
        farm.job(listed(1, command="é" * 400_000))
