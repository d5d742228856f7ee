"""Each system call fails once: every task has one outcome, none is an error, the agent lives."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from support.loopback_farm import LoopbackFarm, block, open_loopback_farm
from support.system_faults import Fault, failing_here, failing_supervisor

from trio_afrender.farm.settings import FarmSettings
from trio_afrender.jobs.views import JobView

FAST_FARM = FarmSettings(errors_retries=0, pause=0.05, pause_limit=0.5)
NUMBERS = (errno.EAGAIN, errno.EMFILE, errno.ENOMEM, errno.ENOSPC)
HERE = [
    *(Fault("os", name, number) for name in ("open", "pwrite", "fdatasync") for number in NUMBERS),
    *(Fault("os", name, number) for name in ("replace", "scandir", "read") for number in NUMBERS),
    *(Fault("os", "open", errno.EMFILE, turn) for turn in range(2, 12)),
    *(Fault("socket", "socketpair", number, turn) for number in NUMBERS for turn in (1, 2)),
    *(Fault("socket", "socket.connect", number) for number in NUMBERS),
    *(Fault("os", "pipe", number) for number in NUMBERS),
    *(Fault("threading", "Thread.start", errno.EAGAIN, turn) for turn in range(1, 6)),
]
THERE = [
    *(Fault("os", name, number) for name in ("fork", "posix_spawn") for number in NUMBERS),
    *(Fault("os", name, number) for name in ("mkdir", "pipe", "open") for number in NUMBERS),
    *(Fault("os", "open", errno.EMFILE, turn) for turn in range(2, 8)),
    *(Fault("socket", name, number) for name in ("socketpair", "socket") for number in NUMBERS),
    *(Fault("threading", "Thread.start", errno.EAGAIN, turn) for turn in (1, 2)),
]


async def run_tasks(loopback: LoopbackFarm) -> JobView:
    commands = ["echo first; printf x > ../files/f.txt", "echo second", "true"]
    return await loopback.run(block(*commands, parser="generic"))


def check(job: JobView, caplog: pytest.LogCaptureFixture) -> None:
    texts = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [(task.state, task.status) for task in job.tasks] == [("done", 5)] * 3, texts
    assert [task.output for task in job.tasks] == ["first\n", "second\n", ""]
    assert not [text for text in texts if "internal error" in text]


@pytest.mark.parametrize("fault", HERE, ids=str)
async def test_a_call_of_the_agent_fails(
    tmp_path: Path, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_loopback_farm(tmp_path, settings=FAST_FARM) as loopback:
        await loopback.agent()
        with failing_here(fault):
            job = await run_tasks(loopback)
        check(job, caplog)
        await loopback.check_alive()


@pytest.mark.parametrize("fault", THERE, ids=str)
async def test_a_call_of_a_supervisor_fails(
    tmp_path: Path, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_loopback_farm(tmp_path, settings=FAST_FARM) as loopback:
        with failing_supervisor(fault, tmp_path / "failed"):
            await loopback.agent()
            job = await run_tasks(loopback)
        check(job, caplog)
        await loopback.check_alive()
