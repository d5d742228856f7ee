"""What an outcome makes of a task: states, retries, stops, limits, and entries applied once."""

from __future__ import annotations

import pytest
from support.farm import Stage, frames, listed, make_update

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
def test_what_each_status_means(status: TaskStatus, state: str) -> None:
    stage = Stage(errors_retries=0)
    job = stage.job()
    render = stage.render()
    render.end(render.take_one(), status)
    assert stage.states(job) == [state]
    assert stage.task(job).status == int(status)


@pytest.mark.parametrize(
    "status", [TaskStatus.NoUpdate, TaskStatus.Started, TaskStatus.Percent, TaskStatus.Warning]
)
def test_progress_ends_nothing(status: TaskStatus) -> None:
    stage = Stage()
    job = stage.job()
    render = stage.render()
    task = render.take_one()
    update = make_update(task, status, percent=40, frame=2, percentframe=3, activity="busy")
    assert render.send(update) == ()
    view = stage.task(job)
    assert (view.state, view.activity) == ("running", "busy")
    taken = status in (TaskStatus.Percent, TaskStatus.Warning)
    assert (view.percent, view.frame, view.percentframe) == ((40, 2, 3) if taken else (0, 0, 0))


def test_empty_texts_keep_the_last_ones() -> None:
    stage = Stage()
    job = stage.job()
    render = stage.render()
    task = render.take_one()
    texts = {"activity": "a", "report": "b", "resources": "c"}
    render.send(make_update(task, TaskStatus.Percent, **texts))
    render.send(make_update(task, TaskStatus.Percent, percent=1))
    view = stage.task(job)
    assert (view.activity, view.report, view.resources) == ("a", "b", "c")


@pytest.mark.parametrize(("given", "default", "attempts"), [(-1, 2, 3), (0, 2, 1), (1, 2, 2)])
def test_errors_are_tried_again(given: int, default: int, attempts: int) -> None:
    stage = Stage(errors_retries=default)
    job = stage.job(listed(errors_retries=given))
    render = stage.render()
    for n in range(attempts):
        task = render.take_one()
        render.end(task, TaskStatus.FinishedError, exit_code=3, output=f"try {n}")
    view = stage.view(job)
    assert (view.state, view.tasks[0].attempts) == ("error", attempts)
    assert [step.event for step in view.tasks[0].why] == ["retry"] * (attempts - 1)
    assert view.tasks[0].output == f"try {attempts - 1}"
    assert [w.attempt for w in stage.outputs()] == list(range(1, attempts + 1))
    assert view.tasks[0].exit_code == 3


def test_a_fatal_error_is_not_tried_again() -> None:
    stage = Stage(errors_retries=5)
    job = stage.job()
    render = stage.render()
    render.end(render.take_one(), TaskStatus.FinishedParserFatalError)
    assert stage.states(job) == ["error"]


def test_long_texts_do_not_pile_up() -> None:
    stage = Stage()
    job = stage.job()
    render = stage.render()
    long = "x" * 100_000
    why = (Reason(time=0.0, event="rule", text=long),) * 1000
    render.end(render.take_one(), why=why, activity=long, report=long, resources=long)
    view = stage.task(job)
    assert [len(t) for t in (view.activity, view.report, view.resources)] == [2000] * 3
    assert (len(view.why), len(view.why[0].text)) == (200, 2000)


def test_a_signal_shows_as_a_negative_code() -> None:
    stage = Stage(errors_retries=0)
    job = stage.job()
    render = stage.render()
    render.end(render.take_one(), TaskStatus.FinishedError, exit_signal=9, leftovers=(7, 8))
    view = stage.task(job)
    assert view.exit_code == -9
    assert "still alive there: 7, 8" in view.why[0].text


def test_a_success_that_was_too_quick() -> None:
    stage = Stage(errors_retries=0)
    job = stage.job(listed(2, task_min_run_time=10))
    render = stage.render()
    quick, slow = render.take()
    render.end(quick, started=1.0, finished=10.9)
    render.end(slow, started=1.0, finished=11.0)
    assert stage.states(job) == ["error", "done"]
    assert (stage.task(job).status, stage.task(job).why[0].event) == (6, "rule")


def test_a_render_whose_clock_jumped_back_has_done_its_work() -> None:
    stage = Stage()
    job = stage.job()
    render = stage.render()
    render.end(render.take_one(), started=1000.0, finished=10.0)
    assert stage.states(job) == ["done"]


def test_why_goes_into_the_log_too() -> None:
    stage = Stage()
    job = stage.job(listed(2))
    render = stage.render()
    why = (Reason(time=0.0, event="signal", text="TERM", pids=(4, 5)),)
    bare, told = render.take()
    render.end(bare, why=why)
    assert stage.task(job).why == why
    assert "1970-01-01 00:00:00Z signal: TERM (pids 4, 5)\n" in stage.task(job).log
    render.send(log=(LogEntry(run=told.run, n=1, text="Why:\n  signal: TERM\n"),))
    render.end(told, why=why)
    assert stage.task(job, 1).why == why
    assert stage.task(job, 1).log.count("signal: TERM") == 1


def test_a_give_back_pauses_the_render() -> None:
    stage = Stage(pause=1.0, pause_limit=3.0)
    job = stage.job()
    render = stage.render()
    for wait in (1.0, 2.0, 3.0, 3.0):
        render.end(render.take_one(), TaskStatus.GiveBack)
        assert stage.state.why_waiting(job, stage.now) == (
            'block "b", render "a": it has just given a task back',
        )
        stage.pass_time(wait - 0.5)
        render.send()
        assert not render.take()
        stage.pass_time(0.5)
    render.end(render.take_one(), TaskStatus.FinishedError)
    render.end(render.take_one(), TaskStatus.GiveBack)
    stage.pass_time(1.0)
    render.end(render.take_one())
    assert stage.task(job).state == "done"
    assert stage.task(job).attempts == 7


def test_another_render_need_not_wait() -> None:
    stage = Stage()
    stage.job()
    a, b = stage.render("a", priority=100), stage.render("b")
    a.end(a.take_one(), TaskStatus.GiveBack)
    assert b.take()


def test_a_render_that_fails_is_avoided_while_there_is_another() -> None:
    stage = Stage(errors_retries=20, errors_task_same_host=0)
    stage.job(listed(errors_avoid_host=2))
    a = stage.render("a", priority=200)
    for _ in range(4):  # Alone it is asked again and again.
        a.end(a.take_one(), TaskStatus.FinishedError)
    b = stage.render("b", priority=10)
    stage.render("c", services=("nuke",))
    task = a.take_one()
    a.end(task, TaskStatus.FinishedError)
    assert not a.take()
    b.end(b.take_one(), TaskStatus.FinishedError)
    b.end(b.take_one(), TaskStatus.FinishedError)
    assert a.take(), "both have failed too often: nobody is avoided"


def test_one_task_avoids_a_render() -> None:
    stage = Stage(errors_retries=20)
    stage.job(listed(2, errors_task_same_host=1))
    a, b = stage.render("a", max_tasks=1), stage.render("b", max_tasks=1)
    (first,), (second,) = a.take(), b.take()
    a.end(first, TaskStatus.FinishedError)
    assert a.take() == [], "b will have room for it"
    b.end(second)
    assert b.take_one().key == first.key


def test_errors_are_forgiven() -> None:
    stage = Stage(errors_task_same_host=0, zombie_time=1000.0)
    stage.job(listed(2, errors_avoid_host=1, errors_forgive_time=60))
    a, b = stage.render("a", max_tasks=1), stage.render("b", max_tasks=1)
    assert b.take_one().task == 1
    task = a.take_one()
    a.end(task, TaskStatus.FinishedError)
    stage.pass_time(59.0)
    a.send(resources=HostResources())
    assert a.take() == []
    stage.pass_time(1.0)
    a.send(resources=HostResources())
    assert a.take_one().key == task.key


# Stop and drain


def test_stop_a_running_task() -> None:
    stage = Stage()
    job = stage.job(listed(2))
    render = stage.render()
    task, other = render.take()
    stage.state.stop_task(task.key, "I said so", stage.now)
    stage.state.stop_task(task.key, "again", stage.now)
    (stop,) = render.stops()
    assert (stop.run, stop.reason, stop.key) == (task.run, "I said so", task.key)
    assert stage.states(job) == ["running", "running"]
    render.end(task, TaskStatus.FinishedKilled)
    render.end(other)
    view = stage.view(job)
    assert (view.state, [t.state for t in view.tasks]) == ("stopped", ["killed", "done"])
    assert view.tasks[0].why[0].text == "stop: I said so"


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (TaskStatus.FinishedSuccess, "done"),
        (TaskStatus.Skip, "skipped"),
        (TaskStatus.FinishedError, "killed"),
        (TaskStatus.GiveBack, "killed"),
    ],
)
def test_what_crosses_a_stop(status: TaskStatus, state: str) -> None:
    stage = Stage()
    job = stage.job()
    render = stage.render()
    task = render.take_one()
    stage.state.stop_task(task.key, "", stage.now)
    render.end(task, status)
    assert stage.states(job) == [state]


def test_stop_a_task_before_it_runs_or_leaves() -> None:
    stage = Stage()
    job = stage.job(listed(2, name="a"), listed(name="b", depend_mask="a"))
    for block, task in ((0, 0), (1, 0)):
        stage.state.stop_task(TaskKey(job, block, task), "no", stage.now)
    assert [t.state for t in stage.view(job).tasks] == ["killed", "ready", "killed"]
    render = stage.render()  # It has been handed a task, but not told of it yet.
    stage.state.stop_task(TaskKey(job, 0, 1), "no", stage.now)
    assert render.take() == []
    assert render.stops() == []
    assert stage.view(job).state == "stopped"
    stage.state.stop_task(TaskKey(job, 0, 1), "again", stage.now)


def test_stop_a_job() -> None:
    stage = Stage()
    job = stage.job(listed(3))
    render = stage.render(max_tasks=2)
    tasks = render.take()
    stage.state.end_job(job, "enough", stage.now, stop=True)
    assert stage.states(job) == ["running", "running", "killed"]
    assert [stop.reason for stop in render.stops()] == ["enough", "enough"]
    for task in tasks:
        render.end(task, TaskStatus.FinishedKilled)
    assert render.take() == []
    assert stage.view(job).state == "stopped"
    stage.state.end_job(job, "again", stage.now, stop=True)
    assert stage.task(job, 2).why[-1].text == "not started: enough"


def test_drain_a_job_then_stop_it() -> None:
    stage = Stage()
    job = stage.job(listed(4))
    render = stage.render(max_tasks=3)
    done, failed, back = render.take()
    stage.state.end_job(job, "drain", stage.now, stop=False)
    assert render.stops() == []
    render.end(done)
    render.end(failed, TaskStatus.FinishedError)
    assert stage.states(job) == ["done", "error", "running", "killed"]
    stage.state.end_job(job, "now", stage.now, stop=True)
    assert len(render.stops()) == 1
    render.end(back, TaskStatus.GiveBack)
    assert stage.view(job).state == "stopped"


def test_a_task_given_back_while_its_job_drains() -> None:
    stage = Stage()
    job = stage.job()
    render = stage.render()
    task = render.take_one()
    stage.state.end_job(job, "Ctrl-C", stage.now, stop=False)
    render.end(task, TaskStatus.GiveBack)
    assert stage.states(job) == ["killed"]
    assert stage.task(job).why[-1].text == "not started again: Ctrl-C"


def test_draining_a_job_whose_tasks_all_end_well() -> None:
    stage = Stage()
    job = stage.job()
    render = stage.render()
    task = render.take_one()
    stage.state.end_job(job, "Ctrl-C", stage.now, stop=False)
    render.end(task)
    assert stage.view(job).state == "done"


# Limits in time


def run_until(stage: Stage, job: int, seconds: float, *, progress: bool = False) -> JobView:
    """Keep the only render alive, and its task's progress if wanted."""
    render = stage.render()
    task = render.take_one()
    for _ in range(int(seconds)):
        stage.pass_time(1.0)
        render.send(make_update(task, TaskStatus.Percent, progress_changed=progress))
    for stop in render.stops():
        assert stop.run == task.run
        render.end(task, TaskStatus.FinishedKilled)
    return stage.view(job)


def test_task_max_run_time() -> None:
    stage = Stage(errors_retries=0)
    view = run_until(stage, stage.job(listed(task_max_run_time=30)), 31, progress=True)
    assert (view.state, view.tasks[0].state) == ("error", "error")
    assert view.tasks[0].why[0].text == "stop: task_max_run_time of 30 s is over"


def test_task_progress_change_timeout() -> None:
    stage = Stage(errors_retries=0)
    block = listed(task_progress_change_timeout=20)
    assert run_until(stage, stage.job(block), 40, progress=True).state == "running"
    stage = Stage(errors_retries=0)
    view = run_until(stage, stage.job(block), 21)
    assert view.tasks[0].why[0].text == "stop: no progress for 20 s"
    assert view.state == "error"


def test_a_run_that_comes_back_has_time_again() -> None:
    stage = Stage()
    job = stage.job(listed(task_progress_change_timeout=20))
    render = stage.render()
    task = render.take_one()
    render.cut()
    stage.pass_time(18.0)
    render.register(running=[task])
    assert stage.states(job) == ["running"]
    stage.pass_time(10.0)
    render.send()
    stage.pass_time(9.0)
    assert render.stops() == []
    render.send()
    stage.pass_time(1.0)
    assert len(render.stops()) == 1


def test_somebodys_stop_outweighs_a_limit() -> None:
    stage = Stage()
    job = stage.job(listed(task_max_run_time=5))
    render = stage.render()
    task = render.take_one()
    stage.pass_time(6.0)
    assert "task_max_run_time" in render.stops()[0].reason
    stage.state.stop_task(task.key, "I too", stage.now)
    render.end(task, TaskStatus.FinishedKilled)
    assert stage.states(job) == ["killed"]


# Entries


def test_entries_are_applied_once() -> None:
    stage = Stage()
    job = stage.job()
    render = stage.render()
    task = render.take_one()
    stage.state.listen(task.key)
    for _ in range(2):
        for n in (0, 1):
            render.send(
                log=(LogEntry(run=task.run, n=n, text=f"log {n}\n"),),
                listened=(ListenedEntry(run=task.run, n=n, text=f"out {n}\n"),),
                files=(FilesEntry(run=task.run, n=n, files=(TaskFile(name="f", data=b"%d" % n),)),),
            )
    stage.collect()
    assert stage.task(job).log.count("log 0") == stage.task(job).log.count("log 1") == 1
    assert stage.effects.heard == [(task.key, "out 0\n"), (task.key, "out 1\n")]
    assert stage.store.files == {(task.key, "f"): b"1"}


def test_entries_of_a_run_may_come_with_and_after_its_outcome() -> None:
    stage = Stage()
    job = stage.job()
    render = stage.render()
    task = render.take_one()
    render.send(make_update(task), log=(LogEntry(run=task.run, n=1, text="with\n"),))
    render.send(make_update(task), log=(LogEntry(run=task.run, n=1, text="with\n"),))
    render.send(log=(LogEntry(run=task.run, n=2, text="after\n"),))
    assert stage.task(job).log.count("with") == 1
    assert "after" in stage.task(job).log
    assert stage.task(job).attempts == 1


def test_entries_of_strangers_are_nothing() -> None:
    stage = Stage()
    job = stage.job()
    a, b = stage.render("a"), stage.render("b")
    task = a.take_one()
    for run in (task.run, "unknown"):
        b.send(
            log=(LogEntry(run=run, n=1, text="lies"),),
            listened=(ListenedEntry(run=run, n=1, text="lies"),),
            files=(FilesEntry(run=run, n=1, files=(TaskFile(name="f", data=b""),)),),
            outputs=(AskedOutput(run=run, job=job, block=0, task=0, output="lies"),),
        )
    assert [ref.run for ref in b.send(make_update(task))] == [task.run]
    assert "lies" not in stage.logs()
    assert not stage.effects.heard
    assert not stage.effects.answers
    assert stage.states(job) == ["running"]


def test_file_names_are_reduced_and_sizes_checked() -> None:
    stage = Stage()
    job = stage.job()
    render = stage.render()
    task = render.take_one()
    names = ["../../etc/passwd", "C:\\x\\y.jpg", "..", "", "a\nb", "\udcff", "x" * 201]
    files = [TaskFile(name=name, data=b"1") for name in names]
    files += [TaskFile(name="big", data=b"x" * 100_001), TaskFile(name="fits", data=b"x" * 100_000)]
    render.send(files=(FilesEntry(run=task.run, n=1, files=tuple(files)),))
    view = stage.task(job)
    assert [path.name for path in view.files] == ["passwd", "y.jpg", "fits"]
    assert [step.event for step in view.why] == ["refused"] * 6
    assert stage.store.files[task.key, "passwd"] == b"1"


def test_a_key_that_does_not_fit_its_run_is_a_stranger() -> None:
    stage = Stage()
    job = stage.job(frames(1, 2))
    render = stage.render()
    one, _ = render.take()
    closes = render.send(make_update(one, task=1))
    assert [ref.run for ref in closes] == [one.run]
    assert stage.states(job) == ["running", "running"]


# Listening and asking


def test_listening_to_this_and_later_attempts() -> None:
    stage = Stage()
    job = stage.job()
    render = stage.render()
    key = TaskKey(job, 0, 0)
    task = render.take_one()
    assert task.flags == 0
    assert stage.state.listen(key)
    assert stage.state.listen(key)
    render.end(task, TaskStatus.FinishedError)
    assert render.take_one().flags == 1
    assert [e.listens_add for e in render.events if e.listens_add] == []
    stage.state.unlisten(key)
    render.take()
    assert [e.listens_rem for e in render.events if e.listens_rem] == []
    stage.state.unlisten(key)
    render.take()
    (removed,) = [e.listens_rem for e in render.events if e.listens_rem]
    assert removed[0].run == "run2"
    stage.state.listen(key)
    render.take()
    (added,) = [e.listens_add for e in render.events if e.listens_add]
    assert added[0].run == "run2"


def test_nobody_listens_to_what_is_over() -> None:
    stage = Stage()
    job = stage.job()
    render = stage.render()
    render.end(render.take_one())
    assert not stage.state.listen(TaskKey(job, 0, 0))


def test_asking_for_output() -> None:
    stage = Stage()
    job = stage.job()
    key = TaskKey(job, 0, 0)
    assert stage.state.ask_output(key) is None
    render = stage.render()
    task = render.take_one()
    assert stage.state.ask_output(key) == task.run
    render.take()
    (asked,) = [e.outputs for e in render.events if e.outputs]
    assert asked[0].run == task.run
    render.send(outputs=(AskedOutput(run=task.run, **key._asdict(), output="so far"),))
    assert stage.collect().answers == [(task.run, "so far")]
    render.end(task)
    assert stage.collect().over == [task.run]
    assert stage.state.ask_output(key) is None


def test_what_is_asked_of_a_task_does_not_overtake_it() -> None:
    stage = Stage()
    job = stage.job(listed(40, capacity=1))
    render = stage.render(max_tasks=40)
    stage.state.ask_output(TaskKey(job, 0, 39))
    stage.state.ask_output(TaskKey(job, 0, 0))
    assert len(render.take()) == 40
    assert [[ref.task for ref in events.outputs] for events in render.events] == [[0], [39]]


def test_instructions_and_settings() -> None:
    import attrs

    stage = Stage()
    render = stage.render()
    gone = stage.render("gone")
    gone.leave()
    stage.state.instruct("a", "launch", "one")
    stage.state.instruct("a", "exit", "")
    stage.state.change_settings(
        attrs.evolve(stage.settings, heartbeat_sec=2.0, resources_update_period=7)
    )
    render.take()
    (events,) = render.events
    assert (events.instruction, events.command) == ("exit", "")
    assert (events.heartbeat_sec, events.resources_update_period, events.zombie_time) == (2, 7, 0)
    stage.state.change_settings(stage.state._book.settings)
    assert render.take() == []
    assert len(render.events) == 1
