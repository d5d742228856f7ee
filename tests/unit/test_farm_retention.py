"""Jobs that are dropped: none of their data is kept, and later messages about them are harmless."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.farm import FarmHarness, listed, make_update

from trio_afrender.errors import JobError
from trio_afrender.farm.state import AttemptOutput, LogText, Removal, Write
from trio_afrender.farm.store import DiskFarmStore, FarmStore, MemoryFarmStore
from trio_afrender.protocol.messages import LogEntry, Registered, TaskKey


def test_a_dropped_job_leaves_no_data() -> None:
    farm = FarmHarness()
    render = farm.render()
    for _ in range(3):
        job = farm.job(listed(2))
        for task in render.take():
            render.end(task, output="text")
        farm.forget_job(job)
    farm.collect()
    assert tuple(farm.state.jobs) == ()
    assert not farm.state.runs
    assert (farm.store._logs, farm.store._outputs) == ({}, {})
    with pytest.raises(KeyError):
        farm.view(job)


def test_a_running_job_is_not_dropped() -> None:
    farm = FarmHarness()
    job = farm.job(name="shot")
    with pytest.raises(JobError, match='"shot" is running: stop it first'):
        farm.forget_job(job)
    assert farm.states(job) == ["ready"]


def test_late_messages_about_it_are_closed_and_stopped() -> None:
    farm = FarmHarness(zombie_time=10)
    job = farm.job(listed(2))
    render = farm.render()
    lost, done = render.take()
    render.end(done)
    render.cut()
    farm.pass_time(11)
    other = farm.render("b")
    other.end(other.take_one())
    farm.forget_job(job)
    assert render.register(running=[lost]) == Registered(
        id=1, zombie_time=10, heartbeat_sec=0, resources_update_period=0, stop=(lost.run,)
    )
    (ref,) = render.send(make_update(lost), log=(LogEntry(run=lost.run, n=1, text="late\n"),))
    assert ref.run == lost.run
    assert farm.store.log(lost.key) == ""


def test_a_job_that_waited_for_it_runs() -> None:
    farm = FarmHarness()
    first = farm.job(listed(), name="first")
    farm.job(listed(), name="other")
    second = farm.job(listed(), depend_mask="first")
    render = farm.render()
    mine, others = render.take()
    render.end(mine)
    farm.forget_job(first)
    render.end(others)
    assert [task.job for task in render.take()] == [second]


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_stores_drop_earlier_writes_and_keep_other_jobs(kind: str, tmp_path: Path) -> None:
    store: FarmStore = MemoryFarmStore() if kind == "memory" else DiskFarmStore(tmp_path)
    store.open()
    old, new = TaskKey(2, 0, 0), TaskKey(3, 0, 0)
    store.write([AttemptOutput(old, 1, "out"), LogText(old, "before\n")])
    writes: list[Write] = [
        LogText(old, "with it\n"),
        AttemptOutput(old, 2, "o"),
        LogText(new, "kept\n"),
    ]
    assert store.write([*writes, Removal(old)]) == []
    assert (store.log(old), store.output(old, 1), store.output(old, 2)) == ("", "", "")
    assert store.log(new) == "kept\n"
    if kind == "disk":
        assert [path.name for path in tmp_path.iterdir()] == ["3"]
    assert store.write([Removal(old)]) == [], "also for a job without texts"
