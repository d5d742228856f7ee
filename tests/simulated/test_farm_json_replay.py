"""The recorded exchanges with a real server, replayed against our farm in the same situation.

Each difference has to stand in `DIFFERENCES` with its reason, which `docs/afanasy-json.md` repeats.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from support.json_farm import JsonFarm, open_json_farm
from support.json_replay import JobIds, ReplayRender, compare, load_exchanges

from trio_afrender.protocol.messages import Deregister, TaskKey, TaskStatus

Done = TaskStatus.FinishedSuccess
Failed = TaskStatus.FinishedError
SECTIONS = ("frame-tcp", "avoided-jobs", "frame-http-post-header-in-body")
"""The first exchange of each recorded server."""
REASONS = {
    "pages": "Pages are served with `--gui DIR` only, and all text of other files as `text/plain`.",
    "outputs": "Outputs of tasks are no files: `get` with mode `output` returns them.",
    "length": "In HTTP `Content-Length` is enough, and what is wrong with a request is an HTTP answer.",
    "foreign": "A request of the page of another site is refused.",
    "system": "There is no system job 1 and no user `afadmin`; the branch counts users' jobs alone.",
    "one pool": 'There is one pool "/", one branch "/", and there are no tickets.',
    "strict": "Wrong types, unknown keys, values out of range and requests without effect are refused.",
    "at once": "Tasks start at once, not in the cycle of the next second, and so do changes of states.",
    "percent": "A task that is done shows 100 percent.",
    "last": "A task that is done keeps its last activity.",
    "srv_info": "`srv_info` of a block is what a user has set, not the last render.",
    "flags": "Flags for appended blocks and tasks are not set.",
    "names": "Names of jobs need not be unique: a job keeps the name that it is given.",
    "order": "`user_list_order` is the place among the jobs of the user in which they are solved.",
    "kinds": "The sentence about a change has kind `log`, never `info`.",
    "services": "Masks of services choose among those that are listed.",
    "alone": "A host is avoided only if another one can run the task.",
    "modes": "An unknown mode is an error, not `{}`, half an object or the list.",
    "own id": "A job cannot choose its id.",
    "moment": "The answers were recorded a moment earlier or later.",
}
"""Why our answers differ; `docs/afanasy-json.md` has the same sentences."""
DIFFERENCES = (
    ("http-get-*", "type", "pages"),
    ("http-get-root", "status", "pages"),
    ("http-get-js", "status", "pages"),
    ("http-get-output", "status", "outputs"),
    ("frame-http-post-without-afanasy-header", "*", "length"),
    ("frame-http-post-length-zero", "*", "length"),
    ("frame-http-post-header-in-body", "*", "foreign"),
    ("branches", "branches[].jobs_total", "system"),
    ("branches", "branches[].active_jobs", "system"),
    ("sysjob-wol-log", "*", "system"),
    ("branches", "branches[].create_childs", "one pool"),
    ("branches", "branches[].max_tasks_per_second", "one pool"),
    ("files", "files", "pages"),
    ("action-param-wrong-type", "info.kind", "strict"),
    ("job-numeric-without-frames", "*", "strict"),
    ("job-numeric-last-before-first", "*", "strict"),
    ("job-wrong-types", "*", "strict"),
    ("jobs-wrong-types", "jobs", "strict"),
    ("jobs-backwards", "jobs", "strict"),
    ("block-params-hit-the-job-too", "info.kind", "strict"),
    ("job-params", "info.kind", "strict"),
    ("job-params-bad-regex", "info.kind", "strict"),
    ("job-delete-again", "info.kind", "strict"),
    ("job-delete-by-mask", "info.kind", "strict"),
    ("action-on-locked-job", "info.kind", "strict"),
    ("render-params-clear", "info.kind", "strict"),
    ("render-priority-negative", "info.kind", "strict"),
    ("user-params", "info.kind", "strict"),
    ("user-unknown-operation", "info.kind", "strict"),
    ("user-delete-with-jobs", "info.kind", "strict"),
    ("user-not-object", "*", "strict"),
    ("render-wol_wake-online", "info.kind", "strict"),
    ("render-wol_sleep-again", "info.kind", "strict"),
    ("render-exit-offline", "info.kind", "strict"),
    ("job-branch-and-times", "*", "strict"),
    ("jobs-branch-and-times", "jobs", "strict"),
    ("block-tickets*", "info.kind", "one pool"),
    ("render-tickets*", "info.kind", "one pool"),
    ("renders-tickets", "renders[].tickets_host", "one pool"),
    ("pool-*", "info.kind", "one pool"),
    ("pools-2", "pools", "one pool"),
    ("render-set_pool*", "info.kind", "one pool"),
    ("render-reassign_pool", "info.kind", "one pool"),
    ("renders-reassigned", "renders[].pool", "one pool"),
    ("events-pools", "events.pools_change", "one pool"),
    ("branch-*", "info.kind", "one pool"),
    ("jobs-after-params", "jobs[].pools", "one pool"),
    ("users-mask", "users[].solve_method", "one pool"),
    ("events-after-job", "events", "at once"),
    ("events-started", "events", "at once"),
    ("events-running-1", "events", "at once"),
    ("jobs-one-running", "jobs[].*", "at once"),
    ("jobs-full-running", "jobs[].*", "at once"),
    ("jobs-same-name", "jobs[].*st*", "at once"),
    ("jobs-same-name", "jobs[].*tasks_ready", "at once"),
    ("jobs-same-name", "jobs[].blocks[].p_progressbar", "at once"),
    ("jobs-after-params", "jobs[].running_*", "at once"),
    ("jobs-after-params", "jobs[].blocks[].*", "at once"),
    ("jobs-same-name", "jobs[].name", "names"),
    ("*", "jobs[].blocks[].srv_info", "srv_info"),
    ("*", "blocks[].srv_info", "srv_info"),
    ("*", "jobs[].blocks[].flags", "flags"),
    ("*", "jobs[].user_list_order", "order"),
    ("events-done", "events.tasks_progress[].progress[].per", "percent"),
    ("jobs-progress-done", "job_progress.progress[][].per", "percent"),
    ("progress-activity", "job_progress.progress[][].per", "percent"),
    ("progress-parser-words", "job_progress.progress[][].per", "percent"),
    ("progress-parser-words", "job_progress.progress[][].act", "last"),
    ("task-*", "task.progress.per", "percent"),
    ("task-unknown-mode", "info", "modes"),
    ("get-block-out-of-range", "*", "modes"),
    ("get-block-unknown-mode", "*", "modes"),
    ("task-trynext", "info.kind", "kinds"),
    ("render-clear_services", "info.kind", "kinds"),
    ("render-service_*able*", "info.kind", "services"),
    ("renders-services-*", "renders[].services_disabled", "services"),
    ("jobs-failed", "jobs[].blocks[].p_avoid_hosts", "alone"),
    ("avoided-*", "*", "alone"),
    ("job-own-id", "*", "own id"),
    ("events-running-2", "events.tasks_outputs[].progress.*", "moment"),
    ("jobs-after-stop-2", "jobs[].*", "moment"),
    ("events-after-params", "events.users_change", "moment"),
    ("events-after-set-user", "events.*", "moment"),
    ("events-after-delete", "events.*", "moment"),
    ("pools-sick", "pools[].renders_busy", "moment"),
    ("events-message", "events.jobs_order_ids", "moment"),
)
"""Exchange, path in the answer, reason. ``*`` stands for anything."""


@attrs.define(eq=False)
class Replay:
    """One of the recorded servers, as our farm."""

    farm: JsonFarm
    render: ReplayRender = attrs.field(init=False)
    ids: JobIds = attrs.field(factory=JobIds)

    def task(self, job: int, block: int, task: int) -> TaskKey:
        """Our key of a recorded task."""
        return TaskKey(self.ids.ours[job], block, task, 0)

    def folder(self, job: int) -> bytes:
        """Our folder of the tasks of a recorded job."""
        path = self.farm.farm.state.texts.path(self.task(job, 0, 0), "")
        return path.parent.parent.as_posix().encode()

    async def settle(self) -> None:
        await trio.testing.wait_all_tasks_blocked()

    async def connect(self) -> None:
        """Have the render register, with a new link."""
        self.render = ReplayRender(self.farm.add_render())
        await self.render.register()
        self.farm.nursery.start_soon(self.render.run)
        await self.settle()

    async def leave(self) -> None:
        """Have the render leave."""
        await self.render.link.send_to_farm(Deregister())
        await self.settle()

    async def exchange(self, recorded: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """Replay one exchange; return the differences."""
        if "raw" in recorded:
            raw = recorded["raw"]
            data = bytes.fromhex(raw["hex"]) if isinstance(raw, dict) else raw.encode()
            if 3 in self.ids.ours:  # the store of our farm has other paths
                data = data.replace(b"/srv/cgru/store/jobs/0/3.kinds/tasks", self.folder(3))
            wanted = dict(recorded["answer"])
            if "json" in wanted:
                wanted["json"] = _without_system(wanted["json"])
            return compare(wanted, _describe(await self.farm.exchange(data)))
        request = recorded.get("request")
        body = recorded["text"].encode() if request is None else self.ids.to_ours(request)
        text = await self.farm.send(body)
        answer = json.loads(text) if text else None
        wanted = recorded["answer"]
        if wanted == "ended":
            # The real server ended: ours says what is wrong.
            kind = answer.get("info", {}).get("kind") if answer else None
            return compare("error", kind, "info.kind")
        if wanted == "not JSON":
            # A name was not escaped there; ours has been parsed.
            return iter(())
        if isinstance(wanted, dict) and answer is not None:
            self.ids.note(wanted, answer)
            wanted = _without_system(wanted)
        return compare(wanted, self.ids.to_recorded(answer))


def _describe(answer: bytes) -> dict[str, Any]:
    """The frame of an answer and the JSON in it."""
    if not answer:
        return {"frame": "none"}
    if answer.startswith(b"AFANASY"):
        return {"frame": "text", "json": json.loads(answer[answer.index(b"{") :])}
    if answer.startswith(b"HTTP"):
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        found = {"frame": "http", "status": int(head.split()[1]), "type": lines["Content-Type"]}
        return {**found, "json": json.loads(body)} if "json" in lines["Content-Type"] else found
    if answer[4:8] == b"\0\0\0\1":
        return {"frame": "mismatch"}
    return {"frame": "binary", "json": json.loads(answer[12:])}


def _without_system(answer: dict[str, Any]) -> dict[str, Any]:
    """A recorded answer without the server's own job and user, which our farm has not."""
    made = dict(answer)
    for key in ("jobs", "users"):
        if key in made:
            made[key] = [
                each
                for each in made[key]
                if each.get("user_name") != "afadmin" and each.get("name") != "afadmin"
            ]
    if events := made.get("events"):
        made["events"] = {
            key: [each for each in value if each != 1]
            if key in ("jobs_change", "users_change")
            else value
            for key, value in events.items()
            if not (key in ("jobs_change", "users_change") and value == [1])
        }
    return made


Step = Callable[[Replay], Awaitable[None]]
BEFORE: dict[str, Step] = {}
"""What the render does, and what was not recorded, before an exchange."""


def before(name: str) -> Callable[[Step], Step]:
    def add(step: Step) -> Step:
        BEFORE[name] = step
        return step

    return add


@before("events-running-2")
async def _(replay: Replay) -> None:
    for task in (0, 1):
        await replay.render.progress(replay.task(2, 0, task), 5, percentframe=20)


@before("task-output-running-without-monitor")
async def _(replay: Replay) -> None:
    output = "frames 1 7\nPROGRESS: 10%\nPROGRESS: 20%\n"
    replay.render.outputs[replay.task(2, 0, 0)] = output


@before("events-running-3")
async def _(replay: Replay) -> None:
    for task in (0, 1):
        await replay.render.progress(replay.task(2, 0, task), 7, percentframe=30)
    await replay.render.say(replay.task(2, 0, 0), "PROGRESS: 30%\n")


@before("events-running-4")
async def _(replay: Replay) -> None:
    for task in (0, 1):
        await replay.render.progress(replay.task(2, 0, task), 10, percentframe=40)
    await replay.render.say(replay.task(2, 0, 0), "PROGRESS: 40%\n")


@before("events-done")
async def _(replay: Replay) -> None:
    text = "frames 1 7\n" + "".join(f"PROGRESS: {i}0%\n" for i in range(1, 9))
    one, two, three = (replay.task(2, 0, task) for task in range(3))
    await replay.render.send_file(one, "img.0001.jpg.jpg", b"a picture")
    for key, percent in ((two, 20), (one, 20)):
        await replay.render.progress(key, percent, percentframe=80)
        await replay.render.report(key, Done, percent=percent, percentframe=80, output=text)
    await replay.render.progress(three, 40, percentframe=80)
    await replay.farm.events()
    await replay.render.report(three, Done, percent=40, percentframe=80, output=text)


@before("events-after-job")
async def _(replay: Replay) -> None:
    """Ours starts the tasks at once: what the recorded server did a second later has happened."""


@before("renders")
async def _(replay: Replay) -> None:
    await replay.farm.act("renders", [1], params={"annotation": "x"})


@before("progress-suspended")
async def _(replay: Replay) -> None:
    await replay.render.close_stopped()


@before("events-after-block-actions")
async def _(replay: Replay) -> None:
    await replay.farm.events()
    await replay.farm.act(
        "jobs", [replay.ids.ours[3]], block_ids=[0], operation={"type": "reset_error_hosts"}
    )


@before("jobs-after-block-params")
async def _(replay: Replay) -> None:
    params = {"custom_data": '{"b":1}', "priority": 80}
    await replay.farm.act("jobs", [replay.ids.ours[3]], params=params)
    await replay.render.report(replay.task(3, 0, 3), Done)


@before("jobs-after-params")
async def _(replay: Replay) -> None:
    params = {
        "priority": 60, "annotation": 'an "x"', "max_running_tasks": 2,
        "max_running_tasks_per_host": 1, "hosts_mask": "host", "depend_mask": "other.*",
        "time_wait": 1795987817, "time_life": 100000, "need_os": "linux",
        "custom_data": '{"x":1}', "folders": {"output": "/x"}, "offline": False,
    }  # fmt: skip
    await replay.farm.act("jobs", [replay.ids.ours[3]], params=params)


@before("events-after-params")
async def _(replay: Replay) -> None:
    await replay.farm.events()
    params = {"priority": 61}
    await replay.farm.act("jobs", [replay.ids.ours[3]], params=params)


@before("renders-params-clear")
async def _(replay: Replay) -> None:
    params = {
        "priority": 255, "capacity_host": -1, "max_tasks_host": -1, "power_host": -1,
        "properties_host": "", "user_name": "user1", "custom_data": "", "hidden": False,
    }  # fmt: skip
    await replay.farm.act("renders", [1], params=params)


@before("users-mask")
async def _(replay: Replay) -> None:
    params = {
        "priority": 50, "errors_retries": 5, "errors_avoid_host": -1,
        "errors_task_same_host": 44, "errors_forgive_time": 60, "jobs_life_time": 1000,
        "max_running_tasks": 5, "paused": True,
    }  # fmt: skip
    await replay.farm.act("users", "user3", params=params)


@before("events-pools")
async def _(replay: Replay) -> None:
    await replay.farm.events()
    await replay.farm.act("pools", [1], params={"annotation": ""})


@before("renders-wol-sleeping")
async def _(replay: Replay) -> None:
    await replay.leave()


@before("renders-log-wol")
async def _(replay: Replay) -> None:
    await replay.connect()


@before("renders-after-reboot")
async def _(replay: Replay) -> None:
    await replay.leave()


@before("render-shutdown")
async def _(replay: Replay) -> None:
    await replay.connect()


@before("progress-after-skip-2")
async def _(replay: Replay) -> None:
    await replay.render.close_stopped()


@before("progress-done-one")
async def _(replay: Replay) -> None:
    await replay.render.close_stopped()


@before("progress-after-restart")
async def _(replay: Replay) -> None:
    await replay.render.close_stopped()


@before("block-skip-by-mask")
async def _(replay: Replay) -> None:
    await replay.render.close_stopped()


@before("job-operation-unknown")
async def _(replay: Replay) -> None:
    await replay.render.close_stopped()


@before("jobs-after-stop-2")
async def _(replay: Replay) -> None:
    await replay.render.report(replay.task(3, 0, 1), Done)
    await replay.render.close_stopped()


@before("events-after-delete-2")
async def _(replay: Replay) -> None:
    await replay.render.close_stopped()


@before("job-delete-gone")
async def _(replay: Replay) -> None:
    await replay.render.close_stopped()


@before("job-failing")
async def _(replay: Replay) -> None:
    await replay.render.close_stopped()


@before("jobs-failed")
async def _(replay: Replay) -> None:
    one, two = replay.task(3, 0, 0), replay.task(3, 0, 1)
    for _attempt in range(2):
        await replay.render.report(one, Failed, exit_code=3)
        await replay.render.report(two, Failed, exit_code=1, output="x\n")


@before("progress-activity")
async def _(replay: Replay) -> None:
    warn, error, bad, good, words = (replay.task(3, 0, task) for task in range(5))
    report = replay.render.report
    await report(warn, TaskStatus.Warning)
    await report(error, TaskStatus.FinishedParserError)
    await report(bad, TaskStatus.FinishedParserBadResult)
    await report(good, TaskStatus.FinishedParserSuccess)
    await report(warn, Done)
    await replay.render.progress(words, 30, percentframe=30, activity="doing it", report="a report")


@before("progress-parser-words")
async def _(replay: Replay) -> None:
    words, image = replay.task(3, 0, 4), replay.task(3, 0, 5)
    text = "REPORT: a report\nACTIVITY: doing it\nPROGRESS: 30%\n"
    await replay.render.report(words, Done, percent=30, percentframe=30, output=text)
    await replay.render.send_file(image, "img.0001.jpg.jpg", b"a picture")
    await replay.render.report(image, Done)


@before("progress-ejected-2")
async def _(replay: Replay) -> None:
    await replay.render.close_stopped()


@before("renders-sick")
async def _(replay: Replay) -> None:
    await replay.render.close_stopped()
    for number, user in ((3, "user1"), (4, "user2")):
        job = {"name": f"sick-{user}", "user_name": user, "host_name": "ws1", "blocks": [
            {"name": "b", "service": "generic", "capacity": 100, "errors_retries": 0,
             "tasks": [{"name": "t", "command": "exit 1"}]},
        ]}  # fmt: skip
        replay.ids.ours[number] = (await replay.farm.ask({"job": job}))["id"]
        await replay.settle()
        await replay.render.report(replay.task(number, 0, 0), Failed, exit_code=1)


@before("users-jobs_order-3")
async def _(replay: Replay) -> None:
    await replay.farm.events()
    for number in (3, 4, 5):
        job = {"name": f"m{number - 2}", "user_name": "user1", "host_name": "ws1", "blocks": [
            {"name": "b", "service": "generic", "capacity": 100, "tasks": [{"name": "t"}]},
        ], "offline": True, "priority": 99}  # fmt: skip
        replay.ids.ours[number] = (await replay.farm.ask({"job": job}))["id"]


@before("events-exit")
async def _(replay: Replay) -> None:
    await replay.farm.events()
    await replay.leave()


@before("avoided-jobs")
async def _(replay: Replay) -> None:
    job = {"name": "d", "user_name": "user1", "host_name": "ws1", "blocks": [
        {"name": "b", "service": "generic", "capacity": 100, "tasks": [{"name": "t"}]},
    ]}  # fmt: skip
    replay.ids.ours[2] = (await replay.farm.ask({"job": job}))["id"]
    await replay.settle()
    for _attempt in range(3):
        await replay.render.report(replay.task(2, 0, 0), Failed, exit_code=1)


@before("task-log-not-kept")
async def _(replay: Replay) -> None:
    await replay.render.close_stopped()


@before("ends-get-block-negative")
async def _(replay: Replay) -> None:
    job = {"name": "j", "user_name": "user1", "host_name": "ws1", "blocks": [
        {"name": "b", "service": "generic", "tasks": [{"name": "t", "command": "true"}]},
    ]}  # fmt: skip
    replay.ids.ours[2] = (await replay.farm.ask({"job": job}))["id"]
    await replay.settle()


async def differences(first: str) -> list[tuple[str, str, str]]:
    """Replay one recorded server; return exchange, path and description of each difference."""
    exchanges = load_exchanges()
    names = [each["name"] for each in exchanges]
    ends = [*sorted(names.index(name) for name in SECTIONS), len(names)]
    begin = names.index(first)
    found = []
    async with open_json_farm() as farm:
        replay = Replay(farm)
        await replay.connect()
        for recorded in exchanges[begin : ends[ends.index(begin) + 1]]:
            await trio.sleep(0.05)
            if step := BEFORE.get(recorded["name"]):
                await step(replay)
            await replay.settle()
            found += [(recorded["name"], *each) for each in await replay.exchange(recorded)]
    return found


def listed(name: str, path: str) -> list[int]:
    """The rows of the table that name a difference."""
    rows = enumerate(DIFFERENCES)
    return [i for i, row in rows if fnmatchcase(name, row[0]) and _matches(path, row[1])]


def _matches(path: str, pattern: str) -> bool:
    # Brackets of lists are no sets of letters here.
    return fnmatchcase(path, pattern.replace("[", "[[]"))


async def test_each_difference_is_listed(autojump_clock: trio.abc.Clock) -> None:
    used: set[int] = set()
    unlisted = []
    for first in SECTIONS:
        for name, path, text in await differences(first):
            rows = listed(name, path)
            used.update(rows)
            if not rows:
                unlisted.append(f"{name}: {path}: {text}")
    if unlisted:
        pytest.fail("\n".join(unlisted), pytrace=False)
    unused = [row for i, row in enumerate(DIFFERENCES) if i not in used]
    assert not unused, "these rows name no difference"


def test_the_docs_give_each_reason() -> None:
    page = (Path(__file__).parents[2] / "docs" / "afanasy-json.md").read_text(encoding="utf-8")
    text = " ".join(page.split())
    assert {row[2] for row in DIFFERENCES} == REASONS.keys()
    assert [reason for reason in REASONS.values() if reason not in text] == []
