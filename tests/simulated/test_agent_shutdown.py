"""A drain ends within its budget, whatever tasks and server do, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import attrs
import pytest
import trio
from support.agent import CONFIG, Stage, begin, make_task, open_stage
from trio.testing import MockClock

from trio_afrender.config import Config
from trio_afrender.errors import LinkLost
from trio_afrender.plugins.in_process import InlineRunner
from trio_afrender.process.interfaces import TreeSignal
from trio_afrender.protocol.messages import Events
from trio_afrender.testing import FakeChild, MemoryHost, ScriptedLink

KILL = TreeSignal.KILL
STOPPING = attrs.evolve(CONFIG, drain="stop")


def ignore_term(child: FakeChild) -> None:
    child.dies_of.discard(TreeSignal.TERM)


def survive_kill(child: FakeChild) -> None:
    child.leftovers = (child.pid,)


def hold_the_pipe(child: FakeChild) -> None:
    child.fork((), holds_output=True)
    child.leftovers = tuple(child._others)


BEHAVIOURS: Iterable[Callable[[FakeChild], None]] = (ignore_term, survive_kill, hold_the_pipe)


async def keep_receiving(link: ScriptedLink) -> None:
    """Receive everything and close nothing."""
    with suppress(LinkLost):
        while True:
            await link.receive()


async def wait_for_end(stage: Stage, start: float) -> float:
    with trio.fail_after(500):
        await stage.agent.finished()
    return trio.current_time() - start


@pytest.mark.parametrize("config", [CONFIG, STOPPING], ids=["finish", "stop"])
@pytest.mark.parametrize("budget", [60.0, 20.0, 8.0])
@pytest.mark.parametrize("misbehave", BEHAVIOURS)
@pytest.mark.parametrize("answers", [True, False])
async def test_a_drain_ends_within_its_budget(
    config: Config,
    budget: float,
    misbehave: Callable[[FakeChild], None],
    answers: bool,
    autojump_clock: MockClock,
) -> None:
    async with open_stage(config) as stage:
        link, child = await begin(stage)
        misbehave(child)
        start = trio.current_time()
        stage.agent.drain("spot notice", budget)
        if answers:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keep_receiving, link)
                took = await wait_for_end(stage, start)
                nursery.cancel_scope.cancel()
        else:
            stage.server.refuse(True)
            stage.server.cut()
            took = await wait_for_end(stage, start)
        assert took <= budget


async def test_a_second_signal_never_lengthens_a_drain(
    autojump_clock: MockClock,
) -> None:
    async with open_stage(STOPPING) as stage:
        _, child = await begin(stage)
        survive_kill(child)
        start = trio.current_time()
        stage.agent.drain("SIGTERM")
        await child.signalled()
        stage.server.refuse(True)
        stage.server.cut()
        stage.agent.stop_now("SIGTERM")
        assert await wait_for_end(stage, start) <= 10


POSTS = """
from services import service


class hangs(service.service):
    def doPost(self):
        return ["first", "second"]

    def doPostLimitSec(self):
        return 0
"""


async def test_post_commands_end_within_the_budget(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "hangs.py").write_text(POSTS)
    host = MemoryHost(plugins=InlineRunner(CONFIG.plugin_settings(), folders=[tmp_path]))
    async with open_stage(STOPPING, host=host) as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(attrs.evolve(make_task(), service="hangs"),)))
        child = await host.spawn.next()
        child.exit(0)
        post = await host.spawn.next()
        ignore_term(post)
        start = trio.current_time()
        stage.agent.drain("maintenance", 20)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_receiving, link)
            assert await wait_for_end(stage, start) <= 20
            nursery.cancel_scope.cancel()
        assert [name for _, name in post.signals] == ["TERM", "KILL"]
        assert len(host.spawn.children) == 2
