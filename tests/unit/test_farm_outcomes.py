"""Outcomes of runs: states of tasks, retries, stops, limits, and entries that are applied once."""

from __future__ import annotations

import attrs
import pytest
from support.farm import FarmHarness, frames, listed, make_update

from trio_afrender.farm import JobView
from trio_afrender.protocol.messages import (
    AskedOutput,
    FilesEntry,
    HostResources,
    ListenedEntry,
    LogEntry,
    Reason,
    TaskFile,
    TaskKey,
    TaskStatus,
)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (TaskStatus.FinishedSuccess, "done"),
        (TaskStatus.FinishedParserSuccess, "done"),
        (TaskStatus.FinishedFailedPost, "done"),
        (TaskStatus.Skip, "skipped"),
        (TaskStatus.FinishedError, "error"),
        (TaskStatus.FinishedKilled, "error"),
        (TaskStatus.FinishedParserError, "error"),
        (TaskStatus.FinishedParserFatalError, "error"),
        (TaskStatus.FinishedParserBadResult, "error"),
        (TaskStatus.BadRenderedFiles, "error"),
        (TaskStatus.FailedToStart, "error"),
        (TaskStatus.RenderDeregister, "ready"),
        (TaskStatus.GiveBack, "ready"),
        (TaskStatus.RenderZombie, "ready"),
    ],
)
def test_the_state_that_follows_from_each_status(status: TaskStatus, state: str) -> None:
    farm = FarmHarness(errors_retries=0)
    job = farm.job()
    render = farm.render()
    render.end(render.take_one(), status)
    assert farm.states(job) == [state]
    assert farm.task(job).status == int(status)


@pytest.mark.parametrize(
    "status", [TaskStatus.NoUpdate, TaskStatus.Started, TaskStatus.Percent, TaskStatus.Warning]
)
def test_progress_does_not_end_a_task(status: TaskStatus) -> None:
    farm = FarmHarness()
    job = farm.job()
    render = farm.render()
    task = render.take_one()
    update = make_update(task, status, percent=40, frame=2, percentframe=3, activity="busy")
    assert render.send(update) == ()
    view = farm.task(job)
    assert (view.state, view.activity) == ("running", "busy")
    taken = status in (TaskStatus.Percent, TaskStatus.Warning)
    assert (view.percent, view.frame, view.percentframe) == ((40, 2, 3) if taken else (0, 0, 0))


def test_a_render_logs_what_it_has_started_and_ended() -> None:
    farm = FarmHarness()
    render = farm.render("a")
    farm.job(listed(2, name="beauty", parser="generic", capacity=1000))
    render.end(render.take_one(), TaskStatus.FinishedError)
    lines = [line.split(": ", 1)[1] for line in render.state.tasks_log.lines]
    ended = "[generic(generic):1000] : job[beauty][task 0]"
    assert lines[:2] == [f"Starting task: {ended}", f"Finished task: {ended}"]
    assert lines[2].startswith("Starting task: ")


def test_empty_texts_do_not_replace_earlier_ones() -> None:
    farm = FarmHarness()
    job = farm.job()
    render = farm.render()
    task = render.take_one()
    texts = {"activity": "a", "report": "b", "resources": "c"}
    render.send(make_update(task, TaskStatus.Percent, **texts))
    render.send(make_update(task, TaskStatus.Percent, percent=1))
    view = farm.task(job)
    assert (view.activity, view.report, view.resources) == ("a", "b", "c")


@pytest.mark.parametrize(("given", "default", "attempts"), [(-1, 2, 3), (0, 2, 1), (1, 2, 2)])
def test_errors_are_retried(given: int, default: int, attempts: int) -> None:
    farm = FarmHarness(errors_retries=default)
    job = farm.job(listed(errors_retries=given))
    render = farm.render()
    for n in range(attempts):
        task = render.take_one()
        render.end(task, TaskStatus.FinishedError, exit_code=3, output=f"try {n}")
    view = farm.view(job)
    assert (view.state, view.tasks[0].attempts) == ("error", attempts)
    assert [step.event for step in view.tasks[0].why] == ["retry"] * (attempts - 1)
    assert view.tasks[0].output == f"try {attempts - 1}"
    assert [w.attempt for w in farm.outputs()] == list(range(1, attempts + 1))
    assert view.tasks[0].exit_code == 3


def test_a_fatal_error_is_not_retried() -> None:
    farm = FarmHarness(errors_retries=5)
    job = farm.job()
    render = farm.render()
    render.end(render.take_one(), TaskStatus.FinishedParserFatalError)
    assert farm.states(job) == ["error"]


def test_long_texts_are_cut() -> None:
    farm = FarmHarness()
    job = farm.job()
    render = farm.render()
    long = "x" * 100_000
    why = (Reason(time=0.0, event="rule", text=long),) * 1000
    render.end(render.take_one(), why=why, activity=long, report=long, resources=long)
    view = farm.task(job)
    assert [len(t) for t in (view.activity, view.report, view.resources)] == [2000] * 3
    assert (len(view.why), len(view.why[0].text)) == (200, 2000)


def test_a_signal_is_a_negative_exit_code() -> None:
    farm = FarmHarness(errors_retries=0)
    job = farm.job()
    render = farm.render()
    render.end(render.take_one(), TaskStatus.FinishedError, exit_signal=9, leftovers=(7, 8))
    view = farm.task(job)
    assert view.exit_code == -9
    assert "still alive there: 7, 8" in view.why[0].text


def test_a_success_below_the_minimum_time_is_an_error() -> None:
    farm = FarmHarness(errors_retries=0)
    job = farm.job(listed(2, task_min_run_time=10))
    render = farm.render()
    quick, slow = render.take()
    render.end(quick, started=1.0, finished=10.9)
    render.end(slow, started=1.0, finished=11.0)
    assert farm.states(job) == ["error", "done"]
    assert (farm.task(job).status, farm.task(job).why[0].event) == (6, "rule")


def test_a_clock_that_jumped_back_does_not_make_an_error() -> None:
    farm = FarmHarness()
    job = farm.job()
    render = farm.render()
    render.end(render.take_one(), started=1000.0, finished=10.0)
    assert farm.states(job) == ["done"]


def test_reasons_are_in_the_log_once() -> None:
    farm = FarmHarness()
    job = farm.job(listed(2))
    render = farm.render()
    why = (Reason(time=0.0, event="signal", text="TERM", pids=(4, 5)),)
    unlogged, logged = render.take()
    render.end(unlogged, why=why)
    assert farm.task(job).why == why
    assert "1970-01-01 00:00:00Z signal: TERM (pids 4, 5)\n" in farm.task(job).log
    render.send(log=(LogEntry(run=logged.run, n=1, text="Why:\n  signal: TERM\n"),))
    render.end(logged, why=why)
    assert farm.task(job, 1).why == why
    assert farm.task(job, 1).log.count("signal: TERM") == 1


def test_a_render_that_gives_back_is_paused() -> None:
    farm = FarmHarness(pause=1.0, pause_limit=3.0)
    job = farm.job()
    render = farm.render()
    for wait in (1.0, 2.0, 3.0, 3.0):
        render.end(render.take_one(), TaskStatus.GiveBack)
        assert farm.why_waiting(job) == ('block "b", render "a": it has just given a task back',)
        farm.pass_time(wait - 0.5)
        render.send()
        assert not render.take()
        farm.pass_time(0.5)
    render.end(render.take_one(), TaskStatus.FinishedError)
    render.end(render.take_one(), TaskStatus.GiveBack)
    farm.pass_time(1.0)
    render.end(render.take_one())
    assert farm.task(job).state == "done"
    assert farm.task(job).attempts == 7


def test_another_render_gets_a_task_that_was_given_back() -> None:
    farm = FarmHarness()
    farm.job()
    a, b = farm.render("a", priority=100), farm.render("b")
    a.end(a.take_one(), TaskStatus.GiveBack)
    assert b.take()


def test_a_render_that_fails_is_avoided_while_there_is_another() -> None:
    farm = FarmHarness(errors_retries=20, errors_task_same_host=0)
    farm.job(listed(errors_avoid_host=2))
    a = farm.render("a", priority=200)
    for _ in range(4):  # The only render gets it each time.
        a.end(a.take_one(), TaskStatus.FinishedError)
    b = farm.render("b", priority=10)
    farm.render("c", services=("nuke",))
    task = a.take_one()
    a.end(task, TaskStatus.FinishedError)
    assert not a.take()
    b.end(b.take_one(), TaskStatus.FinishedError)
    b.end(b.take_one(), TaskStatus.FinishedError)
    assert a.take(), "both have failed too often: neither is avoided"


def test_a_task_avoids_a_render_that_failed_at_it() -> None:
    farm = FarmHarness(errors_retries=20)
    farm.job(listed(2, errors_task_same_host=1))
    a, b = farm.render("a", max_tasks=1), farm.render("b", max_tasks=1)
    (first,), (second,) = a.take(), b.take()
    a.end(first, TaskStatus.FinishedError)
    assert a.take() == [], "b can take it when its task has ended"
    b.end(second)
    assert b.take_one().key == first.key


def test_errors_expire_after_the_forgive_time() -> None:
    farm = FarmHarness(errors_task_same_host=0, zombie_time=1000.0)
    farm.job(listed(2, errors_avoid_host=1, errors_forgive_time=60))
    a, b = farm.render("a", max_tasks=1), farm.render("b", max_tasks=1)
    assert b.take_one().task == 1
    task = a.take_one()
    a.end(task, TaskStatus.FinishedError)
    farm.pass_time(59.0)
    a.send(resources=HostResources())
    assert a.take() == []
    farm.pass_time(1.0)
    a.send(resources=HostResources())
    assert a.take_one().key == task.key


# Stop and drain


def test_stop_a_running_task() -> None:
    farm = FarmHarness()
    job = farm.job(listed(2))
    render = farm.render()
    task, other = render.take()
    farm.stop_task(task.key, "by the test")
    farm.stop_task(task.key, "again")
    (stop,) = render.stops()
    assert (stop.run, stop.reason, stop.key) == (task.run, "by the test", task.key)
    assert farm.states(job) == ["running", "running"]
    render.end(task, TaskStatus.FinishedKilled)
    render.end(other)
    view = farm.view(job)
    assert (view.state, [t.state for t in view.tasks]) == ("stopped", ["killed", "done"])
    assert view.tasks[0].why[0].text == "stop: by the test"


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (TaskStatus.FinishedSuccess, "done"),
        (TaskStatus.Skip, "skipped"),
        (TaskStatus.FinishedError, "killed"),
        (TaskStatus.GiveBack, "killed"),
    ],
)
def test_an_outcome_that_was_sent_before_the_stop_arrived(status: TaskStatus, state: str) -> None:
    farm = FarmHarness()
    job = farm.job()
    render = farm.render()
    task = render.take_one()
    farm.stop_task(task.key, "")
    render.end(task, status)
    assert farm.states(job) == [state]


def test_stop_a_task_before_it_is_assigned_or_sent() -> None:
    farm = FarmHarness()
    job = farm.job(listed(2, name="a"), listed(name="b", depend_mask="a"))
    for block, task in ((0, 0), (1, 0)):
        farm.stop_task(TaskKey(job, block, task), "no")
    assert [t.state for t in farm.view(job).tasks] == ["killed", "ready", "killed"]
    render = farm.render()  # It has been assigned a task that is not sent yet.
    farm.stop_task(TaskKey(job, 0, 1), "no")
    assert render.take() == []
    assert render.stops() == []
    assert farm.view(job).state == "stopped"
    farm.stop_task(TaskKey(job, 0, 1), "again")


def test_stop_a_job() -> None:
    farm = FarmHarness()
    job = farm.job(listed(3))
    render = farm.render(max_tasks=2)
    tasks = render.take()
    farm.end_job(job, "enough", stop=True)
    assert farm.states(job) == ["running", "running", "killed"]
    assert [stop.reason for stop in render.stops()] == ["enough", "enough"]
    for task in tasks:
        render.end(task, TaskStatus.FinishedKilled)
    assert render.take() == []
    assert farm.view(job).state == "stopped"
    farm.end_job(job, "again", stop=True)
    assert farm.task(job, 2).why[-1].text == "not started: enough"


def test_drain_a_job_then_stop_it() -> None:
    farm = FarmHarness()
    job = farm.job(listed(4))
    render = farm.render(max_tasks=3)
    done, failed, back = render.take()
    farm.end_job(job, "drain", stop=False)
    assert render.stops() == []
    render.end(done)
    render.end(failed, TaskStatus.FinishedError)
    assert farm.states(job) == ["done", "error", "running", "killed"]
    farm.end_job(job, "now", stop=True)
    assert len(render.stops()) == 1
    render.end(back, TaskStatus.GiveBack)
    assert farm.view(job).state == "stopped"


def test_a_task_given_back_while_its_job_drains() -> None:
    farm = FarmHarness()
    job = farm.job()
    render = farm.render()
    task = render.take_one()
    farm.end_job(job, "Ctrl-C", stop=False)
    render.end(task, TaskStatus.GiveBack)
    assert farm.states(job) == ["killed"]
    assert farm.task(job).why[-1].text == "not started again: Ctrl-C"


def test_a_draining_job_whose_tasks_succeed_is_done() -> None:
    farm = FarmHarness()
    job = farm.job()
    render = farm.render()
    task = render.take_one()
    farm.end_job(job, "Ctrl-C", stop=False)
    render.end(task)
    assert farm.view(job).state == "done"


# Time limits


def run_until(farm: FarmHarness, job: int, seconds: float, *, progress: bool = False) -> JobView:
    """Let the only render report its task each second, with progress if wanted."""
    render = farm.render()
    task = render.take_one()
    for _ in range(int(seconds)):
        farm.pass_time(1.0)
        render.send(make_update(task, TaskStatus.Percent, progress_changed=progress))
    for stop in render.stops():
        assert stop.run == task.run
        render.end(task, TaskStatus.FinishedKilled)
    return farm.view(job)


def test_task_max_run_time() -> None:
    farm = FarmHarness(errors_retries=0)
    view = run_until(farm, farm.job(listed(task_max_run_time=30)), 31, progress=True)
    assert (view.state, view.tasks[0].state) == ("error", "error")
    assert view.tasks[0].why[0].text == "stop: task_max_run_time of 30 s is over"


def test_task_progress_change_timeout() -> None:
    farm = FarmHarness(errors_retries=0)
    block = listed(task_progress_change_timeout=20)
    assert run_until(farm, farm.job(block), 40, progress=True).state == "running"
    farm = FarmHarness(errors_retries=0)
    view = run_until(farm, farm.job(block), 21)
    assert view.tasks[0].why[0].text == "stop: no progress for 20 s"
    assert view.state == "error"


def test_a_resumed_run_gets_the_whole_progress_timeout_again() -> None:
    farm = FarmHarness()
    job = farm.job(listed(task_progress_change_timeout=20))
    render = farm.render()
    task = render.take_one()
    render.cut()
    farm.pass_time(18.0)
    render.register(running=[task])
    assert farm.states(job) == ["running"]
    farm.pass_time(10.0)
    render.send()
    farm.pass_time(9.0)
    assert render.stops() == []
    render.send()
    farm.pass_time(1.0)
    assert len(render.stops()) == 1


def test_a_stop_by_a_user_replaces_one_by_a_limit() -> None:
    farm = FarmHarness()
    job = farm.job(listed(task_max_run_time=5))
    render = farm.render()
    task = render.take_one()
    farm.pass_time(6.0)
    assert "task_max_run_time" in render.stops()[0].reason
    farm.stop_task(task.key, "I too")
    render.end(task, TaskStatus.FinishedKilled)
    assert farm.states(job) == ["killed"]


# Entries


def test_entries_are_applied_once() -> None:
    farm = FarmHarness()
    job = farm.job()
    render = farm.render()
    task = render.take_one()
    farm.listen(task.key)
    for _ in range(2):
        for n in (0, 1):
            render.send(
                log=(LogEntry(run=task.run, n=n, text=f"log {n}\n"),),
                listened=(ListenedEntry(run=task.run, n=n, text=f"out {n}\n"),),
                files=(FilesEntry(run=task.run, n=n, files=(TaskFile(name="f", data=b"%d" % n),)),),
            )
    farm.collect()
    assert farm.task(job).log.count("log 0") == farm.task(job).log.count("log 1") == 1
    assert farm.outgoing.listened == [(task.key, "out 0\n"), (task.key, "out 1\n")]
    assert farm.store.files == {(task.key, "f"): b"1"}


def test_entries_of_a_run_may_arrive_with_and_after_its_outcome() -> None:
    farm = FarmHarness()
    job = farm.job()
    render = farm.render()
    task = render.take_one()
    render.send(make_update(task), log=(LogEntry(run=task.run, n=1, text="with\n"),))
    render.send(make_update(task), log=(LogEntry(run=task.run, n=1, text="with\n"),))
    render.send(log=(LogEntry(run=task.run, n=2, text="after\n"),))
    assert farm.task(job).log.count("with") == 1
    assert "after" in farm.task(job).log
    assert farm.task(job).attempts == 1


def test_entries_of_unknown_runs_are_ignored() -> None:
    farm = FarmHarness()
    job = farm.job()
    a, b = farm.render("a"), farm.render("b")
    task = a.take_one()
    for run in (task.run, "unknown"):
        b.send(
            log=(LogEntry(run=run, n=1, text="lies"),),
            listened=(ListenedEntry(run=run, n=1, text="lies"),),
            files=(FilesEntry(run=run, n=1, files=(TaskFile(name="f", data=b""),)),),
            outputs=(AskedOutput(run=run, job=job, block=0, task=0, output="lies"),),
        )
    assert [ref.run for ref in b.send(make_update(task))] == [task.run]
    assert "lies" not in farm.logs()
    assert not farm.outgoing.listened
    assert not farm.outgoing.answers
    assert farm.states(job) == ["running"]


def test_file_names_are_reduced_and_sizes_checked() -> None:
    farm = FarmHarness()
    job = farm.job()
    render = farm.render()
    task = render.take_one()
    names = ["../../etc/passwd", "C:\\x\\y.jpg", "..", "", "a\nb", "\udcff", "x" * 201]
    files = [TaskFile(name=name, data=b"1") for name in names]
    files += [TaskFile(name="big", data=b"x" * 100_001), TaskFile(name="fits", data=b"x" * 100_000)]
    render.send(files=(FilesEntry(run=task.run, n=1, files=tuple(files)),))
    view = farm.task(job)
    assert [path.name for path in view.files] == ["passwd", "y.jpg", "fits"]
    assert [step.event for step in view.why] == ["refused"] * 6
    assert farm.store.files[task.key, "passwd"] == b"1"


def test_files_beyond_the_limit_are_refused_by_name() -> None:
    farm = FarmHarness()
    job = farm.job()
    render = farm.render()
    task = render.take_one()
    files = tuple(TaskFile(name=f"{number}.png", data=b"1") for number in range(1001))
    render.send(files=(FilesEntry(run=task.run, n=1, files=files),))
    view = farm.task(job)
    assert len(view.files) == 1000
    assert [step.text for step in view.why] == ["file '1000.png': the task has 1000 files already"]
    # One that is there is replaced.
    render.send(files=(FilesEntry(run=task.run, n=2, files=files[:1]),))
    assert len(farm.task(job).why) == 1


@pytest.mark.parametrize("when", [1e300, -1e18, -1.0])
def test_a_time_that_is_no_date_does_not_lose_an_outcome(when: float) -> None:
    farm = FarmHarness()
    job = farm.job()
    render = farm.render()
    task = render.take_one()
    why = (Reason(time=when, event="cause", text="no licence"),)
    status = TaskStatus.FinishedParserFatalError
    render.send(make_update(task, status, started=when, finished=when, why=why))
    view = farm.task(job)
    assert view.state == "error"
    assert [step.text for step in view.why] == ["no licence"]
    assert {view.why[0].time, view.finished, view.started} == {farm.state.wall()}
    assert "cause: no licence" in farm.logs()


def test_an_update_whose_key_is_not_that_of_its_run_is_closed() -> None:
    farm = FarmHarness()
    job = farm.job(frames(1, 2))
    render = farm.render()
    one, _ = render.take()
    closes = render.send(make_update(one, task=1))
    assert [ref.run for ref in closes] == [one.run]
    assert farm.states(job) == ["running", "running"]


# Listening and requests for output


def test_listening_to_this_and_later_attempts() -> None:
    farm = FarmHarness()
    job = farm.job()
    render = farm.render()
    key = TaskKey(job, 0, 0)
    task = render.take_one()
    assert task.flags == 0
    assert farm.listen(key)
    assert farm.listen(key)
    render.end(task, TaskStatus.FinishedError)
    assert render.take_one().flags == 1
    assert [e.listens_add for e in render.events if e.listens_add] == []
    farm.unlisten(key)
    render.take()
    assert [e.listens_rem for e in render.events if e.listens_rem] == []
    farm.unlisten(key)
    render.take()
    (removed,) = [e.listens_rem for e in render.events if e.listens_rem]
    assert removed[0].run == "run2"
    farm.listen(key)
    render.take()
    (added,) = [e.listens_add for e in render.events if e.listens_add]
    assert added[0].run == "run2"


def test_a_task_that_is_over_has_no_listeners() -> None:
    farm = FarmHarness()
    job = farm.job()
    render = farm.render()
    render.end(render.take_one())
    assert not farm.listen(TaskKey(job, 0, 0))


def test_asking_for_output() -> None:
    farm = FarmHarness()
    job = farm.job()
    key = TaskKey(job, 0, 0)
    assert farm.ask_output(key) is None
    render = farm.render()
    task = render.take_one()
    assert farm.ask_output(key) == task.run
    render.take()
    (asked,) = [e.outputs for e in render.events if e.outputs]
    assert asked[0].run == task.run
    render.send(outputs=(AskedOutput(run=task.run, **key._asdict(), output="so far"),))
    assert farm.collect().answers == [(task.run, "so far")]
    render.end(task)
    assert farm.collect().ended_runs == [task.run]
    assert farm.ask_output(key) is None


def test_a_request_for_a_task_is_not_sent_before_the_task() -> None:
    farm = FarmHarness()
    job = farm.job(listed(40, capacity=1))
    render = farm.render(max_tasks=40)
    farm.ask_output(TaskKey(job, 0, 39))
    farm.ask_output(TaskKey(job, 0, 0))
    assert len(render.take()) == 40
    assert [[ref.task for ref in events.outputs] for events in render.events] == [[0], [39]]


def test_instructions_and_settings() -> None:
    farm = FarmHarness()
    render = farm.render()
    gone = farm.render("gone")
    gone.leave()
    farm.instruct("a", "launch", "one")
    farm.instruct("a", "exit", "")
    settings = attrs.evolve(farm.state.settings, heartbeat_sec=2.0, resources_update_period=7)
    farm.change_settings(settings)
    render.take()
    (events,) = render.events
    assert (events.instruction, events.command) == ("exit", "")
    assert (events.heartbeat_sec, events.resources_update_period, events.zombie_time) == (2, 7, 0)
    farm.change_settings(farm.state.settings)
    assert render.take() == []
    assert len(render.events) == 1
