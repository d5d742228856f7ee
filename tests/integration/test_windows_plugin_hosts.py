"""Plugin hosts without fork: fresh interpreters in jobs, which end with all that plugins start."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest
import trio
from support.plugins import GUARD, PLUGINS, make_spec
from support.written_log import open_written_log

from trio_afrender.config import PluginSettings
from trio_afrender.plugins.host.host_pool import open_plugin_host

pytestmark = pytest.mark.skipif(
    sys.platform != "win32", reason="hosts of Unix are forked: test_plugins_host"
)
LIMIT = 3.0
"""Seconds for one call."""


@pytest.mark.parametrize(
    ("parser", "printed", "reason"),
    [
        ("bad_os_exit", b"EXIT\n", "written past everybody"),
        ("bad_regex", b"x" * 64 + b"\n", "bad_regex.py"),
        ("bad_sleep", b"WAIT\n", "bad_sleep.py"),
    ],
)
async def test_a_plugin_that_fails_costs_its_own_run_only(
    parser: str, printed: bytes, reason: str, tmp_path: Path
) -> None:
    pids: set[int] = set()
    with trio.fail_after(4 * GUARD):
        async with (
            open_plugin_host(PluginSettings(), folders=[PLUGINS], time_limit=LIMIT) as runner,
            open_written_log(tmp_path / "good") as good_log,
            open_written_log(tmp_path / "bad") as bad_log,
            runner.open_task(make_spec("generic"), good_log) as good,
            runner.open_task(make_spec(parser), bad_log) as bad,
        ):
            pids |= set(runner.pids)
            await bad_log.append(printed)
            await bad.parse(bad_log.size, mode="RUN")
            assert reason in "\n".join(bad.problems()) + (bad.disabled_reason or "")
            await good_log.append(b"PROGRESS: 40%\n")
            assert (await good.parse(good_log.size, mode="RUN")).percentframe == 40
            pids |= set(runner.pids)
    assert not any(psutil.pid_exists(pid) for pid in pids)
