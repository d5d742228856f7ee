"""Tasks that no longer do anything, in virtual time."""

from __future__ import annotations

import attrs
import pytest
import trio
from support.agent import CONFIG, begin, expect_task, keep_reading, make_task, open_stage
from trio.testing import MockClock

from trio_afrender.config import Config, Stuck
from trio_afrender.hostinfo.process_inspection import ProcessReport, ProcessSnapshot
from trio_afrender.process.interfaces import TreeSignal
from trio_afrender.protocol.messages import Events, RunRef, TaskStatus, Update
from trio_afrender.testing import MemoryHost

REPORT = ProcessReport(
    looks=(
        ProcessSnapshot(
            pid=1000, name="moth", state="S", waits_in="futex_wait", command="moth -f 1"
        ),
    ),
    stacks=("  stacks of pid 1000 (moth), by gdb:\n    #0 lock()",),
)


def watched(policy: str, *, warn_after: float = 60, stop_after: float = 120) -> Config:
    rules = Stuck(policy=policy, warn_after=warn_after, stop_after=stop_after)
    return attrs.evolve(CONFIG, stuck=rules)


async def test_a_warning_has_a_report_and_is_taken_back_with_new_activity(
    autojump_clock: MockClock,
) -> None:
    host = MemoryHost(process_report=REPORT)
    async with open_stage(watched("warn"), host=host) as stage:
        link, child = await begin(stage)
        host.gauge.use(child.pid, memory=1, cpu=1.0)
        start = trio.current_time()
        update = await link.expect(Update, lambda u: bool(u.log), within=100)
        assert trio.current_time() - start == pytest.approx(65, abs=6)
        (line,) = update.log
        first, *rest = line.text.splitlines()
        assert first.startswith("no sign of life for 6")
        assert "no output, 0.00 s of CPU (0 % of a core), 0 bytes read and written" in first
        assert rest == [
            "  pid 1000: moth sleeps (S) in futex_wait: moth -f 1",
            "  stacks of pid 1000 (moth), by gdb:",
            "    #0 lock()",
        ]
        while not any(task.status is TaskStatus.Warning for task in update.tasks):
            update = await link.expect(Update, within=6)  # one message may have log and warning
        warning = update.tasks[-1]
        assert (warning.status, warning.activity[:22]) == (
            TaskStatus.Warning,
            "STUCK? No sign of life",
        )
        async with keep_reading(link) as updates:
            await trio.sleep(202)  # not at the moment of a measurement
            await child.write(b"PROGRESS: 50%\n")
            await trio.sleep(10)
        assert (updates[-1].status, updates[-1].activity) == (TaskStatus.Percent, "")
        child.exit(0)
        outcome = await expect_task(link, over=True)
        assert outcome.status is TaskStatus.FinishedSuccess
        texts = [step.text for step in outcome.why if step.event == "stuck"]
        assert "pid 1000 moth sleeps (S) in futex_wait" in texts[0]
        assert texts[1].startswith("it is active again after 26")
        assert child.signals == []


@pytest.mark.parametrize(
    ("state", "status", "text"),
    [
        ("S", TaskStatus.FinishedError, "the task is stopped as an error"),
        ("D", TaskStatus.GiveBack, "waits for a device of this host, so the task is given back"),
    ],
)
async def test_a_stuck_task_is_stopped_if_the_policy_says_so(
    state: str, status: TaskStatus, text: str, autojump_clock: MockClock
) -> None:
    host = MemoryHost(
        process_report=ProcessReport(looks=(ProcessSnapshot(pid=1000, name="moth", state=state),))
    )
    async with open_stage(watched("stop"), host=host) as stage:
        link, child = await begin(stage)
        host.gauge.use(child.pid, memory=1, cpu=1.0)
        start = trio.current_time()
        update = await link.expect(
            Update, lambda u: any(task.status.terminal for task in u.tasks), within=200
        )
        [outcome] = update.tasks
        assert child.signals[0][0] - start == pytest.approx(125, abs=6)
        assert outcome.status is status
        [rule] = [step.text for step in outcome.why if step.event == "rule"]
        assert text in rule
        assert "stuck.stop_after is 120 s" in rule


async def test_a_halted_tree_is_reported_and_left_alone(
    autojump_clock: MockClock,
) -> None:
    host = MemoryHost(
        process_report=ProcessReport(looks=(ProcessSnapshot(pid=1000, name="moth", state="T"),))
    )
    async with open_stage(watched("stop"), host=host) as stage:
        link, child = await begin(stage)
        host.gauge.use(child.pid, memory=1, cpu=1.0)
        async with keep_reading(link) as updates:
            await trio.sleep(500)
        assert TaskStatus.Warning in {each.status for each in updates}
        assert child.signals == []


@pytest.mark.parametrize("policy", ["off", "stop"])
async def test_a_tree_that_is_not_measured_or_not_watched_is_never_stuck(
    policy: str, autojump_clock: MockClock
) -> None:
    async with open_stage(watched(policy)) as stage:
        link, child = await begin(stage)
        if policy == "off":
            stage.host.gauge.use(child.pid, memory=1, cpu=1.0)
        async with keep_reading(link) as updates:
            await trio.sleep(500)
        assert {each.status for each in updates} <= {TaskStatus.Percent}
        child.exit(0)
        outcome = await expect_task(link, over=True)
        assert outcome.status is TaskStatus.FinishedSuccess


async def test_a_task_given_back_too_often_becomes_an_error(
    autojump_clock: MockClock,
) -> None:
    """Two give-backs in a row by this host, then an error, as for any other reason."""
    host = MemoryHost(
        process_report=ProcessReport(looks=(ProcessSnapshot(pid=1000, name="moth", state="D"),))
    )
    rules = attrs.evolve(CONFIG, service_stuck={"generic": {"policy": "stop", "stop_after": 8.0}})
    async with open_stage(rules, host=host) as stage:
        link = await stage.server.accept()
        await link.welcome()
        statuses = []
        for number in range(3):
            run = f"r{number}"
            await link.send(Events(tasks=(attrs.evolve(make_task(run), service="generic"),)))
            child = await host.spawn.next()
            host.gauge.use(child.pid, memory=1, cpu=1.0)
            outcome = await expect_task(link, over=True, run=run)
            statuses.append(outcome.status)
            ref = RunRef(run=run, job=2, block=0, task=0)
            await link.send(Events(closes=(ref,)))
        assert statuses == [TaskStatus.GiveBack, TaskStatus.GiveBack, TaskStatus.FinishedError]


async def test_an_unclaimed_gpu_counts_as_activity_of_every_task(autojump_clock: MockClock) -> None:
    async with open_stage(watched("stop"), host=MemoryHost(gpus_unclaimed=True)) as stage:
        link, child = await begin(stage)
        stage.host.gauge.use(child.pid, memory=1, cpu=1.0)
        async with keep_reading(link) as updates:
            await trio.sleep(300)
        assert {each.status for each in updates} == {TaskStatus.Percent}
        stage.host.gpus_unclaimed = False
        async with keep_reading(link):
            await child.signalled()


async def test_a_task_that_is_being_stopped_is_not_judged(autojump_clock: MockClock) -> None:
    async with open_stage(watched("stop", warn_after=200, stop_after=120)) as stage:
        link, child = await begin(stage)
        child.dies_of = {TreeSignal.KILL}
        stage.host.gauge.use(child.pid, memory=1, cpu=1.0)
        async with keep_reading(link):
            await trio.sleep(124)  # the last measurement before the stop is that of the limit
        assert child.signals == []
        await link.send(Events(stops=(RunRef.of(make_task()),)))
        outcome = await expect_task(link, over=True)
        assert outcome.status is TaskStatus.FinishedKilled
        assert [step.text for step in outcome.why if step.event == "rule"] == []
