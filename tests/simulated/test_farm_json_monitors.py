"""Monitors of the JSON interface: what they are sent, and what bounds it."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from support.farm import make_update
from support.json_farm import JsonFarm, open_json_farm

from trio_afrender.farm.json_interface import json_monitors
from trio_afrender.farm.json_interface.json_monitors import ZOMBIE_TIME
from trio_afrender.protocol.messages import AskedOutput, Events, ListenedEntry, TaskStatus


def job(count: int = 1, *, user: str = "user1", **fields: object) -> dict[str, Any]:
    tasks = [{"name": f"t{i}", "command": "x"} for i in range(count)]
    block = {"name": "b", "service": "generic", "capacity": 1, "tasks": tasks}
    return {"job": {"name": "j", "user_name": user, "blocks": [block], **fields}}


async def register(farm: JsonFarm, user: str = "user1") -> int:
    asked = {"user_name": user, "host_name": "ws1", "engine": "test"}
    number: int = (await farm.ask({"monitor": asked}))["monitor"]["id"]
    return number


async def test_a_monitor_sees_what_it_watches(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        await register(farm)
        await farm.watch("perm", uid=0)
        await farm.watch("jobs")
        assert await farm.events() is None
        await farm.ask(job())
        # Renders and users are not watched.
        assert await farm.events() == {"jobs_add": [2], "jobs_change": [2]}
        assert await farm.events() is None


async def test_a_monitor_sees_the_jobs_of_one_user(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        await farm.ask({"user": {"name": "user1"}})
        await register(farm)
        await farm.watch("jobs")
        await farm.ask(job(user="user2"))
        await farm.ask(job(user="user1"))
        assert (await farm.events())["jobs_add"] == [3]
        # A job that gets another owner is gone for one and new for the other.
        await farm.act("jobs", [2], params={"user_name": "user1"})
        await farm.act("jobs", [3], params={"user_name": "user2"})
        events = await farm.events()
        assert events["jobs_add"] == [2]
        assert events["jobs_del"] == [3]
        await farm.act("jobs", [2], operation={"type": "delete"})
        assert (await farm.events())["jobs_del"] == [2]


async def test_an_unknown_user_sees_no_jobs_and_user_0_all(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        monitor = (await farm.ask({"monitor": {"user_name": "x", "host_name": "h"}}))["monitor"]
        assert monitor["uid"] == -1
        await farm.watch("jobs")
        await farm.ask(job())
        assert await farm.events() is None
        # As the browser page of CGRU sends it.
        permission = {"type": "watch", "class": "perm", "uid": 0}
        answer = await farm.act("monitors", [1], operation=permission)
        assert answer["info"]["text"] == "Permissions set."
        await farm.ask(job())
        assert (await farm.events())["jobs_add"] == [3]


async def test_progress_of_watched_jobs_alone(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        await register(farm)
        await farm.ask(job(2))
        await farm.ask(job(2))
        await farm.watch("tasks", ids=[3])
        link = farm.add_render()
        await link.register()
        tasks = (await link.expect(Events)).tasks
        assert {task.job for task in tasks} == {2, 3}
        events = await farm.events()
        assert [each["job_id"] for each in events["tasks_progress"]] == [3]
        assert events["tasks_progress"][0]["tasks"] == [0, 1]
        assert events["block_ids"] == {"job_id": [3], "block_num": [0], "mode": ["progress"]}
        # What has changed twice is one item, with its present state.
        one = next(task for task in tasks if task.job == 3)
        for percent in (5, 6):
            await link.update(make_update(one, TaskStatus.Percent, percent=percent))
        await trio.testing.wait_all_tasks_blocked()
        item = (await farm.events())["tasks_progress"][0]
        assert [each["per"] for each in item["progress"]] == [6]
        blocks = await farm.get("jobs", ids=[3], block_ids=[0], mode=["progress"])
        assert blocks["blocks"][0]["running_tasks_counter"] == 2


async def test_without_a_poll_a_monitor_is_dropped(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        await register(farm)
        for _ in range(3):
            await trio.sleep(ZOMBIE_TIME - 1)
            assert await farm.events() is None
        await trio.sleep(ZOMBIE_TIME)
        assert await farm.get("monitors", ids=[1], mode="events") == {"monitor": {"id": 0}}
        assert await farm.get("monitors") == {"monitors": []}
        # Its number is not used again: another client must not get its events.
        assert await register(farm) == 2


async def test_a_monitor_that_goes_at_once_ends_nothing(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        await trio.testing.wait_all_tasks_blocked()
        registry = farm.server.requests.registry
        names = {"user_name": "user1", "host_name": "ws1", "engine": "", "address": ""}
        monitor = registry.register(**names, now=trio.current_time())
        assert monitor is not None
        # Before the task that watches over them has run: two clients at the same moment.
        registry.drop(monitor)
        await trio.testing.wait_all_tasks_blocked()
        assert await register(farm) == 2
        await trio.sleep(ZOMBIE_TIME + 1)
        assert not registry.monitors


async def test_monitors_see_each_other_come_and_go(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        await register(farm)
        await farm.watch("monitors")
        await register(farm, "user2")
        assert await farm.events() == {"monitors_add": [2]}
        await farm.act("monitors", [1], operation={"type": "message", "text": "hello\n"})
        assert await farm.events() == {"message": "hello\n\n - user1@ws1 127.0.0.1"}
        deregister = {"user_name": "u", "host_name": "h", "type": "monitors", "ids": [2]}
        operation = {"operation": {"type": "deregister"}}
        assert await farm.send({"action": {**deregister, **operation}}) == ""
        assert await farm.events() == {"monitors_del": [2]}
        log = (await farm.get("monitors", ids=[1], mode="log"))["message"]["list"]
        assert "monitors message: user1@ws1: Message sent." in log[-1]


async def test_there_is_a_limit_of_monitors(
    autojump_clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_monitors, "MAX_MONITORS", 2)
    async with open_json_farm() as farm:
        assert [await register(farm), await register(farm)] == [1, 2]
        refused = await farm.ask({"monitor": {"user_name": "u", "host_name": "h"}})
        assert refused["info"]["kind"] == "error"
        await trio.sleep(ZOMBIE_TIME)
        assert await register(farm) == 3


async def test_ten_thousand_changes_wait_as_ids(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        await register(farm)
        for kind in ("perm", "jobs"):
            await farm.watch(kind, uid=0)
        frames = {"flags": 1, "frame_first": 1, "frame_last": 5000, "capacity": 1}
        block = {"name": "b", "service": "generic", "command": "x", **frames}
        await farm.ask({"job": {"name": "j", "user_name": "user1", "blocks": [block]}})
        await farm.watch("tasks", ids=[2])
        for _ in range(2):
            for kind in ("skip", "restart"):
                await farm.act("jobs", [2], block_ids=[0], operation={"type": kind})
        events = await farm.events()
        assert events["jobs_change"] == [2]
        (progress,) = events["tasks_progress"]
        assert progress["tasks"] == list(range(5000))
        assert {item["state"] for item in progress["progress"]} == {" RDY"}


async def register_and_miss(farm: JsonFarm) -> None:
    """Register a monitor for which more than 10 changed tasks wait."""
    await farm.ask(job(11))
    await register(farm)
    await farm.watch("tasks", ids=[2])
    await farm.act("jobs", [2], block_ids=[0], operation={"type": "skip"})


async def test_a_monitor_that_misses_too_many_tasks_is_dropped(
    autojump_clock: trio.abc.Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(json_monitors, "MAX_TASKS", 10)
    async with open_json_farm() as farm:
        await register_and_miss(farm)
        assert await farm.get("monitors", ids=[1], mode="events") == {"monitor": {"id": 0}}
        assert "more than 10 changed tasks wait for it" in caplog.text


async def test_a_monitor_that_comes_when_the_only_one_is_dropped(
    autojump_clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_monitors, "MAX_TASKS", 10)
    async with open_json_farm() as farm:
        await register_and_miss(farm)
        number = await register(farm)
        assert await farm.get("monitors", ids=[1], mode="events") == {"monitor": {"id": 0}}
        for each in ({"class": "perm", "uid": 0}, {"class": "jobs"}):
            operation = {"type": "watch", "status": "subscribe", **each}
            await farm.act("monitors", [number], operation=operation)
        await farm.ask(job())
        assert (await farm.events(number))["jobs_add"] == [3]


async def test_new_output_of_a_task(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        await register(farm)
        await farm.ask(job())
        await farm.watch("listen", job=2, block=0, task=0)
        link = farm.add_render()
        await link.register()
        (task,) = (await link.expect(Events)).tasks
        assert task.flags & 1
        for n, text in enumerate(("one\n", "two\n")):
            await link.update(listened=(ListenedEntry(run=task.run, n=n, text=text),))
        await trio.testing.wait_all_tasks_blocked()
        (listened,) = (await farm.events())["tasks_listens"]
        assert (listened["type"], listened["data"]) == ("TListen", "one\ntwo\n")
        assert listened["pos"] == {"job": 2, "block": 0, "task": 0, "number": 0}
        stop = {"type": "watch", "status": "unsubscribe", "class": "listen"}
        position = {"job": 2, "block": 0, "task": 0}
        await farm.act("monitors", [1], operation={**stop, **position})
        assert [ref.task for ref in (await link.expect(Events)).listens_rem] == [0]
        await link.update(listened=(ListenedEntry(run=task.run, n=2, text="three"),))
        await trio.testing.wait_all_tasks_blocked()
        assert await farm.events() is None


async def test_listening_ends_with_the_monitor(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        await register(farm)
        await farm.ask(job())
        await farm.watch("listen", job=2, block=0, task=0)
        assert farm.farm.state.find_task(farm_key := farm.farm.view(2).tasks[0].key).listeners == 1
        await trio.sleep(ZOMBIE_TIME)
        await trio.testing.wait_all_tasks_blocked()
        assert farm.farm.state.find_task(farm_key).listeners == 0


async def test_text_that_waits_has_a_limit(
    autojump_clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_monitors, "MAX_TEXT", 10)
    async with open_json_farm() as farm:
        await register(farm)
        for text in ("12345", "67890ab", "c"):
            await farm.ask({"announce": text})
        message = (await farm.events())["message"]
        assert message.startswith(
            "12345\n67890\n3 characters of outputs and messages were left out"
        )
        await farm.ask({"announce": "again"})
        assert await farm.events() == {"message": "again"}


async def test_the_output_of_a_running_task(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        await register(farm)
        await farm.ask(job())
        link = farm.add_render()
        await link.register()
        (task,) = (await link.expect(Events)).tasks

        async def answer() -> None:
            await link.expect(Events)
            output = AskedOutput(run=task.run, **task.key._asdict(), output="so far\n")
            await link.update(outputs=(output,))

        position = {"ids": [2], "block_ids": [0], "task_ids": [0], "mode": "output"}
        farm.nursery.start_soon(answer)
        assert (await farm.get("jobs", **position))["task"]["data"] == "so far\n"
        # With a monitor it comes as an event.
        farm.nursery.start_soon(answer)
        asked = await farm.get("jobs", **position, mon_id=1)
        assert asked["task"]["data"].startswith("Retrieving")
        await trio.testing.wait_all_tasks_blocked()
        (output,) = (await farm.events())["tasks_outputs"]
        assert (output["type"], output["data"]) == ("TOutput", "so far\n")
        # A render that does not answer.
        begin = trio.current_time()
        late = (await farm.get("jobs", **position))["task"]["data"]
        assert late == "ERROR: render a has not sent the output within 10 s"
        assert trio.current_time() - begin == pytest.approx(10)
        unknown = await farm.get("jobs", **position, mon_id="x")
        assert unknown["task"]["data"] == 'ERROR: there is no monitor "x"'


@pytest.mark.parametrize(
    ("operation", "problem"),
    [
        ({"type": "nope"}, 'Unknown operation "nope"'),
        ({"type": "wacth"}, 'did you mean "watch"?'),
        ({"type": "watch"}, 'class ""'),
        ({"type": "watch", "class": "job", "status": "subscribe"}, 'did you mean "jobs"?'),
        ({"type": "watch", "class": "jobs", "status": "on"}, '"subscribe" or "unsubscribe"'),
        ({"type": "watch", "class": "perm", "status": "subscribe", "uid": "0"}, '"uid"'),
        ({"type": "watch", "class": "perm", "status": "subscribe", "uid": True}, '"uid"'),
        ({"type": "watch", "class": "tasks", "status": "subscribe"}, '"ids" should be'),
        ({"type": "watch", "class": "tasks", "status": "subscribe", "ids": [9]}, "no job 9"),
        ({"type": "watch", "class": "listen", "status": "subscribe", "job": 2}, '"block"'),
        (
            {
                "type": "watch",
                "class": "listen",
                "status": "subscribe",
                "job": 9,
                "block": 0,
                "task": 0,
            },
            "no task (9, 0, 0)",
        ),
        ({"type": "message"}, '"text" should be'),
        ({"type": "message", "text": "x" * 10_001}, "1 to 10000 characters"),
    ],
)
async def test_bad_operations_of_monitors(
    autojump_clock: trio.abc.Clock, operation: dict[str, Any], problem: str
) -> None:
    async with open_json_farm() as farm:
        await register(farm)
        answer = await farm.act("monitors", [1], operation=operation)
        assert answer["info"]["kind"] == "error"
        assert problem in answer["info"]["text"]


@pytest.mark.parametrize("monitor", [5, None, [], "x", {}, {"user_name": "u"}, {"user_name": 5}])
async def test_a_monitor_that_is_none(autojump_clock: trio.abc.Clock, monitor: object) -> None:
    async with open_json_farm() as farm:
        answer = await farm.ask({"monitor": monitor})
        assert answer["info"]["kind"] == "error"
        assert answer["info"]["text"].startswith("monitor")


async def test_only_so_many_tasks_are_listened_to(
    autojump_clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_afrender.farm.json_interface.monitor_actions.MAX_LISTENS", 1)
    async with open_json_farm() as farm:
        await register(farm)
        await farm.ask(job(2))
        for _ in range(2):  # the same task counts once
            await farm.watch("listen", job=2, block=0, task=0)
        watch = {"type": "watch", "status": "subscribe", "class": "listen"}
        answer = await farm.act(
            "monitors", [1], operation={**watch, "job": 2, "block": 0, "task": 1}
        )
        assert answer["info"]["text"] == "a monitor listens to at most 1 tasks"


async def test_what_is_not_watched_any_more(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        await register(farm)
        await farm.ask(job(2))
        await farm.watch("perm", uid=0)
        for kind in ("jobs", "users"):
            await farm.watch(kind)
        await farm.watch("tasks", ids=[2])
        stop = {"type": "watch", "status": "unsubscribe"}
        for operation in (
            {**stop, "class": "users"},
            {**stop, "class": "tasks", "ids": [2, 77]},
            {**stop, "class": "listen", "job": 2, "block": 0, "task": 0},
        ):
            answer = await farm.act("monitors", [1], operation=operation)
            assert answer["info"]["text"].startswith("Unsubscribed from ")
        await farm.act("jobs", [2], block_ids=[0], operation={"type": "skip"})
        assert await farm.events() == {"jobs_change": [2]}
        (monitor,) = (await farm.get("monitors"))["monitors"]
        assert monitor["events"] == ["jobs_add", "jobs_change", "jobs_del"]
        assert (await farm.get("monitors", ids=[1], mode="nope"))["monitors"] == [monitor]


async def test_jobs_that_are_gone_are_not_watched_for_ever(
    autojump_clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_afrender.farm.json_interface.monitor_actions._MAX_WATCHED", 1)
    async with open_json_farm() as farm:
        await register(farm)
        for number in (2, 3, 4):
            await farm.ask(job())
            await farm.watch("tasks", ids=[number])
            if number < 4:
                await farm.act("jobs", [number], operation={"type": "delete"})
        assert farm.server.requests.registry.monitors[1].task_jobs == {4}


async def test_outputs_that_wait_have_a_limit(
    autojump_clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_monitors, "MAX_OUTPUTS", 1)
    async with open_json_farm() as farm:
        await register(farm)
        await farm.ask(job())
        monitor = farm.server.requests.registry.monitors[1]
        for text in ("one", "two"):
            monitor.add_output(farm.farm.view(2).tasks[0].key, text)
        events = await farm.events()
        assert [each["data"] for each in events["tasks_outputs"]] == ["one"]
        assert events["message"].startswith("3 characters of outputs")


async def test_a_job_that_is_deleted_while_its_output_is_on_the_way(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with open_json_farm() as farm:
        await register(farm)
        await farm.watch("perm", uid=0)
        await farm.watch("jobs")
        await farm.ask(job())
        await farm.watch("tasks", ids=[2])
        await farm.watch("listen", job=2, block=0, task=0)
        await farm.act("jobs", [2], operation={"type": "delete"})
        await trio.testing.wait_all_tasks_blocked()
        assert farm.server.requests.registry.monitors[1].listens == {}
        # What was noted of its tasks is not sent any more.
        assert await farm.events() == {"jobs_del": [2]}
