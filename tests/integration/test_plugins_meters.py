"""Meters that hang, crash or hold the interpreter lock, and the other meters of the agent."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
import trio
from support.plugins import GUARD, PLUGINS
from support.polling import until

from trio_afrender.config import PluginSettings
from trio_afrender.plugins.meters import service as module
from trio_afrender.plugins.meters.service import Meters
from trio_afrender.protocol.messages import CustomMeter

PERIOD = 0.02
LIMIT = 1.0
"""Seconds for one call where one hangs: another that is late as well is not measured for a minute."""


@asynccontextmanager
async def meters_of(
    *names: str, folder: Path = PLUGINS, limit: float = GUARD
) -> AsyncIterator[Meters]:
    """Running meters. Checks that no process is left after their end."""
    seen = set()
    with trio.fail_after(GUARD):
        async with trio.open_nursery() as nursery:
            meters = Meters(names, PluginSettings(), [folder], time_limit=limit)
            nursery.start_soon(meters.run, lambda: PERIOD)
            yield meters
            seen.add(meters.pid)
            nursery.cancel_scope.cancel()
    assert not any(psutil.pid_exists(pid) for pid in seen if pid)


def find(meters: Meters, label: str) -> CustomMeter | None:
    return next((each for each in meters.latest() if each.label == label), None)


def count(meters: Meters) -> int:
    found = find(meters, "count")
    return found.value if found is not None else 0


async def test_each_object_is_created_once_and_called_repeatedly() -> None:
    async with meters_of("meter_counts", "example", "meter_counts") as meters:
        await until(lambda: count(meters) >= 3)
        await until(lambda: len(meters.latest()) == 2)
        assert meters.latest()[0].label == "count"  # in the order of the setting


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("meter_hang", "the call measure does not come back"),
        ("meter_lock", "the call measure does not come back"),
        ("meter_exit", "died (exit code 7)"),
    ],
)
async def test_a_meter_that_fails_is_put_into_quarantine(
    bad: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    limit = GUARD if bad == "meter_exit" else LIMIT
    async with meters_of(bad, "meter_counts", limit=limit) as meters:
        await until(lambda: find(meters, f"{bad}\nno answer") is not None)
        shown = find(meters, f"{bad}\nno answer")
        assert shown is not None
        assert (shown.labelr, shown.labelg, shown.labelb) == (255, 0, 0)
        assert reason in shown.tooltip
        assert "not measured for 60 s" in shown.tooltip
        before = count(meters)
        await until(lambda: count(meters) > before)
    warnings = [record.getMessage() for record in caplog.records if bad in record.getMessage()]
    assert any(reason in text for text in warnings)
    if bad == "meter_hang":
        assert any("meter_hang.py" in text and "in update" in text for text in warnings)


async def test_an_exception_of_a_meter_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    async with meters_of("meter_raise", "meter_counts", "meter_invalid") as meters:
        await until(lambda: count(meters) >= 5)
        shown = find(meters, "Error")
        assert shown is not None
        assert len(meters.latest()) == 2  # meter_invalid is not shown
    messages = [record.getMessage() for record in caplog.records]
    assert sum("LookupError: no sensor" in text for text in messages) == 1
    assert sum("nothing to measure" in text for text in messages) == 1


async def test_a_missing_meter_is_shown_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    async with meters_of("exampel") as meters:
        await until(lambda: bool(meters.latest()))
        assert meters.latest()[0].label == "exampel\nnot found"
    assert 'no meter "exampel", did you mean "example"?' in caplog.text


async def test_a_killed_host_is_replaced() -> None:
    async with meters_of("meter_counts") as meters:
        await until(lambda: count(meters) >= 2)
        pid = meters.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: meters.pid not in (pid, None))
        await until(lambda: count(meters) == 1)  # a new object
        await until(lambda: count(meters) >= 3)


async def test_a_host_that_does_not_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    async with meters_of("meter_counts") as meters:
        await until(lambda: bool(meters.latest()))
        assert meters.latest()[0].label == "meter_counts\nError"
        assert "cannot be started" in meters.latest()[0].tooltip
        monkeypatch.undo()
        await until(lambda: count(meters) >= 1)
    assert "the meters' host does not start" in caplog.text


async def test_a_meter_that_takes_too_much_memory_is_put_into_quarantine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "greedy.py").write_text(
        "from resources import resbase\n"
        "class greedy(resbase.resbase):\n"
        "    valid = True\n"
        "    def __init__(self):\n"
        "        resbase.resbase.__init__(self)\n"
        "        self.valid = True\n"
        "        self.held = []\n"
        "    def update(self):\n"
        "        self.held.append(b'x' * 2**26)\n"
    )
    monkeypatch.setattr(module, "MAX_MEMORY", 2**28)
    with trio.fail_after(GUARD):
        async with trio.open_nursery() as nursery:
            meters = Meters(["greedy"], PluginSettings(), [tmp_path], memory_limit=2**28)
            nursery.start_soon(meters.run, lambda: PERIOD)
            await until(lambda: find(meters, "greedy\nno answer") is not None)
            shown = find(meters, "greedy\nno answer")
            assert shown is not None
            assert "has grown to" in shown.tooltip
            nursery.cancel_scope.cancel()
