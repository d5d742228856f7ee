"""Renders that leave, fall silent, are cut off and come back with what they ran."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.farm import Stage, listed, make_update

from trio_afrender.protocol.messages import Refused, Registered, TaskExec, TaskStatus


def test_one_name_one_render() -> None:
    stage = Stage(zombie_time=8.0)
    render = stage.render("a")
    second = stage.render("b")
    other = render.register()
    assert isinstance(other, Refused)
    assert (other.reason, other.retry_after) == ("name-taken", 2.0)
    assert other.text == 'a render "a" is online from peer'
    assert stage.collect().drop == []
    render.leave()
    again = render.register()
    assert isinstance(again, Registered)
    assert again.id == 1
    assert isinstance(second.register(), Refused)
    assert [view.state for view in stage.state.renders()] == ["online", "online"]


@pytest.mark.parametrize("name", ["", "x" * 256, "a\nb", "\x1b[1m"])
def test_impossible_names(name: str) -> None:
    stage = Stage()
    render = stage.render()
    render.name = name
    answer = render.register()
    assert isinstance(answer, Refused)
    assert (answer.reason, answer.retry_after) == ("bad-name", None)


def test_settings_come_with_the_answer() -> None:
    stage = Stage(heartbeat_sec=2.0, resources_update_period=3, exit_no_task_time=9.0)
    render = stage.render()
    render.cut()
    answer = render.register()
    assert isinstance(answer, Registered)
    assert (answer.heartbeat_sec, answer.resources_update_period) == (2.0, 3)
    assert (answer.zombie_time, answer.exit_no_task_time) == (16.0, 9.0)


def test_a_cut_render_resumes() -> None:
    stage = Stage()
    job = stage.job(listed(2))
    render = stage.render()
    one, two = render.take()
    render.cut()
    assert stage.state.renders()[0].state == "reconnecting"
    stage.pass_time(15.0)
    assert stage.states(job) == ["running", "running"]
    answer = render.register(running=[one], undelivered=[two])
    assert isinstance(answer, Registered)
    assert (answer.resume, answer.stop) == ((one.run, two.run), ())
    render.end(two)
    render.end(one)
    assert stage.view(job).state == "done"
    assert stage.task(job).attempts == 1


def test_a_cut_render_loses_its_tasks_after_a_while() -> None:
    stage = Stage()
    job = stage.job()
    a = stage.render("a")
    task = a.take_one()
    stage.pass_time(10.0)
    a.cut()
    stage.pass_time(15.9)
    assert stage.states(job) == ["running"]
    stage.pass_time(0.2)
    assert stage.states(job) == ["ready"]
    assert stage.state.renders()[0].state == "offline"
    b = stage.render("b")
    again = b.take_one()
    assert (again.key, again.run != task.run) == (task.key, True)
    assert stage.task(job).attempts == 2
    assert stage.task(job).why[0].text == 'render "a" gone for 16 s'
    b.end(again)
    assert stage.view(job).state == "done"


def test_a_silent_render_is_lost_and_its_link_closed() -> None:
    stage = Stage()
    job = stage.job()
    render = stage.render()
    render.take()
    stage.pass_time(15.0)
    render.send()
    stage.pass_time(15.0)
    assert stage.states(job) == ["running"]
    stage.pass_time(1.1)
    assert stage.states(job) == ["ready"]
    assert stage.collect().drop == [render.session]
    render.cut()
    assert stage.state.renders()[0].state == "offline"


@given(start=st.floats(0.0, 1e6), zombie=st.floats(0.1, 100.0))
@example(start=0.1, zombie=16.3)
def test_no_sum_of_times_makes_the_clock_spin(start: float, zombie: float) -> None:
    """`Stage.pass_time` fails when a reminder that is due reminds of the same moment again."""
    stage = Stage(zombie_time=zombie)
    stage.now = start
    limits = {"task_max_run_time": 3, "task_progress_change_timeout": 2}
    stage.job(listed(**limits), time_wait=int(1_000_000 + start) + 1)
    stage.render("silent")
    cut = stage.render("cut")
    cut.cut()
    stage.pass_time(10.0)
    stage.pass_time(2 * zombie + 1)
    assert [view.state for view in stage.state.renders()] == ["offline", "offline"]


def test_a_render_whose_update_we_work_on_is_not_silent() -> None:
    stage = Stage()
    job = stage.job()
    render = stage.render()
    render.take()
    stage.state.seen("a", render.session, stage.now, busy=True)
    stage.pass_time(100.0)
    assert stage.states(job) == ["running"]
    stage.state.seen("a", render.session, stage.now, busy=False)
    stage.pass_time(16.1)
    assert stage.states(job) == ["ready"]


def test_leaving_gives_tasks_back_at_once() -> None:
    stage = Stage()
    job = stage.job(listed(2))
    render = stage.render(max_tasks=1)
    render.take()
    render.leave("end of the shift")
    assert stage.states(job) == ["ready", "ready"]
    view = stage.task(job)
    assert view.why[-1].text == 'render "a" left: end of the shift'
    assert view.attempts == 1
    assert stage.state.renders()[0].state == "offline"
    assert len(stage.render("b").take()) == 2


def test_a_lost_run_is_taken_up_again_while_nobody_has_it() -> None:
    stage = Stage()
    job = stage.job(listed(2))
    render = stage.render()
    one, two = render.take()
    render.cut()
    stage.pass_time(20.0)
    assert stage.states(job) == ["ready", "ready"]
    answer = render.register(running=[one], undelivered=[two])
    assert isinstance(answer, Registered)
    assert answer.resume == (one.run, two.run)
    assert render.take() == []
    render.end(two)
    render.end(one)
    assert stage.view(job).state == "done"
    assert [step.event for step in stage.task(job).why] == ["lost", "resumed"]


def test_a_lost_run_is_stopped_when_somebody_else_has_its_task() -> None:
    stage = Stage()
    job = stage.job(listed(2))
    a = stage.render("a")
    one, two = a.take()
    a.cut()
    stage.pass_time(20.0)
    b = stage.render("b")
    one_b, two_b = b.take()
    b.end(one_b)
    answer = a.register(running=[two], undelivered=[one])
    assert isinstance(answer, Registered)
    assert (answer.resume, answer.stop) == ((), (two.run, one.run))
    closes = a.send(make_update(one), make_update(two))
    assert {ref.run for ref in closes} == {one.run, two.run}
    assert stage.states(job) == ["done", "running"]
    b.end(two_b)
    assert stage.view(job).state == "done"


def test_an_outcome_of_a_lost_run_counts_without_a_register() -> None:
    """The link came back quicker than we thought it lost, or the run was not listed."""
    stage = Stage()
    job = stage.job()
    render = stage.render()
    task = render.take_one()
    render.cut()
    stage.pass_time(20.0)
    stage.state.end_job(stage.job(), "not this one", stage.now, stop=True)
    render.fields["max_tasks"] = 0  # So that it is not handed the task anew.
    render.register()
    render.end(task, output="late but whole")
    assert stage.states(job) == ["done"]
    assert stage.task(job).output == "late but whole"


def test_runs_that_nobody_knows() -> None:
    stage = Stage()
    stage.render("b")
    render = stage.render("a")
    render.cut()
    stranger = TaskExec(run="stranger", job=9, block=0, task=0)
    answer = render.register(running=[stranger], undelivered=[stranger])
    assert isinstance(answer, Registered)
    assert answer.stop == ("stranger", "stranger")
    closes = render.send(make_update(stranger))
    assert [ref.run for ref in closes] == ["stranger"]
    assert [ref.run for ref in render.send(make_update(stranger, TaskStatus.Percent))] == [
        "stranger"
    ]


def test_a_run_of_another_render_is_a_stranger() -> None:
    stage = Stage()
    job = stage.job()
    a, b = stage.render("a"), stage.render("b")
    task = a.take_one()
    b.cut()
    answer = b.register(running=[task])
    assert isinstance(answer, Registered)
    assert answer.stop == (task.run,)
    assert stage.states(job) == ["running"]


def test_a_duplicate_outcome_is_closed_again() -> None:
    stage = Stage()
    job = stage.job()
    render = stage.render()
    task = render.take_one()
    render.end(task, output="first")
    render.cut()
    answer = render.register(undelivered=[task])
    assert isinstance(answer, Registered)
    assert (answer.resume, answer.stop) == ((), ())
    assert render.closed() == [task.run]
    render.end(task, TaskStatus.FinishedError, output="second")
    assert stage.view(job).state == "done"
    assert stage.task(job).output == "first"


def test_a_task_that_never_left_is_queued_at_once() -> None:
    stage = Stage()
    job = stage.job()
    render = stage.render()
    render.cut()
    assert stage.states(job) == ["ready"]
    assert stage.render("b").take()


def test_a_task_that_was_lost_on_its_way_is_queued_on_return() -> None:
    stage = Stage()
    job = stage.job(listed(2))
    render = stage.render()
    one, _two = render.take()
    render.cut()
    render.register(running=[one])
    assert stage.states(job) == ["running", "running"]
    fresh = render.take_one()
    assert (fresh.task, fresh.run) == (1, "run3")


def test_a_dead_link_gives_way_to_who_knows_its_runs() -> None:
    stage = Stage()
    job = stage.job()
    render = stage.render()
    task = render.take_one()
    old = render.session
    answer = render.register(running=[task])
    assert isinstance(answer, Registered)
    assert answer.resume == (task.run,)
    assert stage.collect().drop == [old]
    stage.state.unlink("a", old, stage.now)
    stage.state.deregister("a", old, "", stage.now)
    assert stage.state.take_events("a", old) is None
    assert stage.states(job) == ["running"]
    render.end(task)
    assert stage.view(job).state == "done"


def test_messages_of_an_old_session_are_nothing() -> None:
    stage = Stage()
    job = stage.job()
    render = stage.render()
    task = render.take_one()
    render.cut()
    assert render.send(make_update(task)) == ()
    assert stage.states(job) == ["running"]


def test_what_was_asked_is_asked_again_after_a_cut() -> None:
    stage = Stage()
    stage.job(listed(2))
    render = stage.render()
    one, two = render.take()
    stage.state.stop_task(one.key, "no", stage.now)
    stage.state.listen(two.key)
    stage.state.ask_output(two.key)
    render.take()
    render.cut()
    render.events.clear()
    render.register(running=[one, two])
    render.take()
    (events,) = render.events
    assert [(ref.run, ref.reason) for ref in events.stops] == [(one.run, "no")]
    assert [ref.run for ref in events.listens_add] == [two.run]
    assert [ref.run for ref in events.outputs] == [two.run]


def test_a_stop_while_a_render_is_away() -> None:
    stage = Stage()
    job = stage.job(listed(2))
    render = stage.render()
    one, _two = render.take()
    render.cut()
    stage.state.end_job(job, "enough", stage.now, stop=True)
    assert stage.states(job) == ["running", "running"]
    render.register(running=[one])
    assert [ref.run for ref in render.stops()] == [one.run]
    assert stage.states(job) == ["running", "killed"]
    render.cut()
    stage.pass_time(17.0)
    assert stage.states(job) == ["killed", "killed"]
    assert stage.view(job).state == "stopped"
    assert not stage.effects.drop
    answer = render.register(running=[one])
    assert isinstance(answer, Registered)
    assert answer.stop == (one.run,)


def test_a_render_may_come_back_another() -> None:
    stage = Stage()
    job = stage.job(listed(3, service="nuke"))
    render = stage.render(services=("blender",))
    assert render.take() == []
    render.leave()
    render.fields |= {"services": ("nuke",), "max_tasks": 2}
    render.register()
    assert len(render.take()) == 2
    assert stage.states(job) == ["running", "running", "ready"]
