"""Requests of the JSON interface: what is refused, and with which sentence."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
import trio
import trio.testing
from support.farm import make_update
from support.json_farm import JsonFarm, open_json_farm

from trio_afrender.farm.json_interface.render_objects import describe_render, encode_renders
from trio_afrender.protocol.messages import (
    CustomMeter,
    Deregister,
    Events,
    FilesEntry,
    HostResources,
    TaskFile,
    TaskKey,
    TaskStatus,
)

TASKS = [{"name": "t", "command": "x"}]
BLOCK = {"name": "b", "service": "generic", "capacity": 100, "tasks": TASKS}
JOB: dict[str, Any] = {"name": "j", "user_name": "user1", "host_name": "ws1", "blocks": [BLOCK]}


def error(answer: dict[str, Any]) -> str:
    """The sentence of a refusal."""
    assert answer["info"]["kind"] == "error", answer
    text: str = answer["info"]["text"]
    return text


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        ({}, "found nothing"),
        ({"foo": 1, "bar": 2}, 'found "foo", "bar"'),
        ({"get": 5}, "Invalid action"),
        ({"action": []}, "Invalid action"),
        ({"save": {"path": "x", "object": {}}}, "Invalid action"),
        ({"get": {}}, "Invalid get type = null"),
        ({"get": {"type": 5}}, "Invalid get type = 5"),
        ({"get": {"type": "job"}}, 'did you mean "jobs"?'),
        ({"user": 5}, "user.name: expected 1 to 255"),
        ({"user": {"name": ""}}, "user.name"),
        ({"user": {"name": "a\nb"}}, "printable"),
        ({"announce": 5}, "announce: expected a text"),
        ({"announce": "x" * 10_001}, "1 to 10000 characters"),
        (b'{"get":', "not JSON"),
        (b"{" + b'"a":{' * 20_000, "nested too deeply"),
    ],
)
async def test_bad_requests(
    autojump_clock: trio.abc.Clock, request_: dict[str, Any] | bytes, problem: str
) -> None:
    async with open_json_farm() as farm:
        assert problem in error(await farm.ask(request_))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"user_name": ""}, "job.user_name: missing"),
        ({"user_name": 5}, "job.user_name"),
        ({"user_name": "a\nb"}, "user_name: expected 1 to 255 printable characters"),
        ({"user_name": "a" * 256}, "user_name: expected 1 to 255 printable characters"),
        ({"id": 50}, "job.id: the farm gives the ids"),
        ({"id": -1}, "job.id"),
        ({"priority": 256}, "job.priority: expected 0 to 255, found 256"),
        ({"priority": -1}, "job.priority"),
        ({"priority": "9"}, "priority: expected an integer"),
        ({"blocks": []}, "blocks: empty"),
        ({"blocks": [{}]}, "blocks[0].tasks: missing"),
        ({"blocks": [5]}, "blocks[0]: expected an object"),
        ({"blocks": 5}, "blocks: expected a list"),
        ({"blocks": [{**BLOCK, "tasks": []}]}, "blocks[0].tasks: empty"),
        ({"blocks": [{**BLOCK, "tasks": [5]}]}, "blocks[0].tasks[0]: expected an object"),
        ({"blocks": [{"tasks_num": 3}]}, "blocks[0].tasks: missing"),
        ({"hosts_mask_type": "glob"}, "hosts_mask_type"),
        ({"depend_mask": "["}, "depend_mask: not a regular expression"),
    ],
)
async def test_a_bad_job_is_refused_by_key(
    autojump_clock: trio.abc.Clock, change: dict[str, Any], key: str
) -> None:
    async with open_json_farm() as farm:
        assert key in error(await farm.ask({"job": {**JOB, **change}}))
        assert await farm.get("jobs") == {"jobs": []}


async def test_a_job_that_is_none(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        for job in list[object]((5, None, [], "x")):
            assert "job: expected an object" in error(await farm.ask({"job": job}))
        assert "job.user_name" in error(await farm.ask({"job": {}}))
        no_blocks = {"name": "j", "user_name": "user1"}
        assert "blocks: missing" in error(await farm.ask({"job": no_blocks}))


async def test_ids_and_serials_grow(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        assert await farm.ask({"job": JOB}) == {"id": 2, "serial": 1}
        await farm.act("jobs", [2], operation={"type": "delete"})
        assert await farm.ask({"job": JOB}) == {"id": 3, "serial": 2}


async def test_masks_on_the_wire_are_lists_of_words(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        await farm.ask({"job": {**JOB, "hosts_mask": "a|b"}})
        (job,) = (await farm.get("jobs"))["jobs"]
        assert (job["hosts_mask"], job["hosts_mask_type"]) == ("a|b", "find")


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"ids": [9]}, "Invalid ID: there is no job 9"),
        ({"ids": [-1]}, "there is no job -1"),
        ({"ids": [9], "mode": "log"}, "there is no job 9"),
        ({"mode": "log"}, 'mode "log" needs one id of a job'),
        ({"ids": [2, 3], "mode": "progress"}, 'mode "progress" needs one id'),
        ({"ids": [2], "mode": "output"}, "needs ids, block_ids and task_ids"),
        ({"ids": [2], "block_ids": [-2], "mode": ["full"]}, "Invalid block number -2"),
        ({"ids": [2], "block_ids": [1], "mode": ["full"]}, "the job has 0 to 0"),
        ({"ids": [2], "block_ids": [0], "mode": ["ful"]}, 'did you mean "full"?'),
        ({"ids": [2], "block_ids": [0], "task_ids": [0], "mode": "nope"}, "Invalid mode of a task"),
        ({"ids": [2], "block_ids": [0], "task_ids": [0]}, "Invalid mode of a task: null"),
        (
            {"ids": [2], "block_ids": [0], "task_ids": [9], "mode": "info"},
            "block/task number: 0, 9",
        ),
        ({"ids": [2], "block_ids": [-1], "task_ids": [0], "mode": "log"}, "number: -1, 0"),
        ({"ids": [9], "block_ids": [0], "task_ids": [0], "mode": "files"}, "there is no job 9"),
    ],
)
async def test_bad_questions_about_jobs(
    autojump_clock: trio.abc.Clock, asked: dict[str, Any], problem: str
) -> None:
    async with open_json_farm() as farm:
        for _ in range(2):
            await farm.ask({"job": JOB})
        assert problem in error(await farm.get("jobs", **asked))


async def test_questions_about_nodes_that_are_not_there(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        for kind in ("renders", "users", "pools", "branches", "monitors"):
            assert await farm.get(kind, ids=[77]) == {kind: []}
        for kind, mode in (("renders", "full"), ("renders", "tasks_log"), ("users", "jobs_order")):
            assert "there is no" in error(await farm.get(kind, ids=[77], mode=mode))
            assert "needs one id" in error(await farm.get(kind, mode=mode))


async def test_jobs_are_selected_and_ordered(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        for name, user, priority in (("a1", "u1", 50), ("a2", "u2", 99), ("b", "u1", 99)):
            job = {**JOB, "name": name, "user_name": user, "priority": priority}
            await farm.ask({"job": job})

        async def names(**asked: object) -> list[str]:
            return [job["name"] for job in (await farm.get("jobs", **asked))["jobs"]]

        assert await names() == ["a2", "b", "a1"]
        assert await names(ids=[2, 4, 2, 9]) == ["a1", "b"]
        assert await names(mask="a") == ["a2", "a1"]
        assert await names(mask="b|a1") == ["b", "a1"]
        assert await names(uids=[2]) == ["b", "a1"]
        assert await names(uids=[2, 77, 3]) == ["a2", "b", "a1"]
        assert await names(users=["u2", "none"]) == ["a2"]
        assert await names(serials=[1, 99]) == ["a1"]
        order = await farm.get("users", ids=[2], mode="jobs_order")
        assert order == {"events": {"jobs_order": {"uids": [2], "jids": [[4, 2]]}}}
        places = {job["name"]: job["user_list_order"] for job in (await farm.get("jobs"))["jobs"]}
        assert places == {"a1": 1, "a2": 0, "b": 0}


ACT: dict[str, Any] = {"user_name": "user1", "host_name": "ws1", "type": "jobs", "ids": [2]}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"user_name": ""}, '"user_name"'),
        ({"host_name": 5}, '"host_name"'),
        ({"type": "render"}, 'did you mean "renders"?'),
        ({"type": None}, "unknown type: null"),
        ({"ids": []}, "ids or mask"),
        ({"ids": ["2"]}, "ids or mask"),
        ({"ids": [-1]}, "ID not found: -1"),
        ({"ids": [2, 99_999_999]}, "ID not found: 99999999"),
        ({"ids": [], "mask": "["}, "not a regular expression"),
        ({"ids": [], "mask": "zz"}, 'No node matches "zz" found'),
        ({"params": 5}, '"params" should be an object'),
        ({"operation": "x"}, '"operation" should be an object'),
        ({}, 'should have an "operation" or(and) "params"'),
        ({"operation": {}}, '"type" should be a string'),
        ({"operation": {"type": "paus"}}, 'did you mean "pause"?'),
        ({"params": {"prioriti": 5}}, 'did you mean "priority"?'),
        ({"params": {"priority": "5"}}, "priority: expected"),
        ({"params": {"priority": 300}}, "0 to 255"),
        ({"block_ids": [9], "params": {"capacity": 5}}, "Invalid block number: 9"),
        ({"block_ids": [], "params": {"capacity": 5}}, "selects no block"),
        ({"block_mask": "b.*", "params": {"capacity": 5}}, "selects no block"),
        ({"block_ids": [0], "operation": {"type": "skip", "task_ids": [9]}}, "task number: 9"),
        ({"type": "branches", "ids": [1], "params": {}}, "one branch"),
        ({"type": "pools", "ids": [1], "operation": {"type": "exits"}}, 'did you mean "exit"?'),
        ({"type": "pools", "ids": [2], "params": {}}, "ID not found: 2"),
        ({"type": "monitors", "ids": [1], "params": {}}, "ID not found: 1"),
    ],
)
async def test_bad_actions(
    autojump_clock: trio.abc.Clock, change: dict[str, Any], problem: str
) -> None:
    async with open_json_farm() as farm:
        await farm.ask({"job": JOB})
        asked = {**ACT, **change}
        if not {"params", "operation"} & change.keys() and change:
            asked["params"] = {}
        assert problem in error(await farm.ask({"action": asked}))


async def test_each_node_is_tried(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        for user in ("user1", "user2", "user1"):
            await farm.ask({"job": {**JOB, "user_name": user}})
        farm.own = False
        request = {"token": farm.server.token.secret}
        act = {**ACT, "ids": [2, 3, 4], "params": {"annotation": "x"}}
        text = error(await farm.ask({"action": act, **request}))
        assert "user2" in text
        assert "(1 of 3 refused)" in text
        farm.own = True
        jobs = (await farm.get("jobs"))["jobs"]
        assert [job.get("annotation") for job in jobs] == ["x", None, "x"]


async def test_the_user_of_the_farm_may_edit_everything(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        await farm.ask({"job": {**JOB, "user_name": "user2"}})
        answer = await farm.act("jobs", [2], params={"annotation": "by user1"})
        assert answer["info"]["kind"] == "log"
        log = (await farm.get("jobs", ids=[2], mode="log"))["message"]["list"]
        assert "user1@ws1 127.0.0.1: jobs params: j@user2: " in log[-1]


async def test_parameters_come_before_the_operation(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        await farm.ask({"job": JOB})
        await farm.act("jobs", [2], params={"priority": 7}, operation={"type": "pause"})
        (job,) = (await farm.get("jobs"))["jobs"]
        assert (job["priority"], job["state"]) == (7, " RDY OFF")


async def test_blocks_by_number_and_mask(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        blocks = [{**BLOCK, "name": name} for name in ("one", "two", "other")]
        await farm.ask({"job": {**JOB, "blocks": blocks}})

        async def capacities() -> list[int]:
            (job,) = (await farm.get("jobs"))["jobs"]
            return [block["capacity"] for block in job["blocks"]]

        await farm.act("jobs", [2], block_ids=[1], params={"capacity": 1})
        assert await capacities() == [100, 1, 100]
        await farm.act("jobs", [2], block_mask="o", params={"capacity": 2})
        assert await capacities() == [2, 1, 2]
        await farm.act("jobs", [2], block_ids=[-1], params={"capacity": 3})
        assert await capacities() == [3, 3, 3]


async def test_the_pool_passes_operations_to_its_renders(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        links = [farm.add_render() for _ in range(2)]
        for link, name in zip(links, ("a", "b"), strict=True):
            await link.register(name)
        answer = await farm.act("pools", [1], operation={"type": "exit"})
        assert answer == {"info": {"kind": "log", "text": "Action processed."}}
        for link in links:
            assert (await link.expect(Events)).instruction == "exit"
        assert "cmd" in error(await farm.act("pools", [1], operation={"type": "launch_cmd"}))


async def test_the_pool_deletes_offline_renders(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        links = [farm.add_render() for _ in range(2)]
        for link, name in zip(links, ("a", "b"), strict=True):
            await link.register(name)
        await links[0].send_to_farm(Deregister())
        await trio.testing.wait_all_tasks_blocked()
        answer = await farm.act("pools", [1], operation={"type": "delete_renders"})
        assert answer["info"]["kind"] == "log"
        names = [render["name"] for render in (await farm.get("renders"))["renders"]]
        assert names == ["b"]
        assert await farm.get("branches", mode="log") == {
            "message": {"name": "/", "type": "log", "list": []}
        }


async def test_less_usual_parameters_are_shown(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        block = {
            **BLOCK, "sequential": 5, "file_size_min": 7, "capacity_coeff_max": 3, "flags": 2,
            "errors_retries": 0, "task_max_run_time": 60, "srv_info": "s",
            "max_running_tasks": 0, "need_memory": 1, "tasks_depend_mask": "none",
        }  # fmt: skip
        await farm.ask({"job": {**JOB, "blocks": [block]}})
        (job,) = (await farm.get("jobs"))["jobs"]
        (shown,) = job["blocks"]
        for key, value in block.items():
            if key != "tasks":
                assert shown[key] == value, key
        await farm.act(
            "jobs", [2], block_ids=[0], params={"max_running_tasks": -1, "need_memory": 0}
        )
        link = farm.add_render()
        await link.register(capacity=1000)
        (task,) = (await farm.get("renders"))["renders"][0]["tasks"]
        assert task["capacity_coeff"] == 3


async def test_what_a_job_waits_for(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        await farm.ask({"job": JOB})
        waits = (await farm.get("jobs", ids=[2], mode="why"))["job_waits"]
        assert waits["id"] == 2
        (block,) = waits["blocks"]
        assert (block["block"], block["tasks"]) == (0, 1)
        assert block["reasons"]


async def test_kept_texts_of_renders_are_the_present_ones(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        await farm.ask({"job": {**JOB, "blocks": [{**BLOCK, "tasks": TASKS * 3}]}})
        link = farm.add_render()
        meter = CustomMeter(label="m", value=3)
        await link.register("a", resources=HostResources(custom=(meter,)))
        tasks = (await link.expect(Events)).tasks
        state = farm.farm.state

        def check() -> dict[str, Any]:
            now = trio.current_time()
            described = [describe_render(state, each, now) for each in state.renders.values()]
            assert json.loads(encode_renders(state, state.renders.values(), now)) == described
            return described[0]

        assert len(check()["tasks"]) == 3
        await link.update(make_update(tasks[0], TaskStatus.Percent, percent=7))
        await trio.testing.wait_all_tasks_blocked()
        assert check()["tasks_percents"] == [7, -1, -1]
        await farm.act("renders", [1], params={"annotation": 'q"q', "capacity_host": 5})
        assert (check()["annotation"], check()["capacity_host"]) == ('q"q', 5)
        await farm.act("pools", [1], params={"max_tasks_host": 10})
        assert "max_tasks_host" not in check()
        await farm.act("jobs", [2], params={"user_name": "user1", "custom_data": "y"})
        await farm.ask({"user": {"name": "user2"}})
        await farm.act("jobs", [2], params={"user_name": "user2"})
        assert check()["tasks"][0]["user_name"] == "user2"
        await link.update(make_update(tasks[0]))
        await trio.testing.wait_all_tasks_blocked()
        assert len(check()["tasks"]) == 2
        resources = (await farm.get("renders", mode="resources"))["renders"][0]
        assert resources["host_resources"]["custom"][0]["value"] == 3
        whole = await farm.get("renders", ids=[1], mode="full")
        assert whole["object"]["render"]["name"] == "a"


async def open_file(farm: JsonFarm, path: str) -> bytes:
    request = f"GET /@TMP@{quote(path)} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    return await farm.exchange(request.encode())


async def test_files_of_tasks(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        await farm.ask({"job": JOB})
        link = farm.add_render()
        await link.register()
        (task,) = (await link.expect(Events)).tasks
        files = (
            TaskFile(name="a b.jpg", data=b"a picture"),
            TaskFile(name="page.html", data=b"<script>"),
        )
        await link.update(files=(FilesEntry(run=task.run, n=0, files=files),))
        await trio.testing.wait_all_tasks_blocked()
        position = {"ids": [2], "block_ids": [0], "task_ids": [0]}
        listed = (await farm.get("jobs", **position, mode="files"))["task_files"]
        assert (listed["job_id"], listed["block_id"], listed["task_id"]) == (2, 0, 0)
        image, page = (each["name"] for each in listed["files"])
        assert (await farm.get("jobs"))["jobs"][0]["thumb_path"] == page
        answer = await open_file(farm, image)
        assert b"Content-Type: image/jpeg\r\n" in answer
        assert answer.endswith(b"\r\n\r\na picture")
        text = await open_file(farm, page)
        assert b"Content-Type: text/plain; charset=UTF-8\r\n" in text
        assert b"X-Content-Type-Options: nosniff\r\n" in text
        for path in (
            "/etc/passwd",
            image + "x",
            image.replace("/2/", "/3/"),
            image.replace("0.0", "0.1"),
            image.replace("/memory", "/tmp"),  # noqa: S108 - a path that is not served
            image.replace("/files/", "/files/../files/"),
            image.replace("/files/", "/files//"),
            "",
            "/2/0.0/files/a b.jpg",
            "/99999999999999/0.0/files/a",
        ):
            assert (await open_file(farm, path)).startswith(b"HTTP/1.1 404 "), path


async def test_outputs_of_attempts(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        await farm.ask({"job": JOB})
        position = {"ids": [2], "block_ids": [0], "task_ids": [0], "mode": "output"}

        async def output(**asked: object) -> str:
            data: str = (await farm.get("jobs", **position, **asked))["task"]["data"]
            return data

        assert await output() == "ERROR: the task was not started"
        link = farm.add_render()
        await link.register()
        (task,) = (await link.expect(Events)).tasks
        await link.update(make_update(task, TaskStatus.FinishedError, output="attempt 1\n"))
        while not (again := (await link.expect(Events)).tasks):
            pass  # the close of the first attempt
        await link.update(make_update(again[0], output="attempt 2\n"))
        await trio.testing.wait_all_tasks_blocked()
        assert await output() == "attempt 2\n"
        assert await output(number=1) == "attempt 1\n"
        assert await output(number=2) == "attempt 2\n"
        assert await output(number=3) == "ERROR: the task was started 2 times, not 3 times"
        assert await output(number=-1) == "ERROR: the task was started 2 times, not -1 times"
        assert await output(number="1") == "attempt 2\n"
        hosts = await farm.get("jobs", **{**position, "mode": "error_hosts"})
        assert hosts["task"]["data"].startswith("Task[0] error hosts: \na: 1 at ")
        lines = (await farm.get("jobs", ids=[2], mode="error_hosts"))["message"]["list"]
        assert lines[0] == "Block['b'] error hosts:"
        assert lines[1].startswith("a: 1 at ")
        log = await farm.get("jobs", **{**position, "mode": "log"})
        assert "attempt 1: handed to" in log["task"]["data"]
        described = await farm.get("jobs", **{**position, "mode": "info"})
        assert described["task"]["exec"]["command_task"] == "x"


async def test_binary_answers_are_for_programs(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        await farm.ask({"job": JOB})
        position = {"ids": [2], "block_ids": [0], "task_ids": [0], "binary": True}
        asked = {"get": {"type": "jobs", **position, "mode": "log"}}
        body = json.dumps(asked).encode()
        head = bytes.fromhex("0000005100000018") + len(body).to_bytes(4, "big")
        answer = await farm.exchange(head + body)
        assert answer[:8] == bytes.fromhex("0000005100000033")
        http = await farm.exchange(
            b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        assert http.startswith(b"HTTP/1.1 400 ")
        # What has no binary form is answered as JSON.
        described = await farm.get("jobs", **position, mode="info")
        assert described["task"]["type"] == "TExec"
        assert "no job 9" in error(await farm.get("jobs", **{**position, "ids": [9]}, mode="log"))


async def test_progress_of_a_task_that_is_gone(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        registry = farm.server.requests.registry
        key = TaskKey(9, 0, 0, 0)
        assert registry.describe_progress(key) is None
        assert registry.describe_task(key, "TOutput", "x")["job_name"] == ""


async def test_settings_for_the_page(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        settings, environment = (await farm.get("config"))["cgru_config"]
        assert settings["cgru_config"]["af_monitor_render_idle_bar_max"] == 3600
        assert environment["cgru_environment"]["version"].startswith("trio_afrender ")
        assert await farm.get("files", path="icons") == {"path": "icons", "files": []}
