"""Suspending and resuming a run, in virtual time."""

from __future__ import annotations

import attrs
import pytest
import trio
from support.agent import CONFIG, begin, expect_task, make_task, open_stage
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_afrender.config import Limits
from trio_afrender.protocol.messages import Events, RunRef, TaskKey, TaskStatus, Update

REF = RunRef.of(make_task())
KEY = TaskKey(2, 0, 0, 0)


async def test_a_server_suspends_and_resumes(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        link, child = await begin(stage)
        await link.send(Events(suspends=(attrs.evolve(REF, reason="the artist is back"),)))
        log = await link.expect(Update, lambda u: bool(u.log))
        assert log.log[0].text == "The task is suspended: the artist is back.\n"
        assert stage.agent.running[0].suspended == "the artist is back"
        await link.send(Events(suspends=(REF,)))  # repeated, as after a lost link
        await link.send(Events(resumes=(REF,)))
        log = await link.expect(Update, lambda u: bool(u.log))
        assert log.log[0].text == "The task is resumed.\n"
        assert stage.agent.running[0].suspended == ""
        assert [name for _, name in child.signals] == ["SUSPEND", "RESUME"]
        child.exit(0)
        end = await expect_task(link, over=True)
    assert [step.event for step in end.why[:2]] == ["suspended", "resumed"]
    assert end.why[0].pids == (child.pid,)


async def test_a_suspended_run_can_be_stopped(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        link, child = await begin(stage)
        assert stage.agent.suspend_task(KEY, "lunch")
        await wait_all_tasks_blocked()
        await link.send(Events(stops=(REF,)))
        end = await expect_task(link, over=True)
    assert end.status is TaskStatus.FinishedKilled
    assert [name for _, name in child.signals] == ["SUSPEND", "TERM"]


async def test_limits_do_not_count_while_a_run_is_suspended(autojump_clock: MockClock) -> None:
    config = attrs.evolve(CONFIG, limits=Limits(run_time=100.0, no_output=30.0))
    async with open_stage(config) as stage:
        link, child = await begin(stage)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep_reading, link)
            start = trio.current_time()
            await trio.sleep(20)
            stage.agent.suspend_task(KEY, "lunch")
            await trio.sleep(1000)
            assert stage.agent.resume_task(KEY)
            await trio.sleep(29)
            assert [name for _, name in child.signals] == ["SUSPEND", "RESUME"]
            await child.signalled()
            nursery.cancel_scope.cancel()
    assert child.signals[-1][0] - start == pytest.approx(20 + 1000 + 30, abs=1)


async def _keep_reading(link: object) -> None:
    while True:
        await link.expect(Update)  # type: ignore[attr-defined]  # a ScriptedLink


async def test_a_run_of_another_host_cannot_be_suspended(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        link = await stage.server.accept()
        await link.welcome()
        assert not stage.agent.suspend_task(KEY, "lunch")
        assert not stage.agent.resume_task("r1")
        await link.send(Events(suspends=(REF,), resumes=(REF,)))
        await wait_all_tasks_blocked()
