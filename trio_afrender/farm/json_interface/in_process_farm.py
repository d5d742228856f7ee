"""The farm of this process as `RemoteFarm` shows one, without a connection and without its bytes.

What would keep the loop for long in a large job is made in pieces here, with other tasks between.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import attrs
import trio

from trio_afrender.afserver.client import Dialer
from trio_afrender.afserver.node_selection import TaskSelection
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.afserver.remote_nodes import JobNode, TaskNode, read_tasks, text_of
from trio_afrender.errors import JobGone, LinkRefused
from trio_afrender.farm.farm import Farm
from trio_afrender.farm.json_interface.answers import BinaryAnswer, EncodedAnswer
from trio_afrender.farm.json_interface.asker import Asker
from trio_afrender.farm.json_interface.http_head import HttpRefused
from trio_afrender.farm.json_interface.job_objects import progress_item
from trio_afrender.farm.json_interface.root_requests import RootRequests
from trio_afrender.farm.json_interface.task_files import TASK_FILES
from trio_afrender.text import printable
from trio_afrender.transport.address import NativeAddress

__all__ = ("InProcessFarm", "make_in_process_farm")

_PIECE = 250
"""Tasks that are described before other tasks of this process run."""
_ASKER = Asker(address="this process", admin=True)


@attrs.frozen(slots=True, kw_only=True)
class InProcessFarm(RemoteFarm):
    """A farm of this process. Its `dialer` is never used."""

    farm: Farm
    requests: RootRequests
    place: str
    """What people read in place of an address."""

    @property
    def url(self) -> str:
        return self.place

    @property
    def jobs_at_once(self) -> int:
        # The farm counts the tasks of a job that has changed; of several, other tasks run between.
        return 1

    async def ask(self, question: Mapping[str, Any]) -> dict[str, object]:
        """Answer a request. Raises `LinkRefused` with the farm's refusal."""
        answer = await self.requests.answer(dict(question), _ASKER)
        if answer is None:
            return {}
        if isinstance(answer, BinaryAnswer):
            raise LinkRefused('"binary" is for other programs')
        if isinstance(answer, EncodedAnswer):
            decoded: dict[str, object] = json.loads(answer.text)
            return decoded
        info = answer.get("info")
        if isinstance(info, dict) and info.get("kind") == "error":
            raise LinkRefused(printable(text_of(info, "text")))
        return answer

    async def list_ids(self, kind: str) -> list[int]:
        """List the ids of all ``jobs`` or ``renders``."""
        await trio.lowlevel.checkpoint()
        state = self.farm.state
        return [*state.jobs] if kind == "jobs" else [each.id for each in state.renders.values()]

    async def progress(self, job: int) -> list[list[object]]:
        """The progress of all tasks of a job, a list for each block. Raises `JobGone`."""
        state = self.farm.state
        if job not in state.jobs:
            raise JobGone(job)
        wall = int(state.wall())
        found: list[list[object]] = []
        for block in state.jobs[job].blocks:
            found.append([])
            for start in range(0, len(block.tasks), _PIECE):
                found[-1] += [progress_item(t, wall) for t in block.tasks[start : start + _PIECE]]
                await trio.lowlevel.checkpoint()
        return found

    async def selected_tasks(self, selected: Sequence[TaskSelection]) -> list[TaskNode]:
        """Return tasks of one job, each once, with their names. Raises `JobGone`."""
        number = selected[0].job.id
        found: list[TaskNode] = []
        for each in selected:
            jobs = await self.jobs(ids=[number])
            if not jobs or each.block.number >= len(jobs[0].blocks):
                raise JobGone(number)
            block = jobs[0].blocks[each.block.number]
            one = attrs.evolve(jobs[0], blocks=(block,))
            wanted = range(block.tasks) if each.tasks is None else each.tasks
            for start in range(0, len(wanted), _PIECE):
                if number not in self.farm.state.jobs:
                    raise JobGone(number)
                known = self.farm.state.jobs[number].blocks[block.number]
                wall = int(self.farm.state.wall())
                for task in wanted[start : start + _PIECE]:
                    (read,) = read_tasks(one, [[progress_item(known.tasks[task], wall)]])
                    name = known.spec.task_name(task)
                    found.append(attrs.evolve(read, task=task, name=name))
                await trio.lowlevel.checkpoint()
        return list({task.key: task for task in found}.values())

    async def task_names(self, job: JobNode) -> list[list[str]]:
        """The names of all tasks of a job, a list for each block. Raises `JobGone`."""
        state = self.farm.state
        if job.id not in state.jobs:
            raise JobGone(job.id)
        found: list[list[str]] = []
        for block in state.jobs[job.id].blocks:
            found.append([])
            for start in range(0, len(block.tasks), _PIECE):
                end = min(start + _PIECE, len(block.tasks))
                found[-1] += [block.spec.task_name(number) for number in range(start, end)]
                await trio.lowlevel.checkpoint()
        return found

    async def read_file(self, path: str) -> bytes:
        """Return a file of a task by the path that `task_files` gives. Raises `LinkRefused`."""
        try:
            answer = await self.requests.serve_file(
                f"{TASK_FILES}{quote(path, errors='surrogateescape')}"
            )
        except HttpRefused as refusal:
            raise LinkRefused(refusal.text) from None
        return answer.body


def make_in_process_farm(
    farm: Farm, requests: RootRequests, *, place: str, user_name: str, host_name: str
) -> InProcessFarm:
    """Show a farm of this process. `requests` are those of its JSON interface, if it has one."""
    return InProcessFarm(
        # An address has to have a port; nothing connects to it.
        dialer=Dialer(NativeAddress(host="localhost", port=1)),
        user_name=user_name,
        host_name=host_name,
        farm=farm,
        requests=requests,
        place=place,
    )
