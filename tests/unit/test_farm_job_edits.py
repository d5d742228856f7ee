"""Parameters and operations of jobs, blocks and tasks: what each does, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pytest
from support.farm import ADMIN, FakeRender, FarmHarness, frames, listed, make_update, with_fields

from trio_afrender.errors import EditRefused
from trio_afrender.farm import BlockSpec, HostNeeds, TaskSpec
from trio_afrender.farm.node_log import Actor
from trio_afrender.protocol.messages import HostResources, TaskKey, TaskStatus

Error = TaskStatus.FinishedError
JOE = Actor(user_name="joe", host_name="w7", address="127.0.0.1")
ANN = Actor(user_name="ann")


def job_of_joe(farm: FarmHarness, *blocks: BlockSpec, **fields: object) -> int:
    return farm.job(*blocks, **{"user_name": "joe", "name": "shot", **fields})


def picture(farm: FarmHarness) -> object:
    """Everything that a refused change must not touch."""
    state = farm.state
    jobs = [
        (job.spec, job.user.name, job.state, job.paused, job.held, job.node_log.entries)
        for job in state.jobs.values()
    ]
    tasks = [
        (task.state, task.marks, task.errors, tuple(task.why))
        for job in state.jobs.values()
        for block in job.blocks
        for task in block.tasks
    ]
    users = [(u.name, u.priority, u.needs, u.node_log.entries) for u in state.users.values()]
    return jobs, tasks, users, [job.id for job in state.order]


# Parameters of a job


@pytest.mark.parametrize(
    ("key", "value", "attribute", "stored"),
    [
        ("annotation", "note", "annotation", "note"),
        ("custom_data", "{}", "custom_data", "{}"),
        ("srv_info", "s", "srv_info", "s"),
        ("description", "d", "description", "d"),
        ("hidden", True, "hidden", True),
        ("priority", 0, "priority", 0),
        ("ppa", True, "ppa", True),
        ("maintenance", True, "maintenance", True),
        ("ignorenimby", True, "ignore_nimby", True),
        ("ignorepaused", True, "ignore_paused", True),
        ("time_life", 100, "time_life", 100),
        ("time_wait", 7, "time_wait", 7),
        ("depend_mask", "x.*", "depend_mask", "x.*"),
        ("depend_mask_global", "x.*", "depend_mask_global", "x.*"),
        ("hosts_mask_type", "find", "hosts_mask_type", "find"),
        ("folders", {"output": "/out"}, "folders", {"input": "/in", "output": "/out"}),
        ("folders", {"input": None}, "folders", {}),
    ],
)
def test_a_parameter_of_a_job(key: str, value: object, attribute: str, stored: object) -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, folders={"input": "/in"})
    before = farm.state.jobs[job].spec
    farm.edit(job, {key: value}, JOE)
    assert farm.state.jobs[job].spec == with_fields(before, {attribute: stored})


@pytest.mark.parametrize(
    "key",
    [
        "max_tasks_per_second",
        "max_running_tasks",
        "max_running_tasks_per_host",
        "need_power",
        "need_memory",
        "need_hdd",
    ],
)
def test_a_number_that_a_job_needs(key: str) -> None:
    farm = FarmHarness()
    job = job_of_joe(farm)
    farm.edit(job, {key: 5}, JOE)
    assert farm.state.jobs[job].spec.needs == with_fields(HostNeeds(), {key: 5})


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"priority": 256}, "priority: 256 is not within 0 to 255"),
        ({"priorit": 1}, 'a job has no parameter "priorit", did you mean "priority"?'),
        ({"project": "x"}, 'a job has no parameter "project"'),
        ({"depend_mask": "["}, 'depend_mask: "[" is not a regular expression'),
        ({"hosts_mask": "("}, "hosts_mask: not a regular expression"),
        ({"hosts_mask_type": "glob"}, 'hosts_mask_type: expected "regex" or "find"'),
        ({"max_tasks_per_second": 10_001}, "10001 is not within -1 to 10000"),
        ({"user_name": "ann"}, "user_name: only an administrator"),
        ({"branch": "/x"}, 'branch: this farm has the branch "/" only, found "/x"'),
        ({"pools": {"/x": 1}}, 'pools: this farm has the pool "/" only'),
        ({"pools": 1}, 'pools: this farm has the pool "/" only, found 1'),
        ({"solve_method": "solve_priority"}, 'solve_method: this farm solves by "solve_order"'),
        ({"folders": {"output": 1}}, "folders.output: expected a string, found 1"),
        ({"folders": 1}, "folders: expected an object of strings, found 1"),
        ({"time_wait": -1}, "time_wait: -1 is not within 0"),
        ({"annotation": "new", "hidden": 1}, "hidden: expected true or false, found 1"),
    ],
)
def test_what_a_job_refuses_changes_nothing(params: Mapping[str, object], sentence: str) -> None:
    farm = FarmHarness()
    job = job_of_joe(farm)
    before = picture(farm)
    with pytest.raises(EditRefused, match=re.escape(sentence)):
        farm.edit(job, params, JOE)
    assert picture(farm) == before


def test_a_job_of_another_user() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm)
    before = picture(farm)
    calls: tuple[Callable[[], object], ...] = (
        lambda: farm.edit(job, {"priority": 1}, ANN),
        lambda: farm.edit_blocks(job, [0], {"capacity": 1}, ANN),
        lambda: farm.operate(job, "delete", ANN),
        lambda: farm.operate_blocks(job, [0], "skip", ANN),
    )
    for call in calls:
        with pytest.raises(EditRefused, match='"shot" belongs to the user "joe": "ann" may not'):
            call()
    assert picture(farm) == before
    farm.edit(job, {"priority": 1}, ADMIN)
    assert farm.state.jobs[job].spec.priority == 1


def test_the_log_says_who_changed_what() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm)
    farm.edit(job, {"priority": 7, "annotation": "a"}, JOE)
    farm.operate(job, "pause", JOE)
    found = [text for _, text in farm.state.jobs[job].node_log.entries]
    line = 'joe@w7 127.0.0.1: jobs params: shot@joe: "priority" set to 7\n"annotation" set to "a"'
    assert found == [
        "afanasy: jobs: shot: Initialized.",
        line,
        "joe@w7 127.0.0.1: jobs pause: shot@joe: ",
    ]
    assert line in [text for _, text in farm.state.users["joe"].node_log.entries]


def test_a_priority_sorts_at_once() -> None:
    farm = FarmHarness()
    first, second, third = (job_of_joe(farm, name=name) for name in "abc")
    farm.edit(third, {"priority": 200})
    farm.edit(first, {"priority": 0})
    assert [job.id for job in farm.state.order] == [third, second, first]
    render = farm.render()
    assert [task.job for task in render.take()] == [third, second], "0 is started never"
    assert farm.why_waiting(first) == ("the priority of the job is 0",)
    farm.edit(first, {"priority": 1})
    assert render.take_one().job == first


def test_masks_and_limits_of_a_job_count_at_once() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, listed(4))
    farm.edit(job, {"hosts_mask": "b"})
    a = farm.render("a")
    assert not a.take()
    farm.edit(job, {"hosts_mask_type": "find", "hosts_mask": "x a", "max_running_tasks": 1})
    task = a.take_one()
    farm.edit(job, {"max_running_tasks": -1, "hosts_mask": ""})
    assert len(a.take()) == 3
    with pytest.raises(EditRefused, match="hosts_mask: not a regular expression"):
        farm.edit(job, {"hosts_mask": "(", "hosts_mask_type": "regex"})
    farm.edit(job, {"hosts_mask": "("})
    a.end(task)


def test_needs_of_a_job() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm)
    farm.edit(job, {"need_memory": 100})
    render = farm.render(resources=HostResources(mem_free_mb=50))
    assert not render.take()
    assert "100 MiB" in farm.why_waiting(job)[0]
    farm.edit(job, {"need_memory": 0})
    assert render.take()


def test_a_job_can_be_given_to_another_user() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, listed(3), needs=HostNeeds(max_running_tasks=2))
    farm.job(user_name="ann", name="hers", time_wait=2_000_000)
    render = farm.render()
    assert len(render.take()) == 2
    farm.edit(job, {"user_name": "ann"})
    joe, ann = farm.state.users["joe"], farm.state.users["ann"]
    assert (joe.running, ann.running, +joe.running_on, dict(ann.running_on)) == (0, 2, {}, {"a": 2})
    assert (list(joe.jobs), list(ann.jobs)) == ([], [3, job])
    assert farm.state.jobs[job].spec.user_name == "ann"
    with pytest.raises(EditRefused, match="User does not exist: jo, did you mean"):
        farm.edit(job, {"user_name": "jo"})
    for task in list(render.tasks.values()):
        render.end(task)
    render.end(render.take_one())
    assert (joe.running, ann.running, +ann.running_on) == (0, 0, {})


def test_offline_pauses() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, offline=True)
    render = farm.render()
    assert not render.take()
    assert farm.job_words(job) == " RDY OFF"
    farm.edit(job, {"offline": False})
    assert render.take()
    farm.edit(job, {"offline": True})
    assert farm.job_words(job) == " RUN OFF"


def test_a_time_can_be_set_while_a_job_runs() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, listed(2))
    render = farm.render(max_tasks=1)
    task = render.take_one()
    farm.edit(job, {"time_wait": 1_000_030})
    assert farm.job_words(job) == " RUN WTM"
    render.end(task)
    assert not render.take()
    farm.edit(job, {"time_wait": 0})
    assert render.take()


def test_a_depend_mask_can_be_set_while_a_job_runs() -> None:
    farm = FarmHarness()
    first = job_of_joe(farm, name="first", priority=1)
    job = job_of_joe(farm, listed(2))
    render = farm.render(max_tasks=1)
    task = render.take_one()
    assert task.job == job
    farm.edit(job, {"depend_mask": "fir.*"})
    render.end(task)
    other = render.take_one()
    assert other.job == first
    assert farm.job_words(job) == " WDP"
    with pytest.raises(EditRefused, match='the jobs "first" and "shot" would wait for each other'):
        farm.edit(first, {"depend_mask": "shot"})
    render.end(other)
    assert render.take_one().job == job


def test_the_life_of_a_job() -> None:
    farm = FarmHarness()
    finished = job_of_joe(farm, time_life=100)
    render = farm.render()
    render.end(render.take_one())
    waiting = job_of_joe(farm, listed(2), time_life=50, offline=True)
    running = job_of_joe(farm, time_life=60)
    task = render.take_one()
    forever = job_of_joe(farm, offline=True)

    def alive() -> None:
        for _ in range(3):
            farm.pass_time(10.0)
            render.send()

    alive()
    assert list(farm.state.jobs) == [finished, waiting, running, forever]
    alive()
    assert list(farm.state.jobs) == [finished, running, forever]
    alive()
    assert farm.state.jobs[running].deleting
    assert render.stops()[0].run == task.run
    render.end(task, TaskStatus.FinishedKilled)
    assert list(farm.state.jobs) == [finished, forever]
    alive()
    assert list(farm.state.jobs) == [forever]
    farm.edit_user("joe", {"jobs_life_time": 10})
    alive()
    assert list(farm.state.jobs) == []


def test_a_life_of_none_overrides_that_of_the_user() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, time_life=0, offline=True)
    farm.edit_user("joe", {"jobs_life_time": 10})
    farm.pass_time(100.0)
    assert list(farm.state.jobs) == [job]
    farm.edit(job, {"time_life": -1})
    farm.pass_time(1.0)
    assert list(farm.state.jobs) == []


# Parameters of blocks


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "n"),
        ("service", "nuke"),
        ("parser", "p"),
        ("command", "c"),
        ("working_directory", "/w"),
        ("tasks_name", "t @#@"),
        ("custom_data", "c"),
        ("srv_info", "s"),
        ("sequential", -3),
        ("capacity", 1),
        ("depend_mask", "zz"),
        ("tasks_depend_mask", "zz"),
        ("errors_retries", 127),
        ("errors_avoid_host", 0),
        ("errors_task_same_host", -1),
        ("errors_forgive_time", 10),
        ("task_max_run_time", 1),
        ("task_min_run_time", 1),
        ("task_progress_change_timeout", 1),
        ("parser_coeff", 3),
    ],
)
def test_a_parameter_of_a_block(key: str, value: object) -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, listed(name="a"), listed(name="b"))
    before = farm.state.jobs[job].spec
    farm.edit_blocks(job, [1, 1], {key: value}, JOE)
    spec = farm.state.jobs[job].spec
    assert spec.blocks == (before.blocks[0], with_fields(before.blocks[1], {key: value}))
    assert with_fields(spec, {"blocks": before.blocks}) == before, "the job keeps its own values"
    assert farm.state.jobs[job].blocks[1].spec is spec.blocks[1]


def test_needs_and_tables_of_a_block() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, listed(environment={"A": "1", "B": "2"}))
    needs = {"need_gpu_mem_mb": 5, "need_os": "linux", "max_running_tasks": 2, "hosts_mask": "a"}
    farm.edit_blocks(job, [0], {**needs, "environment": {"A": None, "C": ""}})
    block = farm.state.jobs[job].blocks[0]
    assert block.spec.needs == with_fields(HostNeeds(), needs)
    assert block.spec.environment == {"B": "2", "C": ""}
    assert block.masks.hosts is not None


@pytest.mark.parametrize(
    ("blocks", "params", "sentence"),
    [
        ([2], {"capacity": 1}, "Invalid block number: 2; the job has 2 blocks, from 0"),
        ([-1], {"capacity": 1}, "Invalid block number: -1"),
        ([], {"capacity": 1}, "no block is selected"),
        ([0, 1], {"capacity": 0}, "capacity: 0 is not within 1"),
        ([0], {"errors_retries": 128}, "errors_retries: 128 is not within -1 to 127"),
        ([0], {"priority": 1}, 'a block has no parameter "priority"'),
        ([0], {"frame_first": 1}, 'a block has no parameter "frame_first"'),
        ([0], {"task_max_run_time": -1}, "task_max_run_time: -1 is not within 0"),
        ([0], {"tickets": {"MEM": 1}}, "tickets: this farm has no tickets"),
        ([0], {"command_pre": "x"}, "command_pre: this farm runs no commands before or after"),
        ([0], {"tasks_depend_mask": "b"}, 'blocks wait for each other: "a" -> "b" -> "a"'),
        ([0], {"name": "c", "need_os": "["}, "blocks[0].need_os: not a regular expression"),
        ([0], {"command": "x" * 1_000_000 + "é" * 400_000}, "characters, more than"),
        ([0], {"command": "é" * 400_000}, "blocks[0]: 2,40"),
    ],
)
def test_what_blocks_refuse_changes_nothing(
    blocks: list[int], params: Mapping[str, object], sentence: str
) -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, listed(name="a"), listed(name="b", tasks_depend_mask="a"))
    before = picture(farm)
    with pytest.raises(EditRefused, match=re.escape(sentence)):
        farm.edit_blocks(job, blocks, params, JOE)
    assert picture(farm) == before


def test_running_tasks_keep_their_capacity() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, listed(12))
    render = farm.render(max_tasks=99)
    tasks = render.take()
    assert len(tasks) == 10
    farm.edit_blocks(job, [0], {"capacity": 50, "command": "new"})
    render.end(tasks[0])
    fresh = render.take()
    assert [(task.capacity, task.command_block) for task in fresh] == [(50, "new")] * 2
    assert render.state.capacity_used == 9 * 100 + 2 * 50


def test_the_order_of_tasks_can_be_changed() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, frames(1, 5))
    render = farm.render(max_tasks=1)
    render.end(render.take_one())
    farm.edit_blocks(job, [0], {"sequential": -1})
    order = []
    for _ in range(4):
        task = render.take_one()
        order.append(task.key.task)
        render.end(task)
    assert order == [1, 4, 3, 2], "the task that ran already was the next in the old order"


def test_a_dependency_can_be_added_and_removed() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, frames(1, 2, name="a"), frames(1, 2, name="b"))
    farm.edit_blocks(job, [1], {"depend_mask": "a"})
    render = farm.render()
    one, two = render.take()
    farm.edit_blocks(job, [1], {"depend_mask": "", "tasks_depend_mask": "a"})
    assert farm.states(job, 1) == ["waiting", "waiting"]
    render.end(one)
    (three,) = render.take()
    assert three.key == TaskKey(job, 1, 0)
    farm.edit_blocks(job, [0], {"name": "other"})
    assert len(render.take()) == 1
    render.end(two)


def test_a_limit_of_time_counts_for_running_tasks() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm)
    render = farm.render()
    task = render.take_one()
    farm.pass_time(5.0)
    render.send()
    farm.edit_blocks(job, [0], {"task_max_run_time": 8})
    farm.pass_time(2.0)
    assert not render.stops()
    farm.pass_time(2.0)
    assert render.stops()[0].run == task.run


# Operations


def ended(farm: FarmHarness, render: FakeRender, *outcomes: TaskStatus | None) -> None:
    """End the running tasks with these outcomes; None leaves one running."""
    for task, outcome in zip(render.take(), outcomes, strict=True):
        if outcome is not None:
            render.end(task, outcome)


Done, Skip = TaskStatus.FinishedSuccess, TaskStatus.Skip


@pytest.mark.parametrize(
    ("kind", "restarted"),
    [
        ("restart", [0, 1, 2, 3]),
        ("restart_errors", [2]),
        ("restart_running", [3]),
        ("restart_skipped", [1]),
        ("restart_done", [0]),
        ("restart_warnings", [3]),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_restarts(kind: str, restarted: list[int], whole: bool) -> None:
    farm = FarmHarness(errors_retries=0)
    job = job_of_joe(farm, listed(4))
    render = farm.render(max_tasks=4)
    tasks = render.take()
    render.send(make_update(tasks[3], TaskStatus.Warning))
    for task, outcome in zip(tasks, (Done, Skip, Error), strict=False):
        render.end(task, outcome)
    assert farm.states(job) == ["done", "skipped", "error", "running"]
    if whole:
        farm.operate(job, kind)
    else:
        farm.operate_blocks(job, [0], kind)
    fresh = [task.key.task for task in render.take()]
    if 3 in restarted:
        assert [stop.run for stop in render.stops()] == [tasks[3].run]
        render.end(tasks[3], TaskStatus.FinishedKilled)
        fresh += [task.key.task for task in render.take()]
    assert sorted(fresh) == restarted
    assert farm.view(job).state == "running"


def test_a_job_that_is_over_continues_after_a_restart() -> None:
    farm = FarmHarness(errors_retries=0)
    job = job_of_joe(farm, listed(1, name="a"), listed(2, name="b", depend_mask="a"))
    render = farm.render()
    ended(farm, render, Error)
    assert farm.view(job).state == "error"
    assert farm.view(job).counts == {"error": 1, "killed": 2}
    farm.operate(job, "restart_errors")
    assert farm.states(job, 1) == ["waiting", "waiting"], "they wait for the block again"
    assert farm.view(job).finished is None
    ended(farm, render, Done)
    ended(farm, render, Done, Done)
    assert farm.view(job).state == "done"
    assert farm.task(job).attempts == 2


def test_a_drained_job_starts_tasks_again_after_a_restart() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, listed(3))
    render = farm.render(max_tasks=1)
    running = render.take_one()
    farm.end_job(job, "drained", stop=False)
    assert farm.states(job) == ["running", "killed", "killed"]
    farm.operate_blocks(job, [0], "restart", task_ids=[1])
    assert farm.states(job) == ["running", "ready", "killed"]
    render.end(running)
    task = render.take_one()
    render.leave()
    assert farm.states(job) == ["done", "ready", "killed"], "it is queued, not killed"
    assert task.key.task == 1


def test_a_restart_of_tasks_that_wait_for_a_failed_block() -> None:
    farm = FarmHarness(errors_retries=0)
    job = job_of_joe(farm, listed(1, name="a"), listed(1, name="b", depend_mask="a"))
    render = farm.render()
    ended(farm, render, Error)
    farm.operate_blocks(job, [1], "restart")
    assert farm.view(job).state == "error"
    assert farm.states(job, 1) == ["killed"]


def test_a_job_that_waits_for_a_restarted_one_waits_again() -> None:
    farm = FarmHarness(errors_retries=0)
    first = job_of_joe(farm, name="first")
    second = job_of_joe(farm, name="second", depend_mask="first")
    render = farm.render()
    ended(farm, render, Error)
    assert farm.job_words(second) == " WDP"
    farm.operate(first, "restart")
    ended(farm, render, Done)
    assert render.take_one().job == second


def test_a_job_that_is_over_can_get_another_dependency() -> None:
    farm = FarmHarness()
    first = job_of_joe(farm, name="first")
    job = job_of_joe(farm, name="second", priority=200)
    render = farm.render(max_tasks=1)
    render.end(render.take_one())
    farm.edit(job, {"depend_mask": "first"})
    assert farm.view(job).state == "done"
    ended(farm, render, Done)
    assert farm.view(first).state == "done"
    farm.operate(job, "restart")
    assert render.take_one().job == job


def test_a_restart_forgets_errors_but_not_of_running_tasks() -> None:
    farm = FarmHarness(errors_retries=1)
    job = job_of_joe(farm, listed(2))
    render = farm.render(max_tasks=2)
    ended(farm, render, Error, Error)
    ended(farm, render, None, Error)
    tasks = farm.state.jobs[job].blocks[0].tasks
    assert [task.errors for task in tasks] == [1, 2]
    farm.operate(job, "restart")
    assert [task.errors for task in tasks] == [1, 0]


@pytest.mark.parametrize(("kind", "words"), [("skip", " DON SKP"), ("done", " DON")])
def test_tasks_that_count_as_done(kind: str, words: str) -> None:
    farm = FarmHarness(errors_retries=0)
    job = job_of_joe(farm, listed(3, name="a"), listed(1, name="b", depend_mask="a"))
    render = farm.render(max_tasks=2)
    running, failed = render.take()
    render.end(failed, Error)
    render.take()
    farm.operate_blocks(job, [0], kind, task_ids=[0, 1])
    assert farm.bits(job) == [f" RUN{words}", words, " RUN"]
    assert farm.states(job) == ["running", farm.states(job)[1], "running"]
    render.end(running, TaskStatus.FinishedKilled)
    assert farm.bits(job)[:2] == [words, words]
    farm.operate_blocks(job, [0], kind)
    render.end(next(t for t in render.tasks.values() if t.key.task == 2), Error)
    assert farm.bits(job) == [words] * 3, "whatever the run itself has reported"
    assert render.take_one().block == 1, "what waited for it starts"


def test_failed_tasks_can_be_skipped_in_a_job_that_is_over() -> None:
    farm = FarmHarness(errors_retries=0)
    job = job_of_joe(farm, listed(2, name="a"), listed(1, name="b", depend_mask="a"))
    render = farm.render()
    ended(farm, render, Error, Error)
    assert farm.view(job).state == "error"
    farm.operate_blocks(job, [0], "skip")
    assert farm.view(job).state == "running"
    ended(farm, render, Done)
    assert farm.view(job).state == "done"
    farm.operate_blocks(job, [0, 1], "skip")
    assert farm.states(job, 1) == ["done"], "what is done stays so"


def test_skipping_everything_ends_a_job() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, listed(2, name="a"), listed(2, name="b", depend_mask="a"))
    farm.operate_blocks(job, [0, 1], "skip")
    view = farm.view(job)
    assert (view.state, view.counts) == ("done", {"skipped": 4})


def test_suspended_tasks() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, listed(3))
    render = farm.render(max_tasks=1)
    task = render.take_one()
    farm.operate_blocks(job, [0], "suspend", task_ids=[0, 1])
    assert farm.bits(job) == [" RUN", " SUS", " RDY"]
    render.end(task, TaskStatus.FinishedKilled)
    assert farm.bits(job) == [" SUS", " SUS", " RUN"]
    render.end(render.take_one())
    assert farm.view(job).state == "running", "a suspended task is not over"
    assert farm.job_words(job) == " SUS"
    assert farm.why_waiting(job) == ("the task is suspended",)
    farm.operate_blocks(job, [0], "continue")
    assert farm.bits(job) == [" RUN", " RDY", " DON"]


def test_pause_stop_and_start() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, listed(3))
    render = farm.render(max_tasks=2)
    one, two = render.take()
    farm.operate(job, "pause")
    render.end(one)
    assert not render.take()
    assert farm.job_words(job) == " RDY RUN OFF"
    farm.operate(job, "stop")
    assert [stop.run for stop in render.stops()] == [two.run]
    render.end(two, TaskStatus.FinishedKilled)
    assert farm.bits(job) == [" DON", " RDY", " RDY"]
    assert farm.job_words(job) == " RDY OFF"
    assert farm.why_waiting(job) == ("the job is paused",)
    farm.operate(job, "restart")
    assert farm.job_words(job) == " RDY OFF", "a restart does not start a paused job"
    farm.operate(job, "start")
    assert len(render.take()) == 2
    farm.operate(job, "restart_pause")
    assert farm.job_words(job) == " RDY RUN OFF"


def test_a_task_that_was_never_sent_is_queued_at_once() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, listed(2))
    render = farm.render(max_tasks=1)
    farm.operate(job, "stop")
    assert farm.states(job) == ["ready", "ready"]
    assert not render.take()
    farm.operate(job, "start")
    farm.operate_blocks(job, [0], "skip")
    assert (farm.view(job).state, farm.view(job).counts) == ("done", {"skipped": 2})


def test_delete() -> None:
    farm = FarmHarness()
    render = farm.render()
    done = job_of_joe(farm)
    render.end(render.take_one(), output="text")
    running = job_of_joe(farm, listed(2), name="running")
    tasks = render.take()
    waiting = job_of_joe(farm, name="waiting", depend_mask="running", offline=True)
    farm.operate(done, "delete")
    farm.operate(running, "delete")
    assert list(farm.state.jobs) == [running, waiting]
    assert farm.job_words(running) == " RUN OFF"
    with pytest.raises(EditRefused, match='"running" is being deleted'):
        farm.operate(running, "restart")
    render.end(tasks[0], TaskStatus.FinishedKilled)
    render.end(tasks[1], Done)
    farm.pass_time(1.0)
    assert list(farm.state.jobs) == [waiting]
    assert farm.job_words(waiting) == " RDY OFF", "what waited for it waits no more"
    farm.operate(waiting, "delete")
    farm.collect()
    assert (farm.state.jobs, farm.state.runs, farm.state.order, farm.state.ready) == ({}, {}, [], 0)
    assert farm.store._logs == {}
    assert farm.state.users["joe"].jobs == {}


def test_tasks_tried_next() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, listed(4, name="a"), listed(2, name="b"))
    farm.operate_blocks(job, [1], "trynext", task_ids=[1], mode="append")
    farm.operate_blocks(job, [0], "trynext", task_ids=[3, 2], mode="append")
    farm.operate_blocks(job, [0], "trynext", task_ids=[2], mode="remove")
    assert farm.bits(job) == [" RDY", " RDY", " RDY", " RDY TRY"]
    render = farm.render(max_tasks=1)
    order = []
    for _ in range(3):
        task = render.take_one()
        order.append((task.block, task.task))
        render.end(task)
    assert order == [(1, 1), (0, 3), (0, 0)]
    farm.operate_blocks(job, [0], "trynext", mode="append")
    farm.operate(job, "reset_trying_next_tasks")
    assert farm.state.jobs[job].try_next == []
    assert farm.bits(job) == [" DON", " RUN", " RDY", " DON"]


def test_error_hosts_are_forgotten() -> None:
    farm = FarmHarness(errors_retries=9, errors_avoid_host=1, errors_task_same_host=1)
    job = job_of_joe(farm, listed(2))
    bad, good = farm.render("bad", max_tasks=2), farm.render("good", max_tasks=0)
    good.fields["max_tasks"] = 1
    good.leave()
    good.register()
    block = farm.state.jobs[job].blocks[0]
    for task in bad.take():
        bad.end(task, Error)
    good.take()
    assert not bad.take(), "another render can take the block"
    farm.operate_blocks(job, [0], "reset_error_hosts", task_ids=[0, 1])
    assert block.error_hosts
    assert all(task.error_hosts is None for task in block.tasks)
    farm.operate(job, "reset_error_hosts")
    assert not block.error_hosts
    assert bad.take()


def test_blocks_can_be_appended() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, listed(name="a"))
    render = farm.render()
    ended(farm, render, Done)
    assert farm.view(job).state == "done"
    new = [
        {"name": "b", "tasks": [{"command": "y"}], "capacity": 100},
        {"name": "c", "flags": 1, "frame_first": 1, "frame_last": 2, "depend_mask": "b"},
    ]
    assert farm.operate(job, "append_blocks", blocks=new) == {"block_ids": [1, 2]}
    assert farm.view(job).state == "running"
    assert render.take_one().block_name == "b"
    assert farm.states(job, 2) == ["waiting", "waiting"]
    assert [task.key for b in farm.state.jobs[job].blocks for task in b.tasks] == [
        TaskKey(job, 0, 0), TaskKey(job, 1, 0), TaskKey(job, 2, 0), TaskKey(job, 2, 1),
    ]  # fmt: skip


def test_tasks_can_be_appended() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, listed(name="a"), listed(name="b", tasks_depend_mask="a"))
    render = farm.render()
    ended(farm, render, Done)
    new = [{"name": "n", "command": "y", "environment": {"A": "1"}}]
    assert farm.operate_blocks(job, [0], "append_tasks", tasks=new) == {"task_ids": [1]}
    block = farm.state.jobs[job].blocks[0]
    assert block.spec.tasks[1] == TaskSpec(name="n", command="y", environment={"A": "1"})
    names = sorted(task.name for task in render.take())
    assert names == ["n", "task 0"]


@pytest.mark.parametrize(
    ("blocks", "kind", "fields", "sentence"),
    [
        (None, "explode", {}, 'a job has no operation "explode"'),
        (None, "restrat", {}, 'a job has no operation "restrat", did you mean "restart"?'),
        (None, "skip", {}, 'a job has no operation "skip"'),
        (None, "pause", {"task_ids": [0]}, 'the operation pause has no parameter "task_ids"'),
        (None, "append_blocks", {}, "blocks: expected a list, found null"),
        (None, "append_blocks", {"blocks": []}, "blocks: empty: there is nothing to append"),
        (None, "append_blocks", {"blocks": [7]}, "blocks[0]: expected an object, found 7"),
        (None, "append_blocks", {"blocks": [{"name": "c"}]}, "blocks[0].tasks: missing"),
        (
            None,
            "append_blocks",
            {"blocks": [{"flags": 1, "frame_first": 1, "frame_last": 10**6}]},
            "1,000,002 tasks, more than 200,000",
        ),
        ([0], "append_tasks", {"tasks": [5]}, "tasks[0]: expected an object, found 5"),
        ([0], "append_tasks", {"tasks": []}, "tasks: empty: there is nothing to append"),
        ([1], "append_tasks", {"tasks": [{}]}, "Appending tasks to numeric block is not allowed."),
        ([0], "skip", {"task_ids": [1]}, "Invalid operation task number: 1; block"),
        ([0], "skip", {"task_ids": [-1]}, "Invalid operation task number: -1"),
        ([0], "skip", {"task_ids": 0}, "task_ids: expected a list of integers, found 0"),
        ([0], "skip", {"task_ids": [True]}, "task_ids: expected a list of integers"),
        ([0], "trynext", {"task_ids": [0]}, 'mode: expected "append" or "remove", found ""'),
        ([0], "trynext", {"mode": "x"}, 'mode: expected "append" or "remove", found "x"'),
        ([0], "tickets", {"name": "MEM", "count": 1}, 'a block has no operation "tickets"'),
        ([9], "skip", {}, "Invalid block number: 9"),
    ],
)
def test_refused_operations_change_nothing(
    blocks: list[int] | None, kind: str, fields: Mapping[str, object], sentence: str
) -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, listed(name="a"), frames(1, 1, name="b"))
    before = picture(farm)

    def operate() -> None:
        if blocks is None:
            farm.operate(job, kind, JOE, **fields)
        else:
            farm.operate_blocks(job, blocks, kind, JOE, **fields)

    with pytest.raises(EditRefused, match=re.escape(sentence)):
        operate()
    assert picture(farm) == before


def test_an_operation_without_a_type() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm)
    with pytest.raises(EditRefused, match="a job has no operation 5"):
        farm.operate(job, 5)  # type: ignore[arg-type]  # what a client may send


# Previews, rates, maintenance


def test_a_job_with_previews_waits_for_approval() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, frames(1, 9, sequential=4), ppa=True)
    render = farm.render()
    tasks = render.take()
    assert sorted(task.frame_start for task in tasks) == [1, 4, 8, 9]
    assert farm.job_words(job) == " RDY RUN PPA"
    for task in tasks:
        render.end(task)
    assert not render.take()
    assert farm.why_waiting(job) == (
        "the previews were started, the other tasks wait for approval (ppa)",
    )
    farm.edit(job, {"ppa": False})
    assert len(render.take()) == 5
    assert farm.job_words(job) == " RUN"


def test_previews_need_a_step() -> None:
    farm = FarmHarness()
    job_of_joe(farm, frames(1, 9, sequential=1), ppa=True)
    assert len(farm.render().take()) == 9


def test_starts_in_a_second() -> None:
    farm = FarmHarness()
    job = job_of_joe(farm, listed(5), needs=HostNeeds(max_tasks_per_second=2))
    render = farm.render()
    assert len(render.take()) == 2
    assert "max_tasks_per_second is 2" in farm.why_waiting(job)[0]
    farm.pass_time(0.9)
    assert not render.take()
    farm.pass_time(0.2)
    assert len(render.take()) == 2
    farm.edit(job, {"max_tasks_per_second": 0})
    farm.pass_time(5.0)
    assert not render.take()
    farm.edit(job, {"max_tasks_per_second": -1})
    assert len(render.take()) == 1


def test_starts_of_a_user_in_a_second() -> None:
    farm = FarmHarness()
    for _ in range(3):
        job_of_joe(farm)
    farm.edit_user("joe", {"max_tasks_per_second": 1})
    render = farm.render()
    counts = []
    for _ in range(4):
        counts.append(len(render.take()))
        farm.pass_time(1.0)
        render.send()
    assert counts == [1, 1, 1, 0]


def test_maintenance_runs_each_task_on_its_render() -> None:
    farm = FarmHarness()
    tasks = tuple(TaskSpec(name=name, command="x") for name in ("b", "a", "c"))
    job_of_joe(farm, listed(tasks=tasks), maintenance=True)
    a, b = farm.render("a"), farm.render("b")
    assert [task.name for task in a.take()] == ["a"]
    assert [task.name for task in b.take()] == ["b"]
