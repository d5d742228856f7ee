"""What each waiting task waits for, render by render, with the figures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.farm import FakeRender, FarmHarness, frames, listed, with_fields

from trio_afrender.farm import HostNeeds
from trio_afrender.farm.node_log import Actor
from trio_afrender.farm.obstacles import Obstacle, ObstacleKind
from trio_afrender.farm.render_edits import edit_render
from trio_afrender.farm.why_waiting import WaitAnswer, explain_job, explain_task
from trio_afrender.protocol.messages import HostResources, TaskKey, TaskStatus

ADMIN = Actor(user_name="root", admin=True)
LOAD = HostResources(
    cpu_num=4, cpu_mhz=2000, mem_free_mb=100, hdd_free_gb=10, gpu_mem_total_mb=8, gpu_mem_used_mb=3
)


def explain(farm: FarmHarness, job: int, task: int = 0, block: int = 0) -> WaitAnswer:
    return explain_task(farm.state, farm.state.find_task(TaskKey(job, block, task)), farm.now)


def edit(render: FakeRender, **params: object) -> None:
    edit_render(render.farm.state, render.state, params, ADMIN, render.farm.now)


def only_obstacle(answer: WaitAnswer) -> Obstacle:
    """The one obstacle of the one render."""
    assert answer.obstacles == ()
    (render,) = answer.renders
    (obstacle,) = render.obstacles
    return obstacle


@pytest.mark.parametrize(
    ("needs", "expected", "text"),
    [
        ({"need_memory": 101}, (ObstacleKind.NEED_MEMORY, 101, 100), "101 MiB of free memory, it has 100"),
        ({"need_hdd": 11}, (ObstacleKind.NEED_HDD, 11, 10), "11 GiB of free disk, it has 10"),
        ({"need_cpu_cores": 5}, (ObstacleKind.NEED_CPU_CORES, 5, 4), "5 processors, it has 4"),
        ({"need_cpu_freq_mgz": 2001}, (ObstacleKind.NEED_CPU_FREQ, 2001, 2000), "2001 MHz, it has 2000"),
        ({"need_cpu_freq_cores": 8001}, (ObstacleKind.NEED_CPU_FREQ_CORES, 8001, 8000), "8001 MHz"),
        ({"need_gpu_mem_mb": 6}, (ObstacleKind.NEED_GPU_MEM, 6, 5), "6 MiB of free GPU memory, it has 5"),
        ({"need_power": 8}, (ObstacleKind.NEED_POWER, 8, 7), "a power of 8, it has 7"),
        ({"need_os": "win"}, (ObstacleKind.NEED_OS, 0, 0), 'its system "linux" does not match need_os'),
        ({"need_properties": "ssd"}, (ObstacleKind.NEED_PROPERTIES, 0, 0), 'its properties "slow"'),
        ({"hosts_mask": "b"}, (ObstacleKind.HOSTS_MASK, 0, 0), "does not match hosts_mask of the block"),
        ({"hosts_mask_exclude": "a"}, (ObstacleKind.HOSTS_MASK_EXCLUDE, 0, 0), "hosts_mask_exclude of the block"),
    ],
)  # fmt: skip
def test_needs_of_a_block(
    needs: dict[str, object], expected: tuple[ObstacleKind, int, int], text: str
) -> None:
    farm = FarmHarness()
    render = farm.render(resources=LOAD, os="linux")
    edit(render, power_host=7, properties_host="slow")
    job = farm.job(listed(needs=with_fields(HostNeeds(), needs)))
    obstacle = only_obstacle(explain(farm, job))
    assert (obstacle.kind, obstacle.need, obstacle.have) == expected
    assert text in obstacle.text
    assert farm.why_waiting(job) == (f'block "b", render "a": {obstacle.text}',)


def test_needs_of_a_job_and_of_its_user() -> None:
    farm = FarmHarness()
    farm.render(resources=LOAD)
    job = farm.job(needs=HostNeeds(need_memory=500))
    assert only_obstacle(explain(farm, job)).need == 500


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda r: edit(r, paused=True), Obstacle(ObstacleKind.PAUSED)),
        (lambda r: edit(r, NIMBY=True), Obstacle(ObstacleKind.NIMBY_ALL)),
        (lambda r: edit(r, nimby=True), Obstacle(ObstacleKind.NIMBY, detail="ann")),
        (lambda r: edit(r, priority=0), Obstacle(ObstacleKind.PRIORITY)),
        (lambda r: edit(r, services=["nuke"]), Obstacle(ObstacleKind.SERVICE, detail="generic")),
        (lambda r: edit(r, max_tasks_host=0), Obstacle(ObstacleKind.MAX_TASKS, have=0, of=0)),
        (lambda r: edit(r, capacity_host=0), None),
        (
            lambda r: edit(r, capacity_host=60),
            Obstacle(ObstacleKind.CAPACITY, need=100, have=60, of=60),
        ),
        (lambda r: r.send(state=5), Obstacle(ObstacleKind.HOST_NIMBY)),
    ],
)
def test_states_and_parameters_of_a_render(
    prepare: Callable[[FakeRender], object], expected: Obstacle | None
) -> None:
    farm = FarmHarness()
    render = farm.render(user_name="ann")
    prepare(render)
    job = farm.job(user_name="joe")
    assert not render.take()
    if expected is None:
        assert explain(farm, job).renders[0].obstacles == (
            Obstacle(ObstacleKind.FULL),
            Obstacle(ObstacleKind.CAPACITY, need=100),
        )
    else:
        assert only_obstacle(explain(farm, job)) == expected


def test_all_obstacles_of_a_render_and_renders_with_the_same_answer() -> None:
    farm = FarmHarness()
    for number in range(5):
        edit(farm.render(f"r{number}", max_tasks=0), paused=True)
    small = farm.render("small", capacity=600)
    job = farm.job(listed(3, capacity=2000))
    assert explain(farm, job).renders[5].render == "small"
    assert farm.why_waiting(job) == (
        (
            'block "b", each of 5 renders ("r0", "r1", "r2", ...): it runs 0 tasks, its limit is 0; '
            "it is paused; a task needs 2000 of capacity, 1000 of 1000 are free"
        ),
        'block "b", render "small": a task needs 2000 of capacity, 600 of 600 are free',
    )
    (answer,) = explain_job(farm.state, farm.state.find_job(job), farm.now)
    assert (answer.key, answer.tasks) == (TaskKey(job, 0, 0), 3)
    edit(small, capacity_host=2500)
    farm.assign()
    assert len(small.take()) == 1
    assert farm.why_waiting(job)[-1] == (
        'block "b", render "small": a task needs 2000 of capacity, 500 of 2500 are free'
    )


def test_what_does_not_wait() -> None:
    farm = FarmHarness()
    render = farm.render()
    job = farm.job(listed(2))
    assert explain(farm, job) == WaitAnswer(key=TaskKey(job, 0, 0), block_name="b")
    assert farm.why_waiting(job) == ()
    for task in render.take():
        render.end(task)
    assert explain(farm, job).sentences == ()
    assert explain_job(farm.state, farm.state.find_job(job), farm.now) == ()


def test_a_task_that_comes_next() -> None:
    farm = FarmHarness()
    render = farm.render()
    edit(render, paused=True)
    job = farm.job()
    edit(render, paused=False)  # before the next round of the scheduler
    assert farm.why_waiting(job) == ('block "b", render "a": it comes next',)


def test_dependencies_and_times() -> None:
    farm = FarmHarness()
    render = farm.render()
    job = farm.job(
        frames(1, 4, name="sim"),
        frames(1, 4, name="render", tasks_depend_mask="sim"),
        listed(name="movie", depend_mask="render"),
    )
    first, *_ = render.take()
    render.end(first)
    assert farm.why_waiting(job) == (
        'block "render": it waits for frames of block "sim" (1 of 4 tasks done)',
        'block "movie": it waits for block "render" (0 of 4 tasks done)',
    )
    assert explain(farm, job, block=2).obstacles[0].kind is ObstacleKind.BLOCKS
    late = farm.job(time_wait=1_000_030, user_name="joe")
    assert farm.why_waiting(late) == ("the job starts in 30 s (time_wait)",)
    after = farm.job(name="after", depend_mask_global="job")
    assert farm.why_waiting(after) == ('the job waits for "job (running)", "job (running)"',)
    assert explain(farm, after).obstacles == (
        Obstacle(ObstacleKind.JOBS, need=2, detail='"job (running)", "job (running)"'),
    )


def test_limits_of_running_tasks() -> None:
    farm = FarmHarness()
    farm.render("a")
    farm.render("b")
    one = farm.job(listed(3, needs=HostNeeds(max_running_tasks=1)))
    assert farm.why_waiting(one) == (
        'block "b": 1 task of the block running, max_running_tasks is 1',
    )
    assert explain(farm, one, task=2).obstacles == (
        Obstacle(ObstacleKind.MAX_RUNNING, have=1, of=1, detail="block"),
    )
    two = farm.job(listed(5), needs=HostNeeds(max_running_tasks_per_host=1))
    assert farm.why_waiting(two) == (
        (
            'block "b", each of 2 renders ("a", "b"): '
            "it runs 1 task of the job, max_running_tasks_per_host is 1"
        ),
    )


def test_a_limit_is_named_also_where_all_capacity_is_in_use() -> None:
    farm = FarmHarness()
    render = farm.render("a", capacity=1000)
    job = farm.job(listed(2, capacity=1000), needs=HostNeeds(max_running_tasks=1))
    render.take_one()
    edit(render, NIMBY=True)
    assert explain(farm, job, task=1).obstacles == (
        Obstacle(ObstacleKind.MAX_RUNNING, have=1, of=1, detail="job"),
    )


def test_the_only_render_is_not_avoided() -> None:
    farm = FarmHarness()
    bad = farm.render("bad")
    edit(farm.render("good"), max_tasks_host=0)
    job = farm.job(listed(errors_avoid_host=1, errors_retries=5))
    for _ in range(3):
        bad.end(bad.take_one(), TaskStatus.FinishedError)
    assert farm.states(job) == ["running"], "no other render can run it"


def test_a_render_that_is_forgiven_gets_the_task_again() -> None:
    farm = FarmHarness(zombie_time=10_000.0)
    bad, good = farm.render("bad"), farm.render("good", max_tasks=1)
    edit(good, priority=1)
    blocker = farm.job(listed(needs=HostNeeds(hosts_mask="good")))
    assert len(good.take()) == 1
    job = farm.job(listed(errors_avoid_host=1, errors_retries=5, errors_forgive_time=60))
    bad.end(bad.take_one(), TaskStatus.FinishedError)
    assert not bad.take()
    answer = explain(farm, job)
    assert {each.render: each.text for each in answer.renders} == {
        "bad": "the block avoids it after 1 error there, the limit is 1; forgiven in 60 s",
        "good": "it runs 1 task, its limit is 1",
    }
    assert answer.renders[0].obstacles[0].need == 60
    farm.pass_time(59.0)
    assert not bad.take()
    farm.pass_time(2.0)
    assert len(bad.take()) == 1
    assert farm.states(blocker) == ["running"]


def test_a_render_is_not_avoided_when_the_other_one_leaves() -> None:
    farm = FarmHarness()
    bad, good = farm.render("bad"), farm.render("good", max_tasks=1)
    farm.job(listed(needs=HostNeeds(hosts_mask="good")))
    assert len(good.take()) == 1
    farm.job(listed(errors_avoid_host=1, errors_retries=5, errors_forgive_time=0))
    bad.end(bad.take_one(), TaskStatus.FinishedError)
    assert not bad.take()
    edit(good, paused=True)
    farm.assign()
    assert len(bad.take()) == 1


def test_a_maintenance_job_runs_on_the_renders_of_its_names() -> None:
    farm = FarmHarness()
    render = farm.render("a")
    block = listed(2)
    tasks = tuple(
        with_fields(task, {"name": name}) for task, name in zip(block.tasks, "ab", strict=True)
    )
    job = farm.job(with_fields(block, {"tasks": tasks}), maintenance=True)
    assert [task.name for task in render.take()] == ["a"]
    assert only_obstacle(explain(farm, job, task=1)).kind is ObstacleKind.MAINTENANCE


def test_without_a_render() -> None:
    farm = FarmHarness()
    job = farm.job()
    assert farm.why_waiting(job) == ("no render is online",)
    farm.render().leave()
    assert farm.why_waiting(job) == ("no render is online",)
    assert explain(farm, job).obstacles == (Obstacle(ObstacleKind.NO_RENDER),)


def test_every_kind_has_a_sentence() -> None:
    for kind in ObstacleKind:
        text = Obstacle(kind, need=1, have=2, of=3, detail="x").text
        assert text
        assert "{" not in text


def test_a_render_whose_link_is_lost() -> None:
    farm = FarmHarness()
    render = farm.render()
    render.cut()
    job = farm.job()
    assert farm.why_waiting(job) == (
        'block "b", render "a": its link is lost, and it may come back',
    )
    farm.pass_time(17.0)
    assert farm.why_waiting(job) == ("no render is online",)
