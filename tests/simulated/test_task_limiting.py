"""Tasks that take too much, in virtual time."""

from __future__ import annotations

import attrs
import pytest
import trio
from agent_stage import CONFIG, expect_task, keep_reading, make_task, open_stage
from trio.testing import MockClock

from trio_afrender.config import Config, Limits
from trio_afrender.messages import Events, TaskStatus
from trio_afrender.testing import FakeChild


def limited(
    run_time: float = 0, no_output: float = 0, no_progress: float = 0, output: int = 0
) -> Config:
    limits = Limits(run_time=run_time, no_output=no_output, no_progress=no_progress, output=output)
    return attrs.evolve(CONFIG, limits=limits)


async def print_frames(child: FakeChild, seconds: float, *, frames: bool) -> None:
    for number in range(1, 100):
        await trio.sleep(seconds)
        await child.write(b"PROGRESS: %d%%\n" % number if frames else b"still here\n")


@pytest.mark.parametrize(
    ("config", "every", "frames", "after", "said"),
    [
        (limited(run_time=50), 1, True, 50, "run_time is 50 s"),
        (limited(no_output=30), 0, False, 30, "no output for 30 s"),
        (limited(no_output=30, run_time=55), 20, False, 55, "run_time is 55 s"),
        (limited(no_progress=40), 7, False, 40, "no progress for 40 s"),
        (limited(no_progress=40, run_time=55), 20, True, 55, "run_time is 55 s"),
        (limited(output=100), 2, False, 20, "the limit output is 100"),
    ],
)
async def test_it_is_stopped_at_its_limit_as_an_error(
    config: Config, every: float, frames: bool, after: float, said: str, autojump_clock: MockClock
) -> None:
    async with open_stage(config) as stage, trio.open_nursery() as nursery:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(make_task(),)))
        child = await stage.host.spawn.next()
        start = trio.current_time()
        if every:

            async def chatter() -> None:
                await print_frames(child, every, frames=frames)

            nursery.start_soon(chatter)
        outcome = await expect_task(link, over=True)
        assert outcome.status is TaskStatus.FinishedError
        assert any(said in step.text for step in outcome.why if step.event == "rule")
        assert any(said in step.text for step in outcome.why if step.event == "asked")
        when, name = child.signals[0]
        assert (round(when - start), name) == (after, "TERM")
        nursery.cancel_scope.cancel()


async def test_a_task_within_its_limits_is_left_alone(autojump_clock: MockClock) -> None:
    async with open_stage(limited(run_time=1000, no_output=30, output=10_000)) as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(make_task(),)))
        child = await stage.host.spawn.next()
        async with keep_reading(link):
            for _ in range(20):
                await trio.sleep(25)
                await child.write(b"on my way\n")
        child.exit(0)
        assert (await expect_task(link, over=True)).status is TaskStatus.FinishedSuccess
        assert child.signals == []
