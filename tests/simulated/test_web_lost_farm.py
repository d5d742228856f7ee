"""The page of a farm at the other end of a connection, which is lost and comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from support.farm import FakeLink, make_update
from support.json_farm import JsonFarm, open_json_farm
from support.scripted_farm import make_remote_farm
from support.web_page import WebPage, open_page
from trio.testing import MockClock

from trio_afrender.afserver.client import Dialer
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.protocol.messages import (
    AskedOutput,
    Events,
    FilesEntry,
    ListenedEntry,
    TaskFile,
    TaskStatus,
)
from trio_afrender.transport.address import NativeAddress
from trio_afrender.web.farm_watch import FarmWatch

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 20


@attrs.define
class Remote:
    """A page, the farm that it shows, and whether that can be reached."""

    page: WebPage
    own: JsonFarm
    link: FakeLink
    switch: Switch


@attrs.define
class Switch:
    down: bool = False


@asynccontextmanager
async def open_remote(*, down: bool = False) -> AsyncIterator[Remote]:
    switch = Switch(down)
    async with open_json_farm() as own:

        async def connect(_host: str, _port: int) -> Any:  # noqa: ANN401 - a stream of memory
            await trio.lowlevel.checkpoint()
            if switch.down:
                raise ConnectionRefusedError(111, "Connection refused")
            return own.connect()

        # The farm serves files to browsers of this machine alone, which use such a name.
        dialer = Dialer(NativeAddress(host="127.0.0.1", port=51000), open_stream=connect)
        farm = make_remote_farm(connect, dialer=dialer)
        listed = [{"name": f"t{number}", "command": "true"} for number in range(2)]
        job = {"name": "j", "user_name": "ann", "blocks": [{"name": "b", "tasks": listed}]}
        await own.ask({"job": job})
        link = own.add_render("r1")
        await link.register("r1")
        async with open_page(farm, ready=not down) as page:
            yield Remote(page, own, link, switch)
        own.nursery.cancel_scope.cancel()


async def test_a_farm_that_is_gone_and_back(autojump_clock: MockClock) -> None:
    topics = "jobs,tasks.2,task.2.0.0,output.2.0.0,render.1,why"
    async with open_remote() as remote, remote.page.view(topics) as viewer:
        await viewer.expect("server", connected=True)
        await trio.sleep(5)
        assert {data.get("topic") for _, data in viewer.events} >= {*topics.split(",")}
        remote.switch.down = True
        lost = await viewer.expect("server", connected=False)
        assert "refused" in lost["error"]
        assert (await remote.page.get("/api/thumbnail/2.0.1")).status == 503
        assert (await remote.page.change("job", "pause", (2, 1))).status == 503
        assert (await remote.page.get("/api/session")).status == 200
        # What happens meanwhile is there when it is back.
        (exec_, *_) = (await remote.link.expect(Events)).tasks
        await remote.link.update(make_update(exec_, TaskStatus.FinishedSuccess))
        await trio.sleep(30)
        remote.switch.down = False
        await viewer.expect("server", connected=True)
        rows = (await viewer.expect("snapshot", "tasks.2"))["rows"]
        assert rows[0][2] & 16
        async with remote.page.view("jobs") as late:
            await late.expect_row("jobs", 2, done=1)


async def test_a_farm_that_is_not_there_yet(autojump_clock: MockClock) -> None:
    async with open_remote(down=True) as remote, remote.page.view("jobs,tasks.2") as viewer:
        assert (await viewer.expect("server"))["connected"] is False
        await trio.sleep(60)
        assert not [data for name, data in viewer.events if name == "snapshot"]
        remote.switch.down = False
        await viewer.expect("server", connected=True)
        await viewer.expect("snapshot", "tasks.2")


async def test_a_forgotten_registration(autojump_clock: MockClock) -> None:
    """A server that has restarted knows no monitor of before."""
    async with open_remote() as remote, remote.page.view("jobs") as viewer:
        await viewer.expect("server", connected=True)
        remote.own.server.requests.registry.drop_all()
        await viewer.expect("server", connected=False)
        await viewer.expect("server", connected=True)
        await remote.page.change("job", "set", (2, 1), annotation="seen")
        await viewer.expect_row("jobs", 2, annotation="seen")


async def test_a_farm_that_is_back_before_its_tasks_are_read(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """The farm has been asked for changes by a registration that is gone since."""
    async with open_remote() as remote:
        watch = remote.page.page.watch
        progress = RemoteFarm.progress

        async def read_slowly(farm: RemoteFarm, job: int) -> list[list[object]]:
            monkeypatch.setattr(RemoteFarm, "progress", progress)
            found = await progress(farm, job)
            before = watch.connections
            remote.own.server.requests.registry.drop_all()
            while watch.connections == before:
                await watch.round.wait()
            return found

        monkeypatch.setattr(RemoteFarm, "progress", read_slowly)
        (exec_, *_) = (await remote.link.expect(Events)).tasks
        async with remote.page.view("tasks.2") as viewer:
            await viewer.expect("snapshot", "tasks.2")
            await trio.sleep(2)
            await remote.link.update(make_update(exec_, TaskStatus.FinishedSuccess))
            rows = (await viewer.expect("change", "tasks.2"))["rows"]
            assert rows[0][2] & 16


async def until_connected(watch: FarmWatch, *, connected: bool) -> None:
    while (watch.monitor is not None) is not connected:
        await watch.round.wait()


async def test_events_of_a_lost_connection_do_not_count(autojump_clock: MockClock) -> None:
    """They have come while all tasks were read, which failed with the connection."""
    async with open_remote() as remote:
        watch = remote.page.page.watch
        with watch.watch_job(2) as tasks:
            items = [{"st": 2, "per": 50, "str": 1}]
            tasks.take({"job_id": 2, "blocks": [0], "tasks": [0], "progress": items}, 0.0)
            remote.switch.down = True
            await until_connected(watch, connected=False)
            (exec_, *_) = (await remote.link.expect(Events)).tasks
            await remote.link.update(make_update(exec_, TaskStatus.FinishedSuccess))
            remote.switch.down = False
            await until_connected(watch, connected=True)
            await watch.load_tasks(tasks)
            task = watch.find_watched(2, 0, 0)
            assert task is not None
            assert task.over


async def test_an_output_is_followed_again(autojump_clock: MockClock) -> None:
    async with open_remote() as remote, remote.page.view("output.2.0.0") as viewer:
        await viewer.expect("snapshot", "output.2.0.0", running=True)
        (exec_, *_) = (await remote.link.expect(Events)).tasks
        remote.own.server.requests.registry.drop_all()
        await viewer.expect("server", connected=False)
        await viewer.expect("server", connected=True)
        await viewer.expect("snapshot", "output.2.0.0", running=True)
        while not (await remote.link.expect(Events)).outputs:
            pass
        key = exec_.key._asdict()
        await remote.link.update(outputs=(AskedOutput(run=exec_.run, **key, output="one\n"),))
        assert (await viewer.expect("change", "output.2.0.0"))["text"] == "one\n"
        await remote.link.update(listened=(ListenedEntry(run=exec_.run, n=1, text="two\n"),))
        assert (await viewer.expect("change", "output.2.0.0"))["text"] == "two\n"


async def test_what_is_watched_no_more_is_not_sent(autojump_clock: MockClock) -> None:
    async with open_remote() as remote:
        (monitor,) = remote.own.server.requests.registry.monitors.values()
        async with remote.page.view("tasks.2,output.2.0.0") as viewer:
            await viewer.expect("snapshot", "tasks.2")
            await viewer.expect("snapshot", "output.2.0.0")
            await trio.sleep(2)
            assert monitor.task_jobs == {2}
            assert monitor.listens
        await trio.sleep(40)
        assert monitor.task_jobs == set()


async def test_thumbnails_come_from_the_server(autojump_clock: MockClock) -> None:
    async with open_remote() as remote:
        (exec_, *_) = (await remote.link.expect(Events)).tasks
        files = FilesEntry(run=exec_.run, n=1, files=(TaskFile(name="a b.png", data=PNG),))
        done = make_update(exec_, TaskStatus.FinishedSuccess)
        await remote.link.update(done, files=(files,))
        with trio.fail_after(60):
            while (answer := await remote.page.get("/api/thumbnail/2.0.0")).status == 204:
                await remote.page.page.watch.round.wait()
        assert (answer.body, answer.headers["content-type"]) == (PNG, "image/png")
        answer = await remote.page.get("/api/file/2.0.0/a%20b.png")
        assert answer.body == PNG
