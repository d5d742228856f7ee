"""The topic of one task: how far it is, what it runs, its files, its log, and why it is as it is."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import quote

import trio

from trio_afrender.afserver.remote_nodes import Fields, TaskNode, text_of
from trio_afrender.errors import JobGone, LinkLost, LinkRefused, ProtocolError
from trio_afrender.text import base_name
from trio_afrender.web.farm_watch import FarmWatch
from trio_afrender.web.job_tasks import JobTasks
from trio_afrender.web.task_rows import (
    find_reasons,
    read_attempts,
    tail_lines,
    task_bits_of,
    task_row,
)
from trio_afrender.web.topic import Topic, encode_json_text

__all__ = ("feed_task", "file_objects", "task_name")

_IMAGES = ("png", "jpg", "jpeg", "gif")
_WHY_INTERVAL = 4.0
_FILES_INTERVAL = 4.0
"""Seconds between two looks at the files of a running task: it sends images before its end."""
_MAX_FILES = 200
_MAX_TEXT = 100_000


def task_name(task: TaskNode) -> str:
    """A task as addresses have it."""
    return f"{task.job}.{task.block}.{task.task}"


def file_objects(task: TaskNode, paths: tuple[str, ...]) -> list[dict[str, Any]]:
    """The files of a task for a page, by their base names."""
    names = [base_name(path) for path in paths[:_MAX_FILES]]
    return [
        {
            "name": name,
            "url": f"/api/file/{task_name(task)}/{quote(name, safe='', errors='replace')}",
            "image": name.rpartition(".")[2].lower() in _IMAGES,
        }
        for name in names
        if name
    ]


async def feed_task(watch: FarmWatch, topic: Topic, numbers: tuple[int, ...]) -> None:
    """Keep the topic of a task up to date."""
    job, block, task = numbers
    with watch.watch_job(job) as tasks:
        detail = _TaskDetail(watch, topic, tasks, (job, block, task))
        missing = ""
        while not tasks.gone:
            try:
                await watch.load_tasks(tasks)
                if not await detail.refresh():
                    missing = f"job {job} has no task {block}.{task}"
                    break
            except (LinkLost, LinkRefused, ProtocolError):
                await watch.round.wait()
                continue
            except JobGone:
                break
            # Events, or the time for the next look at files and reasons.
            with trio.move_on_after(_FILES_INTERVAL):
                await tasks.wait()
    topic.end(tasks.gone or missing or f"job {job} was deleted")


class _TaskDetail:
    def __init__(
        self, watch: FarmWatch, topic: Topic, tasks: JobTasks, key: tuple[int, int, int]
    ) -> None:
        self._watch = watch
        self._topic = topic
        self._tasks = tasks
        self._key = key
        self._shown: dict[str, Any] = {}
        self._run: tuple[int, ...] = ()
        self._exec: Fields = {}
        self._log: list[str] = []
        self._errors: list[str] = []
        self._files: tuple[str, ...] = ()
        self._files_at = -_FILES_INTERVAL
        self._why: list[str] = []
        self._why_at = -_WHY_INTERVAL

    async def refresh(self) -> bool:
        """Ask for what may have changed, and publish it; False if there is no such task.

        Raises what requests raise.
        """
        found = self._tasks.find(*self._key[1:])
        if found is None:
            return False
        task, item = found
        await self._ask(task, item)
        bits = task_bits_of(item)
        job = self._tasks.node
        # The task's own part of the command in its place; frame numbers are not filled in.
        command, own = text_of(self._exec, "command_block"), text_of(self._exec, "command_task")
        command = command.replace("@#@", own, 1) if own and "@#@" in command else command or own
        files = file_objects(task, self._files)
        images = [each["url"] for each in files if each["image"]]
        shown = {
            **task_row(task, bits, item),
            "job_name": job.name if job else "",
            "user": job.user_name if job else "",
            "service": text_of(self._exec, "service"),
            "parser": text_of(self._exec, "parser"),
            "command": (command or text_of(self._exec, "command"))[:_MAX_TEXT],
            "working_directory": text_of(self._exec, "working_directory")[:_MAX_TEXT],
            "files": files,
            "thumbnail": f"/api/thumbnail/{task_name(task)}?v={task.changed}" if images else "",
            "error_hosts": self._errors,
            "log": self._log,
            "why": self._why,
            "attempts": read_attempts(self._log),
            "curve": [list(point) for point in self._watch.curves.curve(self._key)],
        }
        changes = {k: v for k, v in shown.items() if self._shown.get(k, _UNSET) != v}
        self._shown = shown
        topic = self._topic
        if topic.describe is None:
            topic.describe = lambda: encode_json_text({"topic": topic.name, "task": self._shown})
            topic.replace()
        elif changes:
            topic.publish({"task": changes})
        return True

    async def _ask(self, task: TaskNode, item: Fields) -> None:
        farm, now = self._watch.farm, trio.current_time()
        run = (task.starts, task.errors, task_bits_of(item))
        if run != self._run:
            self._exec = await farm.task_exec(task)
            self._log = tail_lines(await farm.task_text(task, "log"))
            self._errors = (
                tail_lines(await farm.task_text(task, "error_hosts")) if task.errors else []
            )
            self._files_at = self._why_at = -_WHY_INTERVAL
            if task.over or task.running:
                done = "DON" in task.states and not {"ERR", "SKP"} & {*task.states}
                self._why = find_reasons(self._log, done=done) if task.over else []
            self._run = run
        if now >= self._files_at + _FILES_INTERVAL and task.starts:
            if task.running or self._files_at < 0:
                with suppress(LinkRefused):
                    self._files = await farm.task_files(task)
            self._files_at = now
        if not (task.over or task.running) and now >= self._why_at + _WHY_INTERVAL:
            job = self._watch.jobs.get(task.job)
            answers = await farm.why_waiting(job) if job is not None else []
            self._why = [s for each in answers if each.block == task.block for s in each.sentences]
            self._why = self._why[:100]
            self._why_at = now


_UNSET = object()
