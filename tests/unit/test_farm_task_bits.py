"""States in Afanasy's bits and words, and the progress bar."""

from __future__ import annotations

import pytest
from support.farm import FakeRender, FarmHarness, frames, listed, make_update

from trio_afrender.farm.task_bits import (
    TaskBit,
    job_bits,
    state_text,
    summarize,
    task_bits,
)
from trio_afrender.protocol.messages import TaskKey, TaskStatus

Error = TaskStatus.FinishedError


def start(farm: FarmHarness, **fields: object) -> tuple[int, FakeRender]:
    job = farm.job(listed(2, **fields), user_name="joe")
    return job, farm.render(max_tasks=1)


def words(farm: FarmHarness, job: int) -> tuple[list[str], str, str]:
    """Of the tasks, the block and the job."""
    block = farm.state.jobs[job].blocks[0]
    return farm.bits(job), state_text(summarize(block).bits), farm.job_words(job)


def test_the_words_stand_in_the_order_of_the_original() -> None:
    every = sum(TaskBit)
    assert state_text(every) == (
        " RDY RUN DON ERR SKP OFF WRN PER PBR PSC WDP WTM STO STE PPA RER WRC TRY SUS"
    )
    assert state_text(0) == ""
    assert state_text(1 << 62) == ""


def test_a_task_from_ready_to_done() -> None:
    farm = FarmHarness()
    job, render = start(farm)
    assert words(farm, job) == ([" RUN", " RDY"], " RDY RUN", " RDY RUN")
    task = render.take_one()
    render.send(make_update(task, TaskStatus.Warning, percent=3))
    assert words(farm, job) == ([" RUN WRN", " RDY"], " RDY RUN WRN", " RDY RUN WRN")
    render.end(task)
    assert words(farm, job)[0] == [" DON WRN", " RUN"]
    render.end(render.take_one())
    assert words(farm, job) == ([" DON WRN", " DON"], " DON WRN", " DON WRN")


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (TaskStatus.FinishedSuccess, " DON"),
        (TaskStatus.FinishedParserSuccess, " DON PSC"),
        (TaskStatus.FinishedFailedPost, " DON"),
        (TaskStatus.Skip, " DON SKP"),
        (TaskStatus.FinishedError, " ERR"),
        (TaskStatus.FinishedParserError, " ERR PER"),
        (TaskStatus.FinishedParserBadResult, " ERR PBR"),
        (TaskStatus.FinishedParserFatalError, " ERR"),
        (TaskStatus.BadRenderedFiles, " ERR"),
        (TaskStatus.GiveBack, " RDY"),
    ],
)
def test_outcomes(status: TaskStatus, text: str) -> None:
    farm = FarmHarness(errors_retries=0)
    job, render = start(farm)
    render.end(render.take_one(), status)
    assert farm.bits(job)[0] == text


def test_bits_that_have_no_word() -> None:
    farm = FarmHarness(errors_retries=0)
    job = farm.job(listed(3))
    render = farm.render()
    outcomes = (
        TaskStatus.FinishedFailedPost,
        TaskStatus.BadRenderedFiles,
        TaskStatus.FinishedParserFatalError,
    )
    for task, status in zip(render.take(), outcomes, strict=True):
        render.end(task, status)
    found = [task_bits(task) for task in farm.state.jobs[job].blocks[0].tasks]
    assert found == [1 << 4 | 1 << 14, 1 << 5 | 1 << 15, 1 << 5 | 1 << 21]


def test_an_error_that_is_retried() -> None:
    farm = FarmHarness(errors_retries=1)
    job, render = start(farm)
    other = farm.render("b", max_tasks=1)
    other.take()
    render.end(render.take_one(), TaskStatus.FinishedParserError)
    assert farm.bits(job) == [" RUN", " RUN"], "the mark of the error is gone with the next start"
    render.end(render.take_one(), TaskStatus.FinishedParserError)
    assert farm.bits(job) == [" ERR PER", " RUN"]
    farm = FarmHarness(errors_retries=1)
    job, render = start(farm)
    render.fields["priority"] = 0
    farm.operate(job, "pause")
    render.end(render.take_one(), Error)
    assert farm.bits(job) == [" RDY RER", " RDY"]
    assert farm.job_words(job) == " RDY OFF"


def test_a_lost_render() -> None:
    farm = FarmHarness(zombie_time=10)
    job, render = start(farm)
    task = render.take_one()
    render.cut()
    assert words(farm, job) == ([" WRC", " RDY"], " RDY WRC", " RDY WRC")
    render.register(running=[task])
    assert farm.bits(job) == [" RUN", " RDY"]
    render.cut()
    farm.pass_time(11)
    assert farm.bits(job) == [" RDY", " RDY"]


def test_a_suspended_run_keeps_running() -> None:
    farm = FarmHarness()
    job, render = start(farm)
    render.take()
    farm.suspend_task(TaskKey(job, 0, 0), "later")
    assert farm.bits(job) == [" RUN SUS", " RDY"]


def test_tasks_of_a_block_that_waits_are_ready() -> None:
    farm = FarmHarness(errors_retries=0)
    job = farm.job(listed(2, name="a"), listed(2, name="b", depend_mask="a"))
    render = farm.render()
    blocks = farm.state.jobs[job].blocks
    assert farm.bits(job, 1) == [" RDY", " RDY"]
    assert state_text(summarize(blocks[1]).bits) == " WDP"
    assert (summarize(blocks[1]).ready, summarize(blocks[1]).bar) == (2, "r" * 128)
    assert farm.job_words(job) == " RUN"
    for task in render.take():
        render.end(task, Error)
    assert farm.states(job, 1) == ["killed", "killed"]
    assert farm.bits(job, 1) == [" WDP", " WDP"], "they wait for a block that can be restarted"
    assert state_text(summarize(blocks[1]).bits) == " WDP"
    assert farm.job_words(job) == " ERR"


def test_tasks_that_wait_for_frames() -> None:
    farm = FarmHarness()
    job = farm.job(frames(1, 2, name="a"), frames(1, 2, name="b", tasks_depend_mask="a"))
    render = farm.render()
    one, _ = render.take()
    render.end(one)
    assert farm.bits(job, 1) == [" RUN", " WDP"]
    assert summarize(farm.state.jobs[job].blocks[1]).waiting_dependencies == 1


def test_tasks_that_wait_for_a_block_and_for_frames() -> None:
    farm = FarmHarness()
    job = farm.job(
        frames(1, 1, name="a"),
        frames(1, 1, name="b"),
        frames(1, 1, name="c", depend_mask="a", tasks_depend_mask="b"),
        time_wait=1_000_010,
    )
    render = farm.render(max_tasks=2)
    last = farm.state.jobs[job].blocks[2]
    assert (farm.bits(job, 2), summarize(last).ready) == ([" RDY"], 1), "the job waits"
    farm.pass_time(11)
    assert (farm.bits(job, 2), summarize(last).ready) == ([" RDY"], 1), "the block waits"
    render.end(render.take()[0])
    found = summarize(last)
    assert (farm.bits(job, 2), found.ready, found.waiting_dependencies) == ([" WDP"], 0, 1)


def test_what_a_job_waits_for() -> None:
    farm = FarmHarness()
    first = farm.job(name="first")
    timed = farm.job(time_wait=1_000_030)
    after = farm.job(depend_mask="first")
    both = farm.job(depend_mask="first", time_wait=1_000_030)
    found = [farm.job_words(job) for job in (first, timed, after, both)]
    assert found == [" RDY", " WTM", " WDP", " WDP WTM"]
    assert farm.bits(after) == [" RDY"]
    farm.pass_time(31)
    assert [farm.job_words(job) for job in (timed, both)] == [" RDY", " WDP"]


def test_a_stopped_task_counts_as_an_error() -> None:
    farm = FarmHarness()
    job, render = start(farm)
    farm.stop_task(TaskKey(job, 0, 1), "no")
    render.end(render.take_one())
    assert words(farm, job) == ([" DON", " ERR"], " ERR", " ERR")


def test_the_summary_of_a_block() -> None:
    farm = FarmHarness(errors_retries=0)
    job = farm.job(listed(5))
    render = farm.render(max_tasks=4)
    one, two, three, four = render.take()
    farm.now = 4.0
    render.end(one, finished=1_000_010.0)
    render.end(two, TaskStatus.Skip)
    render.send(make_update(three, TaskStatus.Percent, percent=50))
    render.end(four, Error, finished=1_000_002.0)
    found = summarize(farm.state.jobs[job].blocks[0])
    assert (found.done, found.skipped, found.error, found.ready) == (2, 1, 1, 0)
    assert found.percentage == (100 + 100 + 50) // 5
    assert (found.run_time_min, found.run_time_max) == (10, 10)
    assert found.running_capacity == 200
    assert summarize(farm.state.jobs[job].blocks[0]) is found, "kept until a task changes"


@pytest.mark.parametrize(
    ("count", "bar"),
    [
        (1, "R" * 128),
        (3, "R" * 42 + "r" * 86),
        (6, "R" * 21 + "r" * 107),
        (128, "R" + "r" * 127),
        (200, "R" + "r" * 127),
        (12_800, "R" + "r" * 127),
    ],
)
def test_the_letters_of_a_bar(count: int, bar: str) -> None:
    farm = FarmHarness()
    job = farm.job(frames(1, count))
    farm.render(max_tasks=1)
    assert summarize(farm.state.jobs[job].blocks[0]).bar == bar


def test_every_letter() -> None:
    farm = FarmHarness(errors_retries=1, zombie_time=100)
    job = farm.job(listed(16))
    render, lost = farm.render(max_tasks=9), farm.render("lost", max_tasks=1)
    tasks = render.take()
    (waiting,) = lost.take()
    lost.cut()
    farm.operate(job, "pause")
    for task, status in zip(tasks, ("D", "S", "G", "N", "E", "Y", "U", "R", "R"), strict=True):
        if status in "GN":
            render.send(make_update(task, TaskStatus.Warning))
        if status in "DG":
            render.end(task)
        elif status == "S":
            render.end(task, TaskStatus.Skip)
        elif status == "E":
            render.end(task, TaskStatus.FinishedParserFatalError)
        elif status == "Y":
            render.end(task, Error)
        elif status == "U":
            farm.suspend_task(task.key, "x")
    farm.operate_blocks(job, [0], "trynext", task_ids=[15], mode="append")
    bar = summarize(farm.state.jobs[job].blocks[0]).bar
    expected = {task.key.task: letter for task, letter in zip(tasks, "DSGNEYURR", strict=True)}
    expected |= {waiting.key.task: "C", 15: "T"}
    assert bar[::8] == "".join(expected.get(i, "r") for i in range(16))


def test_a_letter_for_several_tasks_is_the_most_important_one() -> None:
    farm = FarmHarness(errors_retries=0)
    job = farm.job(frames(1, 256))
    render = farm.render(max_tasks=3, capacity=300)
    one, two, _ = render.take()
    render.end(one)
    assert summarize(farm.state.jobs[job].blocks[0]).bar[:3] == "RRr"
    render.end(two, Error)
    assert summarize(farm.state.jobs[job].blocks[0]).bar[:4] == "ERRr"


def test_a_block_without_tasks() -> None:
    farm = FarmHarness()
    job = farm.job(listed(0))
    assert summarize(farm.state.jobs[job].blocks[0]).bar == " " * 128
    assert job_bits(farm.state.jobs[job]) == TaskBit.DON
