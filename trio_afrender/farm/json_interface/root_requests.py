"""The requests of the JSON interface, by the key of their root: each gets an answer, or none.

Bad requests get an answer that names what is wrong. Only bugs raise.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import trio

from trio_afrender.errors import JobError
from trio_afrender.farm.farm import Farm
from trio_afrender.farm.json_interface.action_requests import ActionRequests
from trio_afrender.farm.json_interface.answers import (
    Answer,
    BinaryAnswer,
    EncodedAnswer,
    info,
    status,
)
from trio_afrender.farm.json_interface.asker import Asker
from trio_afrender.farm.json_interface.get_requests import GetRequests
from trio_afrender.farm.json_interface.http_head import HttpAnswer, HttpRefused
from trio_afrender.farm.json_interface.job_objects import orders_of_users, serial_of
from trio_afrender.farm.json_interface.json_monitors import MAX_MONITORS, MonitorRegistry
from trio_afrender.farm.json_interface.node_objects import describe_monitor, describe_user
from trio_afrender.farm.json_interface.request_body import object_at, text_at
from trio_afrender.farm.json_interface.served_files import GuiFolder
from trio_afrender.farm.json_interface.task_files import find_task_file, read_task_file
from trio_afrender.farm.json_interface.task_messages import describe_task, progress_of
from trio_afrender.jobs.job_file import parse_job
from trio_afrender.jobs.job_spec import JobSpec
from trio_afrender.tasklog.io_threads import call_in_thread
from trio_afrender.text import MAX_NODE_NAME, is_node_name, show_json

__all__ = ("RootRequests",)

_NAME = f"expected 1 to {MAX_NODE_NAME} printable characters"
_MAX_PRIORITY = 255
_MAX_MESSAGE = 10_000
"""Characters of a message to all monitors."""
_LARGE = 1000
"""Tasks of a job that is parsed in a thread."""
_THREADS = 4
"""Threads that parse jobs and read files."""


class RootRequests:
    """Answers the requests to one farm. `nursery` runs what outlives a request: listening."""

    def __init__(self, farm: Farm, nursery: trio.Nursery, gui_folder: Path | None = None) -> None:
        self._farm = farm
        self._state = farm.state
        self._gui = GuiFolder(gui_folder) if gui_folder else None
        self._threads = trio.CapacityLimiter(_THREADS)
        self.registry: MonitorRegistry = MonitorRegistry(
            state=self._state,
            describe_task=lambda key, kind, text: describe_task(self._state, key, kind, text),
            describe_progress=lambda key: progress_of(self._state, key),
            order_of=lambda user: orders_of_users(self._state).get(user, []),
        )
        self._get = GetRequests(farm, self.registry, nursery, self._gui, self._threads)
        self._action = ActionRequests(farm, self.registry, nursery)

    async def answer(
        self, root: dict[str, object], asker: Asker
    ) -> Answer | BinaryAnswer | EncodedAnswer | None:
        """Answer a request; None if it has no answer."""
        try:
            return await self._answer(root, asker)
        except OSError as error:  # the host has no thread for what blocks
            return info("error", f"the farm cannot answer now: {error.strerror or error}")

    async def _answer(
        self, root: dict[str, object], asker: Asker
    ) -> Answer | BinaryAnswer | EncodedAnswer | None:
        self.registry.expire(trio.current_time())
        if (asked := object_at(root, "get")) is not None:
            return await self._get.answer(asked)
        if (asked := object_at(root, "action")) is not None:
            answer = self._action.answer(asked, asker)
            self._farm.dispatch()
            return answer
        if "job" in root:
            try:
                job = self._farm.submit(await self._read_job(root))
            except JobError as error:
                return info("error", f"The job is refused: {error}")
            return {"id": job, "serial": serial_of(self._state.jobs[job])}
        if "monitor" in root:
            return self._register(root, asker)
        if "user" in root:
            name = text_at(object_at(root, "user") or {}, "name")
            if not is_node_name(name):
                return info("error", f"user.name: {_NAME}")
            exists = name in self._state.users
            user = describe_user(self._state, self._state.make_user(name))
            self._farm.dispatch()
            return {"error": "exists", "user": user} if exists else {"user": user}
        if "announce" in root:
            text = text_at(root, "announce")
            if not 0 < len(text) <= _MAX_MESSAGE:
                return info("error", f"announce: expected a text of 1 to {_MAX_MESSAGE} characters")
            self.registry.announce(text)
            return status("announce", "OK")
        if "reload_config" in root:
            return status(
                "reload_config", "Nothing to reload: the farm reads its files at its start."
            )
        known = "get, action, job, monitor, user, announce"
        found = ", ".join(list(map(show_json, root))[:5]) or "nothing"
        return info(
            "error", f"Invalid action: expected an object with one of {known}; found {found}."
        )

    async def serve_file(self, target: str) -> HttpAnswer:
        """Answer an HTTP GET. Raises `HttpRefused`."""
        if (key_and_name := find_task_file(self._state, target)) is not None:
            return await read_task_file(self._state, *key_and_name, self._threads)
        if self._gui is None:
            raise HttpRefused(404, "there is no such file; pages are served with --gui DIR only")
        try:
            return await call_in_thread(partial(self._gui.serve, target), limiter=self._threads)
        except OSError as error:
            raise HttpRefused(503, f"it cannot be read now: {error.strerror or error}") from None

    async def _read_job(self, root: dict[str, object]) -> JobSpec:
        """Read the job of a request. Raises `JobError`."""
        data = object_at(root, "job")
        if data is None:
            raise JobError("job", f"expected an object, found {show_json(root['job'])}")
        if not text_at(data, "user_name"):
            raise JobError("job.user_name", "missing: a job needs the name of its user")
        if "id" in data:
            raise JobError("job.id", "the farm gives the ids of jobs: leave it out")
        priority = data.get("priority", 0)
        if isinstance(priority, int) and not 0 <= priority <= _MAX_PRIORITY:
            raise JobError("job.priority", f"expected 0 to {_MAX_PRIORITY}, found {priority}")
        user = self._state.users.get(text_at(data, "user_name"))
        mask_type = user.hosts_mask_type if user is not None else "find"
        parse = partial(parse_job, {"job": data}, hosts_mask_type=mask_type)
        blocks = data.get("blocks")
        blocks = blocks if isinstance(blocks, list) else []
        listed = [block.get("tasks") for block in blocks if isinstance(block, dict)]
        if sum(len(tasks) for tasks in listed if isinstance(tasks, list)) > _LARGE:
            return await call_in_thread(parse, limiter=self._threads)
        await trio.lowlevel.checkpoint()
        return parse()

    def _register(self, root: dict[str, object], asker: Asker) -> Answer:
        asked = object_at(root, "monitor")
        if asked is None:
            text = f"monitor: expected an object, found {show_json(root['monitor'])}"
            return info("error", text)
        names = {key: text_at(asked, key) for key in ("user_name", "host_name", "engine")}
        for key in ("user_name", "host_name"):
            if not is_node_name(names[key]):
                return info("error", f"monitor.{key}: {_NAME}")
        names["engine"] = names["engine"][:MAX_NODE_NAME]
        monitor = self.registry.register(**names, address=asker.address, now=trio.current_time())
        if monitor is None:
            return info(
                "error", f"there are {MAX_MONITORS} monitors already, the most of this farm"
            )
        return {"monitor": describe_monitor(monitor)}
