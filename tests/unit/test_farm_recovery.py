"""Renders that deregister, are silent, lose their link, and reconnect with their runs."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.farm import FarmHarness, listed, make_update

from trio_afrender.farm import renders
from trio_afrender.protocol.messages import (
    ListenedEntry,
    Refused,
    Registered,
    TaskExec,
    TaskStatus,
)


def test_a_name_belongs_to_one_render() -> None:
    farm = FarmHarness(zombie_time=8.0)
    render = farm.render("a")
    second = farm.render("b")
    other = render.register()
    assert isinstance(other, Refused)
    assert (other.reason, other.retry_after) == ("name-taken", 2.0)
    assert other.text == 'a render "a" is online from peer'
    assert farm.collect().drop_sessions == []
    render.leave()
    again = render.register()
    assert isinstance(again, Registered)
    assert again.id == 1
    assert isinstance(second.register(), Refused)
    assert [view.state for view in farm.renders()] == ["online", "online"]


@pytest.mark.parametrize("name", ["", "x" * 256, "a\nb", "\x1b[1m"])
def test_invalid_names_are_refused(name: str) -> None:
    farm = FarmHarness()
    render = farm.render()
    render.name = name
    answer = render.register()
    assert isinstance(answer, Refused)
    assert (answer.reason, answer.retry_after) == ("bad-name", None)


def test_the_answer_contains_the_settings() -> None:
    farm = FarmHarness(heartbeat_sec=2.0, resources_update_period=3, exit_no_task_time=9.0)
    render = farm.render()
    render.cut()
    answer = render.register()
    assert isinstance(answer, Registered)
    assert (answer.heartbeat_sec, answer.resources_update_period) == (2.0, 3)
    assert (answer.zombie_time, answer.exit_no_task_time) == (16.0, 9.0)


def test_a_render_resumes_after_a_lost_link() -> None:
    farm = FarmHarness()
    job = farm.job(listed(2))
    render = farm.render()
    one, two = render.take()
    render.cut()
    assert farm.renders()[0].state == "reconnecting"
    farm.pass_time(15.0)
    assert farm.states(job) == ["running", "running"]
    answer = render.register(running=[one], undelivered=[two])
    assert isinstance(answer, Registered)
    assert (answer.resume, answer.stop) == ((one.run, two.run), ())
    render.end(two)
    render.end(one)
    assert farm.view(job).state == "done"
    assert farm.task(job).attempts == 1


def test_tasks_are_queued_again_after_the_zombie_time() -> None:
    farm = FarmHarness()
    job = farm.job()
    a = farm.render("a")
    task = a.take_one()
    farm.pass_time(10.0)
    a.cut()
    farm.pass_time(15.9)
    assert farm.states(job) == ["running"]
    farm.pass_time(0.2)
    assert farm.states(job) == ["ready"]
    assert farm.renders()[0].state == "offline"
    b = farm.render("b")
    again = b.take_one()
    assert (again.key, again.run != task.run) == (task.key, True)
    assert farm.task(job).attempts == 2
    assert farm.task(job).why[0].text == 'render "a" gone for 16 s'
    b.end(again)
    assert farm.view(job).state == "done"


def test_a_silent_render_is_lost_and_its_link_closed() -> None:
    farm = FarmHarness()
    job = farm.job()
    render = farm.render()
    render.take()
    farm.pass_time(15.0)
    render.send()
    farm.pass_time(15.0)
    assert farm.states(job) == ["running"]
    farm.pass_time(1.1)
    assert farm.states(job) == ["ready"]
    assert farm.collect().drop_sessions == [render.session]
    render.cut()
    assert farm.renders()[0].state == "offline"


@given(start=st.floats(0.0, 1e6), zombie=st.floats(0.1, 100.0))
@example(start=0.1, zombie=16.3)
def test_no_sum_of_times_makes_the_clock_spin(start: float, zombie: float) -> None:
    """`FarmHarness.pass_time` fails when `tick` leaves `due` at the same time."""
    farm = FarmHarness(zombie_time=zombie)
    farm.now = start
    limits = {"task_max_run_time": 3, "task_progress_change_timeout": 2}
    farm.job(listed(**limits), time_wait=int(1_000_000 + start) + 1)
    farm.render("silent")
    cut = farm.render("cut")
    cut.cut()
    farm.pass_time(10.0)
    farm.pass_time(2 * zombie + 1)
    assert [view.state for view in farm.renders()] == ["offline", "offline"]


def test_a_render_whose_update_is_processed_is_not_silent() -> None:
    farm = FarmHarness()
    job = farm.job()
    render = farm.render()
    render.take()
    renders.seen(farm.state, render.state, render.session, farm.now, busy=True)
    farm.pass_time(100.0)
    assert farm.states(job) == ["running"]
    renders.seen(farm.state, render.state, render.session, farm.now, busy=False)
    farm.pass_time(16.1)
    assert farm.states(job) == ["ready"]


def test_deregistering_queues_tasks_at_once() -> None:
    farm = FarmHarness()
    job = farm.job(listed(2))
    render = farm.render(max_tasks=1)
    render.take()
    render.leave("end of the shift")
    assert farm.states(job) == ["ready", "ready"]
    view = farm.task(job)
    assert view.why[-1].text == 'render "a" left: end of the shift'
    assert view.attempts == 1
    assert farm.renders()[0].state == "offline"
    assert len(farm.render("b").take()) == 2


def test_a_lost_run_is_resumed_while_no_render_has_its_task() -> None:
    farm = FarmHarness()
    job = farm.job(listed(2))
    render = farm.render()
    one, two = render.take()
    render.cut()
    farm.pass_time(20.0)
    assert farm.states(job) == ["ready", "ready"]
    answer = render.register(running=[one], undelivered=[two])
    assert isinstance(answer, Registered)
    assert answer.resume == (one.run, two.run)
    assert render.take() == []
    render.end(two)
    render.end(one)
    assert farm.view(job).state == "done"
    assert [step.event for step in farm.task(job).why] == ["lost", "resumed"]
    logged = [text.partition(" task: ")[0] for _, text in render.state.tasks_log.entries]
    assert logged[::2] == logged[1::2] == ["Starting", "Finished", "Resumed", "Finished"]


def test_a_lost_run_is_stopped_when_another_render_has_its_task() -> None:
    farm = FarmHarness()
    job = farm.job(listed(2))
    a = farm.render("a")
    one, two = a.take()
    a.cut()
    farm.pass_time(20.0)
    b = farm.render("b")
    one_b, two_b = b.take()
    b.end(one_b)
    answer = a.register(running=[two], undelivered=[one])
    assert isinstance(answer, Registered)
    assert (answer.resume, answer.stop) == ((), (two.run, one.run))
    closes = a.send(make_update(one), make_update(two))
    assert {ref.run for ref in closes} == {one.run, two.run}
    assert farm.states(job) == ["done", "running"]
    b.end(two_b)
    assert farm.view(job).state == "done"


def test_an_outcome_of_a_lost_run_counts_without_a_register() -> None:
    """The link was up before the farm counted it as lost, or the run was not listed."""
    farm = FarmHarness()
    job = farm.job()
    render = farm.render()
    task = render.take_one()
    render.cut()
    farm.pass_time(20.0)
    farm.end_job(farm.job(), "not this one", stop=True)
    render.fields["max_tasks"] = 0  # It must not be assigned the task again.
    render.register()
    render.end(task, output="late but whole")
    assert farm.states(job) == ["done"]
    assert farm.task(job).output == "late but whole"


def test_unknown_runs_are_stopped() -> None:
    farm = FarmHarness()
    farm.render("b")
    render = farm.render("a")
    render.cut()
    unknown = TaskExec(run="unknown", job=9, block=0, task=0)
    answer = render.register(running=[unknown], undelivered=[unknown])
    assert isinstance(answer, Registered)
    assert answer.stop == ("unknown", "unknown")
    closes = render.send(make_update(unknown))
    assert [ref.run for ref in closes] == ["unknown"]
    assert [ref.run for ref in render.send(make_update(unknown, TaskStatus.Percent))] == ["unknown"]


def test_a_run_of_another_render_is_unknown() -> None:
    farm = FarmHarness()
    job = farm.job()
    a, b = farm.render("a"), farm.render("b")
    task = a.take_one()
    b.cut()
    answer = b.register(running=[task])
    assert isinstance(answer, Registered)
    assert answer.stop == (task.run,)
    assert farm.states(job) == ["running"]


def test_a_duplicate_outcome_is_closed_again() -> None:
    farm = FarmHarness()
    job = farm.job()
    render = farm.render()
    task = render.take_one()
    render.end(task, output="first")
    render.cut()
    answer = render.register(undelivered=[task])
    assert isinstance(answer, Registered)
    assert (answer.resume, answer.stop) == ((), ())
    assert render.closed() == [task.run]
    render.end(task, TaskStatus.FinishedError, output="second")
    assert farm.view(job).state == "done"
    assert farm.task(job).output == "first"


def test_a_task_that_was_not_sent_is_queued_at_once() -> None:
    farm = FarmHarness()
    job = farm.job()
    render = farm.render()
    render.cut()
    assert farm.states(job) == ["ready"]
    assert farm.render("b").take()


def test_a_task_that_did_not_arrive_is_queued_on_reconnect() -> None:
    farm = FarmHarness()
    job = farm.job(listed(2))
    render = farm.render()
    one, _two = render.take()
    render.cut()
    render.register(running=[one])
    assert farm.states(job) == ["running", "running"]
    fresh = render.take_one()
    assert (fresh.task, fresh.run) == (1, "run3")


def test_a_dead_link_is_replaced_by_one_that_lists_its_runs() -> None:
    farm = FarmHarness()
    job = farm.job()
    render = farm.render()
    task = render.take_one()
    old = render.session
    answer = render.register(running=[task])
    assert isinstance(answer, Registered)
    assert answer.resume == (task.run,)
    assert farm.collect().drop_sessions == [old]
    new, render.session = render.session, old
    render.cut()
    render.leave()
    assert render.take() == []
    render.session = new
    assert farm.states(job) == ["running"]
    render.end(task)
    assert farm.view(job).state == "done"


def test_messages_of_an_old_session_are_ignored() -> None:
    farm = FarmHarness()
    job = farm.job()
    render = farm.render()
    task = render.take_one()
    render.cut()
    assert render.send(make_update(task)) == ()
    assert farm.states(job) == ["running"]


def test_requests_are_sent_again_after_a_lost_link() -> None:
    farm = FarmHarness()
    farm.job(listed(2))
    render = farm.render()
    one, two = render.take()
    farm.stop_task(one.key, "no")
    farm.listen(two.key)
    farm.ask_output(two.key)
    render.take()
    render.cut()
    render.events.clear()
    render.register(running=[one, two])
    render.take()
    (events,) = render.events
    assert [(ref.run, ref.reason) for ref in events.stops] == [(one.run, "no")]
    assert [ref.run for ref in events.listens_add] == [two.run]
    assert [ref.run for ref in events.outputs] == [two.run]


def test_what_ended_a_request_is_sent_again_after_a_lost_link() -> None:
    """A render that has not got them would keep the task suspended, and send output without a listener."""
    farm = FarmHarness()
    job = farm.job(listed(3))
    render = farm.render()
    one, two, three = render.take()
    farm.suspend_task(one.key, "later")
    farm.listen(two.key)
    render.take()
    render.send(listened=(ListenedEntry(run=two.run, n=0, text="x"),))
    farm.suspend_task(one.key, "")
    farm.unlisten(two.key)
    render.take()  # lost with the link
    render.cut()
    render.events.clear()
    render.register(running=[one, two, three])
    render.take()
    (events,) = render.events
    assert [ref.run for ref in events.resumes] == [one.run]
    assert events.suspends == ()
    assert [ref.run for ref in events.listens_rem] == [two.run]
    farm.suspend_task(one.key, "once more")
    render.cut()
    render.register(running=[one, two, three])
    render.take()
    assert [ref.run for ref in render.events[-1].suspends] == [one.run]
    assert render.events[-1].resumes == ()
    assert farm.states(job) == ["running"] * 3


def stop_process(farm: FarmHarness, seconds: float) -> None:
    """The farm's process does not run for so long; its clock task is the first that runs then."""
    farm.now += seconds
    renders.tick(farm.state, farm.now)
    farm.assign()


def test_a_farm_that_was_stopped_reads_its_messages_first() -> None:
    farm = FarmHarness(zombie_time=16.0)
    job = farm.job(listed(2))
    one, two = farm.render("one", max_tasks=1), farm.render("two", max_tasks=1)
    first, second = one.take_one(), two.take_one()
    farm.pass_time(1.0)
    two.cut()
    stop_process(farm, 60.0)
    assert farm.states(job) == ["running", "running"]
    one.send()  # has waited to be read meanwhile
    two.register(running=[second])
    farm.pass_time(15.0)
    assert farm.states(job) == ["running", "running"]
    one.end(first)
    two.end(second)
    assert "lost" not in {step.event for task in farm.view(job).tasks for step in task.why}


def test_a_farm_that_was_stopped_reads_progress_first() -> None:
    farm = FarmHarness()
    job = farm.job(listed(2, task_progress_change_timeout=10, task_max_run_time=1000))
    render = farm.render()
    one, two = render.take()
    farm.pass_time(1.0)
    stop_process(farm, 60.0)
    progress = make_update(one, TaskStatus.Percent, percent=5, progress_changed=True)
    render.send(progress)  # has waited to be read meanwhile
    farm.pass_time(5.0)
    assert [ref.run for ref in render.stops()] == [two.run]
    render.send()
    farm.pass_time(6.0)
    assert [ref.run for ref in render.stops()] == [two.run, one.run]
    assert farm.states(job) == ["running", "running"]


def test_a_farm_that_was_stopped_gives_up_who_stays_silent() -> None:
    farm = FarmHarness(zombie_time=16.0)
    job = farm.job(listed(2))
    silent, gone = farm.render("silent", max_tasks=1), farm.render("gone", max_tasks=1)
    silent.take_one()
    gone.take_one()
    gone.cut()
    stop_process(farm, 60.0)
    farm.pass_time(1.0)
    assert farm.states(job) == ["ready", "ready"]
    assert [view.state for view in farm.renders()] == ["offline", "offline"]


def test_a_stop_while_a_render_is_disconnected() -> None:
    farm = FarmHarness()
    job = farm.job(listed(2))
    render = farm.render()
    one, _two = render.take()
    render.cut()
    farm.end_job(job, "enough", stop=True)
    assert farm.states(job) == ["running", "running"]
    render.register(running=[one])
    assert [ref.run for ref in render.stops()] == [one.run]
    assert farm.states(job) == ["running", "killed"]
    render.cut()
    farm.pass_time(17.0)
    assert farm.states(job) == ["killed", "killed"]
    assert farm.view(job).state == "stopped"
    assert not farm.outgoing.drop_sessions
    answer = render.register(running=[one])
    assert isinstance(answer, Registered)
    assert answer.stop == (one.run,)


def test_a_render_may_change_when_it_reconnects() -> None:
    farm = FarmHarness()
    job = farm.job(listed(3, service="nuke"))
    render = farm.render(services=("blender",))
    assert render.take() == []
    render.leave()
    render.fields |= {"services": ("nuke",), "max_tasks": 2}
    render.register()
    assert len(render.take()) == 2
    assert farm.states(job) == ["running", "running", "ready"]
