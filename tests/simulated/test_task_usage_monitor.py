"""Measurements of a task's tree in virtual time: when they are made, and where they arrive."""

from __future__ import annotations

import trio
from support.agent import begin, expect_task, keep_reading, open_stage
from trio.testing import MockClock

from trio_afrender.hostinfo.process_usage import GpuShare
from trio_afrender.protocol.messages import Events, RunRef, TaskStatus, Update

MIB = 1024**2


async def test_a_tree_is_measured_early_then_together_with_all_others(
    autojump_clock: MockClock,
) -> None:
    await trio.sleep(2.3)
    async with open_stage() as stage:
        link, child = await begin(stage)
        start = trio.current_time()
        stage.host.gauge.use(child.pid, memory=100 * MIB, cpu=0.5)
        async with keep_reading(link) as updates:
            await trio.sleep(12)
        assert stage.host.gauge.reads[0] == start + 1
        assert stage.host.gauge.reads[1:] == [10.0]
        first, *_, last = [each.usage for each in updates if each.usage is not None]
        assert (first.resident, first.cpu_percent) == (100 * MIB, 50.0)
        assert (last.cpu_percent, last.processes) == (0.0, 1)
        stage.host.gauge.use(child.pid, cpu=9.5)
        child.exit(0)
        outcome = await expect_task(link, over=True)
        assert outcome.usage is not None
        assert (outcome.usage.cpu_seconds, outcome.usage.resident_peak) == (9.5, 100 * MIB)
        assert "task_mem_peak_mb:100" in outcome.resources


async def test_figures_that_do_not_change_are_sent_once_a_minute(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        link, child = await begin(stage)
        stage.host.gauge.use(child.pid, memory=100 * MIB, cpu=0.5)
        async with keep_reading(link) as updates:
            await trio.sleep(58)
            quiet = len(updates)
            await trio.sleep(10)
            assert len(updates) == quiet + 1
            stage.host.gauge.use(child.pid, memory=200 * MIB, cpu=0.5)
            await trio.sleep(5)
        usages = [each.usage for each in updates if each.usage is not None]
        assert [usage.resident // MIB for usage in usages] == [100, 100, 100, 200]
        assert [usage.cpu_percent for usage in usages[:2]] == [50.0, 0.0]
        child.exit(0)
        await expect_task(link, over=True)


async def test_the_usage_of_a_stopped_run_is_that_before_the_stop(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        link, child = await begin(stage)
        helper = child.fork()
        stage.host.gauge.use(child.pid, memory=10 * MIB)
        async with keep_reading(link):
            await trio.sleep(1.5)
            stage.host.gauge.use(child.pid, memory=700 * MIB, cpu=2.0)
            stage.host.gauge.use(helper, memory=50 * MIB)
            stage.host.gauge.gpus = {child.pid: GpuShare(memory=5 * MIB, percent=20.0)}
        ref = RunRef(run="r1", job=2, block=0, task=0, reason="too slow")
        await link.send(Events(stops=(ref,)))
        await child.signalled()
        assert stage.host.gauge.reads[-1] == trio.current_time(), "measured at the stop"
        stage.host.gauge.use(child.pid, memory=1)
        outcome = await expect_task(link, over=True)
        assert outcome.status is TaskStatus.FinishedKilled
        assert outcome.usage is not None
        assert (outcome.usage.resident, outcome.usage.processes) == (750 * MIB, 2)
        assert outcome.usage.gpu_memory == 5 * MIB
        (step,) = [step for step in outcome.why if step.event == "figures"]
        assert "750 MiB of memory, 2 processes at once; 2.0 s of CPU" in step.text
        events = [step.event for step in outcome.why]
        assert events.index("figures") < events.index("signal")


async def test_the_log_ends_with_the_peak_usage(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        link, child = await begin(stage)
        stage.host.gauge.use(child.pid, memory=100 * MIB, cpu=0.5)
        async with keep_reading(link):
            await trio.sleep(4)
        child.exit(0)
        update = await link.expect(Update, lambda u: bool(u.log))
        assert update.log[-1].text.splitlines()[-1] == (
            "Used at most: 100 MiB of memory, 1 process at once;"
            " 0.5 s of CPU (0.12 cores on average); 0 bytes read, 0 bytes written"
        )


async def test_without_measurements_a_run_has_no_usage(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        link, child = await begin(stage)  # the usage reader knows no process
        async with keep_reading(link):
            await trio.sleep(7)
        child.exit(0)
        outcome = await expect_task(link, over=True)
        assert outcome.status is TaskStatus.FinishedSuccess
        assert outcome.usage is None
        assert outcome.resources == ""


async def test_a_pid_that_was_given_to_another_process_does_not_count(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        link, child = await begin(stage)
        helper = child.fork({*child.dies_of})
        stage.host.gauge.use(child.pid, memory=10 * MIB)
        stage.host.gauge.use(helper, memory=20 * MIB, parent=child.pid)
        async with keep_reading(link):
            await trio.sleep(2)
            child.end(helper)
            del stage.host.gauge.usage[helper]
            await trio.sleep(5)
            stage.host.gauge.use(helper, memory=999 * MIB)  # its pid, given to another process
            await trio.sleep(5)
        child.exit(0)
        outcome = await expect_task(link, over=True)
        assert outcome.usage is not None
        assert outcome.usage.resident_peak == 30 * MIB
