"""A farm that is made of the records of another one: times, ids, and what was under way."""

from __future__ import annotations

from support.farm import FakeRender, FarmHarness, frames, listed
from support.records import MemoryRecords

from trio_afrender.farm.record_rows import make_rows, restore
from trio_afrender.farm.render_states import Presence
from trio_afrender.protocol.messages import LogEntry, Registered, TaskKey, TaskStatus


def restart(old: FarmHarness, *, down: float = 0.0, **settings: float) -> FarmHarness:
    """The farm that begins, so many seconds later, with the records of another one.

    Its own clock begins anew, as that of another process does.
    """
    records = MemoryRecords()
    old.state.unstored.collect()
    note_everything(old)
    records.write(make_rows(old.state, old.state.unstored.take(), old.now))
    new = FarmHarness(**settings)
    new.store = old.store
    offset = old.now + down
    new.state.wall = lambda: 1_000_000.0 + offset + new.now
    restore(new.state, records.read(), new.now)
    return new


def note_everything(farm: FarmHarness) -> None:
    unstored = farm.state.unstored
    for user in farm.state.users.values():
        unstored.note_user(user)
    for render in farm.state.renders.values():
        unstored.note_render(render)
    for job in farm.state.jobs.values():
        unstored.note_job(job, spec=True)
        for block in job.blocks:
            unstored.note_block(block, spec=True)
            for task in block.tasks:
                unstored.note_task(task)


def come_back(farm: FarmHarness, old: FakeRender) -> FakeRender:
    """The same render on the new farm, with the tasks that it still runs."""
    render = FakeRender(farm, old.name, old.fields)
    render.tasks = dict(old.tasks)
    answer = render.register(running=list(old.tasks.values()))
    assert isinstance(answer, Registered)
    assert list(answer.resume) == list(old.tasks)
    return render


def test_the_time_without_a_farm_is_no_lack_of_progress() -> None:
    old = FarmHarness()
    job = old.job(listed(1, task_progress_change_timeout=10, task_max_run_time=2000))
    render = old.render()
    render.take()
    old.pass_time(9.0)
    new = restart(old, down=1000.0, zombie_time=50.0)
    back = come_back(new, render)
    new.pass_time(9.0)
    assert not back.stops()
    new.pass_time(2.0)
    assert back.stops()[0].reason == "no progress for 10 s"
    assert new.states(job) == ["running"]


def test_a_run_time_counts_on_without_a_farm() -> None:
    old = FarmHarness()
    old.job(listed(1, task_max_run_time=100))
    render = old.render()
    render.take()
    old.pass_time(9.0)
    new = restart(old, down=85.0, zombie_time=50.0)
    back = come_back(new, render)
    new.pass_time(5.0)
    assert not back.stops()
    new.pass_time(2.0)
    assert back.stops()[0].reason == "task_max_run_time of 100 s is over"


def test_hosts_are_forgiven_in_time() -> None:
    old = FarmHarness(errors_retries=9)
    job = old.job(listed(1, errors_avoid_host=1, errors_forgive_time=60))
    bad = old.render("bad")
    bad.end(bad.take_one(), TaskStatus.FinishedError)
    again = bad.take_one()
    bad.end(again, TaskStatus.FinishedError)
    new = restart(old, down=30.0, zombie_time=1000.0)
    block = new.state.jobs[job].blocks[0]
    assert block.error_hosts["bad"] == (2, -30.0)
    assert new.state.find_task(TaskKey(job, 0, 0)).errors == 2


def test_waits_and_lives_end_when_they_would_have() -> None:
    old = FarmHarness()
    waiting = old.job(time_wait=1_000_100)
    living = old.job(time_life=100, offline=True)
    old.pass_time(20.0)
    new = restart(old, down=50.0)
    assert new.job_words(waiting) == " WTM"
    new.pass_time(29.0)
    assert new.states(waiting) == ["waiting"]
    assert living in new.state.jobs
    new.pass_time(2.0)
    assert new.states(waiting) == ["ready"]
    assert living not in new.state.jobs


def test_what_came_due_without_a_farm_is_done_at_its_start() -> None:
    old = FarmHarness()
    waiting = old.job(time_wait=1_000_100)
    living = old.job(time_life=100, offline=True)
    new = restart(old, down=200.0)
    new.pass_time(0.1)
    assert (new.states(waiting), living in new.state.jobs) == (["ready"], False)


def test_entries_that_were_applied_are_not_applied_again() -> None:
    old = FarmHarness()
    job = old.job()
    render = old.render()
    task = render.take_one()
    for n in (1, 2):
        render.send(log=(LogEntry(run=task.run, n=n, text=f"entry {n}\n"),))
    old.collect()
    new = restart(old, zombie_time=50.0)
    back = come_back(new, render)
    for n in (2, 3):
        back.send(log=(LogEntry(run=task.run, n=n, text=f"entry {n}\n"),))
    new.collect()
    log = new.task(job).log
    assert [log.count(f"entry {n}\n") for n in (1, 2, 3)] == [1, 1, 1]


def test_requests_that_were_under_way() -> None:
    old = FarmHarness()
    job = old.job(listed(4))
    render = old.render()
    stopped, skipped, held, suspended = render.take()
    old.stop_task(stopped.key, "no more")
    old.operate_blocks(job, [0], "skip", task_ids=[skipped.task])
    old.operate_blocks(job, [0], "suspend", task_ids=[held.task])
    old.suspend_task(suspended.key, "later")
    new = restart(old, zombie_time=50.0)
    back = come_back(new, render)
    back.take()
    (events,) = back.events
    assert {ref.run for ref in events.stops} == {stopped.run, skipped.run, held.run}
    assert [ref.run for ref in events.suspends] == [suspended.run]
    for task in (stopped, skipped, held):
        back.end(task, TaskStatus.FinishedKilled)
    assert new.bits(job) == [" ERR", " DON SKP", " SUS", " RUN SUS"]


def test_a_task_that_was_resumed_is_resumed_again() -> None:
    old = FarmHarness()
    old.job(listed(2))
    render = old.render()
    resumed, _other = render.take()
    old.suspend_task(resumed.key, "later")
    old.suspend_task(resumed.key, "")  # what it sends ends with the farm
    new = restart(old, zombie_time=50.0)
    back = come_back(new, render)
    back.take()
    (events,) = back.events
    assert [ref.run for ref in events.resumes] == [resumed.run]
    assert events.suspends == ()


def test_a_task_that_is_stopped_and_then_suspended_is_noted() -> None:
    farm = FarmHarness()
    job = farm.job(listed(1))
    (task,) = farm.render().take()
    farm.state.unstored.collect()
    farm.end_job(job, "no more", stop=True)
    farm.state.unstored.take()
    farm.operate_blocks(job, [0], "suspend")
    assert [each.key for each in farm.state.unstored.take().tasks] == [task.key]


def test_a_job_that_is_being_deleted_is_deleted() -> None:
    old = FarmHarness()
    job = old.job(listed(2), name="gone")
    render = old.render()
    tasks = render.take()
    old.operate(job, "delete")
    new = restart(old, zombie_time=50.0)
    assert new.state.jobs[job].deleting
    back = come_back(new, render)
    for task in tasks:
        back.end(task, TaskStatus.FinishedKilled)
    assert new.state.jobs == {}
    assert any(type(each).__name__ == "Removal" for each in new.collect().writes)


def test_groups_and_orders_are_made_again() -> None:
    old = FarmHarness()
    job = old.job(
        frames(1, 4, name="a", sequential=-1),
        frames(1, 4, name="b", frames_per_task=2, tasks_depend_mask="a"),
    )
    render = old.render(max_tasks=2)
    one, two = render.take()
    assert [one.frame_start, two.frame_start] == [4, 3]
    render.end(one)
    render.end(two)
    (three, four) = render.take()
    new = restart(old, zombie_time=50.0)
    assert new.states(job, 1) == ["waiting", "ready"]
    back = come_back(new, render)
    back.end(three)
    back.end(four)
    assert sorted(task.frame_start for task in back.take()) == [1, 3]


def test_renders_are_offline_until_they_register() -> None:
    old = FarmHarness()
    old.job(listed(1))
    old.render().take()
    new = restart(old, zombie_time=5.0)
    render = new.state.renders["a"]
    assert (render.online, render.states.presence is Presence.ONLINE) == (False, False)
    new.pass_time(6.0)
    assert render.running == {}
    assert new.state.ready == 1
