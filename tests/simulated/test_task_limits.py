"""Tasks that exceed their limits, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from support.agent import CONFIG, begin, expect_task, keep_reading, make_task, open_stage
from trio.testing import MockClock

from trio_afrender.config import Config, Limits
from trio_afrender.plugins.in_process import InlineRunner
from trio_afrender.process.interfaces import TreeSignal
from trio_afrender.protocol.messages import Events, RunRef, TaskExec, TaskStatus, Update
from trio_afrender.task.monitors import START_DELAY
from trio_afrender.testing import FakeChild, MemoryHost, ScriptedLink, virtual_wall


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
    ("config", "every", "frames", "after", "text"),
    [
        (limited(run_time=50), 1, True, 50, "run_time is 50 s"),
        (limited(no_output=30), 0, False, 30, "no output for 30 s"),
        (limited(no_output=30, run_time=55), 20, False, 55, "run_time is 55 s"),
        (limited(no_progress=40), 7, False, 40, "no progress for 40 s"),
        (limited(no_progress=40, run_time=55), 20, True, 55, "run_time is 55 s"),
        (limited(output=100), 2, False, 20, "the limit output is 100"),
    ],
)
async def test_a_task_is_stopped_at_its_limit_as_an_error(
    config: Config, every: float, frames: bool, after: float, text: str, autojump_clock: MockClock
) -> None:
    async with open_stage(config) as stage, trio.open_nursery() as nursery:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(make_task(),)))
        child = await stage.host.spawn.next()
        start = trio.current_time()
        if every:

            async def keep_printing() -> None:
                await print_frames(child, every, frames=frames)

            nursery.start_soon(keep_printing)
        outcome = await expect_task(link, over=True)
        assert outcome.status is TaskStatus.FinishedError
        assert any(text in step.text for step in outcome.why if step.event == "rule")
        assert any(text in step.text for step in outcome.why if step.event == "asked")
        when, name = child.signals[0]
        assert (round(when - start), name) == (after, "TERM")
        nursery.cancel_scope.cancel()


async def test_a_limit_may_be_shorter_than_the_delay_of_the_monitors(
    autojump_clock: MockClock,
) -> None:
    limit = START_DELAY / 2
    async with open_stage(limited(run_time=limit)) as stage:
        link, child = await begin(stage)
        start = trio.current_time()
        outcome = await expect_task(link, over=True)
        assert outcome.status is TaskStatus.FinishedError
        assert child.signals[0][0] - start == pytest.approx(limit, abs=0.01)


async def test_the_time_under_an_earlier_agent_counts(autojump_clock: MockClock) -> None:
    host = MemoryHost()
    host.spawn.started = virtual_wall() - 30
    async with open_stage(limited(run_time=50), host=host) as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(make_task(),)))
        child = await stage.host.spawn.next()
        start = trio.current_time()
        end = await expect_task(link, over=True)
    assert end.status is TaskStatus.FinishedError
    assert child.signals[0][0] - start == pytest.approx(20, abs=0.5)
    assert [step.event for step in end.why[:2]] == ["cause", "inherited"]
    assert end.why[0].text == "it runs for 50 s, the limit run_time is 50 s"


async def test_the_memory_of_the_whole_tree_has_a_limit(autojump_clock: MockClock) -> None:
    config = attrs.evolve(CONFIG, limits=Limits(memory=1000))
    async with open_stage(config) as stage:
        link, child = await begin(stage)
        helper = child.fork((TreeSignal.TERM,))
        stage.host.gauge.use(child.pid, memory=600)
        stage.host.gauge.use(helper, memory=399)
        async with keep_reading(link):
            await trio.sleep(20)
        assert child.signals == []
        stage.host.gauge.use(helper, memory=401)
        outcome = await expect_task(link, over=True)
        assert outcome.status is TaskStatus.FinishedError
        assert [name for _, name in child.signals] == ["TERM"]
        text = "its processes have 1001 bytes of memory, the limit memory is 1000 bytes"
        assert any(text in step.text for step in outcome.why if step.event == "rule")


async def test_a_task_within_its_limits_is_left_alone(autojump_clock: MockClock) -> None:
    async with open_stage(limited(run_time=1000, no_output=30, output=10_000)) as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(make_task(),)))
        child = await stage.host.spawn.next()
        async with keep_reading(link):
            for _ in range(20):
                await trio.sleep(25)
                await child.write(b"a line\n")
        child.exit(0)
        assert (await expect_task(link, over=True)).status is TaskStatus.FinishedSuccess
        assert child.signals == []


POSTS = """
from services import service


class posts(service.service):
    limits = {"run_time": 45, "no_outptu": 3, "output": -1}

    def doPost(self):
        return ["first", "second"]

    def doPostLimitSec(self):
        return 0
"""


def use_posts_service(tmp_path: Path, config: Config) -> tuple[Config, InlineRunner, TaskExec]:
    """Install a studio's service with limits of its own and two post commands; return config, runner and a task."""
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "posts.py").write_text(POSTS)
    runner = InlineRunner(config.plugin_settings(), folders=[tmp_path])
    return config, runner, attrs.evolve(make_task(), service="posts")


@asynccontextmanager
async def post_stage(
    tmp_path: Path, config: Config
) -> AsyncIterator[tuple[ScriptedLink, MemoryHost, FakeChild]]:
    config, runner, task = use_posts_service(tmp_path, config)
    async with open_stage(config, host=MemoryHost(plugins=runner)) as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(task,)))
        yield link, stage.host, await stage.host.spawn.next()


@pytest.mark.parametrize(
    ("table", "after"),
    [({}, 45), ({"posts": {"run_time": 20.0}}, 20), ({"posts": {"run_time": 0.0}}, 50)],
)
async def test_limits_of_a_service_replace_those_of_the_host_unless_the_config_names_the_service(
    table: Mapping[str, Mapping[str, object]],
    after: float,
    tmp_path: Path,
    autojump_clock: MockClock,
) -> None:
    config = attrs.evolve(limited(run_time=30, no_output=50), service_limits=table)
    async with post_stage(tmp_path, config) as (link, _, child):
        start = trio.current_time()
        if after == 45:

            async def keep_printing() -> None:
                await print_frames(child, 20, frames=False)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(keep_printing)
                outcome = await expect_task(link, over=True)
                nursery.cancel_scope.cancel()
        else:
            outcome = await expect_task(link, over=True)
        assert outcome.status is TaskStatus.FinishedError
        assert round(child.signals[0][0] - start) == after


async def test_mistakes_in_the_limits_of_a_service_are_in_the_log(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with post_stage(tmp_path, CONFIG) as (link, _, child):
        child.exit(1)
        update = await link.expect(Update, lambda u: bool(u.log))
        log = "".join(line.text for line in update.log)
        assert 'service.limits has no "no_outptu", did you mean "no_output"?' in log
        assert "service.limits: output is -1: it is ignored" in log


async def test_all_steps_after_the_process_have_one_limit(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    config = attrs.evolve(CONFIG, limits=Limits(post_time=30.0))
    async with post_stage(tmp_path, config) as (link, host, child):
        child.exit(0)
        ended = trio.current_time()
        first = await host.spawn.next()
        async with keep_reading(link):
            await trio.sleep(20)
        first.exit(0)
        second = await host.spawn.next()
        outcome = await expect_task(link, over=True)
        assert outcome.status is TaskStatus.FinishedError
        assert [(round(when - ended), name) for when, name in second.signals] == [(30, "TERM")]
        texts = [step.text for step in outcome.why if step.event == "rule"]
        assert texts == [
            "the steps after the process reached the limit post_time of 30 s: the remaining ones are stopped"
        ]


async def test_within_that_limit_nothing_is_stopped(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    config = attrs.evolve(CONFIG, limits=Limits(post_time=30.0))
    async with post_stage(tmp_path, config) as (link, host, child):
        child.exit(0)
        for _ in range(2):
            post = await host.spawn.next()
            async with keep_reading(link):
                await trio.sleep(14)
            post.exit(0)
        outcome = await expect_task(link, over=True)
        assert (outcome.status, outcome.why[-1].event) == (TaskStatus.FinishedSuccess, "exit")


async def test_a_stop_by_the_server_among_the_post_commands_is_no_error(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    config = attrs.evolve(CONFIG, limits=Limits(post_time=30.0))
    async with post_stage(tmp_path, config) as (link, host, child):
        child.exit(0)
        post = await host.spawn.next()
        await link.send(Events(stops=(RunRef(run="r1", job=2, block=0, task=0),)))
        outcome = await expect_task(link, over=True)
        assert post.signals[0][1] == "TERM"
        assert outcome.status is TaskStatus.FinishedSuccess


async def test_a_stop_while_a_finished_process_ends_leaves_the_post_commands_out(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """The parser's own stop ends with the process, and is not all that was asked for."""
    async with post_stage(tmp_path, CONFIG) as (link, host, child):
        child.dies_of = {TreeSignal.KILL}
        await child.write(b"[ PARSER FINISHED SUCCESS ]\n")
        await child.signalled()
        await link.send(Events(stops=(RunRef(run="r1", job=2, block=0, task=0),)))
        outcome = await expect_task(link, over=True)
        assert outcome.status is TaskStatus.FinishedParserSuccess
        assert host.spawn.children == [child]


FLYING = """
from services import service


class flying(service.service):
    def generateThumbnail(self, i_onthefly=False, i_files=None):
        return ["thumb"] if i_onthefly else []
"""


async def test_a_thumbnail_that_takes_too_long_costs_no_frame(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    config = attrs.evolve(CONFIG, limits=Limits(post_time=30.0), post_limit=0.0)
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "flying.py").write_text(FLYING)
    (image := tmp_path / "a.exr").write_bytes(b"pixels")
    runner = InlineRunner(config.plugin_settings(), folders=[tmp_path])
    async with open_stage(config, host=MemoryHost(plugins=runner)) as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(attrs.evolve(make_task(), service="flying"),)))
        child = await stage.host.spawn.next()
        await child.write(f"@IMAGE!@{image}\n".encode())
        thumb = await stage.host.spawn.next()
        child.exit(0)
        ended = trio.current_time()
        outcome = await expect_task(link, over=True)
        assert outcome.status is TaskStatus.FinishedSuccess
        assert round(thumb.signals[0][0] - ended) == 30
        assert outcome.why[-1].text.startswith("the limit post_time is 30 s: the remaining thumb")


OURS = """
import shlex
import sys

from services import service
from trio_afrender.cmd_words import join_for_cmd
from trio_afrender.thumbnail.command import Wanted, make_words

JOIN = join_for_cmd if sys.platform == "win32" else shlex.join


class ours(service.service):
    def doPost(self):
        return [JOIN(make_words(Wanted("a.exr", "a.jpg"))), *self.rest]

    def doPostLimitSec(self):
        return 0

    rest = []
"""


class HangingImageWorker:
    """Never finishes an image."""

    async def thumbnail(self, image: str, thumb: str, height: int, limit: float) -> None:
        await trio.sleep_forever()

    async def inspect(self, image: str, limit: float) -> Mapping[str, Any] | None:
        await trio.sleep_forever()


@pytest.mark.parametrize(
    ("rest", "status"),
    [("[]", TaskStatus.FinishedSuccess), ('["convert"]', TaskStatus.FinishedError)],
)
async def test_a_hanging_thumbnail_of_the_image_worker_costs_no_frame_but_skipped_commands_do(
    rest: str, status: TaskStatus, tmp_path: Path, autojump_clock: MockClock
) -> None:
    config = attrs.evolve(CONFIG, limits=Limits(post_time=30.0))
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "ours.py").write_text(OURS.replace("rest = []", f"rest = {rest}"))
    runner = InlineRunner(config.plugin_settings(), folders=[tmp_path])
    host = MemoryHost(plugins=runner, image_worker=HangingImageWorker())
    async with open_stage(config, host=host) as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(attrs.evolve(make_task(), service="ours"),)))
        child = await host.spawn.next()
        child.exit(0)
        ended = trio.current_time()
        outcome = await expect_task(link, over=True)
        assert outcome.status is status
        assert round(trio.current_time() - ended) == 30
        assert len(host.spawn.children) == 1


async def test_a_limit_reached_in_the_grace_of_a_stop_is_no_reason(
    autojump_clock: MockClock,
) -> None:
    async with open_stage(limited(run_time=5)) as stage:
        link, child = await begin(stage)
        child.dies_of = {TreeSignal.KILL}
        await link.send(Events(stops=(RunRef.of(make_task()),)))
        outcome = await expect_task(link, over=True)
        assert outcome.status is TaskStatus.FinishedKilled
        assert [step.text for step in outcome.why if step.event == "rule"] == []
