"""Replay of the exchanges with a real server that `tests/data/afanasy_json` records.

The recorded server gives ids of jobs again, ours does not: `JobIds` translates between the two.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import trio
import trio.testing

from support.farm import FakeLink, make_update
from trio_afrender.protocol.messages import (
    Ack,
    AskedOutput,
    Events,
    FilesEntry,
    HostResources,
    ListenedEntry,
    NetIF,
    TaskExec,
    TaskFile,
    TaskKey,
    TaskStatus,
)

__all__ = ("JobIds", "ReplayRender", "compare", "load_exchanges")

DATA = Path(__file__).parents[1] / "data" / "afanasy_json" / "exchanges.json"
BIT_62 = 1 << 62
"""A mark of the real server's solver in the state of a task: it comes and goes."""
_UNCOMPARED = frozenset(
    (
        *("time_creation", "time_started", "time_done", "time_register", "time_launch"),
        *("time_update", "time_activity", "time_start", "task_start_finish_time"),
        *("wol_operation_time", "idle_time", "busy_time", "tst", "tdn", "host_resources"),
        *("p_tasks_run_time_min", "p_tasks_run_time_max", "p_tasks_run_time_sum"),
        # Sentences: the data has none of them, or an empty string.
        *("text", "list", "report", "success"),
    )
)
"""Keys whose values depend on the moment or are sentences."""


def load_exchanges() -> list[dict[str, Any]]:
    """The recorded exchanges in their order."""
    loaded: list[dict[str, Any]] = json.loads(DATA.read_text(encoding="utf-8"))
    return loaded


def compare(recorded: Any, ours: Any, path: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401 - JSON
    """Yield the path and a description of each difference."""
    if isinstance(recorded, dict) and isinstance(ours, dict):
        for key in recorded.keys() | ours.keys():
            if key in _UNCOMPARED or (key in recorded and recorded[key] == "" and key in ours):
                continue
            at = f"{path}.{key}" if path else key
            if key not in ours:
                yield at, f"missing, recorded {_show(recorded[key])}"
            elif key not in recorded:
                yield at, f"not recorded, ours {_show(ours[key])}"
            elif key in ("thumb_path", "name") and "/files/" in str(recorded[key]):
                yield from compare(Path(recorded[key]).name, Path(ours[key]).name, at)
            elif key == "st" and isinstance(recorded[key], int):
                yield from compare(recorded[key] & ~BIT_62, ours[key], at)
            else:
                yield from compare(recorded[key], ours[key], at)
    elif isinstance(recorded, list) and isinstance(ours, list) and len(recorded) == len(ours):
        for one, other in zip(recorded, ours, strict=True):
            yield from compare(one, other, f"{path}[]")
    elif recorded != ours:
        yield path, f"ours {_show(ours)}, recorded {_show(recorded)}"


def _show(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@attrs.define(eq=False)
class JobIds:
    """Recorded ids of jobs and ours, and recorded serial numbers by our ids."""

    ours: dict[int, int] = attrs.field(factory=dict)
    serials: dict[int, int] = attrs.field(factory=dict)

    def note(self, recorded: Mapping[str, Any], answer: dict[str, Any]) -> None:
        """Note the ids that two answers to a submitted job give; make them the same."""
        if "id" in recorded and "serial" in recorded:
            if "id" in answer:
                self.ours[recorded["id"]] = answer["id"]
                self.serials[answer["id"]] = recorded["serial"]
                answer.update(recorded)
            else:
                self.ours.pop(recorded["id"], None)

    def to_ours(self, request: Any) -> Any:  # noqa: ANN401 - JSON
        """The request with our ids of jobs."""
        made = json.loads(json.dumps(request))
        for asked in made.values():
            if not isinstance(asked, dict):
                continue
            operation = asked.get("operation")
            operation = operation if isinstance(operation, dict) else {}
            if asked.get("type") == "jobs" and isinstance(asked.get("ids"), list):
                asked["ids"] = [self.ours.get(each, each) for each in asked["ids"]]
            if operation.get("class") == "tasks":
                operation["ids"] = [self.ours.get(each, each) for each in operation["ids"]]
            if operation.get("class") == "listen":
                operation["job"] = self.ours.get(operation["job"], operation["job"])
            if "jids" in operation:
                operation["jids"] = [self.ours.get(each, each) for each in operation["jids"]]
        return made

    def to_recorded(self, answer: Any, key: str = "") -> Any:  # noqa: ANN401 - JSON
        """Our answer with the recorded ids of jobs."""
        back = {ours: recorded for recorded, ours in self.ours.items()}
        if isinstance(answer, dict):
            made = {name: self.to_recorded(value, name) for name, value in answer.items()}
            if "blocks" in answer and "serial" in answer:
                made["id"] = back.get(answer["id"], answer["id"])
                made["serial"] = self.serials.get(answer["id"], answer["serial"])
            if key == "pos":
                made["job"] = back.get(answer["job"], answer["job"])
            if key == "job_progress":
                made["id"] = back.get(answer["id"], answer["id"])
            return made
        if isinstance(answer, list):
            if key == "jobs_del":
                # The id may have been given again since.
                return [back.get(each, each) for each in answer]
            return [self.to_recorded(each, key) for each in answer]
        if key in ("job_id", "jids", "jobs_add", "jobs_change", "jobs_order_ids"):
            return back.get(answer, answer)
        return answer


@attrs.define(eq=False)
class ReplayRender:
    """The recorded render, which does what the test has it do."""

    link: FakeLink
    tasks: dict[TaskKey, TaskExec] = attrs.field(factory=dict)
    """What it runs."""
    stopped: dict[str, TaskExec] = attrs.field(factory=dict)
    """What it has to stop, by run."""
    outputs: dict[TaskKey, str] = attrs.field(factory=dict)
    instructions: list[str] = attrs.field(factory=list)
    entries: int = 0

    async def register(self) -> None:
        """Register as the recorded render."""
        await self.link.register(
            "host1",
            user_name="user1",
            host_name="host1",
            engine="3.4.1",
            os="unix linux 64 debian 12",
            capacity=1100,
            max_tasks=4,
            netifs=(NetIF(name="eth0", mac="02:00:00:00:00:01", addresses=("192.0.2.10",)),),
            resources=HostResources(hw_info="CPU model"),
            time_launch=1_795_987_608,
        )

    async def run(self) -> None:
        """Receive what the farm sends, until cancelled or the link is closed."""
        while not self.link.closed.is_set():
            message = None
            with trio.move_on_after(5):
                try:
                    message = await self.link._from_farm.receive()
                except trio.EndOfChannel:
                    return
            if isinstance(message, Events):
                await self._take(message)
            elif not isinstance(message, Ack):
                await self.link.update()  # a heartbeat

    async def _take(self, events: Events) -> None:
        for ref in events.stops:
            self.stopped[ref.run] = self.tasks[TaskKey(ref.job, ref.block, ref.task, 0)]
        for ref in events.closes:
            key = TaskKey(ref.job, ref.block, ref.task, 0)
            self.stopped.pop(ref.run, None)
            if key in self.tasks and self.tasks[key].run == ref.run:
                del self.tasks[key]
        for task in events.tasks:
            self.tasks[task.key] = task
        if events.instruction:
            self.instructions.append(events.instruction)
        if events.outputs:
            asked = tuple(
                AskedOutput(
                    run=ref.run, job=ref.job, block=ref.block, task=ref.task,
                    output=self.outputs.get(TaskKey(ref.job, ref.block, ref.task, 0), ""),
                )
                for ref in events.outputs
            )  # fmt: skip
            await self.link.update(outputs=asked)

    async def report(self, key: TaskKey, status: TaskStatus, **fields: object) -> None:
        """Report the state of a task."""
        await self.link.update(make_update(self.tasks[key], status, **fields))
        await trio.testing.wait_all_tasks_blocked()

    async def progress(self, key: TaskKey, percent: int, **fields: object) -> None:
        """Report that a task has come further."""
        await self.report(key, TaskStatus.Percent, percent=percent, progress_changed=True, **fields)

    async def close_stopped(self) -> None:
        """End the tasks that the farm has stopped."""
        for task in list(self.stopped.values()):
            await self.link.update(make_update(task, TaskStatus.FinishedKilled, exit_signal=15))
            await trio.testing.wait_all_tasks_blocked()

    async def say(self, key: TaskKey, text: str) -> None:
        """Send new output of a task that a client listens to."""
        self.entries += 1
        entry = ListenedEntry(run=self.tasks[key].run, n=self.entries, text=text)
        await self.link.update(listened=(entry,))
        await trio.testing.wait_all_tasks_blocked()

    async def send_file(self, key: TaskKey, name: str, data: bytes) -> None:
        """Send a thumbnail."""
        self.entries += 1
        files = (TaskFile(name=name, data=data),)
        entry = FilesEntry(run=self.tasks[key].run, n=self.entries, files=files)
        await self.link.update(files=(entry,))
        await trio.testing.wait_all_tasks_blocked()
