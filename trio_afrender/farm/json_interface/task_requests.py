"""Requests about one task: what its render is given, its output, log, files, hosts with errors."""

from __future__ import annotations

import trio

from trio_afrender.farm.farm import Farm
from trio_afrender.farm.json_interface.answers import Answer, BinaryAnswer, info
from trio_afrender.farm.json_interface.json_monitors import JsonMonitor, MonitorRegistry
from trio_afrender.farm.json_interface.request_body import numbers_at
from trio_afrender.farm.json_interface.task_binary import BINARY_TYPES, encode_task
from trio_afrender.farm.json_interface.task_files import describe_task_files
from trio_afrender.farm.json_interface.task_messages import (
    describe_exec,
    describe_task,
    task_error_hosts,
)
from trio_afrender.farm.model import Task
from trio_afrender.protocol.messages import TaskKey
from trio_afrender.text import show_json, suggest

__all__ = ("TaskRequests",)

_MODES = ("info", "output", "log", "error_hosts", "files")
OUTPUT_TIMEOUT = 10.0
"""Seconds to wait for the output of a running task."""


class TaskRequests:
    """Answers requests about tasks. `nursery` waits for outputs that are sent to monitors."""

    def __init__(self, farm: Farm, registry: MonitorRegistry, nursery: trio.Nursery) -> None:
        self._farm = farm
        self._state = farm.state
        self._registry = registry
        self._nursery = nursery

    async def answer(
        self, numbers: tuple[int, int, int], mode: str, asked: Answer
    ) -> Answer | BinaryAnswer:
        """Answer one request for a mode of a task, in binary form if it asks for that."""
        await trio.lowlevel.checkpoint()
        state, key = self._state, TaskKey(*numbers, 0)
        if mode not in _MODES:
            near = suggest(mode, _MODES)
            return info("error", f"Invalid mode of a task: {show_json(asked.get('mode'))}{near}")
        try:
            task = state.find_task(key)
        except KeyError:
            text = f"Invalid block/task number: {key.block}, {key.task}"
            if key.job not in state.jobs:
                text = f"Invalid ID: there is no job {key.job}"
            if mode != "output":
                return info("error", text)
            # Clients of a real server look for the reason in the text of the output.
            described = describe_task(state, key, "TOutput", f"ERROR: {text}")
        else:
            match mode:
                case "info":
                    described = describe_task(state, key, "TExec", "", about=describe_exec(task))
                case "output":
                    described = await self._output(task, asked)
                case "log":
                    described = describe_task(state, key, "TLog", await self._farm.read_log(key))
                case "error_hosts":
                    text = task_error_hosts(state, task, trio.current_time())
                    described = describe_task(state, key, "TErrorHosts", text)
                case _:
                    return {"task_files": describe_task_files(state, task)}
        if asked.get("binary") is True and described["type"] in BINARY_TYPES:
            return encode_task(described)
        return {"task": described}

    async def _output(self, task: Task, asked: Answer) -> Answer:
        """The output of an attempt, by default of the last one."""
        number = next(iter(numbers_at({"number": [asked.get("number")]}, "number")), 0)
        key = task.key
        shown = key._replace(number=max(0, number))
        if not task.attempts:
            return describe_task(self._state, shown, "TOutput", "ERROR: the task was not started")
        if not 0 <= number <= task.attempts:
            text = f"ERROR: the task was started {task.attempts} times, not {number} times"
            return describe_task(self._state, shown, "TOutput", text)
        run = task.run
        if run is None or number not in (0, run.attempt):
            text = await self._farm.read_output(key, number or task.attempts)
            return describe_task(self._state, shown, "TOutput", text)
        if "mon_id" in asked:
            # The output goes to a monitor, when it has come.
            mon_id = asked["mon_id"]
            monitor = self._registry.monitors.get(mon_id) if isinstance(mon_id, int) else None
            text = f"ERROR: there is no monitor {show_json(mon_id)}"
            if monitor is not None:
                self._nursery.start_soon(self._wait_for_output, monitor, key)
                text = "Retrieving running task output from render..."
            return describe_task(self._state, shown, "TOutput", text)
        with trio.move_on_after(OUTPUT_TIMEOUT):
            text = await self._farm.ask_output(key)
            return describe_task(self._state, shown, "TOutput", text)
        text = (
            f"ERROR: render {run.render.name} has not sent the output within {OUTPUT_TIMEOUT:g} s"
        )
        return describe_task(self._state, shown, "TOutput", text)

    async def _wait_for_output(self, monitor: JsonMonitor, key: TaskKey) -> None:
        text = f"ERROR: the render has not sent the output within {OUTPUT_TIMEOUT:g} s"
        with trio.move_on_after(OUTPUT_TIMEOUT):
            try:
                text = await self._farm.ask_output(key)
            except KeyError:
                return  # the job was deleted
            except OSError as error:  # the host has no thread to read it with
                text = f"ERROR: the output cannot be read now: {error.strerror or error}"
        monitor.add_output(key, text)
