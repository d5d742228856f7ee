"""Requests that read: lists of nodes, logs, progress, blocks, events, files, settings."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar

import trio

from trio_afrender.farm.farm import Farm
from trio_afrender.farm.json_interface.answers import (
    Answer,
    BinaryAnswer,
    EncodedAnswer,
    info,
    message,
)
from trio_afrender.farm.json_interface.job_objects import (
    BLOCK_MODES,
    describe_block,
    describe_error_hosts,
    describe_jobs,
    describe_progress,
    orders_of_users,
    serial_of,
)
from trio_afrender.farm.json_interface.json_monitors import MonitorRegistry
from trio_afrender.farm.json_interface.name_masks import by_beginnings
from trio_afrender.farm.json_interface.node_objects import (
    ROOT,
    describe_branch,
    describe_monitor,
    describe_pool,
    describe_user,
)
from trio_afrender.farm.json_interface.render_objects import (
    describe_resources,
    describe_whole_render,
    encode_renders,
)
from trio_afrender.farm.json_interface.request_body import numbers_at, text_at, texts_at
from trio_afrender.farm.json_interface.served_files import GuiFolder
from trio_afrender.farm.json_interface.task_requests import TaskRequests
from trio_afrender.farm.json_interface.wait_objects import describe_waits
from trio_afrender.farm.model import Job
from trio_afrender.tasklog.io_threads import call_in_thread
from trio_afrender.text import show_json, suggest
from trio_afrender.version import __version__

__all__ = ("GetRequests",)

_T = TypeVar("_T")
_TYPES = ("jobs", "renders", "users", "pools", "branches", "monitors", "files", "config")
_JOB_MODES = ("progress", "error_hosts", "log", "why")
_MODES_OF_TASKS = ("info", "output", "files")
"""Those that no job has."""
_GUI_SETTINGS = {
    "af_monitor_render_idle_bar_max": 3600,
    "af_monitor_render_cpu_hot_min": 90,
    "af_monitor_render_cpu_hot_max": 100,
}
"""Without these CGRU's browser page draws no plots."""


class GetRequests:
    """Answers the requests that change nothing."""

    def __init__(
        self,
        farm: Farm,
        registry: MonitorRegistry,
        nursery: trio.Nursery,
        gui: GuiFolder | None,
        threads: trio.CapacityLimiter,
    ) -> None:
        self._state = farm.state
        self._registry = registry
        self._gui = gui
        self._threads = threads
        self._tasks = TaskRequests(farm, registry, nursery)
        self._methods: Mapping[str, Callable[[Answer], Answer | EncodedAnswer]] = {
            "renders": self._renders,
            "users": self._users,
            "pools": self._pool_or_branch,
            "branches": self._pool_or_branch,
            "monitors": self._monitors,
        }

    async def answer(self, asked: Answer) -> Answer | BinaryAnswer | EncodedAnswer:
        """Answer one request."""
        kind = text_at(asked, "type")
        if kind == "jobs":
            mode = text_at(asked, "mode")
            jobs, blocks, tasks = (
                numbers_at(asked, key) for key in ("ids", "block_ids", "task_ids")
            )
            if jobs and blocks and tasks:
                return await self._tasks.answer((jobs[0], blocks[0], tasks[0]), mode, asked)
            if mode in _MODES_OF_TASKS:
                return info("error", f'mode "{mode}" needs ids, block_ids and task_ids of one each')
            await trio.lowlevel.checkpoint()
            return self._jobs(asked, mode)
        if kind == "files":
            path = text_at(asked, "path")
            names: list[str] = []
            if self._gui is not None:
                list_names = partial(self._gui.list_names, path)
                names = await call_in_thread(list_names, limiter=self._threads)
            return {"path": path, "files": names}
        if kind == "config":
            found: list[object] = []
            if self._gui is not None:
                found = await call_in_thread(self._gui.read_config, limiter=self._threads)
            folder = str(self._gui.folder) if self._gui is not None else ""
            environment = {
                "version": f"trio_afrender {__version__}",
                "builddate": "",
                "buildrevision": "",
                "platform": f"unix {platform.system().lower()} {platform.machine()}",
                "hostname": socket.gethostname(),
                "username": os.environ.get("USER", ""),
                "location": folder,
                "servedir": folder,
            }
            own = {"cgru_config": _GUI_SETTINGS}
            return {"cgru_config": [own, *found, {"cgru_environment": environment}]}
        await trio.lowlevel.checkpoint()
        if kind not in self._methods:
            near = suggest(kind, _TYPES)
            return info("error", f"Invalid get type = {show_json(asked.get('type'))}{near}")
        return self._methods[kind](asked)

    def _jobs(self, asked: Answer, mode: str) -> Answer:
        jobs = self._state.jobs
        ids = numbers_at(asked, "ids")
        if len(ids) == 1 and ids[0] not in jobs:
            return info("error", f"Invalid ID: there is no job {ids[0]}")
        blocks = numbers_at(asked, "block_ids")
        if blocks:
            modes = texts_at(asked, "mode")
            job = jobs.get(ids[0]) if ids else None
            if job is not None and len(modes) == len(blocks):
                return self._blocks(job, blocks, modes)
        elif mode in _JOB_MODES:
            if len(ids) != 1:
                return info("error", f'mode "{mode}" needs one id of a job')
            chosen, now = jobs[ids[0]], trio.current_time()
            if mode == "progress":
                progress = describe_progress(chosen, int(self._state.wall()))
                return {"job_progress": {"id": chosen.id, "progress": progress}}
            if mode == "log":
                return message(chosen.spec.name, "log", chosen.node_log.lines)
            if mode == "why":
                return describe_waits(self._state, chosen, now)
            lines = describe_error_hosts(self._state, chosen, now)
            return message(chosen.spec.name, "error_hosts", lines)
        if ids:
            found = [jobs[each] for each in dict.fromkeys(ids) if each in jobs]
        else:
            # The most important ones first.
            found = sorted(self._filter_jobs(asked), key=lambda job: (-job.spec.priority, job.id))
        full = mode == "full"
        return {"jobs": describe_jobs(self._state, found, trio.current_time(), full=full)}

    def _blocks(self, job: Job, blocks: list[int], modes: list[str]) -> Answer:
        now = trio.current_time()
        made = []
        for number, mode in zip(blocks, modes, strict=True):
            if not 0 <= number < len(job.blocks):
                last = len(job.blocks) - 1
                return info("error", f"Invalid block number {number}: the job has 0 to {last}")
            if mode not in BLOCK_MODES:
                near = suggest(mode, BLOCK_MODES)
                return info("error", f"Unknown block mode {show_json(mode)}{near}")
            made.append(describe_block(self._state, job.blocks[number], number, now, mode))
        return {"blocks": made}

    def _filter_jobs(self, asked: Answer) -> Iterable[Job]:
        jobs = self._state.jobs
        if mask := text_at(asked, "mask"):
            wanted = by_beginnings(mask)
            return [job for job in jobs.values() if wanted(job.spec.name)]
        if isinstance(asked.get("uids"), list):
            numbers = set(numbers_at(asked, "uids"))
            return [job for job in jobs.values() if job.user.id in numbers]
        if isinstance(asked.get("serials"), list):
            numbers = set(numbers_at(asked, "serials"))
            return [job for job in jobs.values() if serial_of(job) in numbers]
        if isinstance(asked.get("users"), list):
            names = set(texts_at(asked, "users"))
            return [job for job in jobs.values() if job.user.name in names]
        return jobs.values()

    def _renders(self, asked: Answer) -> Answer | EncodedAnswer:
        state, mode = self._state, text_at(asked, "mode")
        by_id = {render.id: render for render in state.renders.values()}
        found = _select(by_id, lambda render: render.name, asked)
        now = trio.current_time()
        if mode == "resources":
            return {"renders": [describe_resources(state, each, now) for each in found]}
        if mode in ("full", "log", "tasks_log"):
            if len(found) != 1:
                return _needs_one(mode, asked, "render")
            render = found[0]
            if mode == "full":
                return {"object": describe_whole_render(state, render, now)}
            if mode == "log":
                return message(render.name, "log", render.node_log.lines)
            lines = render.tasks_log.lines or ("No tasks execution.",)
            return message(render.name, "tasks_log", lines)
        return EncodedAnswer(f'{{"renders":{encode_renders(state, found, now)}}}')

    def _users(self, asked: Answer) -> Answer:
        by_id = {user.id: user for user in self._state.users.values()}
        found = _select(by_id, lambda user: user.name, asked)
        mode = text_at(asked, "mode")
        if mode not in ("log", "jobs_order"):
            return {"users": [describe_user(self._state, user) for user in found]}
        if len(found) != 1:
            return _needs_one(mode, asked, "user")
        user = found[0]
        if mode == "log":
            return message(user.name, "log", user.node_log.lines)
        order = orders_of_users(self._state).get(user.id, [])
        return {"events": {"jobs_order": {"uids": [user.id], "jids": [order]}}}

    def _pool_or_branch(self, asked: Answer) -> Answer:
        is_pool = text_at(asked, "type") == "pools"
        found = _select({ROOT: self._state}, lambda _: "/", asked)
        if text_at(asked, "mode") == "log":
            return message("/", "log", self._state.pool_log.lines if is_pool else ())
        if not is_pool:
            return {"branches": [describe_branch(state) for state in found]}
        now = trio.current_time()
        return {"pools": [describe_pool(state, now) for state in found]}

    def _monitors(self, asked: Answer) -> Answer:
        mode = text_at(asked, "mode")
        monitors = self._registry.monitors
        if mode:
            ids = numbers_at(asked, "ids")
            monitor = monitors.get(ids[0]) if ids else None
            if monitor is None:
                # What clients take for "register again".
                return {"monitor": {"id": 0}}
            if mode == "log":
                return message(monitor.name, "log", monitor.node_log.lines)
            if mode == "events":
                events = self._registry.poll(monitor, trio.current_time())
                if monitor.id not in monitors:
                    return {"monitor": {"id": 0}}
                return {"events": events}
        found = _select(monitors, lambda monitor: monitor.name, asked)
        return {"monitors": [describe_monitor(monitor) for monitor in found]}


def _select(by_id: Mapping[int, _T], name_of: Callable[[_T], str], asked: Answer) -> list[_T]:
    """The nodes with the ids of a request, else those its mask matches, else all."""
    if ids := numbers_at(asked, "ids"):
        return [by_id[each] for each in dict.fromkeys(ids) if each in by_id]
    if mask := text_at(asked, "mask"):
        wanted = by_beginnings(mask)
        return [node for node in by_id.values() if wanted(name_of(node))]
    return list(by_id.values())


def _needs_one(mode: str, asked: Answer, what: str) -> Answer:
    ids = numbers_at(asked, "ids")
    if len(ids) == 1:
        return info("error", f"Invalid ID: there is no {what} {ids[0]}")
    return info("error", f'mode "{mode}" needs one id of a {what}')
