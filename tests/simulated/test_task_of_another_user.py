"""A run whose processes are another user's: what its launch has, and a job without a user."""

from __future__ import annotations

import attrs
from support.agent import CONFIG, expect_task, make_task, open_stage

from trio_afrender import Config
from trio_afrender.config import TaskProcesses
from trio_afrender.process.task_user import TaskUser
from trio_afrender.protocol.messages import Events, TaskExec, TaskStatus
from trio_afrender.task.task_users import TaskUserError
from trio_afrender.testing import MemoryHost
from trio_afrender.user_switch import UserIds

RENDER = TaskUser(name="render", ids=UserIds(70001, 70001, (70001,)), home="/home/render")


async def test_the_processes_of_a_run_are_its_users() -> None:
    seen: list[str] = []

    def find(task: TaskExec) -> TaskUser | None:
        seen.append(task.user_name)
        return RENDER

    config = attrs.evolve(CONFIG, tasks=TaskProcesses(user="render", umask="027"))
    host = MemoryHost(task_user=find, environ={"HOME": "/root", "USER": "root", "PATH": "/bin"})
    async with open_stage(config, host=host) as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(attrs.evolve(make_task(), user_name="alice"),)))
        child = await stage.host.spawn.next()
        assert (child.launch.user, child.launch.umask) == (RENDER, 0o027)
        variables = child.launch.environment
        names = ("HOME", "USER", "LOGNAME", "PATH")
        assert [variables[name] for name in names] == ["/home/render", "render", "render", "/bin"]
        assert seen == ["alice"]


async def test_without_a_setting_they_are_the_agents() -> None:
    async with open_stage() as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(make_task(),)))
        child = await stage.host.spawn.next()
        assert (child.launch.user, child.launch.umask) == (None, -1)


async def test_a_job_without_a_user_fails_to_start() -> None:
    def find(task: TaskExec) -> TaskUser | None:
        raise TaskUserError("the job's user has no row")

    config: Config = CONFIG
    async with open_stage(config, host=MemoryHost(task_user=find)) as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(make_task(),)))
        update = await expect_task(link, over=True)
        assert update.status is TaskStatus.FailedToStart
        assert "the job's user has no row" in update.why[0].text
        assert stage.host.spawn.launches == []
