"""Thumbnails and image checks in virtual time: order, retries, time limits."""

from __future__ import annotations

import errno
import math
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_afrender.cmd_words import join_for_cmd
from trio_afrender.config import Config
from trio_afrender.plugins.interfaces import ServiceFacts
from trio_afrender.protocol.messages import TaskExec
from trio_afrender.task.events import FilesFound, TaskEvent, UnkillableTree
from trio_afrender.task.image_checks import ImageFinding, check_images
from trio_afrender.task.image_worker import ImageProblem
from trio_afrender.task.run_state import RunState
from trio_afrender.task.status_rules import StopCause, StopKind
from trio_afrender.task.thumbnails import MAX_BACKLOG, Thumbnails
from trio_afrender.testing import MemoryHost
from trio_afrender.thumbnail.command import Wanted, make_words

TASK = TaskExec(run="r1", job=2, block=0, task=0, name="frame 1", service="generic")
STOP = StopCause(kind=StopKind.SERVER, text="stopped by the server")


@attrs.define(eq=False)
class ScriptedImageWorker:
    """Images become readable at the times in `ready`; reading one takes `seconds`."""

    seconds: float = 0.0
    ready: dict[str, float] = attrs.field(factory=dict)
    made: list[tuple[float, str]] = attrs.field(factory=list)
    tried: list[tuple[float, str]] = attrs.field(factory=list)
    seen: dict[str, Mapping[str, Any]] = attrs.field(factory=dict)

    failing: int = 0
    """Calls for which the host has no descriptor left."""
    files: dict[str, bytes] = attrs.field(factory=dict)
    """The run's files folder, which gets a file for each thumbnail."""

    async def thumbnail(self, image: str, thumb: str, height: int, limit: float) -> None:
        self.tried.append((trio.current_time(), image))
        if self.failing:
            self.failing -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        with trio.move_on_after(limit) as waiting:
            await trio.sleep(self.seconds)
        if waiting.cancelled_caught:
            raise ImageProblem(f"{image} was not read within {limit:g} s")
        if trio.current_time() < self.ready.get(image, 0.0):
            raise ImageProblem(f"{image} is damaged or not complete: cut")
        self.made.append((trio.current_time(), image))
        self.files[thumb] = b"jpeg"

    async def inspect(self, image: str, limit: float) -> Mapping[str, Any] | None:
        await trio.sleep(self.seconds)
        if image not in self.seen:
            raise ImageProblem(f"{image} is damaged", image_is_faulty=True)
        if not self.seen[image]:
            raise ImageProblem(f"{image} was not read within {limit:g} s")
        return self.seen[image]


JOIN: Callable[[Sequence[str]], str] = join_for_cmd if sys.platform == "win32" else shlex.join


class ScriptedPlugins:
    """A service that asks for a thumbnail of each file, by the image worker or by a shell command."""

    by_shell = False
    failing = 0
    """As `ScriptedImageWorker.failing`."""
    facts = ServiceFacts(working_directory="/", command="render", environment={})

    async def on_the_fly(self, files: tuple[str, ...]) -> tuple[str, ...]:
        await trio.lowlevel.checkpoint()
        if self.failing:
            self.failing -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        if self.by_shell:
            return tuple(f"convert {file}" for file in files)
        return tuple(JOIN(make_words(Wanted(file, f"{file}.jpg"))) for file in files)


@attrs.define(eq=False)
class Stage:
    thumbnails: Thumbnails
    image_worker: ScriptedImageWorker
    host: MemoryHost
    run_state: RunState
    plugins: ScriptedPlugins
    sent: list[tuple[float, str]]
    """When each file was sent."""
    unkillable: list[UnkillableTree]

    @property
    def log(self) -> str:
        return self.run_state.log_text()

    async def finish(self) -> float:
        """Return for how many seconds the end of the task waits."""
        start = trio.current_time()
        assert await self.thumbnails.finish(math.inf)
        return trio.current_time() - start


@asynccontextmanager
async def open_stage(image_worker: ScriptedImageWorker | None = None) -> AsyncIterator[Stage]:
    image_worker = image_worker or ScriptedImageWorker()
    host = MemoryHost(image_worker=image_worker, folders={"/"})
    sent: list[tuple[float, str]] = []
    unkillable: list[UnkillableTree] = []
    events, receive = trio.open_memory_channel[TaskEvent](0)

    async def note_files() -> None:
        async for event in receive:
            if isinstance(event, UnkillableTree):
                unkillable.append(event)
                continue
            assert isinstance(event, FilesFound)
            sent.extend((trio.current_time(), file.name) for file in event.files)

    async with (
        host.open() as outside,
        AsyncExitStack() as stack,
        trio.open_nursery() as nursery,
    ):
        run_state = RunState(TASK, Config(name="r1", post_limit=16.0), outside, events)
        plugins: Any = ScriptedPlugins()
        run_folder = await stack.enter_async_context(outside.open_run_folder(TASK))
        image_worker.files = host.places["r1"].files
        run_state.prepare(run_folder, plugins)
        thumbnails = Thumbnails(run_state, run_folder, plugins, nursery)
        nursery.start_soon(note_files)
        yield Stage(thumbnails, image_worker, host, run_state, plugins, sent, unkillable)
        nursery.cancel_scope.cancel()


async def test_an_announced_file_is_made_at_once(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await trio.sleep(5)
        stage.thumbnails.announce(("a.exr", "b.exr", "a.exr"))
        await trio.sleep(1)
        assert stage.image_worker.made == [(5.0, "a.exr"), (5.0, "b.exr")]
        # Sent while the task runs.
        assert stage.sent == [(5.0, "a.exr.jpg"), (5.0, "b.exr.jpg")]
        assert await stage.finish() == 0
    assert stage.log == ""


async def test_a_file_still_being_written_is_tried_again(autojump_clock: MockClock) -> None:
    async with open_stage(ScriptedImageWorker(ready={"a.exr": 5.0})) as stage:
        stage.thumbnails.announce(("a.exr", "b.exr"))
        await trio.sleep(20)
        assert stage.image_worker.made == [(0.0, "b.exr"), (6.0, "a.exr")]
        assert await stage.finish() == 0
    assert stage.log == ""


async def test_a_file_that_never_becomes_complete_is_reported_once(
    autojump_clock: MockClock,
) -> None:
    async with open_stage(ScriptedImageWorker(ready={"a.exr": 1e9, "b.exr": 1e9})) as stage:
        stage.thumbnails.announce(("a.exr", "b.exr"))
        await trio.sleep(100)
        for name in ("a.exr", "b.exr"):
            times = [time for time, image in stage.image_worker.tried if image == name]
            assert times == [0.0, 2.0, 4.0, 6.0, 8.0]
        assert await stage.finish() == 0
    assert stage.log.count("no thumbnail: a.exr is damaged or not complete: cut") == 1


async def test_the_end_of_the_task_is_the_last_try(autojump_clock: MockClock) -> None:
    async with open_stage(ScriptedImageWorker(ready={"a.exr": 0.5, "b.exr": 1e9})) as stage:
        stage.thumbnails.announce(("a.exr", "b.exr"))
        await trio.sleep(1)
        assert await stage.finish() == 0  # without waiting for the next retry
        assert stage.image_worker.made == [(1.0, "a.exr")]
    assert "b.exr is damaged" in stage.log


async def test_a_stop_ends_the_wait_for_thumbnails(autojump_clock: MockClock) -> None:
    async with open_stage(ScriptedImageWorker(seconds=10)) as stage:
        stage.thumbnails.announce(("a.exr", "b.exr"))
        await trio.sleep(1)
        stage.run_state.control.stop(STOP)
        assert await stage.finish() == 0


async def test_the_wait_at_the_end_has_a_limit(autojump_clock: MockClock) -> None:
    async with open_stage(ScriptedImageWorker(seconds=10)) as stage:
        stage.thumbnails.announce(tuple(f"{n}.exr" for n in range(20)))
        assert await stage.finish() == 16.0
        assert len(stage.image_worker.made) == 1


async def test_of_too_many_files_the_newest_are_kept(autojump_clock: MockClock) -> None:
    async with open_stage(ScriptedImageWorker(seconds=1)) as stage:
        stage.thumbnails.announce(("first.exr",))
        await wait_all_tasks_blocked()
        for number in range(1000):
            stage.thumbnails.announce((f"{number}.exr",))
        await trio.sleep(100)
        images = [image for _, image in stage.image_worker.made]
        assert images == ["first.exr", *(f"{n}.exr" for n in range(1000 - MAX_BACKLOG, 1000))]
        await stage.finish()
    assert f"thumbnails: {1000 - MAX_BACKLOG} files were passed over" in stage.log


async def test_no_file_is_lost_where_the_host_has_nothing_left(autojump_clock: MockClock) -> None:
    """Neither where the plugins cannot be asked for a moment, nor where an attempt cannot be made."""
    async with open_stage() as stage:
        stage.plugins.failing = stage.image_worker.failing = 1
        stage.thumbnails.announce(("a.exr", "b.exr", "c.exr"))
        await trio.sleep(5)
        assert [image for _, image in stage.image_worker.made] == ["a.exr", "b.exr", "c.exr"]
        assert await stage.finish() == 0


async def test_any_other_command_is_run_by_the_shell(autojump_clock: MockClock) -> None:
    async with open_stage() as stage, trio.open_nursery() as nursery:
        stage.plugins.by_shell = True
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
    assert stage.image_worker.tried == []
    assert stage.log.count("thumbnail: convert a.exr ended with exit code 1") == 1


# -- checks of images -----------------------------------------------------------------------------

GOOD = {"width": 4, "height": 2, "values": 24, "bad": 0, "black": False}


def find_nothing(path: str) -> ImageFinding | None:
    return None


async def check(
    image_worker: ScriptedImageWorker,
    *paths: str,
    on_disk: Callable[[str], ImageFinding | None] = find_nothing,
) -> tuple[list[str], int]:
    found, left = await check_images(paths, image_worker, 16.0, check_on_disk=on_disk)
    return [str(finding) for finding in found], left


async def test_a_command_that_survives_kill_is_handed_to_the_agent(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScriptedPlugins, "by_shell", True)
    async with open_stage() as stage:
        stage.thumbnails.announce(("a.exr",))
        child = await stage.host.spawn.next()
        child.dies_of, child.leftovers = set(), (child.pid,)
        await trio.sleep(100)
    assert [event.pids for event in stage.unkillable] == [(child.pid,)]


async def test_images_that_cannot_be_right_are_found() -> None:
    image_worker = ScriptedImageWorker(
        seen={
            "good.exr": GOOD,
            "black.exr": {**GOOD, "black": True},
            "nan.exr": {**GOOD, "bad": 24, "black": True},
            "some.exr": {**GOOD, "bad": 6},
        }
    )
    found, left = await check(
        image_worker, "good.exr", "black.exr", "nan.exr", "some.exr", "cut.exr", "m.mov"
    )
    assert found == [
        "the image is black all over: black.exr",
        "all values of the image are NaN or infinite: nan.exr",
        "6 values of the image (25 %) are NaN or infinite: some.exr",
        "cut.exr is damaged",
    ]
    assert left == 0


async def test_an_image_that_took_too_long_is_no_serious_finding() -> None:
    image_worker = ScriptedImageWorker(seen={"slow.exr": {}})
    paths = ("slow.exr", "cut.exr")
    found, _ = await check_images(paths, image_worker, 16.0, check_on_disk=find_nothing)
    assert [finding.serious for finding in found] == [False, True]


async def test_sizes_are_compared_only_if_the_image_is_good() -> None:
    image_worker = ScriptedImageWorker(
        seen={"good.exr": GOOD, "black.exr": {**GOOD, "black": True}}
    )

    def find_size(path: str) -> ImageFinding:
        return ImageFinding(path, "far off", False)

    found, _ = await check(image_worker, "good.exr", "black.exr", on_disk=find_size)
    assert found == ["far off: good.exr", "the image is black all over: black.exr"]


async def test_all_images_together_have_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_afrender.task.image_checks.TIME_BUDGET", 0.0)
    image_worker = ScriptedImageWorker(seconds=30, seen={f"{n}.exr": GOOD for n in range(10)})
    found, left = await check(image_worker, *image_worker.seen)
    assert (found, left) == ([], 10)
