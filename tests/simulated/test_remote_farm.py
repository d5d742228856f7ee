"""The client of a farm's JSON interface: outputs, logs and reasons, against our own farm."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from support.farm import FakeLink, make_update
from support.json_farm import JsonFarm, open_json_farm
from support.scripted_farm import make_remote_farm, open_scripted_farm
from trio.testing import MockClock

from trio_afrender.afserver.apply_changes import fetch_tasks
from trio_afrender.afserver.job_follower import RemoteJob
from trio_afrender.afserver.node_selection import select_tasks
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.afserver.remote_nodes import JobNode, TaskNode, read_job
from trio_afrender.afserver.wait_reasons import WaitReasons
from trio_afrender.async_helpers import open_bare_nursery
from trio_afrender.cli.commands.output import find_one_task
from trio_afrender.errors import ConfigError, JobGone, LinkLost, LinkRefused
from trio_afrender.jobs.job_file import parse_job
from trio_afrender.protocol.messages import (
    AskedOutput,
    Events,
    ListenedEntry,
    TaskExec,
    TaskStatus,
)


@attrs.define
class Client:
    """A client of a farm with one render that runs the task 2.0.0."""

    farm: RemoteFarm
    own: JsonFarm
    link: FakeLink
    exec: TaskExec

    async def task(self, number: int = 0) -> TaskNode:
        job = await self.farm.job(2)
        return (await self.farm.tasks(job))[number]

    async def end(self, output: str, status: TaskStatus = TaskStatus.FinishedSuccess) -> None:
        await self.link.update(make_update(self.exec, status, output=output))

    async def answer_output(self, text: str) -> None:
        """Wait until the render is asked for the output so far, and send it."""
        while not (await self.link.expect(Events)).outputs:
            pass
        key = self.exec.key._asdict()
        await self.link.update(outputs=(AskedOutput(run=self.exec.run, **key, output=text),))

    async def print(self, n: int, text: str) -> None:
        await self.link.update(listened=(ListenedEntry(run=self.exec.run, n=n, text=text),))


@asynccontextmanager
async def open_client(tasks: int = 1) -> AsyncIterator[Client]:
    async with open_json_farm() as own:

        async def connect(_host: str, _port: int) -> Any:  # noqa: ANN401 - a stream of memory
            await trio.lowlevel.checkpoint()
            return own.connect()

        farm = make_remote_farm(connect)
        listed = [{"name": f"t{number}", "command": "true"} for number in range(tasks)]
        job = {"name": "j", "user_name": "ann", "blocks": [{"name": "b", "tasks": listed}]}
        await farm.ask({"job": job})
        link = own.add_render("r1")
        await link.register("r1")
        events = await link.expect(Events)
        yield Client(farm, own, link, events.tasks[0])
        own.nursery.cancel_scope.cancel()


async def test_the_output_of_a_running_task(autojump_clock: MockClock) -> None:
    async with open_client() as client:
        task = await client.task()
        client.own.nursery.start_soon(client.answer_output, "so far\n")
        assert await client.farm.running_output(task) == "so far\n"
        assert (await client.own.get("monitors"))["monitors"] == []


async def test_a_render_that_does_not_answer_costs_a_bounded_time(
    autojump_clock: MockClock,
) -> None:
    async with open_client() as client:
        begin = trio.current_time()
        assert await client.farm.running_output(await client.task()) == ""
        assert trio.current_time() - begin < 20


async def test_the_stored_output_of_each_run(autojump_clock: MockClock) -> None:
    async with open_client() as client:
        await client.end("first\n", TaskStatus.FinishedError)
        client.exec = (await _next_tasks(client.link))[0]
        await client.end("second\n")
        await trio.sleep(1)
        task = await client.task()
        assert (task.states, task.starts, task.over) == (("DON",), 2, True)
        assert await client.farm.task_text(task, "output") == "second\n"
        assert await client.farm.task_text(task, "output", run=1) == "first\n"
        assert "attempt 2" in await client.farm.task_text(task, "log")


async def _next_tasks(link: FakeLink) -> tuple[TaskExec, ...]:
    while not (tasks := (await link.expect(Events)).tasks):
        pass
    return tasks


async def test_following_prints_all_once_until_the_end(autojump_clock: MockClock) -> None:
    async with open_client() as client:
        printed: list[str] = []
        followed = trio.Event()

        async def follow() -> None:
            await client.farm.follow_output(await client.task(), printed.append)
            followed.set()

        client.own.nursery.start_soon(follow)
        while not (await client.link.expect(Events)).listens_add:
            pass
        await client.print(1, "b\n")  # contained in the whole output
        await client.answer_output("a\nb\n")
        await trio.sleep(3)
        await client.print(2, "c\n")
        await trio.sleep(3)
        assert "".join(printed) == "a\nb\nc\n"
        await client.end("a\nb\nc\nd\n")
        await followed.wait()
        assert "".join(printed) == "a\nb\nc\nd\n"
        assert (await client.own.get("monitors"))["monitors"] == []


async def test_following_waits_for_the_start_and_goes_through_retries(
    autojump_clock: MockClock,
) -> None:
    async with open_client() as client:
        await client.farm.act("jobs", [2], operation={"type": "stop"})
        await client.link.update(make_update(client.exec, TaskStatus.FinishedKilled))
        printed: list[str] = []
        followed = trio.Event()

        async def follow() -> None:
            await client.farm.follow_output(await client.task(), printed.append)
            followed.set()

        client.own.nursery.start_soon(follow)
        await trio.sleep(10)
        assert "".join(printed) == ""
        await client.farm.act("jobs", [2], operation={"type": "start"})
        client.exec = (await _next_tasks(client.link))[0]
        await client.answer_output("one\n")
        await client.end("one\n", TaskStatus.FinishedError)
        client.exec = (await _next_tasks(client.link))[0]
        await client.answer_output("two\n")
        await client.end("two\n")
        await followed.wait()
        assert "".join(printed) == "one\ntwo\n"


async def test_following_a_task_that_is_over_prints_its_output(autojump_clock: MockClock) -> None:
    async with open_client() as client:
        await client.end("all\n")
        await trio.sleep(1)
        printed: list[str] = []
        await client.farm.follow_output(await client.task(), printed.append)
        assert printed == ["all\n"]


async def test_following_ends_with_the_job(autojump_clock: MockClock) -> None:
    async with open_client() as client:
        task = await client.task()
        await client.end("x")
        await trio.sleep(1)
        await client.farm.act("jobs", [2], operation={"type": "delete"})
        with pytest.raises(JobGone, match="job 2 is not on the server any more"):
            await client.farm.follow_output(task, print)


async def test_reasons_come_from_our_farm(autojump_clock: MockClock) -> None:
    async with open_client(tasks=30) as client:
        job = await client.farm.job(2)
        [reasons] = await client.farm.why_waiting(job)
        assert (reasons.block_name, reasons.task, reasons.tasks) == ("b", 1, 29)
        assert reasons.renders.keys() == {"r1"}
        assert "capacity" in reasons.renders["r1"][0]
        await client.farm.act("jobs", [2], operation={"type": "pause"})
        [reasons] = await client.farm.why_waiting(job)
        assert reasons.sentences == ("the job is paused",)


async def test_reasons_of_an_afserver_are_found_in_its_lists(autojump_clock: MockClock) -> None:
    """It does not know the mode `why` and answers with the list of jobs."""
    block = {"name": "b", "tasks_num": 1, "service": "nuke", "capacity": 10, "st": 1}
    job = {"id": 2, "name": "j", "user_name": "ann", "priority": 9, "st": 1, "blocks": [block]}
    render = {"id": 1, "name": "r1", "st": 1, "priority": 99, "pool": "/", "services": ["x"]}
    nodes = {
        "jobs": [job], "renders": [render], "pools": [{"name": "/"}], "users": [{"name": "ann"}]
    }  # fmt: skip
    async with open_scripted_farm(nodes=nodes, progress=[[{"st": 1}]]) as (server, farm):
        [reasons] = await farm.why_waiting(await farm.job(2))
        assert reasons.sentences == ('render "r1": it does not offer the service "nuke"',)
        # A list by the ids of users is broken if one of them has no jobs.
        assert not [each for each in server.asked if "uids" in each.get("get", {})]


async def test_one_task_is_meant(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_client(tasks=2) as client:
        found = await find_one_task(client.farm, "j.b.1")
        assert found is not None
        assert (found.key, found.name) == ("2.0.1", "t1")
        with pytest.raises(
            ConfigError, match=r'"j" has 2 tasks: give one of them, such as 2\.0\.0'
        ):
            await find_one_task(client.farm, "j")
        assert await find_one_task(client.farm, "9.9.9") is None
        assert 'no job "9"' in capsys.readouterr().err


async def test_tasks_of_a_job_that_has_gone_are_left_out(autojump_clock: MockClock) -> None:
    async with open_client(tasks=2) as client:
        selected, _ = select_tasks(await client.farm.jobs(), ["j.b.0", "j.0.1", "j.0"])
        assert [task.key for task in await fetch_tasks(client.farm, selected)] == ["2.0.0", "2.0.1"]
        await client.farm.act("jobs", [2], operation={"type": "pause"})
        await client.end("x")
        await trio.sleep(1)
        await client.farm.act("jobs", [2], operation={"type": "delete"})
        assert await fetch_tasks(client.farm, selected) == []


async def test_logs(autojump_clock: MockClock) -> None:
    async with open_client() as client:
        await client.farm.act("jobs", [2], params={"priority": 7})
        lines = await client.farm.node_log("jobs", 2)
        assert any("ann@ws1" in line and '"priority" set to 7' in line for line in lines)
        assert len(await client.farm.tasks_log(1)) >= 1


async def test_the_token_goes_beside_the_request() -> None:
    async with open_scripted_farm(nodes={"jobs": []}) as (server, farm):
        await attrs.evolve(farm, token="secret").jobs()  # noqa: S106 - a test
        await farm.jobs()
    assert [each.get("token") for each in server.asked] == ["secret", None]
    assert "secret" not in repr(attrs.evolve(farm, token="secret"))  # noqa: S106 - as above


async def test_following_survives_a_monitor_that_the_farm_has_dropped(
    autojump_clock: MockClock,
) -> None:
    async with open_client() as client:
        printed: list[str] = []
        followed = trio.Event()

        async def follow() -> None:
            await client.farm.follow_output(await client.task(), printed.append)
            followed.set()

        client.own.nursery.start_soon(follow)
        await client.answer_output("a\n")
        await trio.sleep(3)
        registry = client.own.server.requests.registry
        registry.drop(next(iter(registry.monitors.values())))
        await client.answer_output("a\nb\nc\n")
        await client.end("a\nb\nc\nd\n")
        await followed.wait()
        assert "".join(printed) == "a\nb\nc\nd\n"


@pytest.mark.parametrize("fault", ["lost", "late"])
async def test_following_prints_the_end_although_the_server_has_it_later(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """A connection that is lost just then, or a server that first says that the task is over."""
    ends: list[float] = []
    look, read = RemoteFarm._read_again, RemoteFarm._task_text
    seconds = 5.0 if fault == "lost" else 0.4

    async def note_end(farm: RemoteFarm, job: JobNode, task: TaskNode) -> TaskNode:
        found = await look(farm, job, task)
        if found.over:
            ends.append(trio.current_time())
        return found

    async def read_stored(farm: RemoteFarm, task: TaskNode, mode: str, **asked: object) -> str:
        if ends and trio.current_time() < ends[0] + seconds:
            await trio.lowlevel.checkpoint()
            if fault == "lost":
                raise LinkLost("connection refused")
            return "ERROR: Can't get file: output"
        return await read(farm, task, mode, **asked)

    monkeypatch.setattr(RemoteFarm, "_read_again", note_end)
    monkeypatch.setattr(RemoteFarm, "_task_text", read_stored)
    async with open_client() as client:
        printed: list[str] = []
        followed = trio.Event()

        async def follow() -> None:
            await client.farm.follow_output(await client.task(), printed.append)
            followed.set()

        client.own.nursery.start_soon(follow)
        await client.answer_output("a\n")
        await trio.sleep(3)
        await client.end("a\nb\n")
        await followed.wait()
        assert "".join(printed) == "a\nb\n"


TOKEN = {"info": {"kind": "error", "text": "this farm belongs to another user of this machine"}}
UNKNOWN = {"info": {"kind": "error", "text": "Invalid ID"}}


async def test_only_an_unknown_id_means_that_a_job_was_deleted() -> None:
    job = read_job({"id": 2, "name": "j", "blocks": [{"name": "b"}]})
    async with open_scripted_farm(constant=TOKEN) as (_, farm):
        for ask in (farm.job, farm.progress):
            with pytest.raises(LinkRefused, match="belongs to another user"):
                await ask(2)
        with pytest.raises(LinkRefused, match="belongs to another user"):
            await farm.why_waiting(job)
    async with open_scripted_farm(constant=UNKNOWN) as (_, farm):
        for ask in (farm.job, farm.progress):
            with pytest.raises(JobGone, match="job 2"):
                await ask(2)
        with pytest.raises(JobGone, match="job 2"):
            await farm.why_waiting(job)


async def test_a_server_that_answers_again_is_not_shown_as_lost(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reasons why a job waits are asked for every few seconds, and stay until the next answer."""
    lost: list[str] = []

    async def why(farm: RemoteFarm, job: JobNode) -> list[WaitReasons]:
        if lost:
            raise LinkLost(lost.pop())
        return [WaitReasons(block=0, block_name="b", task=0, tasks=1, reasons=("no render",))]

    monkeypatch.setattr(RemoteFarm, "why_waiting", why)
    spec = parse_job({"job": {"name": "j", "blocks": [{"name": "b", "tasks": [{}]}]}})
    jobs = [{"id": 2, "serial": 5, "name": "j", "user_name": "u", "blocks": []}]
    opening = open_scripted_farm(nodes={"jobs": jobs}, progress=[[{"state": "RDY", "st": 1}]])
    async with opening as (_, farm), open_bare_nursery() as nursery:
        job = RemoteJob(farm, spec, 2, 5)
        nursery.start_soon(job.follow)
        shown: list[tuple[str, ...]] = []
        for _ in range(3):
            shown.clear()
            with trio.move_on_after(8):
                seen = 1
                while True:
                    seen = await job.changed(seen)
                    shown.append(job.why_waiting(2))
            lost.append("no answer")
        assert shown.count(("no answer",)) == 1
        assert shown[-1] == ("no render",)
