"""A plugin host that is killed: the parser that is built anew gets the pieces that the first one got."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest
import trio
from support.plugins import PLUGINS, make_spec
from support.polling import until
from support.written_log import open_written_log

from trio_afrender.config import PluginSettings
from trio_afrender.plugins.host.host_pool import HostRunner, open_plugin_host
from trio_afrender.plugins.in_process import InlineRunner
from trio_afrender.plugins.interfaces import ParserState, PluginRunner

PRINTED = (
    b"to /a.1 .1",
    b"",
    b".2",
    b"",
    b"",
    b".3\xe2\x82",
    b"",
    b"\xac\nto /a.2 ",
    b".4",
    b"",
    b"",
)
"""Output between two calls; without any, the call is a tick."""


async def kill_own_host(runner: HostRunner) -> None:
    (pid,) = (pid for pid in runner.pids if pid != runner.pid)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not psutil.pid_exists(pid))


async def parse_in_pieces(
    runner: PluginRunner, folder: Path, kill_before: int | None = None
) -> tuple[list[ParserState], str]:
    states = []
    async with (
        open_written_log(folder) as log,
        runner.open_task(make_spec("tenths"), log) as task,
    ):
        for number, data in enumerate(PRINTED):
            await log.append(data)
            if number == kill_before:
                assert isinstance(runner, HostRunner)
                await kill_own_host(runner)
            states.append(await task.parse(log.size))
        states.append(await task.parse(log.size, mode="0:0"))
        assert not task.disabled_reason
        return states, await task.log()


@pytest.mark.parametrize("kill_before", [2, 4, 6, 8, 10])
async def test_a_host_that_is_killed_changes_no_piece(kill_before: int, tmp_path: Path) -> None:
    with trio.fail_after(30):
        inline = InlineRunner(folders=[PLUGINS])
        states, log = await parse_in_pieces(inline, tmp_path / "inline")
        assert [state.percentframe for state in states[:5]] == [0, 10, 10, 20, 20]
        assert "€" in log.encode().decode("unicode_escape")
        async with open_plugin_host(PluginSettings(), folders=[PLUGINS], time_limit=10) as runner:
            await runner.warm()
            assert await parse_in_pieces(runner, tmp_path / "log", kill_before) == (states, log)
