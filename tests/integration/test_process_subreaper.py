"""Trees of a process that adopts orphans, each scenario in such a process of its own.

This process must not become one itself: it would adopt the orphans of all other tests.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
import trio
from support.process import PROGRAMS


@pytest.mark.parametrize(
    "scenario",
    [
        "contract",
        "left",
        "left setsid",
        "left daemon",
        "left daemon quiet",
        "living",
        "storm",
        "storm stay",
        "storm setsid",
        "storm setsid stay",
        "neighbours",
        "foreign",
        "bare",
        "bare_quiet",
        "long",
        "unclaimed",
        "contract --embedded",
        "left daemon --embedded",
        "storm setsid --embedded",
        "foreign --embedded",
    ],
)
async def test_as_a_subreaper(scenario: str) -> None:
    with trio.fail_after(60):
        done = await trio.run_process(
            [sys.executable, "-W", "error", str(PROGRAMS / "subreaper.py"), *scenario.split()],
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
    assert done.stdout.decode() == "ok\n"
    assert done.returncode == 0
