"""The shutdown of a real agent: what can request it, and how long it takes."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from support.agent_program import open_agent, open_server, submit
from support.cli import make_gate, pass_gate

STUBBORN = (
    "(setsid sh -c 'trap \"\" TERM; sleep 1000 & wait; sleep 1000' &);"
    " trap '' TERM; echo up > {up}; exec sleep 1000"
)
BUDGET = 6.0


def write_settings(folder: Path, **ours: object) -> str:
    settings = {"timing": {"shutdown": BUDGET, "grace": 1.0, "notice": 0.5}, **ours}
    (folder / "c.json").write_text(json.dumps({"cgru_config": {"trio_afrender": settings}}))
    return "c.json"


@pytest.mark.usefixtures("plain_hangup")
@pytest.mark.parametrize("source", ["SIGTERM", "SIGHUP", "notice", "server"])
async def test_a_shutdown_has_one_budget_from_any_source(source: str, tmp_path: Path) -> None:
    up = make_gate(tmp_path / "up")
    config = write_settings(tmp_path, notice_command="test -e leave && echo the spot is gone")
    async with open_server(tmp_path) as (farm, url):
        async with open_agent(tmp_path, url, "--config", config) as command:
            job = submit(farm, STUBBORN.format(up=up))
            await pass_gate(up)
            begun = time.monotonic()
            if source.startswith("SIG"):
                command.process.send_signal(signal.Signals[source])
            elif source == "notice":
                (tmp_path / "leave").touch()
            else:
                farm.instruct("render-1", "exit")
            assert await command.wait() == 0
            took = time.monotonic() - begun
        [task] = farm.view(job).tasks
        assert task.state == "ready", "given back, no error"
        assert farm.renders[0].state == "offline"
    assert took < BUDGET + 2.0, "the 2 s are for this test's own processes"
    if source == "notice":
        assert "the spot is gone" in command.err
