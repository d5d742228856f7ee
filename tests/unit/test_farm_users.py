"""Users: their parameters, the order of their jobs, and error rules of block, user and farm."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from support.farm import ADMIN, FakeRender, FarmHarness, listed, make_update

from trio_afrender.errors import EditRefused
from trio_afrender.farm import HostNeeds
from trio_afrender.farm.node_log import Actor
from trio_afrender.farm.user_edits import jobs_in_order
from trio_afrender.protocol.messages import TaskStatus
from trio_afrender.text import show_json

Error = TaskStatus.FinishedError
JOE = Actor(user_name="joe")


def job_of(farm: FarmHarness, user: str, **fields: object) -> int:
    return farm.job(**{"user_name": user, **fields})


def test_a_job_makes_its_user() -> None:
    farm = FarmHarness()
    job = job_of(farm, "joe", name="shot", host_name="w7")
    user = farm.state.users["joe"]
    assert (user.id, user.host_name, user.time_register, list(user.jobs)) == (
        2,
        "w7",
        1_000_000.0,
        [job],
    )
    farm.pass_time(5.0)
    job_of(farm, "joe", name="other")
    assert (user.time_activity, user.host_name, len(farm.state.users)) == (1_000_005.0, "w7", 1)
    assert [text for _, text in user.node_log.entries] == [
        "afanasy: users: joe: Registered.",
        "afanasy: users: joe: Adding a job: shot",
        "afanasy: users: joe: Adding a job: other",
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("priority", 0),
        ("annotation", "a"),
        ("custom_data", "{}"),
        ("hidden", True),
        ("paused", True),
        ("errors_retries", 255),
        ("errors_avoid_host", -1),
        ("errors_task_same_host", 0),
        ("errors_forgive_time", 60),
        ("jobs_life_time", 1000),
        ("hosts_mask_type", "regex"),
    ],
)
def test_a_parameter_of_a_user(key: str, value: object) -> None:
    farm = FarmHarness()
    job_of(farm, "joe")
    farm.edit_user("joe", {key: value}, JOE)
    assert getattr(farm.state.users["joe"], key) == value
    assert farm.state.users["joe"].node_log.entries[-1][1] == (
        f'joe: users params: joe: "{key}" set to {show_json(value)}'
    )


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"errors_retries": 256}, "errors_retries: 256 is not within -1 to 255"),
        ({"errors_task_same_host": 300}, "300 is not within -1 to 255"),
        ({"priority": -5}, "priority: -5 is not within 0 to 255"),
        (
            {"hosts_mask": "[", "hosts_mask_type": "regex"},
            "hosts_mask: not a regular expression",
        ),
        ({"user_name": "x"}, 'a user has no parameter "user_name"'),
        ({"jobs_lifetime": 1}, 'did you mean "jobs_life_time"?'),
        ({"paused": 1}, "paused: expected true or false, found 1"),
    ],
)
def test_what_a_user_refuses(params: Mapping[str, object], sentence: str) -> None:
    farm = FarmHarness()
    job_of(farm, "joe")
    user = farm.state.users["joe"]
    before = (user.priority, user.needs, user.node_log.entries)
    with pytest.raises(EditRefused, match=re.escape(sentence)):
        farm.edit_user("joe", {"priority": 1, **params}, JOE)
    assert (user.priority, user.needs, user.node_log.entries) == before


def test_only_a_user_and_administrators_change_it() -> None:
    farm = FarmHarness()
    job = job_of(farm, "joe")
    ann = Actor(user_name="ann")
    refused = 'user 2 "joe" belongs to the user "joe": "ann" may not change it'
    with pytest.raises(EditRefused, match=refused):
        farm.edit_user("joe", {"priority": 1}, ann)
    with pytest.raises(EditRefused, match=refused):
        farm.operate_user("joe", "move_jobs_top", ann, jids=[job])
    farm.edit_user("joe", {"priority": 1}, ADMIN)


def test_users_are_served_by_priority_before_their_jobs() -> None:
    farm = FarmHarness()
    first = job_of(farm, "joe", priority=200)
    second = job_of(farm, "ann", priority=1)
    farm.edit_user("ann", {"priority": 100})
    assert [job.id for job in farm.state.order] == [second, first]
    farm.edit_user("ann", {"priority": 0})
    assert [task.job for task in farm.render().take()] == [first]
    assert farm.why_waiting(second) == ("the priority of the user is 0",)


def test_limits_and_masks_of_a_user() -> None:
    farm = FarmHarness()
    jobs = [job_of(farm, "joe") for _ in range(3)]
    farm.edit_user("joe", {"max_running_tasks": 2, "hosts_mask": "b c"})
    a, b = farm.render("a"), farm.render("b")
    assert not a.take()
    one, _ = b.take()
    assert "2 tasks of the user run" in farm.why_waiting(jobs[2])[0]
    b.end(one)
    assert len(b.take()) == 1
    farm.edit_user("joe", {"max_running_tasks_per_host": 1, "max_running_tasks": -1})
    job_of(farm, "joe")
    assert not b.take()
    farm.render("c")
    assert farm.state.users["joe"].running_on["c"] == 1


def test_a_paused_user() -> None:
    farm = FarmHarness()
    job = job_of(farm, "joe")
    farm.edit_user("joe", {"paused": True})
    render = farm.render()
    assert not render.take()
    assert farm.why_waiting(job) == ('the user "joe" is paused',)
    farm.edit_user("joe", {"paused": False})
    assert len(render.take()) == 1


@pytest.mark.parametrize(
    ("where", "moved", "order"),
    [
        ("up", [3], [2, 4, 3, 5, 6]),
        ("up", [2], [2, 3, 4, 5, 6]),
        ("up", [2, 4], [2, 4, 3, 5, 6]),
        ("down", [3], [2, 4, 3, 5, 6]),
        ("down", [4, 5], [2, 3, 4, 5, 6]),
        ("down", [2, 3], [4, 2, 3, 5, 6]),
        ("top", [5, 4], [4, 5, 2, 3, 6]),
        ("bottom", [2], [3, 4, 5, 2, 6]),
        ("top", [6], [2, 3, 4, 5, 6]),
    ],
)
def test_jobs_move_among_those_of_equal_priority(
    where: str, moved: list[int], order: list[int]
) -> None:
    farm = FarmHarness()
    for _ in range(4):
        job_of(farm, "joe")
    job_of(farm, "joe", priority=1)
    other = job_of(farm, "ann")
    if where == "up" and moved == [3]:
        moved = [4]
    farm.operate_user("joe", f"move_jobs_{where}", JOE, jids=moved)
    assert [job.id for job in jobs_in_order(farm.state.users["joe"])] == order
    served = [job.id for job in farm.state.order if job.id != other]
    assert served == order


@pytest.mark.parametrize(
    ("kind", "fields", "sentence"),
    [
        ("move_jobs_left", {}, 'a user has no operation "move_jobs_left", did you mean'),
        ("move_jobs_up", {}, "jids: expected a list of integers, found null"),
        ("move_jobs_up", {"jids": [True]}, "jids: expected a list of integers"),
        ("move_jobs_up", {"jids": [9]}, 'jids: the user "joe" has no job 9'),
        ("move_jobs_up", {"jids": [2], "x": 1}, 'the operation move_jobs_up has no parameter "x"'),
        ("delete", {}, 'the user "joe" has 1 job: delete these first'),
    ],
)
def test_refused_operations(kind: str, fields: Mapping[str, object], sentence: str) -> None:
    farm = FarmHarness()
    job_of(farm, "joe")
    with pytest.raises(EditRefused, match=re.escape(sentence)):
        farm.operate_user("joe", kind, JOE, **fields)


def test_a_user_without_jobs_can_be_deleted() -> None:
    farm = FarmHarness()
    job = job_of(farm, "joe")
    farm.operate(job, "delete")
    farm.operate_user("joe", "delete")
    assert farm.state.users == {}
    job_of(farm, "joe")
    assert farm.state.users["joe"].id == 3, "no id is used again"


# Error rules


def fail(render: FakeRender, times: int = 1) -> None:
    for _ in range(times):
        render.end(render.take()[0], Error)


@pytest.mark.parametrize(
    ("block", "user", "farm_value", "attempts"),
    [(-1, -1, 2, 3), (-1, 1, 2, 2), (0, 1, 2, 1), (3, 0, 0, 4), (-1, 0, 5, 1)],
)
def test_retries_of_block_else_user_else_farm(
    block: int, user: int, farm_value: int, attempts: int
) -> None:
    farm = FarmHarness(errors_retries=farm_value, errors_avoid_host=0, errors_task_same_host=0)
    job = farm.job(listed(errors_retries=block), user_name="joe")
    farm.edit_user("joe", {"errors_retries": user})
    render = farm.render()
    fail(render, attempts)
    assert (farm.view(job).state, farm.task(job).attempts) == ("error", attempts)


@pytest.mark.parametrize("rule", ["errors_avoid_host", "errors_task_same_host"])
@pytest.mark.parametrize(
    ("block", "user", "limit"), [(-1, -1, 3), (-1, 2, 2), (1, 2, 1), (0, 2, 0)]
)
def test_hosts_are_avoided_by_block_else_user_else_farm(
    rule: str, block: int, user: int, limit: int
) -> None:
    other = ({"errors_avoid_host", "errors_task_same_host"} - {rule}).pop()
    farm = FarmHarness(errors_retries=99, **{rule: 3, other: 0})
    farm.job(listed(1, **{rule: block}), user_name="joe")
    farm.edit_user("joe", {rule: user})
    bad = farm.render("bad")
    fail(bad, max(0, limit - 1))
    good = farm.render("good")
    task = bad.take_one()
    bad.end(task, Error)
    if limit:
        assert (bad.take(), len(good.take())) == ([], 1)
    else:
        for _ in range(20):
            taken = [*bad.take(), *good.take()]
            assert len(taken) == 1
            (bad if taken[0].run in bad.tasks else good).end(taken[0], Error)


def test_a_host_is_forgiven() -> None:
    farm = FarmHarness(errors_retries=99, errors_avoid_host=2, errors_task_same_host=2)
    job = farm.job(listed(1, errors_forgive_time=20), user_name="joe")
    bad = farm.render("bad")
    fail(bad)
    good = farm.render("good", max_tasks=1)
    other = farm.job(listed(1), priority=200)
    assert good.take_one().job == other
    fail(bad)
    assert not bad.take()
    assert "the block avoids it after 2 errors" in " ".join(farm.why_waiting(job))
    for _ in range(2):
        farm.pass_time(9.0)
        bad.send()
        good.send()
        assert not bad.take()
    farm.pass_time(9.0)
    assert len(bad.take()) == 1


def test_the_only_host_is_not_avoided_and_the_log_says_so() -> None:
    farm = FarmHarness(errors_retries=9)
    job = farm.job(listed(1, name="b"), user_name="joe", name="shot")
    render = farm.render("lonely")
    fail(render, 3)
    assert len(render.take()) == 1, "the original would wait for hours"
    lines = [text for _, text in farm.state.jobs[job].node_log.entries]
    text = "3 errors, but no other render can run the block: it is not avoided"
    assert f'afanasy: jobs: shot: Block["b"]: lonely - {text}' in lines
    assert text in farm.view(job).tasks[0].log


def test_a_host_that_is_avoided_is_named() -> None:
    farm = FarmHarness(errors_retries=9)
    job = farm.job(listed(1, name="b"), user_name="joe", name="shot", needs=HostNeeds())
    bad = farm.render("bad")
    farm.edit(job, {"hosts_mask": "bad"})
    fail(bad, 2)
    farm.edit(job, {"hosts_mask": ""})
    farm.render("good", max_tasks=1)
    fail(bad)
    lines = [text for _, text in farm.state.jobs[job].node_log.entries]
    assert 'afanasy: jobs: shot: Block["b"]: bad - AVOIDING HOST !' in lines


def test_a_render_that_cannot_take_the_block_is_no_alternative() -> None:
    farm = FarmHarness(errors_retries=99)
    farm.job(listed(1, service="nuke"), user_name="joe")
    bad = farm.render("bad")
    farm.render("other", services=("maya",))
    fail(bad, 8)
    assert len(bad.take()) == 1


def test_a_warning_is_no_error() -> None:
    farm = FarmHarness()
    job = farm.job(listed(1), user_name="joe")
    render = farm.render()
    task = render.take_one()
    render.send(make_update(task, TaskStatus.Warning))
    render.end(task)
    assert farm.state.jobs[job].blocks[0].error_hosts == {}
