"""Thumbnails and looks at images beside a task, in virtual time: what waits, what is tried again."""

from __future__ import annotations

import math
import shlex
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_afrender.config import Config
from trio_afrender.process.interfaces import Launch
from trio_afrender.protocol.messages import TaskExec
from trio_afrender.task.image_checks import ImageFinding, check_images
from trio_afrender.task.image_worker import ImageProblem
from trio_afrender.task.run_state import RunState
from trio_afrender.task.status_rules import StopCause, StopKind
from trio_afrender.task.task_control import TaskControl
from trio_afrender.task.thumbnails import MAX_BACKLOG, Thumbnails
from trio_afrender.task.tools import TaskDependencies
from trio_afrender.testing import MemoryHost
from trio_afrender.thumbnail.command import Wanted, make_words

TASK = TaskExec(run="r1", job=2, block=0, task=0, name="frame 1", service="generic")
STOP = StopCause(kind=StopKind.SERVER, text="stopped by the server")


@attrs.define(eq=False)
class ScriptedPainter:
    """Images become readable at a time of their own; reading one takes a while."""

    seconds: float = 0.0
    ready: dict[str, float] = attrs.field(factory=dict)
    made: list[tuple[float, str]] = attrs.field(factory=list)
    tried: list[tuple[float, str]] = attrs.field(factory=list)
    seen: dict[str, Mapping[str, Any]] = attrs.field(factory=dict)

    async def thumbnail(self, image: str, thumb: str, height: int, limit: float) -> None:
        self.tried.append((trio.current_time(), image))
        with trio.move_on_after(limit) as waiting:
            await trio.sleep(self.seconds)
        if waiting.cancelled_caught:
            raise ImageProblem(f"{image} was not read within {limit:g} s")
        if trio.current_time() < self.ready.get(image, 0.0):
            raise ImageProblem(f"{image} is damaged or not complete: cut")
        self.made.append((trio.current_time(), image))

    async def inspect(self, image: str, limit: float) -> Mapping[str, Any] | None:
        await trio.sleep(self.seconds)
        if image not in self.seen:
            raise ImageProblem(f"{image} is damaged", image_is_faulty=True)
        if not self.seen[image]:
            raise ImageProblem(f"{image} was not read within {limit:g} s")
        return self.seen[image]


class ScriptedPlugins:
    """A service that wants a thumbnail of each file: a command of ours, or one for the shell."""

    foreign = False

    async def on_the_fly(self, files: tuple[str, ...]) -> tuple[str, ...]:
        await trio.lowlevel.checkpoint()
        if self.foreign:
            return tuple(f"convert {file}" for file in files)
        return tuple(shlex.join(make_words(Wanted(file, f"{file}.jpg"))) for file in files)


@attrs.define(eq=False)
class Stage:
    thumbnails: Thumbnails
    painter: ScriptedPainter
    host: MemoryHost
    record: RunState
    plugins: ScriptedPlugins
    collected: list[float]

    @property
    def log(self) -> str:
        return self.record.log_text()

    async def finish(self) -> float:
        """Seconds that the end of the task waits."""
        start = trio.current_time()
        assert await self.thumbnails.finish(math.inf)
        return trio.current_time() - start


@asynccontextmanager
async def open_stage(painter: ScriptedPainter | None = None) -> AsyncIterator[Stage]:
    painter = painter or ScriptedPainter()
    host = MemoryHost(image_worker=painter, folders={"/"})
    collected: list[float] = []

    async def collect() -> None:
        await trio.lowlevel.checkpoint()
        collected.append(trio.current_time())

    async with host.open() as outside, trio.open_nursery() as nursery:
        tools = TaskDependencies(
            config=Config(name="r1", post_limit=16.0),
            spawn=outside.spawn,
            plugins=outside.plugins,
            open_run_folder=outside.open_run_folder,
            adopt=lambda child, pids: None,
            image_worker=outside.image_worker,
        )
        record = RunState(TaskControl(TASK), tools)
        plugins: Any = ScriptedPlugins()

        def launch(command: str) -> Launch:
            words = ("/bin/sh", "-c", command)
            return Launch(argv=words, cwd="/", environment={"AF_TASK_TOKEN": "t"}, nice=0)

        thumbnails = Thumbnails(plugins, record, launch, collect)
        nursery.start_soon(thumbnails.run)
        yield Stage(thumbnails, painter, host, record, plugins, collected)
        nursery.cancel_scope.cancel()


async def test_an_announced_file_is_made_at_once(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await trio.sleep(5)
        stage.thumbnails.announce(("a.exr", "b.exr", "a.exr"))
        await trio.sleep(1)
        assert stage.painter.made == [(5.0, "a.exr"), (5.0, "b.exr")]
        assert stage.collected == [5.0]  # sent while the task runs
        assert await stage.finish() == 0
    assert stage.log == ""


async def test_a_file_still_being_written_is_tried_again(autojump_clock: MockClock) -> None:
    async with open_stage(ScriptedPainter(ready={"a.exr": 5.0})) as stage:
        stage.thumbnails.announce(("a.exr", "b.exr"))
        await trio.sleep(20)
        assert stage.painter.made == [(0.0, "b.exr"), (6.0, "a.exr")]
        assert await stage.finish() == 0
    assert stage.log == ""


async def test_one_that_never_gets_whole_is_told_of_once(autojump_clock: MockClock) -> None:
    async with open_stage(ScriptedPainter(ready={"a.exr": 1e9, "b.exr": 1e9})) as stage:
        stage.thumbnails.announce(("a.exr", "b.exr"))
        await trio.sleep(100)
        for name in ("a.exr", "b.exr"):
            times = [time for time, image in stage.painter.tried if image == name]
            assert times == [0.0, 2.0, 4.0, 6.0, 8.0]
        assert await stage.finish() == 0
    assert stage.log.count("no thumbnail: a.exr is damaged or not complete: cut") == 1


async def test_the_end_of_the_task_is_the_last_try(autojump_clock: MockClock) -> None:
    async with open_stage(ScriptedPainter(ready={"a.exr": 0.5, "b.exr": 1e9})) as stage:
        stage.thumbnails.announce(("a.exr", "b.exr"))
        await trio.sleep(1)
        assert await stage.finish() == 0  # without waiting for the next turn
        assert stage.painter.made == [(1.0, "a.exr")]
    assert "b.exr is damaged" in stage.log


async def test_a_stop_ends_the_waiting(autojump_clock: MockClock) -> None:
    async with open_stage(ScriptedPainter(seconds=10)) as stage:
        stage.thumbnails.announce(("a.exr", "b.exr"))
        await trio.sleep(1)
        stage.record.control.stop(STOP)
        assert await stage.finish() == 0


async def test_the_waiting_at_the_end_is_bounded(autojump_clock: MockClock) -> None:
    async with open_stage(ScriptedPainter(seconds=10)) as stage:
        stage.thumbnails.announce(tuple(f"{n}.exr" for n in range(20)))
        assert await stage.finish() == 16.0
        assert len(stage.painter.made) == 1


async def test_a_flood_of_files_keeps_the_newest(autojump_clock: MockClock) -> None:
    async with open_stage(ScriptedPainter(seconds=1)) as stage:
        stage.thumbnails.announce(("first.exr",))
        await wait_all_tasks_blocked()
        for number in range(1000):
            stage.thumbnails.announce((f"{number}.exr",))
        await trio.sleep(100)
        images = [image for _, image in stage.painter.made]
        assert images == ["first.exr", *(f"{n}.exr" for n in range(1000 - MAX_BACKLOG, 1000))]
        await stage.finish()
    assert f"thumbnails: {1000 - MAX_BACKLOG} files were passed over" in stage.log


async def test_a_command_of_the_studio_is_run_by_the_shell(autojump_clock: MockClock) -> None:
    async with open_stage() as stage, trio.open_nursery() as nursery:
        stage.plugins.foreign = True
        stage.thumbnails.announce(("a.exr",))
        child = await stage.host.spawn.next()
        assert child.launch.argv[-1] == "convert a.exr"
        await child.write(b"convert: no decode delegate\n")
        child.exit(1)

        async def act() -> None:
            for _ in range(4):
                (await stage.host.spawn.next()).exit(1)

        nursery.start_soon(act)
        await trio.sleep(30)
    assert stage.painter.tried == []
    assert stage.log.count("thumbnail: convert a.exr ended with exit code 1") == 1


# -- looking at images ----------------------------------------------------------------------------

GOOD = {"width": 4, "height": 2, "values": 24, "bad": 0, "black": False}


def nothing_around(path: str) -> ImageFinding | None:
    return None


async def looked(
    painter: ScriptedPainter,
    *paths: str,
    around: Callable[[str], ImageFinding | None] = nothing_around,
) -> tuple[list[str], int]:
    found, left = await check_images(paths, painter, 16.0, check_on_disk=around)
    return [str(finding) for finding in found], left


async def test_what_is_seen_is_judged() -> None:
    painter = ScriptedPainter(
        seen={
            "good.exr": GOOD,
            "black.exr": {**GOOD, "black": True},
            "nan.exr": {**GOOD, "bad": 24, "black": True},
            "some.exr": {**GOOD, "bad": 6},
        }
    )
    told, left = await looked(
        painter, "good.exr", "black.exr", "nan.exr", "some.exr", "cut.exr", "m.mov"
    )
    assert told == [
        "the image is black all over: black.exr",
        "all values of the image are NaN or infinite: nan.exr",
        "6 values of the image (25 %) are NaN or infinite: some.exr",
        "cut.exr is damaged",
    ]
    assert left == 0


async def test_nothing_follows_from_an_image_that_there_was_no_time_for() -> None:
    painter = ScriptedPainter(seen={"slow.exr": {}})
    paths = ("slow.exr", "cut.exr")
    found, _ = await check_images(paths, painter, 16.0, check_on_disk=nothing_around)
    assert [finding.serious for finding in found] == [False, True]


async def test_siblings_are_looked_at_only_when_the_image_is_good() -> None:
    painter = ScriptedPainter(seen={"good.exr": GOOD, "black.exr": {**GOOD, "black": True}})

    def around(path: str) -> ImageFinding:
        return ImageFinding(path, "far off", False)

    told, _ = await looked(painter, "good.exr", "black.exr", around=around)
    assert told == ["far off: good.exr", "the image is black all over: black.exr"]


async def test_there_is_a_time_for_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_afrender.task.image_checks.TIME_BUDGET", 0.0)
    painter = ScriptedPainter(seconds=30, seen={f"{n}.exr": GOOD for n in range(10)})
    told, left = await looked(painter, *painter.seen)
    assert (told, left) == ([], 10)
