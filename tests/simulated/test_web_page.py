"""The page over a farm of this process: what viewers see, and that hostile texts stay texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import trio
from support.farm import FakeLink, make_update
from support.web_page import open_own_page
from trio.testing import MockClock

from trio_afrender.afserver.remote_farm import EventMonitor, RemoteFarm
from trio_afrender.afserver.remote_nodes import JobNode, TaskNode
from trio_afrender.protocol.messages import (
    AskedOutput,
    CustomMeter,
    Events,
    FilesEntry,
    HostResources,
    ListenedEntry,
    TaskFile,
    TaskStatus,
)
from trio_afrender.web.topic import Topic
from trio_afrender.web.topic_feeds import feed_tasks


def listed(count: int = 2, **more: object) -> dict[str, object]:
    tasks = [{"name": f"t{number}", "command": "true"} for number in range(count)]
    return {"blocks": [{"name": "b", "capacity": 100, "tasks": tasks, **more}]}


async def test_a_job_from_its_start_to_its_end(autojump_clock: MockClock) -> None:
    async with (
        open_own_page(listed(), renders=("r1",)) as page,
        page.view("jobs,renders") as viewer,
    ):
        assert (await viewer.expect("server"))["connected"] is True
        (row,) = (await viewer.expect("snapshot", "jobs"))["rows"]
        assert (row["name"], row["user"], row["tasks"], row["running"]) == ("j", "ann", 2, 2)
        assert row["bar"] == "R" * 64
        (render,) = (await viewer.expect("snapshot", "renders"))["rows"]
        assert render["states"] == ["ONL", "RUN"]
        assert [task["name"] for task in render["tasks"]] == ["t0", "t1"]
        link = page.links["r1"]
        events = await link.expect(Events)
        for each in events.tasks:
            await link.update(make_update(each, TaskStatus.FinishedSuccess))
        row = await viewer.expect_row("jobs", 2, done=2)
        assert row["states"] == ["DON"]
        assert row["bar"] == "D" * 64


async def test_a_block_that_has_begun_waits_no_more(autojump_clock: MockClock) -> None:
    first = {"name": "render", "tasks": [{"name": "t", "command": "true"}]}
    job = {"blocks": [first, {**first, "name": "comp", "depend_mask": "render"}]}
    async with (
        open_own_page(job, renders=("r1",)) as page,
        page.view("blocks.2") as viewer,
    ):
        await viewer.expect_row("blocks.2", 1, depends="waits for blocks render")
        (exec_,) = (await page.links["r1"].expect(Events)).tasks
        await page.links["r1"].update(make_update(exec_, TaskStatus.FinishedSuccess))
        row = await viewer.expect_row("blocks.2", 1, depends="after blocks render")
        assert "WDP" not in row["states"]


async def test_a_block_that_waits_no_more_when_its_tasks_are_read(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    tasks = [{"name": "t", "command": "true"}]
    blocks = [{"name": "a", "tasks": tasks}, {"name": "b", "tasks": tasks, "depend_mask": "a"}]
    async with open_own_page({"blocks": blocks}) as page:
        watch = page.page.watch
        farm_type = type(watch.farm)
        progress = farm_type.progress

        async def read_slowly(farm: RemoteFarm, job: int) -> list[list[object]]:
            monkeypatch.setattr(farm_type, "progress", progress)
            found = await progress(farm, job)
            await page.change("task", "skip", ("2.0.0", 1))
            await watch.round.wait()
            return found

        monkeypatch.setattr(farm_type, "progress", read_slowly)
        async with page.view("tasks.2") as viewer:
            shown: dict[int, int] = {}
            with trio.move_on_after(10):
                while True:
                    data = await viewer.expect("snapshot", "tasks.2")
                    shown = {row[0]: row[2] for row in data["rows"]}
            assert shown[1] == 1, "the second block waits for nothing any more"


@pytest.mark.parametrize("event", ["block", "job"])
async def test_what_is_stale_before_it_is_read_is_read_again(
    event: str, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async with open_own_page(listed(1)) as page:
        farm_type = type(page.page.watch.farm)
        names = farm_type.task_names

        async def read_slowly(farm: RemoteFarm, job: JobNode) -> list[list[str]]:
            monkeypatch.setattr(farm_type, "task_names", names)
            found = await names(farm, job)
            if event == "block":
                await page.change("block", "set", ("2.0", 1), tasks_name="new @#@")
            else:
                assert page.json_farm is not None
                more = {"type": "append_tasks", "tasks": [{"name": "t1", "command": "true"}]}
                await page.json_farm.act("jobs", [2], block_ids=[0], operation=more)
            await page.page.watch.round.wait()
            return found

        monkeypatch.setattr(farm_type, "task_names", read_slowly)
        async with page.view("tasks.2") as viewer:
            shown: object = None
            with trio.move_on_after(10):
                while True:
                    (block,) = (await viewer.expect("snapshot", "tasks.2"))["blocks"]
                    shown = block["names"]
            assert shown == (["new t0"] if event == "block" else ["t0", "t1"])


async def test_changes_have_changed_fields_alone(autojump_clock: MockClock) -> None:
    async with open_own_page(listed(1), renders=("r1",)) as page, page.view("jobs") as viewer:
        await viewer.expect("snapshot", "jobs")
        (exec_,) = (await page.links["r1"].expect(Events)).tasks
        await page.links["r1"].update(make_update(exec_, TaskStatus.Percent, percent=40))
        change = await viewer.expect("change", "jobs")
        assert change["rows"][0].keys() == {"id", "percent", "ends"}


async def test_all_tasks_of_a_job(autojump_clock: MockClock) -> None:
    async with open_own_page(listed(3), renders=("r1",)) as page, page.view("tasks.2") as viewer:
        shown = await viewer.expect("snapshot", "tasks.2")
        assert shown["blocks"] == [{"block": 0, "name": "b", "names": ["t0", "t1", "t2"]}]
        assert shown["renders"] == ["r1"]
        assert [row[:5] for row in shown["rows"]] == [[0, n, 2, 0, 1] for n in range(3)]
        tasks = (await page.links["r1"].expect(Events)).tasks
        await page.links["r1"].update(make_update(tasks[1], TaskStatus.FinishedSuccess))
        (row,) = (await viewer.expect("change", "tasks.2"))["rows"]
        assert row[:5] == [0, 1, 16, 100, 1]


async def test_a_feed_that_ends_leaves_the_changes_to_the_next_one(
    autojump_clock: MockClock,
) -> None:
    async with open_own_page(listed(1)) as page, trio.open_nursery() as nursery:
        watch = page.page.watch
        old, new = (Topic("tasks.2", watch.changed.set) for _ in range(2))
        scope = trio.CancelScope()

        async def feed_until_cancelled() -> None:
            with scope:
                await feed_tasks(watch, old, (2,))

        nursery.start_soon(feed_until_cancelled)
        while old.describe is None:
            await watch.changed.wait()
        nursery.start_soon(feed_tasks, watch, new, (2,))
        while new.describe is None:
            await watch.changed.wait()
        scope.cancel()
        await watch.round.wait()
        before = new.position
        await page.change("task", "skip", ("2.0.0", 1))
        await watch.round.wait()
        assert new.position == before + 1
        nursery.cancel_scope.cancel()


async def test_a_render_that_is_new_to_a_job(autojump_clock: MockClock) -> None:
    async with open_own_page(listed(1)) as page, page.view("tasks.2") as viewer:
        assert (await viewer.expect("snapshot", "tasks.2"))["rows"] == [[0, 0, 1]]
        assert page.json_farm is not None
        link = page.json_farm.add_render("late")
        await link.register("late")
        change = await viewer.expect("change", "tasks.2")
        assert change["more_renders"] == ["late"]
        assert change["rows"][0][-1] == 1


async def test_jobs_that_are_deleted_are_gone(autojump_clock: MockClock) -> None:
    async with open_own_page(listed(1)) as page:
        async with page.view("jobs,tasks.2,task.2.0.0,blocks.2") as viewer:
            await viewer.expect("snapshot", "tasks.2")
            assert (await page.change("job", "delete", (2, 1))).status == 200
            assert "2" in (await viewer.expect("gone", "tasks.2"))["error"]
        for topic in ("tasks.2", "task.2.0.0", "blocks.2", "render.9", "output.7.0.0", "why.2"):
            async with page.view(topic) as viewer:
                number = topic.split(".")[1]
                assert number in (await viewer.expect("gone", topic))["error"]


async def test_the_topics_of_a_deleted_job_give_one_reason(autojump_clock: MockClock) -> None:
    """They end one after the other, and a page shows the reason that it gets last."""
    async with (
        open_own_page(listed(1)) as page,
        page.view("blocks.2") as blocks,
        page.view("tasks.2") as tasks,
    ):
        await blocks.expect("snapshot", "blocks.2")
        await tasks.expect("snapshot", "tasks.2")
        assert (await page.change("job", "delete", (2, 1))).status == 200
        assert (await blocks.expect("gone", "blocks.2"))["error"] == "job 2 was deleted"
        assert (await tasks.expect("gone", "tasks.2"))["error"] == "job 2 was deleted"


async def test_a_task_that_is_not_there_ends_its_own_topic_alone(autojump_clock: MockClock) -> None:
    async with open_own_page(listed(2), renders=("r1",)) as page, page.view("tasks.2") as viewer:
        await viewer.expect("snapshot", "tasks.2")
        async with page.view("task.2.0.9") as other:
            assert "no task 0.9" in (await other.expect("gone", "task.2.0.9"))["error"]
        (exec_, _) = (await page.links["r1"].expect(Events)).tasks
        await page.links["r1"].update(make_update(exec_, TaskStatus.FinishedSuccess))
        assert (await viewer.expect("change", "tasks.2"))["rows"]
        await trio.sleep(5)
        assert "gone" not in {name for name, _ in viewer.events}


async def test_the_detail_of_a_task(autojump_clock: MockClock) -> None:
    async with open_own_page(listed(1), renders=("r1",)) as page, page.view("task.2.0.0") as viewer:
        task = (await viewer.expect("snapshot", "task.2.0.0"))["task"]
        assert (task["name"], task["command"], task["render"]) == ("t0", "true", "r1")
        (exec_,) = (await page.links["r1"].expect(Events)).tasks
        running = make_update(exec_, TaskStatus.Percent, percent=30, resources="task_mem_mb:7 odd")
        await page.links["r1"].update(running)
        change = (await viewer.expect("change", "task.2.0.0"))["task"]
        assert change["percent"] == 30
        assert change["usage"] == {"task_mem_mb": 7.0}
        assert [percent for _, percent in change["curve"]] == [30]


async def test_what_a_waiting_task_waits_for(autojump_clock: MockClock) -> None:
    async with open_own_page(listed(1)) as page, page.view("why,why.2,task.2.0.0") as viewer:
        shown = await viewer.expect("snapshot", "why.2")
        (block,) = shown["jobs"][0]["blocks"]
        assert block["sentences"]
        task = (await viewer.expect("snapshot", "task.2.0.0"))["task"]
        assert task["why"] == block["sentences"]


async def test_a_job_that_is_paused_is_explained_once(autojump_clock: MockClock) -> None:
    async with open_own_page(listed(1)) as page:
        await page.change("job", "pause", (2, 1))
        await page.page.watch.round.wait()
        async with page.view("why.2") as viewer:
            (shown,) = (await viewer.expect("snapshot", "why.2"))["jobs"]
            assert [each["sentences"] for each in shown["blocks"]] == [["the job is paused"]]


async def test_an_output_is_followed(autojump_clock: MockClock) -> None:
    async with open_own_page(listed(1), renders=("r1",)) as page:
        link = page.links["r1"]
        (exec_,) = (await link.expect(Events)).tasks
        async with page.view("output.2.0.0") as viewer:
            assert (await viewer.expect("snapshot", "output.2.0.0"))["running"] is True
            while not (await link.expect(Events)).outputs:
                pass
            key = exec_.key._asdict()
            await link.update(outputs=(AskedOutput(run=exec_.run, **key, output="one\n"),))
            change = await viewer.expect("change", "output.2.0.0")
            assert (change["start"], change["end"], change["text"]) == (0, 4, "one\n")
            await link.update(listened=(ListenedEntry(run=exec_.run, n=1, text="zwei ü\n"),))
            change = await viewer.expect("change", "output.2.0.0")
            assert (change["start"], change["end"], change["text"]) == (4, 12, "zwei ü\n")
            async with page.view("output.2.0.0") as late:
                texts = [(await late.expect("snapshot", "output.2.0.0"))["text"]]
                while texts[-1] != "zwei ü\n":
                    texts.append((await late.expect("change", "output.2.0.0"))["text"])
                assert "".join(texts) == "one\nzwei ü\n"
            ended = make_update(exec_, TaskStatus.FinishedSuccess, output="one\nzwei ü\nend\n")
            await link.update(ended)
            assert (await viewer.expect("change", "output.2.0.0"))["text"] == "end\n"
            await viewer.expect("change", "output.2.0.0", running=False)
        answer = (await page.get("/api/output/2.0.0?before=12&limit=8")).json
        assert (answer["start"], answer["text"], answer["attempts"]) == (4, "zwei ü\n", 1)


async def stay_online(link: FakeLink) -> None:
    while True:
        await link.update()
        await trio.sleep(5)


async def test_an_output_without_viewers_is_sent_no_more(autojump_clock: MockClock) -> None:
    """A farm sends the outputs of 64 tasks to one page: those that were left must not count."""
    async with (
        open_own_page(listed(1), renders=("r1",)) as page,
        trio.open_nursery() as nursery,
    ):
        link = page.links["r1"]
        nursery.start_soon(stay_online, link)
        async with page.view("output.2.0.0") as viewer:
            await viewer.expect("snapshot", "output.2.0.0", running=True)
            while not (await link.expect(Events)).listens_add:
                pass
        with trio.fail_after(60):
            while not (await link.expect(Events)).listens_rem:
                pass
        assert page.page.watch.renders[1].tasks, "it runs on"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("on", [True, False], ids=["beginning", "ending"])
async def test_an_output_of_a_slow_farm_is_sent_no_more(
    on: bool, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """The last listener has left before the farm has answered that it begins, or ends, to send."""
    async with open_own_page(listed(1), renders=("r1",)) as page, trio.open_nursery() as nursery:
        assert page.json_farm is not None
        (monitor,) = page.json_farm.server.requests.registry.monitors.values()
        farm_type = type(page.page.watch.farm)
        ask = farm_type.watch

        async def ask_slowly(
            farm: RemoteFarm,
            to: EventMonitor,
            kind: str,
            place: Mapping[str, object],
            **more: bool,
        ) -> None:
            if kind != "listen":
                await ask(farm, to, kind, place, **more)
            elif more.get("on", True):
                await ask(farm, to, kind, place, **more)
                await trio.sleep(8 if on else 0)
            else:
                await trio.sleep(0 if on else 3)
                await ask(farm, to, kind, place, **more)

        monkeypatch.setattr(farm_type, "watch", ask_slowly)
        nursery.start_soon(stay_online, page.links["r1"])
        with trio.move_on_after(4):
            async with page.page.watch.listen((2, 0, 0), lambda *_: None):
                await trio.sleep_forever()
        assert len(monitor.listens) == 1
        await trio.sleep(8)
        assert not monitor.listens
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("left", [False, True], ids=["nothing-left", "an-output-left"])
async def test_a_slow_request_of_one_viewer_delays_no_other(
    left: bool, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async with open_own_page(listed(1)) as page, page.view("jobs") as viewer:
        await viewer.expect("snapshot", "jobs")
        watch = page.page.watch
        if left:
            async with watch.listen((2, 0, 0), lambda *_: None):
                pass
        answered = trio.Event()
        begun = trio.Event()
        ask = RemoteFarm.watch

        async def ask_slowly(
            farm: RemoteFarm, to: EventMonitor, kind: str, place: Mapping[str, object], **more: bool
        ) -> None:
            if kind == "tasks":
                begun.set()
                await answered.wait()
            await ask(farm, to, kind, place, **more)

        monkeypatch.setattr(RemoteFarm, "watch", ask_slowly)
        async with page.view("tasks.2") as slow:
            await begun.wait()
            await watch.round.wait()
            await watch.farm.act("jobs", [2], operation={"type": "pause"})
            change = await viewer.expect("change", "jobs")
            assert "OFF" in change["rows"][0]["states"]
            assert slow.events[-1][0] == "server"  # not the snapshot of the tasks
            answered.set()
            await slow.expect("snapshot", "tasks.2")


async def test_a_viewer_comes_while_the_tasks_are_left(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """The farm may answer two requests in another order: the later one waits for the first."""
    leaving, left = trio.Event(), trio.Event()
    async with open_own_page(listed(1), renders=("r1",)) as page:
        farm_type = type(page.page.watch.farm)
        ask = farm_type.watch

        async def ask_slowly(
            farm: RemoteFarm,
            monitor: EventMonitor,
            kind: str,
            asked: Mapping[str, object],
            *,
            on: bool = True,
        ) -> None:
            if kind == "tasks" and not on:
                leaving.set()
                await trio.sleep(2)
            await ask(farm, monitor, kind, asked, on=on)
            if kind == "tasks" and not on:
                left.set()

        monkeypatch.setattr(farm_type, "watch", ask_slowly)
        link = page.links["r1"]
        (exec_,) = (await link.expect(Events)).tasks
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stay_online, link)
            async with page.view("tasks.2") as viewer:
                await viewer.expect("snapshot", "tasks.2")
            await leaving.wait()
            async with page.view("tasks.2") as viewer:
                await viewer.expect("snapshot", "tasks.2")
                await left.wait()
                await link.update(make_update(exec_, TaskStatus.FinishedSuccess))
                await viewer.expect("change", "tasks.2")
            nursery.cancel_scope.cancel()


async def test_outputs_of_many_tasks_are_not_kept_for_ever(autojump_clock: MockClock) -> None:
    async with open_own_page(listed(300)) as page:
        for number in range(300):
            answer = await page.get(f"/api/output/2.0.{number}")
            assert (answer.status, answer.json["size"]) == (200, 0)
        kept = page.page.texts._kept
        assert len(kept) == 256
        await trio.sleep(31)
        await page.get("/api/output/2.0.0")
        assert len(kept) == 1


@pytest.mark.parametrize("query", ["from=x", "limit=-1", "attempt=2", "before=99999999999999999"])
async def test_wrong_places_in_an_output(query: str, autojump_clock: MockClock) -> None:
    async with open_own_page(listed(1), renders=("r1",)) as page:
        assert (await page.get(f"/api/output/2.0.0?{query}")).status in (400, 404)


async def test_an_output_of_a_job_that_is_another_one_now(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """An afserver uses ids again: the page may know the earlier job for a second."""

    async def select(_farm: object, _selected: object) -> list[TaskNode]:
        await trio.lowlevel.checkpoint()
        return []

    async with open_own_page(listed(1)) as page:
        monkeypatch.setattr(type(page.page.watch.farm), "selected_tasks", select)
        answer = await page.get("/api/output/2.0.0")
        assert (answer.status, answer.error) == (404, "block 2.0 has no task 0")


async def test_loads_meters_and_the_past_of_a_render(autojump_clock: MockClock) -> None:
    load = HostResources(
        cpu_idle=40,
        mem_total_mb=1000,
        mem_free_mb=250,
        net_recv_kbsec=2048,
        custom=(CustomMeter(label="tape", value=7, graphr=255, width=-5),),
    )
    async with open_own_page(renders=("r1",)) as page, page.view("loads,render.1") as viewer:
        await page.links["r1"].update(resources=load)
        row = await viewer.expect_row("loads", 1)
        assert row["load"][:2] == [60, 75]
        assert row["load"][6] == 2.0
        change = await viewer.expect("change", "render.1")
        assert change["points"][0][1:3] == [60, 75]
        past = (await page.get("/api/loads/1,7")).json["points"]
        assert past["1"][-1] == change["points"][-1]
        assert past["7"] == []
        for wrong in ("x", "1,,2", "-1", "9" * 20, ",".join(["1"] * 65)):
            assert (await page.get(f"/api/loads/{wrong}")).status == 400
        (meter,) = change["meters"]
        assert (meter["label"], meter["graph_colour"], meter["width"]) == ("tape", "#ffff00", 0)


async def test_images_and_files_of_a_task(autojump_clock: MockClock) -> None:
    png = b"\x89PNG\r\n\x1a\n" + b"x" * 20
    async with open_own_page(listed(1), renders=("r1",)) as page:
        (exec_,) = (await page.links["r1"].expect(Events)).tasks
        files = (
            TaskFile(name="a.png", data=png),
            TaskFile(name="page.html", data=b"<script>alert(1)</script>"),
            TaskFile(name="not.png", data=b"<svg onload=alert(1)>"),
        )
        entry = FilesEntry(run=exec_.run, n=1, files=files)
        ended = make_update(exec_, TaskStatus.FinishedSuccess)
        await page.links["r1"].update(ended, files=(entry,))
        with trio.fail_after(60):
            while (answer := await page.get("/api/thumbnail/2.0.0")).status == 204:
                await page.page.watch.round.wait()
        assert (answer.body, answer.headers["content-type"]) == (png, "image/png")
        for name in ("page.html", "not.png"):
            answer = await page.get(f"/api/file/2.0.0/{name}")
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
        for name in ("other.png", "..", "%2e%2e%2fa.png", "..%2f..%2fetc%2fpasswd", "log.txt"):
            assert (await page.get(f"/api/file/2.0.0/{name}")).status in (404, 401), name
        assert (await page.get("/api/thumbnail/2.0.1")).status == 404
        assert (await page.get("/api/thumbnail/../../etc")).status == 404


HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m\x00\x07" + "x" * 10_000


async def test_hostile_texts_stay_texts(autojump_clock: MockClock) -> None:
    """Script tags, control characters, right-to-left marks and 10,000 letters, everywhere."""
    name = HOSTILE.replace("\x00", "")  # the farm refuses that one
    block: dict[str, Any] = {
        "name": name,
        "capacity": 100,
        "tasks": [{"name": name, "command": name}],
    }
    job = {"name": name, "annotation": name, "description": name, "blocks": [block]}
    topics = "jobs,blocks.2,tasks.2,task.2.0.0,output.2.0.0,loads,render.1,why"
    async with open_own_page(job, renders=("r1",)) as page, page.view(topics) as viewer:
        link = page.links["r1"]
        (exec_,) = (await link.expect(Events)).tasks
        meter = CustomMeter(label=HOSTILE, tooltip=HOSTILE)
        await link.update(
            make_update(exec_, TaskStatus.FinishedSuccess, output=HOSTILE, activity=HOSTILE),
            resources=HostResources(custom=(meter,)),
        )
        row = await viewer.expect_row("jobs", 2, done=1)
        assert row["name"].startswith("<script>alert(1)</script>\u202e")
        assert len(row["name"]) <= 10_000
        shown = await viewer.expect("snapshot", "output.2.0.0", running=False)
        assert "<script>" in shown["text"]
        # Each event was one line of JSON, or `Viewer` would not have read it.
        assert {name for name, _ in viewer.events} <= {"snapshot", "change", "server"}


async def test_a_viewer_that_sleeps_gets_the_present(autojump_clock: MockClock) -> None:
    """What it has missed is not kept for it: it gets a snapshot."""
    awake = trio.Event()
    async with open_own_page(listed(1), renders=("r1",)) as page:
        async with page.view("jobs", asleep=awake) as sleeper, page.view("jobs") as viewer:
            await viewer.expect("snapshot", "jobs")
            topic = page.page.watch.tables["jobs"]
            for number in range(3600):
                topic.update([{"id": 2, "priority": number}])
                await trio.sleep(1)
            awake.set()
            await sleeper.expect_row("jobs", 2, priority=3599)
            assert sleeper.bytes < 2000
            assert topic.size < 1024 * 1024
